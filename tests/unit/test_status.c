/* The service files, written from fakes of all they ask: well-formed, complete, and without anything secret. */

#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenfs/worker/status.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/fs/errno.h"

#define WALL_NS (INT64_C(1767225600) * (int64_t)NS_PER_S) /* 2026-01-01T00:00:00Z */
#define PLANTED "PLANTED-VALUE-0123456789"

static const char document[] =
        "{\"id\":\"at-1\",\"arn\":\"arn:aws:route53globalresolver::123456789012:access-token/at-1\","
        "\"createdAt\":\"2025-12-01T00:00:00Z\",\"updatedAt\":\"2025-12-01T00:00:00Z\",\"dnsViewId\":\"v-1\","
        "\"expiresAt\":\"2026-02-01T00:00:00Z\",\"globalResolverId\":\"gr-1\",\"name\":\"it's a "
        "\\u0027name\","
        "\"status\":\"OPERATIONAL\",\"value\":\"" PLANTED "\",\"clientToken\":\"" PLANTED "-CLIENT\"}";

/* What the fakes below answer. */
static CredentialStatus credentials;
static ApiHealth health;
static ApiCounters calls;
static TokensCounters cache_figures;
static FsCounters fs_figures;
static ListingStatus listing;
static TokensEntryStatus entries[3];
static TokenItem listed;
static size_t entry_count;

const AwsEndpoint *backend_endpoint(const Backend *backend)
{
        (void)backend;
        static char url[] = "https://example.test", host[] = "example.test", base[] = "",
                    region[] = "us-east-2";
        static const AwsEndpoint endpoint = {url, host, base, region, false, "endpoint_url="};
        return &endpoint;
}

void backend_credentials(const Backend *backend, CredentialStatus *ret_status)
{
        (void)backend;
        *ret_status = credentials;
        ret_status->warning = ret_status->warning ? ret_status->warning : "";
}

void backend_health(const Backend *backend, ApiHealth *ret_health)
{
        (void)backend;
        *ret_health = health;
}

void backend_counters(const Backend *backend, ApiCounters *ret_counters)
{
        (void)backend;
        *ret_counters = calls;
}

int64_t backend_skew_s(const Backend *backend)
{
        (void)backend;
        return -7;
}

const TokensCounters *tokens_counters(const Tokens *tokens)
{
        (void)tokens;
        return &cache_figures;
}

void tokens_visit(const Tokens *tokens, size_t max, TokensEntryVisitor *visitor, void *userdata)
{
        (void)tokens;
        assert_int_equal(max, STATUS_TOKENS_MAX);
        for (size_t i = 0; i < entry_count; i++)
                visitor(&entries[i], userdata);
}

const FsCounters *fs_counters(const Fs *fs)
{
        (void)fs;
        return &fs_figures;
}

void listing_peek(Listing *which, ListingAnswer *ret_answer)
{
        (void)which;
        *ret_answer = (ListingAnswer){0};
}

int items_find(const Items *items, const char *id, size_t *ret_position)
{
        (void)items;
        *ret_position = 0;
        return strcmp(listed.id, id) == 0 ? 0 : -ENOENT;
}

void items_get(const Items *items, size_t position, TokenItem *ret_item)
{
        (void)items;
        assert_int_equal(position, 0);
        *ret_item = listed;
}

void listing_status(const Listing *which, ListingStatus *ret_status)
{
        (void)which;
        *ret_status = listing;
}

static Options options = {.ttl_ns = 60 * NS_PER_S, .stale_ns = 3600 * NS_PER_S, .max_tokens = 10000};
static NodesShared shared;

static StatusSources sources(void)
{
        return (StatusSources){.options = &options, .mountpoint = "/run/a \"b\\", .shared = &shared};
}

static cJSON *write_and_parse(Buf *text)
{
        StatusSources all = sources();
        buf_clear(text);
        status_write(text, &all);
        assert_int_equal(text->error, 0);
        cJSON *json = NULL;
        assert_int_equal(json_parse(text->data, text->len, 8, &json), 0);
        assert_int_equal(text->data[text->len - 1], '\n');
        return json;
}

