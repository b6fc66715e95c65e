/* .service_status: one JSON document.
 *
 * Why: the first questions about a value are how old it is, whether the API answers, with whose credentials, and until
 * when. The daemon knows all of it; a reader of the status causes no call. Times are ISO 8601, durations seconds, errors
 * the names of api/errors. At most STATUS_TOKENS_MAX tokens are listed, so that a million cost what a thousand do. */

#include "tokenfs/worker/status.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "tokenfs/base/jsonwriter.h"
#include "tokenfs/worker/sandbox.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/secret.h"

void status_describe_end(int wait_status, char text[static 48])
{
        if (WIFSIGNALED(wait_status))
                (void)snprintf(text, 48, "signal %d (%.30s)", WTERMSIG(wait_status),
                        strsignal(WTERMSIG(wait_status)));
        else
                (void)snprintf(text, 48, "exit status %d", WEXITSTATUS(wait_status));
}

/* NULL where all is well. */
static const char *error_or_null(ApiError error)
{
        return error == API_OK ? NULL : api_error_name(error);
}

static uint64_t since_ns(uint64_t then_ns)
{
        uint64_t now_ns = clock_now_ns();
        return now_ns > then_ns ? now_ns - then_ns : 0;
}

static uint64_t until_ns(uint64_t then_ns)
{
        uint64_t now_ns = clock_now_ns();
        return then_ns > now_ns ? then_ns - now_ns : 0;
}

static void write_service(JsonWriter *json, const StatusSources *sources)
{
        const NodesShared *shared = sources->shared;
        int64_t uptime_ns = clock_wall_ns() - shared->started_wall_ns;
        json_write_string(json, "version", TOKENFS_VERSION);
        json_write_time(json, "startedAt", shared->started_wall_ns, 0);
        json_write_seconds(json, "uptimeSeconds", uptime_ns > 0 ? (uint64_t)uptime_ns : 0);
        json_write_open(json, "supervisor", '{'); /* signals are for this one */
        json_write_int(json, "pid", getppid());
        json_write_close(json, '}');
        json_write_open(json, "worker", '{');
        json_write_int(json, "pid", getpid());
        json_write_uint(json, "restarts", shared->restarts);
        json_write_time(json, "lastRestartAt", shared->restart_wall_ns, 0);
        char end[48];
        status_describe_end(shared->restart_status, end);
        json_write_string(json, "lastRestartReason", shared->restarts ? end : NULL);
        json_write_bool(json, "crashLoop", shared->crash_loop != 0);
        json_write_uint(json, "upgrades", shared->upgrades);
        json_write_bool(json, "memoryLocked", secret_is_locked());
        json_write_string(json, "sandbox", sandbox_state());
        json_write_close(json, '}');
}

static void write_credentials(JsonWriter *json, const StatusSources *sources)
{
        CredentialStatus status;
        backend_credentials(sources->backend, &status);
        ApiHealth health;
        backend_health(sources->backend, &health);
        const char *state = credentials_error_name(status.error), *error = NULL;
        if (status.error != CREDENTIALS_OK) {
                state = status.is_valid ? "failing" : state;
                error = status.detail;
        } else if (health.refusal == API_E_CREDENTIALS_EXPIRED) {
                state = credentials_error_name(CREDENTIALS_E_EXPIRED);
                error = "the API says that they have expired";
        } else if (health.refusal != API_OK) {
                state = credentials_error_name(CREDENTIALS_E_REJECTED);
                error = "the API refuses them";
        }
        json_write_open(json, "credentials", '{');
        json_write_string(json, "state", state);
        json_write_string(json, "provider", status.provider);
        json_write_string(json, "accessKeyId", status.provider ? status.access_key_id : NULL);
        json_write_time(json, "expiresAt", status.provider ? status.expires_wall_ns : INT64_MAX, INT64_MAX);
        json_write_string(json, "error", error);
        json_write_string(json, "warning", *status.warning ? status.warning : NULL);
        json_write_close(json, '}');
}

/* Null where the API doesn't throttle, and copies are refreshed as ttl= says. */
static void write_throttling(JsonWriter *json, const StatusSources *sources, const ApiHealth *health)
{
        bool is_throttled = health->throttled_since_ns != 0;
        uint64_t ttl_ns = sources->options->ttl_ns > NS_PER_S ? sources->options->ttl_ns : NS_PER_S;
        json_write_seconds(json, "throttledForSeconds",
                is_throttled ? since_ns(health->throttled_since_ns) : CLOCK_NEVER);
        json_write_seconds(json, "effectiveTtlSeconds",
                is_throttled ? (uint64_t)((double)ttl_ns * health->stretch) : CLOCK_NEVER);
        json_write_seconds(json, "sufficientTtlSeconds",
                is_throttled ? (uint64_t)((double)ttl_ns * health->stretch_that_would_do) : CLOCK_NEVER);
}

