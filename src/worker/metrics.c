/* .service_metrics: the same for Prometheus, in its text format.
 *
 * Names are tokenfs_*, units are base units, counters end in _total (all from zero at a worker's start, which
 * Prometheus knows how to take). Labels come from fixed sets, never from outside, so their number is bounded; tokens
 * have none of their own. Source: "Exposition formats" of the Prometheus documentation. */

#include "tokenfs/worker/status.h"

#include <inttypes.h>
#include <linux/fuse.h>

#include "config.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"

static void head(Buf *out, const char *name, const char *type, const char *help)
{
        (void)buf_appendf(out, "# HELP tokenfs_%s %s\n# TYPE tokenfs_%s %s\n", name, help, name, type);
}

static void sample(Buf *out, const char *name, double value)
{
        (void)buf_appendf(out, "tokenfs_%s %.17g\n", name, value);
}

static void single(Buf *out, const char *name, const char *type, const char *help, double value)
{
        head(out, name, type, help);
        sample(out, name, value);
}

static void counter(Buf *out, const char *name, const char *help, uint64_t value)
{
        head(out, name, "counter", help);
        (void)buf_appendf(out, "tokenfs_%s %" PRIu64 "\n", name, value);
}

static void gauge(Buf *out, const char *name, const char *help, double value)
{
        single(out, name, "gauge", help, value);
}

static const char *opcode_name(unsigned opcode)
{
        static const char *const names[] = {
                [FUSE_LOOKUP] = "lookup",
                [FUSE_FORGET] = "forget",
                [FUSE_GETATTR] = "getattr",
                [FUSE_SETATTR] = "setattr",
                [FUSE_READLINK] = "readlink",
                [FUSE_OPEN] = "open",
                [FUSE_READ] = "read",
                [FUSE_STATFS] = "statfs",
                [FUSE_RELEASE] = "release",
                [FUSE_GETXATTR] = "getxattr",
                [FUSE_LISTXATTR] = "listxattr",
                [FUSE_FLUSH] = "flush",
                [FUSE_INIT] = "init",
                [FUSE_OPENDIR] = "opendir",
                [FUSE_READDIR] = "readdir",
                [FUSE_RELEASEDIR] = "releasedir",
                [FUSE_ACCESS] = "access",
                [FUSE_INTERRUPT] = "interrupt",
                [FUSE_BATCH_FORGET] = "batch_forget",
                [FUSE_READDIRPLUS] = "readdirplus",
        };
        return opcode < ARRAY_LEN(names) && names[opcode] ? names[opcode] : NULL;
}

static void write_service(Buf *out, const StatusSources *sources)
{
        const SlotsShared *shared = sources->shared;
        head(out, "build_info", "gauge", "The version, as a label.");
        (void)buf_append_str(out, "tokenfs_build_info{version=\"" TOKENFS_VERSION "\"} 1\n");
        gauge(out, "start_time_seconds", "When the mount was made, since 1970.",
                (double)shared->started_wall_ns / (double)NS_PER_S);
        counter(out, "worker_restarts_total", "Workers that died and were replaced.", shared->restarts);
        gauge(out, "worker_crash_loop", "1 while workers die again and again.", shared->crash_loop != 0);
        counter(out, "upgrades_total", "Times that another binary took over.", shared->upgrades);
}

static void write_requests(Buf *out, const StatusSources *sources)
{
        const FsCounters *fs = fs_counters(sources->fs);
        uint64_t other = 0;
        head(out, "requests_total", "counter",
                "Requests of the kernel; what its own cache answers isn't seen here.");
        for (unsigned i = 0; i < ARRAY_LEN(fs->requests); i++) {
                const char *name = opcode_name(i);
                if (name)
                        (void)buf_appendf(out, "tokenfs_requests_total{operation=\"%s\"} %" PRIu64 "\n", name,
                                fs->requests[i]);
                else
                        other += fs->requests[i];
        }
        (void)buf_appendf(out, "tokenfs_requests_total{operation=\"other\"} %" PRIu64 "\n", other);
        counter(out, "requests_interrupted_total", "Waiting requests whose reader gave up.", fs->interrupted);
        counter(out, "requests_timed_out_total", "Waiting requests that met their deadline.", fs->deadlines);
        gauge(out, "requests_waiting", "Requests that wait for the API now.", fs->waiting);
        gauge(out, "requests_waiting_max", "The most that have waited at once.", fs->waiting_max);
        gauge(out, "directories", "Directories that the kernel may know.", fs->slots_used);
        gauge(out, "superseded_versions", "Older versions of tokens that are still held.", fs->versions);
}

