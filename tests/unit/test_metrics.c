/* .service_metrics, written from fakes of all that it asks: the text format, each label, and which tokens have samples. */

#include "status_fixture.h"

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

/* However many tokens there are, and however long the path and the names: the text fits, and is whole. */
static void test_largest_text(void **state)
{
        (void)state;
        char path[4096], id[TOKEN_ID_MAX + 1];
        memset(path, '"', sizeof path - 1);
        memset(id, 'x', sizeof id - 1);
        path[sizeof path - 1] = id[sizeof id - 1] = '\0';
        memset(listed.id, 'x', TOKEN_ID_MAX);
        memset(listed.name, '\'', TOKEN_NAME_MAX);
        entries[0] = (TokensEntryStatus){.id = id,
                .state = "failing",
                .error = API_E_CREDENTIALS_REJECTED,
                .success_wall_ns = WALL_NS,
                .error_wall_ns = WALL_NS};
        entry_count = 1;
        is_crowded = true;
        const char *const paths[] = {"/run/tokens", path};
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
                StatusSources all = sources();
                all.mountpoint = paths[i];
                Buf text = BUF_INIT(FS_SERVICE_MAX);
                metrics_write(&text, &all);
                assert_int_equal(text.error, 0);
                buf_clear(&text);
                status_write(&text, &all);
                assert_int_equal(text.error, 0);
                buf_deinit(&text);
        }
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_metrics, set_up),
                cmocka_unit_test_setup(test_token_metrics, set_up),
                cmocka_unit_test_setup(test_tokens_without_metrics, set_up),
                cmocka_unit_test_setup(test_largest_text, set_up),
                cmocka_unit_test_setup(test_refused_credentials, set_up),
                cmocka_unit_test_setup(test_listing_metrics, set_up),
                cmocka_unit_test_setup(test_labels_have_names, set_up),
                cmocka_unit_test_setup(test_metrics_grammar, set_up),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
