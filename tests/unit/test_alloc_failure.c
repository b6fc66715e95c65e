/* Without memory everything fails in order: with an error, without a leak, and without a reader who is forgotten. */

#include "fake_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc_failure.h"
#include "api/page.h"
#include "persist/file.h"
#include "persist/format.h"
#include "fs/versions.h"
#include "tokenfs/aws/config.h"
#include "tokenfs/credentials/chain.h"
#include "tokenfs/aws/sigv4.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/log.h"
#include "tokenfs/cache/cache.h"

#define TTL_NS (100 * NS_PER_S)

/* Made before any allocation fails. */
static TokenDoc *docs[4];
static TokenItem items[4];
static char token_body[1024], config_file[] = "/tmp/tokenfs-test-XXXXXX",
                              credentials_file[] = "/tmp/tokenfs-test-XXXXXX";

static bool scenario_buf(void)
{
        Buf buf = BUF_INIT(100000);
        for (int i = 0; i < 50; i++) {
                (void)buf_append_str(&buf, "text ");
                (void)buf_appendf(&buf, "%d", i);
                (void)buf_append_uri(&buf, "a/b c", 5, "/");
                (void)buf_append_hex(&buf, "\x01\xff", 2);
                (void)buf_append_json(&buf, "\"\xff\n", 3);
        }
        size_t len = strlen(buf_str(&buf)); /* whole, even when it couldn't grow */
        bool passed = buf.error == 0 && len == buf.len;
        assert_true(buf.error == 0 || buf.error == -ENOMEM);
        buf_deinit(&buf);
        return passed;
}

static bool scenario_token(void)
{
        char detail[128];
        TokenDoc *doc = NULL;
        ApiError error = token_doc_parse("at-1", token_body, strlen(token_body), detail, &doc);
        assert_true(error == API_OK || error == API_E_MEMORY);
        assert_int_equal(doc != NULL, error == API_OK);
        token_doc_unref(doc);
        return error == API_OK;
}

static ApiError parse_page(ApiOperation operation, const char *body)
{
        char detail[128];
        ApiPage page = {0};
        ApiError error = api_page_parse(operation, "gr-1", NULL, body, strlen(body), detail, &page);
        assert_true(error == API_OK || error == API_E_MEMORY);
        api_page_deinit(&page);
        return error;
}

static bool scenario_page(void)
{
        char body[1200];
        (void)snprintf(body, sizeof body, "{\"accessTokens\":[%s],\"nextToken\":\"more\"}", token_body);
        ApiError error = parse_page(API_LIST_ACCESS_TOKENS, body);
        if (error == API_OK)
                error = parse_page(API_LIST_DNS_VIEWS,
                        "{\"dnsViews\":[{\"id\":\"a\"},{\"id\":\"b\"}],\"nextToken\":\"x\"}");
        if (error == API_OK)
                error = parse_page(API_GET_GLOBAL_RESOLVER, "{\"id\":\"gr-1\",\"dnsName\":\"a.example\"}");
        return error == API_OK;
}

static bool scenario_sigv4(void)
{
        AwsKeys keys = {.access_key_id = "AKIDEXAMPLE"};
        SigV4Headers headers = {0};
        int r = secret_set(&keys.secret_access_key, "secret", 6);
        if (r == 0)
                r = secret_set(&keys.session_token, "session", 7);
        if (r == 0)
                r = sigv4_sign(&(SigV4Request){.method = "GET",
                                       .host = "a.example",
                                       .path = "/tokens/at-1",
                                       .query = "b=2&a=1",
                                       .region = "us-east-2",
                                       .service = "s",
                                       .time_s = FAKE_WALL_S},
                        &keys, &headers);
        assert_true(r == 0 || r == -ENOMEM || r == -EIO);
        if (r == 0)
                sigv4_headers_deinit(&headers);
        aws_keys_deinit(&keys);
        return r == 0;
}