/* "credentials.provider" */
static const cJSON *at(const cJSON *json, const char *path)
{
        char part[64];
        for (;;) {
                size_t len = strcspn(path, ".");
                assert_true(len < sizeof part);
                memcpy(part, path, len);
                part[len] = '\0';
                const cJSON *member = NULL;
                if (json_member(json, part, &member) != 0)
                        fail_msg("no %s in the status", part);
                json = member;
                if (!path[len])
                        return json;
                path += len + 1;
        }
}

static void assert_text(const cJSON *json, const char *path, const char *expected)
{
        const cJSON *member = at(json, path);
        assert_true(cJSON_IsString(member));
        assert_string_equal(member->valuestring, expected);
}

static void assert_number(const cJSON *json, const char *path, double expected)
{
        const cJSON *member = at(json, path);
        assert_true(cJSON_IsNumber(member));
        assert_true(member->valuedouble >= expected - 1e-6 && member->valuedouble <= expected + 1e-6);
}

static void assert_null_at(const cJSON *json, const char *path)
{
        assert_true(cJSON_IsNull(at(json, path)));
}

static void test_fresh_start(void **state)
{
        (void)state;
        Buf text = BUF_INIT(262144);
        cJSON *json = write_and_parse(&text);
        assert_text(json, "startedAt", "2025-12-31T23:59:00Z");
        assert_number(json, "uptimeSeconds", 60);
        assert_number(json, "worker.restarts", 0);
        assert_null_at(json, "worker.lastRestartAt");
        assert_null_at(json, "worker.lastRestartReason");
        assert_true(cJSON_IsFalse(at(json, "worker.crashLoop")));
        assert_null_at(json, "credentials.provider");
        assert_null_at(json, "credentials.accessKeyId");
        assert_null_at(json, "credentials.error");
        assert_text(json, "endpoint.state", "ok");
        assert_null_at(json, "endpoint.error");
        assert_null_at(json, "endpoint.failingForSeconds");
        assert_number(json, "endpoint.clockSkewSeconds", -7);
        assert_null_at(json, "listing.ageSeconds");
        assert_int_equal(cJSON_GetArraySize(at(json, "tokens")), 0);
        json_free(json);
        buf_deinit(&text);
}

static void test_trouble(void **state)
{
        (void)state;
        shared.restarts = 3;
        shared.restart_wall_ns = WALL_NS;
        shared.restart_status = 11; /* a wait status: SIGSEGV */
        shared.crash_loop = 1;
        shared.upgrades = 2;
        credentials = (CredentialStatus){.provider = "profile \"web\"\n",
                .access_key_id = "AKIA…WXYZ",
                .expires_wall_ns = WALL_NS + 30 * (int64_t)NS_PER_S,
                .error = CREDENTIALS_E_FAILED,
                .detail = "STS can't be reached"};
        health = (ApiHealth){.error = API_E_THROTTLED,
                .since_ns = 98 * NS_PER_S,
                .retry_at_ns = 100 * NS_PER_S + NS_PER_S / 2,
                .in_flight = 1,
                .queued = 4};
        listing = (ListingStatus){.tokens = 5,
                .resolvers = 1,
                .dns_views = 2,
                .error = API_E_ACCESS_DENIED,
                .age_ns = 3 * NS_PER_S / 2,
                .state = "stale"};
        Buf text = BUF_INIT(262144);
        cJSON *json = write_and_parse(&text);
        assert_number(json, "worker.restarts", 3);
        assert_text(json, "worker.lastRestartAt", "2026-01-01T00:00:00Z");
        assert_text(json, "worker.lastRestartReason", "signal 11 (Segmentation fault)");
        assert_true(cJSON_IsTrue(at(json, "worker.crashLoop")));
        assert_number(json, "worker.upgrades", 2);
        assert_text(json, "credentials.provider", "profile \"web\"\n");
        assert_text(json, "credentials.expiresAt", "2026-01-01T00:00:30Z");
        assert_text(json, "credentials.error", "STS can't be reached");
        assert_text(json, "endpoint.state", "failing");
        assert_text(json, "endpoint.error", "throttled");
        assert_number(json, "endpoint.failingForSeconds", 2);
        assert_number(json, "endpoint.nextTryInSeconds", 0.5);
        assert_number(json, "endpoint.callsQueued", 4);
        assert_text(json, "listing.error", "access_denied");
        assert_number(json, "listing.ageSeconds", 1.5);
        json_free(json);
        buf_deinit(&text);
}

