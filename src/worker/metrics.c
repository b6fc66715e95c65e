/* .service_metrics: the same for Prometheus.
 *
 * Names are tokenfs_*, units are base units, counters end in _total (all from zero at a worker's start, which
 * Prometheus knows how to take). Each sample has the mount point as a label, so that the files of several mounts can lie
 * in one directory of node_exporter's textfile collector. Tokens have samples of their own, so that an alert can name
 * the one that fails; their number is bounded, and the failing ones come first. An id that never was a token (a
 * mistyped one) has none: else every user of the host could make them. */

#include "tokenfs/worker/status.h"

#include <errno.h>
#include <linux/fuse.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/fs/errno.h"

#include "exposition.h"

/* A token counts as read when a read reached the daemon within this time (or within two ttl, if that is longer: the
 * kernel answers reads within ttl by itself). */
#define METRICS_IN_USE_NS (3600 * NS_PER_S)
/* A token that is gone counts as failing when a reader still asks for it this long after the API said so: the old token of
 * a rotation is deleted, and has no readers any more. */
#define METRICS_GONE_NS (60 * NS_PER_S)
/* What the samples of tokens may take of FS_SERVICE_MAX, and how long one of them is without its mount point. */
#define METRICS_TOKENS_BYTES (FS_SERVICE_MAX / 4 * 3)
#define METRICS_SAMPLE_BYTES 200
#define METRICS_PATH_MAX 255