static bool scenario_config(void)
{
        AwsConfig *config = NULL;
        Buf error = BUF_INIT(1000);
        AwsConfigPaths paths = {
                .config_file = config_file, .credentials_file = credentials_file, .profile = "web"};
        int r = aws_config_load(&paths, &error, &config);
        assert_true(r == 0 || r == -ENOMEM);
        bool passed = false;
        if (r == 0) {
                const char *key = aws_config_get(config, "web", "aws_access_key_id");
                const char *url =
                        aws_config_get_service(config, "here", "route53globalresolver", "endpoint_url");
                passed = key && strcmp(key, "AKIDWEB") == 0 && url && strcmp(url, "https://a.example") == 0;
                assert_true(passed); /* all of it, or an error */
                config = aws_config_free(config);
        }
        buf_deinit(&error);
        return passed;
}

typedef struct Asked {
        bool is_told;
} Asked;

static void told(CredentialWait *wait, CredentialsError error, const char *detail, void *userdata)
{
        Asked *asked = userdata;
        asked->is_told = true;
        (void)wait, (void)error, (void)detail;
}

static bool scenario_credentials(void)
{
        Loop *loop = NULL;
        CredentialChain *chain = NULL;
        CredentialWait wait = {0};
        const AwsCredentials *credentials = NULL;
        int r = loop_new(&loop);
        if (r == 0)
                r = credential_chain_new(&(CredentialSettings){.loop = loop, .profile = "web"}, &chain);
        for (int asks = 0; r == 0 && asks < 3; asks++) {
                Asked asked = {0};
                r = credential_chain_get(chain, &wait, told, &asked, &credentials);
                if (r != -EINPROGRESS)
                        break;
                for (int turns = 0; turns < 100 && !asked.is_told; turns++) {
                        assert_int_equal(loop_turn(loop, 0), 0);
                        clock_advance_fake(NS_PER_S);
                }
                assert_true(asked.is_told);
                r = 0;
        }
        bool passed = r == 0 && credentials && strcmp(credentials->keys.access_key_id, "AKIDWEB") == 0;
        credential_wait_cancel(&wait);
        if (chain)
                chain = credential_chain_free(chain);
        if (loop)
                loop = loop_free(loop);
        return passed;
}

static FakeSource fake;
static FakeReader reader;

static int ask(Tokens *tokens, const char *id, uint64_t since_ns, TokenAnswer *ret_answer)
{
        int r = tokens_get(tokens, id, since_ns, false, &reader.wait, ret_answer);
        assert_true(r == 0 || r == -ENOMEM || r == -EINPROGRESS);
        if (r == -EINPROGRESS)
                assert_non_null(fake_call(&fake, API_GET_ACCESS_TOKEN, id)); /* or nobody would wake him */
        assert_int_equal(list_is_linked(&reader.wait.link), r == -EINPROGRESS);
        return r;
}

/* Fetches, serves stale, learns the end. */
static int use_cache(Loop *loop, Tokens *tokens)
{
        TokenAnswer answer;
        uint64_t came_ns = clock_now_ns();
        int r = ask(tokens, "at-1", came_ns, &answer);
        if (r != -EINPROGRESS)
                return r == 0 ? -EIO : r;
        fake_answer_doc(fake_call(&fake, API_GET_ACCESS_TOKEN, "at-1"), docs[0]);
        r = ask(tokens, "at-1", came_ns, &answer);
        if (r != 0)
                return r;
        assert_ptr_equal(answer.doc, docs[0]);
        clock_advance_fake(TTL_NS);
        assert_int_equal(loop_turn(loop, 0), 0);
        r = ask(tokens, "at-1", clock_now_ns(), &answer);
        if (r == 0) { /* without memory for the call: the last good copy */
                assert_ptr_equal(answer.doc, docs[0]);
                assert_int_equal(answer.hit, CACHE_HIT_STALE);
                return -ENOMEM;
        }
        if (r != -EINPROGRESS)
                return r;
        cache_wait_cancel(&reader.wait);
        fake_answer_retry(
                fake_call(&fake, API_GET_ACCESS_TOKEN, "at-1"), API_E_SERVER, clock_now_ns() + NS_PER_S);
        r = ask(tokens, "at-1", clock_now_ns(), &answer);
        assert_int_equal(r, 0);
        assert_int_equal(answer.hit, CACHE_HIT_STALE);
        fake_answer_error(fake_call(&fake, API_GET_ACCESS_TOKEN, "at-1"), API_E_NOT_FOUND);
        r = ask(tokens, "at-2", clock_now_ns(), &answer);
        cache_wait_cancel(&reader.wait);
        return r == -EINPROGRESS ? 0 : r;
}