static void write_endpoint(JsonWriter *json, const StatusSources *sources)
{
        const AwsEndpoint *endpoint = backend_endpoint(sources->backend);
        ApiHealth health;
        backend_health(sources->backend, &health);
        bool failing = health.error != API_OK;
        json_write_open(json, "endpoint", '{');
        json_write_string(json, "url", endpoint->url);
        json_write_string(json, "chosenBy", endpoint->origin);
        json_write_string(json, "region", endpoint->region);
        json_write_string(json, "state", failing ? "failing" : "ok");
        json_write_string(json, "error", error_or_null(health.error));
        json_write_seconds(json, "failingForSeconds", failing ? since_ns(health.since_ns) : CLOCK_NEVER);
        json_write_seconds(json, "nextTryInSeconds",
                failing && health.retry_at_ns ? until_ns(health.retry_at_ns) : CLOCK_NEVER);
        write_throttling(json, sources, &health);
        json_write_uint(json, "callsInFlight", health.in_flight);
        json_write_uint(json, "callsQueued", health.queued);
        json_write_int(json, "clockSkewSeconds", backend_skew_s(sources->backend));
        json_write_close(json, '}');
}

static void write_listing(JsonWriter *json, const StatusSources *sources)
{
        ListingStatus status;
        listing_status(sources->listing, &status);
        json_write_open(json, "listing", '{');
        json_write_string(json, "state", status.state);
        json_write_uint(json, "tokens", status.tokens);
        json_write_uint(json, "resolvers", status.resolvers);
        json_write_uint(json, "dnsViews", status.dns_views);
        json_write_uint(json, "malformed", status.skipped);
        json_write_bool(json, "complete", status.complete);
        json_write_seconds(json, "ageSeconds", status.age_ns);
        json_write_string(json, "error", error_or_null(status.error));
        json_write_close(json, '}');
}

static void write_cache(JsonWriter *json, const StatusSources *sources)
{
        const TokensCounters *counters = tokens_counters(sources->tokens);
        const FsCounters *fs = fs_counters(sources->fs);
        json_write_open(json, "cache", '{');
        json_write_uint(json, "tokens", counters->tokens);
        json_write_uint(json, "maxTokens", sources->options->max_tokens);
        json_write_uint(json, "errors", counters->negatives);
        json_write_uint(json, "evictions", counters->evictions);
        json_write_uint(json, "directories", fs->nodes_used);
        json_write_uint(json, "waitingRequests", fs->waiting);
        json_write_seconds(json, "ttlSeconds", sources->options->ttl_ns);
        json_write_seconds(json, "staleSeconds", sources->options->stale_ns);
        json_write_open(json, "failing", '{'); /* of all tokens, also of those that aren't shown below */
        for (size_t i = 0; i < API_ERROR_COUNT; i++)
                if (counters->failing[i] > 0)
                        json_write_uint(json, api_error_name((ApiError)i), counters->failing[i]);
        json_write_close(json, '}');
        json_write_close(json, '}');
}

/* The copies on disk. */
static void write_persist(JsonWriter *json, const StatusSources *sources)
{
        if (!sources->persist)
                return;
        PersistStatus status;
        persist_status(sources->persist, &status);
        json_write_open(json, "persist", '{');
        json_write_string(json, "directory", sources->options->persist);
        json_write_uint(json, "loadedTokens", status.loaded);
        json_write_time(json, "loadedAsOf", status.loaded_wall_ns, 0);
        json_write_time(json, "writtenAt", status.written_wall_ns, 0);
        json_write_uint(json, "servedFromDisk", tokens_counters(sources->tokens)->restored_hits);
        json_write_string(json, "error", *status.error ? status.error : NULL);
        json_write_close(json, '}');
}

static const char *status_name(TokenStatus status)
{
        switch (status) {
        case TOKEN_CREATING: return "CREATING";
        case TOKEN_OPERATIONAL: return "OPERATIONAL";
        case TOKEN_DELETING: return "DELETING";
        case TOKEN_STATUS_OTHER: return "other";
        }
        return "other";
}

static void write_name(JsonWriter *json, const TokenDoc *doc)
{
        TokenItem item;
        token_item_from_doc(doc, &item);
        json_write_string(json, "name", item.name[0] ? item.name : NULL);
}

static void write_token(const TokensEntryStatus *entry, void *userdata)
{
        JsonWriter *json = userdata;
        json_write_open(json, NULL, '{');
        json_write_string(json, "id", entry->id);
        json_write_string(json, "state", entry->state);
        json_write_seconds(json, "ageSeconds", entry->has_doc ? entry->age_ns : CLOCK_NEVER);
        json_write_time(json, "lastSuccessAt", entry->success_wall_ns, 0);
        json_write_bool(json, "fromDisk", entry->is_restored);
        json_write_string(json, "error", error_or_null(entry->error));
        json_write_time(json, "failingSince", entry->error == API_OK ? 0 : entry->error_wall_ns, 0);
        json_write_seconds(json, "nextTryInSeconds", entry->retry_in_ns ? entry->retry_in_ns : CLOCK_NEVER);
        if (entry->doc) {
                write_name(json, entry->doc);
                json_write_string(json, "status", status_name(token_doc_status(entry->doc)));
                json_write_time(json, "expiresAt", token_doc_expires_wall_ns(entry->doc), 0);
        }
        json_write_close(json, '}');
}

void status_write(Buf *out, void *userdata)
{
        const StatusSources *sources = userdata;
        JsonWriter json = {.out = out, .is_first = true};
        json_write_open(&json, NULL, '{');
        write_service(&json, sources);
        write_credentials(&json, sources);
        write_endpoint(&json, sources);
        write_listing(&json, sources);
        write_cache(&json, sources);
        write_persist(&json, sources);
        json_write_open(&json, "tokens", '[');
        tokens_visit(sources->tokens, STATUS_TOKENS_MAX, write_token, &json);
        json_write_close(&json, ']');
        json_write_close(&json, '}');
}
