/* .service_status, written from fakes of all that it asks: well-formed, complete, and without anything secret. */

#include "status_fixture.h"

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

static void test_refused_credentials(void **state)
{
        (void)state;
        credentials = (CredentialStatus){.provider = "environment", .expires_wall_ns = INT64_MAX};
        health.refusal = API_E_CREDENTIALS_REJECTED;
        Buf text = BUF_INIT(262144);
        cJSON *json = write_and_parse(&text);
        assert_text(json, "credentials.state", "rejected");
        assert_text(json, "credentials.error", "the API refuses them");
        assert_text(json, "endpoint.state", "ok"); /* it answers */
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

static void test_copies_on_disk(void **state)
{
        (void)state;
        Buf text = BUF_INIT(262144);
        cJSON *json = write_and_parse(&text);
        assert_null(cJSON_GetObjectItemCaseSensitive(json, "persist")); /* none are asked for */
        json_free(json);
        buf_clear(&text);
        persist = (const Persist *)(const void *)&persisted;
        persisted = (PersistStatus){.loaded = 3, .loaded_wall_ns = WALL_NS, .error = "writing: full"};
        options.persist = (char[]){"/var/lib/copies"};
        cache_figures.restored_hits = 7;
        json = write_and_parse(&text);
        assert_text(json, "persist.directory", "/var/lib/copies");
        assert_number(json, "persist.loadedTokens", 3);
        assert_text(json, "persist.loadedAsOf", "2026-01-01T00:00:00Z");
        assert_null_at(json, "persist.writtenAt");
        assert_number(json, "persist.servedFromDisk", 7);
        assert_text(json, "persist.error", "writing: full");
        json_free(json);
        buf_deinit(&text);
        options.persist = NULL;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_fresh_start, set_up),
                cmocka_unit_test_setup(test_trouble, set_up),
                cmocka_unit_test_setup(test_refused_credentials, set_up),
                cmocka_unit_test_setup(test_tokens_without_secrets, set_up),
                cmocka_unit_test_setup(test_full_buffer, set_up),
                cmocka_unit_test_setup(test_copies_on_disk, set_up),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