static bool scenario_cache(void)
{
        Loop *loop = NULL;
        Tokens *tokens = NULL;
        fake_source_init(&fake);
        fake_reader_init(&reader);
        TokensSettings settings = {.policy = {.source = fake_source(&fake),
                                           .ttl_ns = TTL_NS,
                                           .negative_ttl_ns = NS_PER_S,
                                           .stale_ns = TTL_NS,
                                           .timeout_ns = 10 * NS_PER_S},
                .max_tokens = 10};
        int r = loop_new(&loop);
        settings.loop = loop;
        if (r == 0)
                r = tokens_new(&settings, &tokens);
        if (r == 0)
                r = use_cache(loop, tokens);
        cache_wait_cancel(&reader.wait);
        tokens = tokens_free(tokens);
        loop = loop_free(loop);
        fake_source_deinit(&fake);
        return r == 0;
}

/* Answers whatever is asked, until nothing is. */
static void answer_all(void)
{
        while (fake.running) {
                ApiCall *call = list_first(&fake.calls, ApiCall, link);
                char ids[2][TOKEN_ID_MAX + 1] = {"v-1", "v-2"};
                ApiPage page = {.next_token = call->next_token ? NULL : (char[]){"more"}};
                if (call->operation == API_LIST_ACCESS_TOKENS) {
                        page.items = items;
                        page.item_count = ARRAY_LEN(items);
                } else {
                        page.ids = ids;
                        page.id_count = 2;
                }
                if (call->operation == API_GET_ACCESS_TOKEN)
                        fake_answer_doc(call, docs[0]);
                else
                        fake_answer_page(call, &page);
        }
}

static void count_name(const char *name, void *userdata)
{
        assert_true(!name || *name);
        *(size_t *)userdata += name != NULL;
}

static int use_names(const Cache *cache)
{
        uint64_t came_ns = clock_now_ns();
        ListingAnswer answer;
        NameAnswer name = {0};
        ApiError error;
        size_t count = 0;
        int r = -EINPROGRESS;
        for (int asks = 0; r == -EINPROGRESS && asks < 10; asks++) {
                r = listing_get(cache->listing, came_ns, false, &reader.wait, &answer);
                assert_true(r != -EINPROGRESS || fake.running > 0);
                answer_all();
                assert_false(list_is_linked(&reader.wait.link)); /* woken, whatever came of it */
        }
        if (r == 0 && answer.error != API_OK)
                r = -ENOMEM;
        r = r < 0 ? r : -EINPROGRESS;
        for (int asks = 0; r == -EINPROGRESS && asks < 10; asks++) {
                r = names_get(cache->names, "web", came_ns, false, &reader.wait, &name);
                answer_all();
        }
        if (r == 0 && name.error != API_OK)
                r = -ENOMEM;
        if (r == 0)
                r = names_visit(cache->names, &(NamesReader){came_ns, false, &reader.wait}, &(NamesCursor){0},
                        count_name, &count, &error);
        if (r == 0)
                assert_int_equal(count, 1);
        names_reject(cache->names, "at-1");
        return r;
}