static void test_tokens_without_secrets(void **state)
{
        (void)state;
        TokenDoc *doc = NULL;
        char detail[128];
        assert_int_equal(token_doc_parse("at-1", document, strlen(document), detail, &doc), API_OK);
        entries[0] = (TokensEntryStatus){.id = "at-1",
                .state = "stale",
                .has_doc = true,
                .age_ns = 61 * NS_PER_S + 250 * NS_PER_MS,
                .success_wall_ns = WALL_NS,
                .error = API_E_SERVER,
                .error_wall_ns = WALL_NS + (int64_t)NS_PER_S,
                .retry_in_ns = NS_PER_S,
                .doc = doc};
        entries[1] = (TokensEntryStatus){
                .id = "at-2", .state = "not_found", .error = API_E_NOT_FOUND, .error_wall_ns = WALL_NS};
        entry_count = 2;
        Buf text = BUF_INIT(262144);
        cJSON *json = write_and_parse(&text);
        const cJSON *tokens = at(json, "tokens");
        assert_int_equal(cJSON_GetArraySize(tokens), 2);
        const cJSON *first = cJSON_GetArrayItem(tokens, 0), *second = cJSON_GetArrayItem(tokens, 1);
        assert_text(first, "id", "at-1");
        assert_text(first, "state", "stale");
        assert_text(first, "name", "it's a 'name");
        assert_text(first, "status", "OPERATIONAL");
        assert_text(first, "expiresAt", "2026-02-01T00:00:00Z");
        assert_number(first, "ageSeconds", 61.25);
        assert_text(first, "error", "server");
        assert_text(first, "failingSince", "2026-01-01T00:00:01Z");
        assert_number(first, "nextTryInSeconds", 1);
        assert_text(second, "state", "not_found");
        assert_text(second, "error", "not_found");
        assert_null_at(second, "ageSeconds");
        assert_null_at(second, "lastSuccessAt");
        assert_null(strstr(buf_str(&text), PLANTED));
        json_free(json);

        StatusSources all = sources();
        buf_clear(&text);
        metrics_write(&text, &all);
        assert_null(strstr(buf_str(&text), PLANTED));
        buf_deinit(&text);
        token_doc_unref(doc);
}

static void test_full_buffer(void **state)
{
        (void)state;
        StatusSources all = sources();
        Buf text = BUF_INIT(100);
        status_write(&text, &all); /* must end, and say that it isn't whole */
        assert_true(text.error < 0);
        buf_clear(&text);
        metrics_write(&text, &all);
        assert_true(text.error < 0);
        buf_deinit(&text);
}

#define MOUNTPOINT "mountpoint=\"/run/a \\\"b\\\\\""

/* The value of a sample as written, or NULL. `name` with its labels, without the one that each sample has. */
static const char *sample(const Buf *text, const char *given)
{
        char name[256];
        size_t plain = strcspn(given, "{");
        (void)snprintf(name, sizeof name, "%.*s{" MOUNTPOINT "%s%s", (int)plain, given,
                given[plain] ? "," : "}", given[plain] ? given + plain + 1 : "");
        size_t len = strlen(name);
        for (const char *line = buf_str(text); *line; line = strchr(line, '\n') + 1)
                if (strncmp(line, name, len) == 0 && line[len] == ' ')
                        return line + len + 1;
        return NULL;
}

static void assert_sample(const Buf *text, const char *name, double expected)
{
        const char *value = sample(text, name);
        if (!value)
                fail_msg("no sample %s", name);
        double number = strtod(value, NULL);
        assert_true(number >= expected - 1e-6 && number <= expected + 1e-6);
}