static double wall_s(int64_t wall_ns)
{
        return (double)wall_ns / (double)NS_PER_S;
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

static void write_service(const Exposition *out, const StatusSources *sources)
{
        const NodesShared *shared = sources->shared;
        exposition_begin(out, "build_info", "gauge", "The version, as a label.");
        exposition_add(out, "build_info", "", LABELS({"version", TOKENFS_VERSION}), 1.0);
        exposition_gauge(out, "start_time_seconds", "When the mount was made, since 1970.",
                wall_s(shared->started_wall_ns));
        exposition_counter(out, "worker_restarts_total", "Workers that died and were replaced.",
                (double)shared->restarts);
        exposition_gauge(
                out, "worker_crash_loop", "1 while workers die again and again.", shared->crash_loop != 0);
        exposition_counter(
                out, "upgrades_total", "Times that another binary took over.", (double)shared->upgrades);
}

static void write_requests(const Exposition *out, const StatusSources *sources)
{
        const FsCounters *fs = fs_counters(sources->fs);
        uint64_t other = 0;
        exposition_begin(out, "requests_total", "counter",
                "Requests of the kernel; what its own cache answers isn't seen here.");
        for (unsigned i = 0; i < ARRAY_LEN(fs->requests); i++) {
                const char *name = opcode_name(i);
                if (name)
                        exposition_add(out, "requests_total", "", LABELS({"operation", name}),
                                (double)fs->requests[i]);
                else
                        other += fs->requests[i];
        }
        exposition_add(out, "requests_total", "", LABELS({"operation", "other"}), (double)other);
        exposition_counter(out, "requests_interrupted_total",
                "Waiting requests whose reader got a signal, and EINTR.", (double)fs->interrupted);
        exposition_counter(out, "requests_timed_out_total", "Waiting requests that met their deadline.",
                (double)fs->deadlines);
        exposition_counter(out, "audit_refused_total",
                "Opens that were refused, as nobody took their line of the audit.",
                (double)fs->audit_refused);
        exposition_gauge(out, "requests_waiting", "Requests that wait for the API now.", fs->waiting);
        exposition_gauge(out, "requests_waiting_max", "The most that have waited at once.", fs->waiting_max);
        exposition_gauge(out, "directories", "Directories that the kernel may know.", fs->nodes_used);
        exposition_gauge(
                out, "superseded_versions", "Older versions of tokens that are still held.", fs->versions);
}

/* How reads ended: each kind of failure by its errno, which fs/errno.c gives to no other. */
static void write_reads(const Exposition *out, const StatusSources *sources)
{
        const FsCounters *fs = fs_counters(sources->fs);
        uint64_t other = 0;
        for (size_t i = 0; i < FS_ERRNO_MAX; i++)
                other += fs->reads[i];
        exposition_begin(out, "reads_total", "counter",
                "Reads that reached the daemon, by how they ended; the kernel's cache answers others.");
        for (unsigned i = 0; i < API_ERROR_COUNT; i++) {
                uint64_t reads = fs->reads[fs_errno((ApiError)i)];
                exposition_add(out, "reads_total", "", LABELS({"result", api_error_name((ApiError)i)}),
                        (double)reads);
                other -= reads;
        }
        other -= fs->reads[EINTR];
        exposition_add(out, "reads_total", "", LABELS({"result", "interrupted"}), (double)fs->reads[EINTR]);
        exposition_add(out, "reads_total", "", LABELS({"result", "other"}), (double)other);
}

const char *metrics_hit_name(CacheHit hit)
{
        static const char *const names[CACHE_HIT_COUNT] = {
                [CACHE_HIT_FRESH] = "fresh",
                [CACHE_HIT_AGEING] = "ageing",
                [CACHE_HIT_STALE] = "stale",
                [CACHE_HIT_NEGATIVE] = "error",
                [CACHE_MISS] = "miss",
                [CACHE_HIT_PREFETCHED] = "prefetched",
        };
        return names[hit];
}

static void write_cache(const Exposition *out, const StatusSources *sources)
{
        const TokensCounters *tokens = tokens_counters(sources->tokens);
        exposition_begin(
                out, "cache_answers_total", "counter", "Answers of the cache, by where they came from.");
        for (unsigned i = 0; i < CACHE_HIT_COUNT; i++)
                exposition_add(out, "cache_answers_total", "",
                        LABELS({"kind", metrics_hit_name((CacheHit)i)}), (double)tokens->hits[i]);
        exposition_counter(out, "cache_evictions_total",
                "Tokens dropped since there were more than max_tokens.", (double)tokens->evictions);
        exposition_counter(out, "cache_refreshes_total", "Calls made ahead of the end of a token's ttl.",
                (double)tokens->refreshes);
        exposition_counter(
                out, "cache_prefetches_total", "Calls made ahead of a scan.", (double)tokens->prefetches);
        exposition_counter(out, "cache_prefetches_wasted_total", "Calls made ahead whose answer nobody read.",
                (double)tokens->prefetches_wasted);
        exposition_counter(out, "cache_stale_seconds_total",
                "Ages past ttl of the stale answers served, summed.", tokens->stale_age_sum_s);
        if (sources->persist)
                exposition_counter(out, "persist_reads_total",
                        "Answers from copies on disk, while the API fails.", (double)tokens->restored_hits);
        exposition_gauge(out, "cache_tokens", "Tokens held.", tokens->tokens);
        exposition_gauge(
                out, "cache_errors", "Ids without a copy whose last error is remembered.", tokens->negatives);
}

static void write_calls(const Exposition *out, const StatusSources *sources)
{
        ApiCounters counters;
        backend_counters(sources->backend, &counters);
        exposition_begin(out, "api_calls_total", "counter",
                "Calls of the API, each attempt, by operation and result.");
        for (unsigned i = 0; i < API_OPERATION_COUNT; i++)
                for (unsigned k = 0; k < API_ERROR_COUNT; k++)
                        exposition_add(out, "api_calls_total", "",
                                LABELS({"operation", api_operation_name((ApiOperation)i)},
                                        {"result", api_error_name((ApiError)k)}),
                                (double)counters.attempts[i][k]);
        exposition_counter(
                out, "api_retries_total", "Attempts that repeated a failed one.", (double)counters.retries);

        static const char name[] = "api_call_duration_seconds";
        uint64_t sum = 0;
        exposition_begin(out, name, "histogram", "How long attempts took.");
        for (size_t i = 0; i < API_LATENCY_BUCKETS; i++) {
                char bound[32] = "+Inf";
                if (i + 1 < API_LATENCY_BUCKETS)
                        (void)snprintf(bound, sizeof bound, "%g", api_latency_bounds_s[i]);
                sum += counters.latency[i];
                exposition_add(out, name, "_bucket", LABELS({"le", bound}), (double)sum);
        }
        exposition_add(out, name, "_sum", NULL, 0, counters.latency_sum_s);
        exposition_add(out, name, "_count", NULL, 0, (double)sum);
}

static void write_health(const Exposition *out, const StatusSources *sources)
{
        ApiHealth health;
        CredentialStatus credentials;
        backend_health(sources->backend, &health);
        backend_credentials(sources->backend, &credentials);
        exposition_gauge(out, "api_up", "1 while calls go out as they come, 0 while the endpoint fails.",
                health.error == API_OK);
        double ttl_s = fmax((double)sources->options->ttl_ns / (double)NS_PER_S, 1);
        exposition_gauge(out, "api_throttled",
                "1 while copies are refreshed less often than ttl= asks for, since the API throttles.",
                health.throttled_since_ns != 0);
        exposition_gauge(out, "effective_ttl_seconds", "How old copies become before they are refreshed.",
                ttl_s * health.stretch);
        exposition_gauge(out, "sufficient_ttl_seconds",
                "The least ttl= that would not be throttled, as it seems; ttl= if it isn't.",
                ttl_s * health.stretch_that_would_do);
        exposition_gauge(out, "api_calls_in_flight", "Calls under way.", health.in_flight);
        exposition_gauge(out, "api_calls_queued", "Calls that wait for their turn.", health.queued);
        exposition_gauge(out, "clock_skew_seconds",
                "The server's clock less ours, as signatures are corrected for.",
                (double)backend_skew_s(sources->backend));
        exposition_gauge(out, "credentials_ok",
                "0 if the last search for credentials failed, or the API refused what it found.",
                credentials.error == CREDENTIALS_OK && health.refusal == API_OK);
        if (credentials.provider && credentials.expires_wall_ns != INT64_MAX)
                exposition_gauge(out, "credentials_expiry_timestamp_seconds",
                        "When the credentials expire, since 1970.", wall_s(credentials.expires_wall_ns));
}

static void write_listing(const Exposition *out, const StatusSources *sources)
{
        ListingStatus listing;
        listing_status(sources->listing, &listing);
        exposition_gauge(
                out, "listing_ok", "0 if the last walk over the list calls failed.", listing.error == API_OK);
        if (listing.age_ns == CLOCK_NEVER)
                return;
        exposition_gauge(out, "listing_tokens", "Tokens in the listing.", (double)listing.tokens);
        exposition_gauge(out, "listing_complete", "1 if nothing was denied or left out of the listing.",
                listing.complete);
        exposition_gauge(out, "listing_age_seconds", "How old the listing is.",
                (double)listing.age_ns / (double)NS_PER_S);
}

typedef struct TokenFamily {
        const Exposition *out;
        const StatusSources *sources;
        void (*write)(const struct TokenFamily *family, const TokensEntryStatus *entry, const char *name);
} TokenFamily;

static bool is_in_use(const TokensEntryStatus *entry, const Options *options)
{
        if (!entry->has_doc && entry->error == API_OK)
                return false; /* its first call is under way */
        if (entry->unused_ns > METRICS_IN_USE_NS && entry->unused_ns / 2 > options->ttl_ns)
                return false;
        if (entry->error != API_E_NOT_FOUND)
                return true;
        int64_t gone_ns = clock_wall_ns() - entry->error_wall_ns;
        return entry->success_wall_ns != 0 && gone_ns > 0 &&
               (uint64_t)gone_ns > clock_add_ns(entry->unused_ns, METRICS_GONE_NS);
}

static void write_token(const TokensEntryStatus *entry, void *userdata)
{
        const TokenFamily *family = userdata;
        if (!is_in_use(entry, family->sources->options))
                return;
        TokenItem item = {0};
        size_t position;
        ListingAnswer listing;
        listing_peek(family->sources->listing, &listing);
        if (entry->doc)
                token_item_from_doc(entry->doc, &item);
        else if (items_find(listing.items, entry->id, &position) == 0)
                items_get(listing.items, position, &item);
        family->write(family, entry, item.name);
}

static void write_token_ok(const TokenFamily *family, const TokensEntryStatus *entry, const char *name)
{
        exposition_add(family->out, "token_ok", "",
                LABELS({"id", entry->id}, {"name", name},
                        {"error", entry->error == API_OK ? "" : api_error_name(entry->error)}),
                entry->is_readable);
}

static void write_token_expiry(const TokenFamily *family, const TokensEntryStatus *entry, const char *name)
{
        if (entry->doc)
                exposition_add(family->out, "token_expiry_timestamp_seconds", "",
                        LABELS({"id", entry->id}, {"name", name}),
                        wall_s(token_doc_expires_wall_ns(entry->doc)));
}

static void write_token_success(const TokenFamily *family, const TokensEntryStatus *entry, const char *name)
{
        if (entry->success_wall_ns != 0)
                exposition_add(family->out, "token_last_success_timestamp_seconds", "",
                        LABELS({"id", entry->id}, {"name", name}), wall_s(entry->success_wall_ns));
}

static void write_tokens(const Exposition *out, const StatusSources *sources)
{
        static const struct {
                const char *name, *help;
                void (*write)(const TokenFamily *family, const TokensEntryStatus *entry, const char *name);
        } families[] = {
                {"token_ok", "1 if a read of this token gives a value (a stale one too), 0 if it fails.",
                        write_token_ok},
                {"token_expiry_timestamp_seconds", "When this token expires, since 1970.",
                        write_token_expiry},
                {"token_last_success_timestamp_seconds", "When the API last gave this token, since 1970.",
                        write_token_success},
        };
        size_t sample_bytes = METRICS_SAMPLE_BYTES + exposition_label_bytes(out->mountpoint);
        size_t max = METRICS_TOKENS_BYTES / (ARRAY_LEN(families) * sample_bytes);
        if (max > STATUS_TOKENS_MAX)
                max = STATUS_TOKENS_MAX;
        for (size_t i = 0; i < ARRAY_LEN(families); i++) {
                TokenFamily family = {out, sources, families[i].write};
                exposition_begin(out, families[i].name, "gauge", families[i].help);
                tokens_visit(sources->tokens, max, write_token, &family);
        }
}

void metrics_write(Buf *out, void *userdata)
{
        const StatusSources *sources = userdata;
        /* What a label may take is bounded; the end of a path says more than its beginning. */
        size_t len = strlen(sources->mountpoint);
        const Exposition exposition = {
                out, sources->mountpoint + (len > METRICS_PATH_MAX ? len - METRICS_PATH_MAX : 0)};
        write_service(&exposition, sources);
        write_requests(&exposition, sources);
        write_reads(&exposition, sources);
        write_cache(&exposition, sources);
        write_calls(&exposition, sources);
        write_health(&exposition, sources);
        write_listing(&exposition, sources);
        write_tokens(&exposition, sources);
}