static bool scenario_names(void)
{
        static const char *const token_ids[] = {"at-1"}, *const resolver_ids[] = {"gr-1", "gr-2"};
        Loop *loop = NULL;
        Cache *cache = NULL;
        fake_source_init(&fake);
        fake_reader_init(&reader);
        CacheSettings settings = {
                .policy = {.source = fake_source(&fake),
                        .ttl_ns = TTL_NS,
                        .negative_ttl_ns = NS_PER_S,
                        .stale_ns = TTL_NS,
                        .timeout_ns = 10 * NS_PER_S},
                .max_tokens = 10,
                .scopes = {.token_ids = token_ids,
                        .token_id_count = 1,
                        .resolver_ids = resolver_ids,
                        .resolver_id_count = 2},
        };
        int r = loop_new(&loop);
        settings.loop = loop;
        if (r == 0)
                r = cache_new(&settings, &cache);
        if (r == 0)
                r = use_names(cache);
        cache_wait_cancel(&reader.wait);
        cache = cache_free(cache);
        loop = loop_free(loop);
        fake_source_deinit(&fake);
        return r == 0;
}

static int use_versions(Versions *versions)
{
        uint32_t slot, name, url;
        Version *set[3];
        int r = nodes_take(versions->nodes, SLOT_TOKEN, "at-1", &slot);
        if (r == 0)
                r = nodes_take(versions->nodes, SLOT_NAME, "web", &name);
        for (int i = 0; i < 2 && r == 0; i++)
                r = versions_set_doc(versions, name, docs[i], &set[i]);
        if (r == 0)
                r = nodes_take(versions->nodes, SLOT_TOKEN_URL, "at-1", &url);
        for (int i = 0; i < 2 && r == 0; i++)
                r = versions_set_url(versions, url, docs[i], "a.example", &set[i]);
        for (int i = 0; i < 2 && r == 0; i++) {
                r = versions_set_doc(versions, slot, docs[i], &set[i]);
                if (r == 0)
                        versions_extend(versions, set[i], NS_PER_S);
        }
        if (r < 0)
                return r;
        /* The one before may be hollow or gone for want of a timer; nothing else is shown in its place. */
        Version *shown;
        Node node = {slot, set[1]->generation - 1, NODE_JSON};
        assert_ptr_equal(versions_current(versions, slot), set[1]);
        r = versions_show(versions, node, &shown);
        assert_true(r == -ESTALE || (r == 0 && shown->generation == node.generation));
        Buf text = BUF_INIT(100);
        if (buf_append_str(&text, "status") < 0 ||
                versions_set_text(versions, SLOT_STATUS, &text, &set[2]) < 0)
                r = -ENOMEM;
        buf_deinit(&text);
        versions_drop_token(versions, "at-1");
        clock_advance_fake(60 * NS_PER_S);
        (void)loop_turn(versions->loop, 0);
        return r;
}

static bool scenario_versions(void)
{
        Loop *loop = NULL;
        Nodes *slots = NULL;
        Versions versions = {0};
        clock_set_fake(FAKE_NOW_NS, FAKE_WALL_NS);
        int r = loop_new(&loop);
        if (r == 0)
                r = nodes_new(&slots);
        if (r == 0) {
                (void)nodes_repair(slots);
                r = versions_init(&versions, loop, slots, false);
        }
        if (r == 0) {
                r = use_versions(&versions);
                (void)nodes_repair(slots);
        }
        versions_deinit(&versions);
        slots = nodes_free(slots);
        loop = loop_free(loop);
        clock_unset_fake();
        return r == 0;
}