static void test_metrics(void **state)
{
        (void)state;
        calls.attempts[API_GET_ACCESS_TOKEN][API_OK] = 5;
        calls.attempts[API_LIST_ACCESS_TOKENS][API_E_THROTTLED] = 2;
        calls.latency[0] = 1;
        calls.latency[3] = 2;
        calls.latency[API_LATENCY_BUCKETS - 1] = 4;
        calls.latency_sum_s = 12.5;
        cache_figures.hits[CACHE_HIT_STALE] = 9;
        cache_figures.stale_age_sum_s = 0.25;
        cache_figures.hits[CACHE_HIT_PREFETCHED] = 4;
        fs_figures.reads[0] = 11;
        fs_figures.reads[ENOENT] = 6;
        fs_figures.reads[EKEYREJECTED] = 5;
        fs_figures.reads[EINTR] = 2;
        fs_figures.reads[ESTALE] = 1;
        fs_figures.requests[1] = 3; /* LOOKUP */
        fs_figures.requests[0] = 2; /* unknown ones */
        fs_figures.requests[55] = 1; /* one without a name here */
        health.error = API_E_TIMEOUT;
        StatusSources all = sources();
        Buf text = BUF_INIT(262144);
        metrics_write(&text, &all);
        assert_int_equal(text.error, 0);
        assert_sample(&text, "tokenfs_api_calls_total{operation=\"GetAccessToken\",result=\"ok\"}", 5);
        assert_sample(
                &text, "tokenfs_api_calls_total{operation=\"ListAccessTokens\",result=\"throttled\"}", 2);
        assert_sample(&text, "tokenfs_api_call_duration_seconds_bucket{le=\"+Inf\"}", 7);
        assert_sample(&text, "tokenfs_api_call_duration_seconds_count", 7);
        assert_sample(&text, "tokenfs_api_call_duration_seconds_sum", 12.5);
        assert_sample(&text, "tokenfs_cache_answers_total{kind=\"stale\"}", 9);
        assert_sample(&text, "tokenfs_cache_stale_seconds_total", 0.25);
        assert_sample(&text, "tokenfs_cache_answers_total{kind=\"prefetched\"}", 4);
        assert_sample(&text, "tokenfs_reads_total{result=\"ok\"}", 11);
        assert_sample(&text, "tokenfs_reads_total{result=\"not_found\"}", 6);
        assert_sample(&text, "tokenfs_reads_total{result=\"credentials_rejected\"}", 5);
        assert_sample(&text, "tokenfs_reads_total{result=\"interrupted\"}", 2);
        assert_sample(&text, "tokenfs_reads_total{result=\"other\"}", 1);
        assert_sample(&text, "tokenfs_requests_total{operation=\"lookup\"}", 3);
        assert_sample(&text, "tokenfs_requests_total{operation=\"other\"}", 3);
        assert_sample(&text, "tokenfs_api_up", 0);
        assert_sample(&text, "tokenfs_clock_skew_seconds", -7);
        assert_sample(&text, "tokenfs_start_time_seconds", 1767225540);
        assert_null(sample(&text, "tokenfs_credentials_expiry_timestamp_seconds")); /* none known */
        buf_deinit(&text);
}

/* Each token that somebody reads: until when it lives, when it was had last, and whether a reader gets it. */
static void test_token_metrics(void **state)
{
        (void)state;
        TokenDoc *doc = NULL;
        char detail[128];
        assert_int_equal(token_doc_parse("at-1", document, strlen(document), detail, &doc), API_OK);
        entries[0] = (TokensEntryStatus){.id = "at-2",
                .state = "failing",
                .unused_ns = 3599 * NS_PER_S,
                .success_wall_ns = WALL_NS - (int64_t)NS_PER_S,
                .error = API_E_ACCESS_DENIED,
                .error_wall_ns = WALL_NS};
        entries[1] = (TokensEntryStatus){.id = "at-1",
                .state = "stale",
                .has_doc = true,
                .is_readable = true,
                .success_wall_ns = WALL_NS,
                .error = API_E_SERVER,
                .error_wall_ns = WALL_NS,
                .doc = doc};
        entry_count = 2;
        listed = (TokenItem){.id = "at-2", .name = "web"};
        StatusSources all = sources();
        Buf text = BUF_INIT(262144);
        metrics_write(&text, &all);
        assert_sample(&text, "tokenfs_token_ok{id=\"at-2\",name=\"web\",error=\"access_denied\"}", 0);
        assert_sample(
                &text, "tokenfs_token_last_success_timestamp_seconds{id=\"at-2\",name=\"web\"}", 1767225599);
        assert_null(sample(&text, "tokenfs_token_expiry_timestamp_seconds{id=\"at-2\",name=\"web\"}"));
        assert_sample(&text, "tokenfs_token_ok{id=\"at-1\",name=\"it's a 'name\",error=\"server\"}", 1);
        assert_sample(&text, "tokenfs_token_expiry_timestamp_seconds{id=\"at-1\",name=\"it's a 'name\"}",
                1769904000);
        buf_deinit(&text);
        token_doc_unref(doc);
}