static void write_cache(Buf *out, const StatusSources *sources)
{
        static const char *const kinds[CACHE_HIT_COUNT] = {
                [CACHE_HIT_FRESH] = "fresh",
                [CACHE_HIT_AGEING] = "ageing",
                [CACHE_HIT_STALE] = "stale",
                [CACHE_HIT_NEGATIVE] = "negative",
                [CACHE_MISS] = "miss",
        };
        const TokensCounters *tokens = tokens_counters(sources->tokens);
        head(out, "cache_answers_total", "counter", "Answers of the cache by how they were come by.");
        for (size_t i = 0; i < CACHE_HIT_COUNT; i++)
                (void)buf_appendf(out, "tokenfs_cache_answers_total{kind=\"%s\"} %" PRIu64 "\n", kinds[i],
                        tokens->hits[i]);
        counter(out, "cache_evictions_total", "Tokens dropped since there were more than max_tokens.",
                tokens->evictions);
        counter(out, "cache_refreshes_total", "Calls made ahead of the end of a token's ttl.",
                tokens->refreshes);
        counter(out, "cache_prefetches_total", "Calls made ahead of a scan.", tokens->prefetches);
        counter(out, "cache_prefetches_wasted_total", "Calls made ahead whose answer nobody read.",
                tokens->prefetches_wasted);
        single(out, "cache_stale_seconds_total", "counter",
                "Ages past ttl of the stale answers served, summed.", tokens->stale_age_sum_s);
        gauge(out, "cache_tokens", "Tokens held.", tokens->tokens);
        gauge(out, "cache_negatives", "Errors remembered.", tokens->negatives);
}

static void write_calls(Buf *out, const StatusSources *sources)
{
        ApiCounters counters;
        backend_counters(sources->backend, &counters);
        head(out, "api_calls_total", "counter", "Calls of the API, each attempt, by operation and result.");
        for (unsigned i = 0; i < API_OPERATION_COUNT; i++)
                for (unsigned k = 0; k < API_ERROR_COUNT; k++)
                        (void)buf_appendf(out,
                                "tokenfs_api_calls_total{operation=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                                api_operation_name((ApiOperation)i), api_error_name((ApiError)k),
                                counters.attempts[i][k]);
        counter(out, "api_retries_total", "Attempts that repeated a failed one.", counters.retries);

        uint64_t sum = 0;
        head(out, "api_call_duration_seconds", "histogram", "How long attempts took.");
        for (size_t i = 0; i < API_LATENCY_BUCKETS; i++) {
                sum += counters.latency[i];
                if (i + 1 < API_LATENCY_BUCKETS)
                        (void)buf_appendf(out,
                                "tokenfs_api_call_duration_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
                                api_latency_bounds_s[i], sum);
        }
        (void)buf_appendf(out, "tokenfs_api_call_duration_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", sum);
        sample(out, "api_call_duration_seconds_sum", counters.latency_sum_s);
        (void)buf_appendf(out, "tokenfs_api_call_duration_seconds_count %" PRIu64 "\n", sum);
}

static void write_health(Buf *out, const StatusSources *sources)
{
        ApiHealth health;
        CredentialStatus credentials;
        ListingStatus listing;
        backend_health(sources->backend, &health);
        backend_credentials(sources->backend, &credentials);
        listing_status(sources->listing, &listing);
        gauge(out, "api_up", "1 while calls go out as they come, 0 while the endpoint fails.",
                health.error == API_OK);
        gauge(out, "api_calls_in_flight", "Calls under way.", health.in_flight);
        gauge(out, "api_calls_queued", "Calls that wait for their turn.", health.queued);
        gauge(out, "clock_skew_seconds", "The server's clock less ours, as signatures are corrected for.",
                (double)backend_skew_s(sources->backend));
        gauge(out, "credentials_ok", "1 if the last search for credentials succeeded.",
                credentials.provider && credentials.error == CREDENTIALS_OK);
        if (credentials.provider && credentials.expires_wall_ns != INT64_MAX)
                gauge(out, "credentials_expiry_time_seconds", "When they expire, since 1970.",
                        (double)credentials.expires_wall_ns / (double)NS_PER_S);
        gauge(out, "listing_tokens", "Tokens in the listing.", (double)listing.tokens);
        gauge(out, "listing_complete", "1 if nothing was denied or left out of the listing.",
                listing.complete);
}

void metrics_write(Buf *out, void *userdata)
{
        const StatusSources *sources = userdata;
        write_service(out, sources);
        write_requests(out, sources);
        write_cache(out, sources);
        write_calls(out, sources);
        write_health(out, sources);
}