/* A file of copies is written, sealed, opened and read. */
static bool scenario_persist(void)
{
        Secret key = SECRET_INIT;
        Buf plain = BUF_INIT(100000), opened = BUF_INIT(100000);
        unsigned char *data = NULL;
        size_t len = 0;
        PersistContent content;
        int r = secret_set(&key, "0123456789abcdef0123456789abcdef", PERSIST_KEY_LEN);
        persist_write_header(&plain, "identity", 1);
        persist_write_token(&plain, 2, docs[0]);
        persist_write_listing(&plain, 3);
        for (size_t i = 0; i < ARRAY_LEN(items); i++)
                persist_write_item(&plain, &items[i]);
        persist_write_resolver(&plain, 4, "gr-1", "a.example");
        if (r == 0)
                r = plain.error;
        if (r == 0)
                r = persist_seal(&key, plain.data, plain.len, &data, &len);
        if (r == 0)
                r = persist_unseal(&key, data, len, &opened);
        if (r == 0)
                r = persist_read(opened.data, opened.len, &content);
        if (r == 0) {
                assert_int_equal(content.token_count, 1);
                persist_content_deinit(&content);
        }
        assert_true(r == 0 || r == -ENOMEM || r == -EIO); /* libcrypto has one code for all */
        secret_deinit(&key);
        buf_deinit(&plain);
        buf_deinit(&opened);
        free(data);
        return r == 0;
}

static void test_persist(void **state)
{
        (void)state;
        alloc_failure_run(scenario_persist);
}

static void test_buf(void **state)
{
        (void)state;
        alloc_failure_run(scenario_buf);
}

static void test_token(void **state)
{
        (void)state;
        alloc_failure_run(scenario_token);
}

static void test_page(void **state)
{
        (void)state;
        alloc_failure_run(scenario_page);
}

static void test_sigv4(void **state)
{
        (void)state;
        alloc_failure_run(scenario_sigv4);
}

static void test_config(void **state)
{
        (void)state;
        alloc_failure_run(scenario_config);
}

static void test_credentials(void **state)
{
        (void)state;
        /* Each failure is logged, as it should be. */
        int saved = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void)dup2(null, STDERR_FILENO);
        alloc_failure_run(scenario_credentials);
        (void)dup2(saved, STDERR_FILENO);
        (void)close(saved);
        (void)close(null);
}

static void test_cache(void **state)
{
        (void)state;
        alloc_failure_run(scenario_cache);
}

static void test_names(void **state)
{
        (void)state;
        alloc_failure_run(scenario_names);
}

static void test_versions(void **state)
{
        (void)state;
        alloc_failure_run(scenario_versions);
}

static void write_file(char *path, const char *text)
{
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        (void)close(fd);
}

static int set_up(void **state)
{
        (void)state;
        log_open(LOG_LEVEL_ERROR, false);
        assert_int_equal(http_global_init(), 0);
        json_init();
        clock_set_fake(FAKE_NOW_NS, FAKE_WALL_NS);
        static const char *const values[] = {"one", "two", "three", "four"};
        for (size_t i = 0; i < ARRAY_LEN(docs); i++) {
                docs[i] = fake_doc(&(FakeToken){.id = "at-1", .name = "web", .value = values[i]});
                token_item_from_doc(docs[i], &items[i]);
        }
        size_t len;
        const char *body = token_doc_json(docs[0], &len);
        (void)snprintf(token_body, sizeof token_body, "%.*s", (int)len, body);
        write_file(config_file, "[profile web]\nregion = us-east-2\nservices = here\n\n[services here]\n"
                                "route53globalresolver =\n  endpoint_url = https://a.example\n");
        write_file(credentials_file, "[web]\naws_access_key_id = AKIDWEB\naws_secret_access_key = secret\n");
        (void)setenv("AWS_CONFIG_FILE", config_file, 1);
        (void)setenv("AWS_SHARED_CREDENTIALS_FILE", credentials_file, 1);
        (void)unsetenv("AWS_ACCESS_KEY_ID");
        (void)unsetenv("AWS_PROFILE");
        (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(docs); i++)
                docs[i] = token_doc_unref(docs[i]);
        (void)unlink(config_file);
        (void)unlink(credentials_file);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_buf),
                cmocka_unit_test(test_token),
                cmocka_unit_test(test_page),
                cmocka_unit_test(test_sigv4),
                cmocka_unit_test(test_config),
                cmocka_unit_test(test_credentials),
                cmocka_unit_test(test_cache),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_persist),
                cmocka_unit_test(test_versions),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