static bool has_token_metric(TokensEntryStatus entry)
{
        entries[0] = entry;
        entries[0].id = "at-9";
        entry_count = 1;
        StatusSources all = sources();
        Buf text = BUF_INIT(262144);
        metrics_write(&text, &all);
        bool is_there = strstr(buf_str(&text), "id=\"at-9\"") != NULL;
        buf_deinit(&text);
        return is_there;
}

/* Neither a token that nobody reads, nor an id that was mistyped, nor the old token of a rotation has a sample. */
static void test_tokens_without_metrics(void **state)
{
        (void)state;
        const int64_t long_ago = WALL_NS - 600 * (int64_t)NS_PER_S;
        TokensEntryStatus failing = {.error = API_E_TLS, .error_wall_ns = WALL_NS};
        assert_true(has_token_metric(failing));
        failing.unused_ns = 3601 * NS_PER_S;
        assert_false(has_token_metric(failing));
        options.ttl_ns = 7200 * NS_PER_S; /* the kernel answers for so long */
        assert_true(has_token_metric(failing));
        options.ttl_ns = 60 * NS_PER_S;
        assert_false(has_token_metric((TokensEntryStatus){.state = "fetching"}));
        TokensEntryStatus gone = {
                .error = API_E_NOT_FOUND, .error_wall_ns = long_ago, .success_wall_ns = long_ago};
        assert_true(has_token_metric(gone)); /* somebody still asks for it */
        gone.unused_ns = 599 * NS_PER_S;
        assert_false(has_token_metric(gone)); /* the last reader found it gone */
        gone.unused_ns = 0;
        gone.success_wall_ns = 0;
        assert_false(has_token_metric(gone)); /* it never was */
}

static void test_refused_credentials(void **state)
{
        (void)state;
        credentials = (CredentialStatus){.provider = "environment", .expires_wall_ns = INT64_MAX};
        StatusSources all = sources();
        Buf text = BUF_INIT(262144);
        metrics_write(&text, &all);
        assert_sample(&text, "tokenfs_credentials_ok", 1);
        health.refusal = API_E_CREDENTIALS_REJECTED;
        buf_clear(&text);
        metrics_write(&text, &all);
        assert_sample(&text, "tokenfs_credentials_ok", 0);
        assert_sample(&text, "tokenfs_api_up", 1); /* the endpoint answers */
        cJSON *json = write_and_parse(&text);
        assert_text(json, "credentials.error", "the API refuses them");
        json_free(json);
        buf_deinit(&text);
}

static void test_listing_metrics(void **state)
{
        (void)state;
        StatusSources all = sources();
        Buf text = BUF_INIT(262144);
        metrics_write(&text, &all);
        assert_sample(&text, "tokenfs_listing_ok", 1);
        assert_null(sample(&text, "tokenfs_listing_complete")); /* nobody asked for one */
        listing = (ListingStatus){
                .tokens = 5, .error = API_E_ACCESS_DENIED, .age_ns = NS_PER_S / 2, .state = "stale"};
        buf_clear(&text);
        metrics_write(&text, &all);
        assert_sample(&text, "tokenfs_listing_ok", 0);
        assert_sample(&text, "tokenfs_listing_complete", 0);
        assert_sample(&text, "tokenfs_listing_age_seconds", 0.5);
        assert_sample(&text, "tokenfs_listing_tokens", 5);
        buf_deinit(&text);
}

/* Each member of an enum that becomes a label has a name, and no two the same. */
static void test_labels_have_names(void **state)
{
        (void)state;
        for (unsigned i = 0; i < CACHE_HIT_COUNT; i++) {
                assert_non_null(metrics_hit_name((CacheHit)i));
                for (unsigned k = 0; k < i; k++)
                        assert_string_not_equal(metrics_hit_name((CacheHit)i), metrics_hit_name((CacheHit)k));
        }
        for (unsigned i = 0; i < API_ERROR_COUNT; i++)
                for (unsigned k = 0; k < i; k++) {
                        assert_string_not_equal(api_error_name((ApiError)i), api_error_name((ApiError)k));
                        assert_int_not_equal(fs_errno((ApiError)i), fs_errno((ApiError)k));
                }
        for (unsigned i = 0; i < API_ERROR_COUNT; i++)
                assert_in_range(fs_errno((ApiError)i), 0, FS_ERRNO_MAX - 1);
        for (unsigned i = 0; i < API_OPERATION_COUNT; i++)
                assert_non_null(api_operation_name((ApiOperation)i));
}

/* The text format's grammar, as far as we use it: HELP, TYPE, then samples of that name; each name once. */
static void test_metrics_grammar(void **state)
{
        (void)state;
        credentials = (CredentialStatus){.provider = "environment", .expires_wall_ns = WALL_NS};
        StatusSources all = sources();
        Buf text = BUF_INIT(262144);
        metrics_write(&text, &all);
        char name[128] = "", type[16] = "";
        for (const char *line = buf_str(&text); *line; line = strchr(line, '\n') + 1) {
                if (strncmp(line, "# HELP ", 7) == 0) {
                        assert_int_equal(sscanf(line, "# HELP %127s", name), 1);
                        char again[160];
                        (void)snprintf(again, sizeof again, "# HELP %s ", name);
                        assert_null(strstr(line + 7, again));
                } else if (strncmp(line, "# TYPE ", 7) == 0) {
                        char typed[128];
                        assert_int_equal(sscanf(line, "# TYPE %127s %15s", typed, type), 2);
                        assert_string_equal(typed, name);
                } else {
                        size_t len = strlen(name);
                        assert_true(strncmp(line, name, len) == 0);
                        const char *rest = line + len + strspn(line + len, "abcdefghijklmnopqrstuvwxyz_");
                        assert_true(rest == line + len || strcmp(type, "histogram") == 0);
                        assert_true(strncmp(rest, "{" MOUNTPOINT, strlen("{" MOUNTPOINT)) == 0);
                        rest = strchr(rest, '}') + 1;
                        assert_int_equal(*rest, ' ');
                        char *end;
                        (void)strtod(rest + 1, &end);
                        assert_int_equal(*end, '\n');
                        bool is_total = len > 6 && strcmp(name + len - 6, "_total") == 0;
                        assert_true(is_total == (strcmp(type, "counter") == 0));
                }
        }
        buf_deinit(&text);
}

static int set_up(void **state)
{
        (void)state;
        clock_set_fake(100 * NS_PER_S, WALL_NS);
        shared = (NodesShared){.started_wall_ns = WALL_NS - 60 * (int64_t)NS_PER_S};
        credentials = (CredentialStatus){.expires_wall_ns = INT64_MAX, .detail = ""};
        health = (ApiHealth){.error = API_OK};
        calls = (ApiCounters){.retries = 0};
        cache_figures = (TokensCounters){.evictions = 0};
        fs_figures = (FsCounters){.interrupted = 0};
        listing = (ListingStatus){.age_ns = CLOCK_NEVER, .state = "none"};
        entry_count = 0;
        listed = (TokenItem){.name = ""};
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_fresh_start, set_up),
                cmocka_unit_test_setup(test_trouble, set_up),
                cmocka_unit_test_setup(test_tokens_without_secrets, set_up),
                cmocka_unit_test_setup(test_full_buffer, set_up),
                cmocka_unit_test_setup(test_metrics, set_up),
                cmocka_unit_test_setup(test_token_metrics, set_up),
                cmocka_unit_test_setup(test_tokens_without_metrics, set_up),
                cmocka_unit_test_setup(test_refused_credentials, set_up),
                cmocka_unit_test_setup(test_listing_metrics, set_up),
                cmocka_unit_test_setup(test_labels_have_names, set_up),
                cmocka_unit_test_setup(test_metrics_grammar, set_up),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
