/* Copies on disk: what is kept, what is taken up, the file, and a write that is cut at every call. */

#include "cache_fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "persist/file.h"
#include "tokenfs/persist/persist.h"

#define DAY_NS (UINT64_C(86400) * NS_PER_S)

static char directory[64], key_bytes[PERSIST_KEY_LEN + 1] = "0123456789abcdef0123456789abcdef";
static Cache *cache;
static Persist *persist;
static const char *const views[] = {"v-1"};
static ScopeIds scopes;

/* --- Rig ------------------------------------------------------------------------------------------------------ */

static Secret make_key(const char *bytes)
{
        Secret key = SECRET_INIT;
        assert_int_equal(secret_set(&key, bytes, PERSIST_KEY_LEN), 0);
        return key;
}

static void start_with(const char *key, const char *identity)
{
        const CachePolicy policy = {
                .source = fake_source(&fake),
                .ttl_ns = TTL_NS,
                .negative_ttl_ns = NEGATIVE_TTL_NS,
                .stale_ns = DAY_NS,
                .timeout_ns = TIMEOUT_NS,
        };
        assert_int_equal(
                cache_new(&(CacheSettings){loop, policy, .max_tokens = 100, .scopes = scopes}, &cache), 0);
        Secret secret = make_key(key);
        const PersistSettings settings = {loop, cache, policy, directory, identity};
        assert_int_equal(persist_new(&settings, &secret, &persist), 0);
        assert_null(secret.data);
}

static void start(void)
{
        start_with(key_bytes, "here");
}

static void shut_down(void)
{
        persist = persist_free(persist);
        cache = cache_free(cache);
}

static int set_up_directory(void **state)
{
        (void)set_up(state);
        scopes = (ScopeIds){0};
        (void)snprintf(directory, sizeof directory, "/tmp/tokenfs-test-XXXXXX");
        assert_non_null(mkdtemp(directory));
        start();
        return 0;
}

static void in_directory(const char *name, char path[static 96])
{
        (void)snprintf(path, 96, "%s/%s", directory, name);
}

static int tear_down_directory(void **state)
{
        char path[96];
        shut_down();
        in_directory("copies", path);
        (void)unlink(path);
        in_directory("copies.new", path);
        (void)unlink(path);
        assert_int_equal(rmdir(directory), 0);
        return tear_down(state);
}

static int get(const char *id, TokenAnswer *ret_answer)
{
        FakeReader reader;
        fake_reader_init(&reader);
        *ret_answer = (TokenAnswer){0};
        int r = tokens_get(cache->tokens, id, clock_now_ns(), false, &reader.wait, ret_answer);
        cache_wait_cancel(&reader.wait);
        return r;
}

static void learn(FakeToken given)
{
        TokenAnswer answer;
        assert_int_equal(get(given.id, &answer), -EINPROGRESS);
        fake_answer_token(&fake, &given);
        assert_int_equal(get(given.id, &answer), 0);
}

/* What a reader gets while the API fails: the value, or NULL. */
static const char *read_failing(const char *id)
{
        TokenAnswer answer;
        size_t len;
        fake.health = (ApiHealth){.error = API_E_UNREACHABLE, .since_ns = 1};
        int r = get(id, &answer);
        fake.health = (ApiHealth){.stretch = 1};
        assert_true(r == 0);
        return answer.error == API_OK ? token_doc_field(answer.doc, TOKEN_VALUE, &len) : NULL;
}

static void assert_restored(const char *id, const char *value)
{
        const char *got = read_failing(id);
        assert_non_null(got);
        assert_memory_equal(got, value, strlen(value));
}

static void restart(void)
{
        shut_down();
        start();
}

/* --- What is kept --------------------------------------------------------------------------------------------- */

static void test_restart(void **state)
{
        (void)state;
        learn((FakeToken){.id = "at-1", .value = "first"});
        learn((FakeToken){.id = "at-2", .value = "second"});
        restart();
        PersistStatus status;
        persist_status(persist, &status);
        assert_int_equal(status.loaded, 2);
        assert_string_equal(status.error, "");
        /* The API is asked as always. */
        TokenAnswer answer;
        assert_int_equal(get("at-1", &answer), -EINPROGRESS);
        assert_int_equal(fake.running, 1);
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_UNREACHABLE, clock_now_ns() + NS_PER_S);
        assert_int_equal(get("at-1", &answer), 0);
        assert_int_equal(answer.hit, CACHE_HIT_STALE);
        assert_int_equal(answer.keep_ns, 0);
        assert_restored("at-2", "second");
        assert_int_equal(tokens_counters(cache->tokens)->restored_hits, 2);
        /* And what it says then replaces the copy. */
        fake_answer_token(&fake, &(FakeToken){.id = "at-1", .value = "newer"});
        assert_int_equal(get("at-1", &answer), 0);
        assert_int_equal(answer.hit, CACHE_HIT_FRESH);
        assert_int_equal(tokens_counters(cache->tokens)->restored_hits, 2);
}

/* The pace of an API that throttles is for copies of this process: old ones are asked for first. */
static void test_throttled_start(void **state)
{
        (void)state;
        learn((FakeToken){.id = "at-1", .value = "first"});
        shut_down();
        clock_advance_fake(DAY_NS / 2);
        start();
        TokenAnswer answer;
        fake.health = (ApiHealth){.stretch = 8};
        assert_int_equal(get("at-1", &answer), -EINPROGRESS);
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_THROTTLED, clock_now_ns() + NS_PER_S);
        assert_int_equal(get("at-1", &answer), 0);
        assert_int_equal(answer.hit, CACHE_HIT_STALE);
}

static void test_names_and_resolvers(void **state)
{
        (void)state;
        static const FakeToken two[] = {{.id = "old", .name = "web", .created_s = 1, .dns_view_id = "v-1"},
                {.id = "new", .name = "web", .created_s = 2, .dns_view_id = "v-1"}};
        NameAnswer name;
        FakeReader reader;
        ResolverAnswer resolver;
        fake_reader_init(&reader);
        scopes = (ScopeIds){.dns_view_ids = views, .dns_view_id_count = 1};
        restart();
        assert_int_equal(
                names_get(cache->names, "web", clock_now_ns(), false, &reader.wait, &name), -EINPROGRESS);
        fake_answer_tokens(&fake, NULL, two, 2, NULL);
        learn((FakeToken){.id = "new", .name = "web", .dns_view_id = "v-1", .value = "n"});
        assert_int_equal(
                resolvers_get(cache->resolvers, "gr-1", clock_now_ns(), false, &reader.wait, &resolver),
                -EINPROGRESS);
        ApiPage page = {.dns_name = "a.example"};
        fake_answer_page(fake_call(&fake, API_GET_GLOBAL_RESOLVER, "gr-1"), &page);
        cache_wait_cancel(&reader.wait);
        restart();
        fake.health = (ApiHealth){.error = API_E_UNREACHABLE, .since_ns = 1};
        assert_int_equal(names_get(cache->names, "web", clock_now_ns(), false, &reader.wait, &name), 0);
        assert_int_equal(name.error, API_OK);
        assert_string_equal(name.id, "new");
        assert_int_equal(
                resolvers_get(cache->resolvers, "gr-1", clock_now_ns(), false, &reader.wait, &resolver), 0);
        assert_string_equal(resolver.dns_name, "a.example");
        assert_restored("new", "n");
        cache_wait_cancel(&reader.wait);
}

static void test_time(void **state)
{
        (void)state;
        learn((FakeToken){.id = "at-1", .value = "first"});
        learn((FakeToken){.id = "short", .value = "short", .expires_s = 3600});
        shut_down();
        clock_advance_fake(3600 * NS_PER_S);
        start();
        assert_null(read_failing("short")); /* never past expiresAt */
        assert_restored("at-1", "first");
        shut_down();
        clock_advance_fake(DAY_NS + TTL_NS - 3600 * NS_PER_S - 1);
        start();
        assert_restored("at-1", "first");
        clock_advance_fake(1);
        assert_null(read_failing("at-1")); /* `stale` counts from the fetch, whenever it was loaded */
        restart();
        assert_null(read_failing("at-1"));
}

/* A clock that was set back prolongs nothing: time goes on from when the file was written. */
static void test_clock_set_back(void **state)
{
        (void)state;
        learn((FakeToken){.id = "at-1", .value = "first"});
        for (int i = 0; i < 5; i++) {
                shut_down();
                clock_set_fake(FAKE_NOW_NS, FAKE_WALL_NS - (int64_t)(300 * DAY_NS));
                start();
                assert_restored("at-1", "first");
                /* The file is written again now and then, so that a restart forgets little of it. */
                for (int hour = 0; hour < 4; hour++) {
                        clock_advance_fake(3600 * NS_PER_S);
                        assert_int_equal(loop_turn(loop, 0), 0);
                }
        }
        shut_down();
        clock_set_fake(FAKE_NOW_NS, FAKE_WALL_NS - (int64_t)(300 * DAY_NS));
        start();
        clock_advance_fake(5 * 3600 * NS_PER_S);
        assert_null(read_failing("at-1")); /* five times four hours and five are more than a day */
}

/* While it serves: once the clock is set right, the true age counts. */
static void test_clock_set_right(void **state)
{
        (void)state;
        learn((FakeToken){.id = "at-1", .value = "first"});
        shut_down();
        clock_set_fake(FAKE_NOW_NS, 0); /* no battery */
        start();
        assert_restored("at-1", "first");
        clock_set_fake(FAKE_NOW_NS, FAKE_WALL_NS + (int64_t)(2 * DAY_NS));
        assert_null(read_failing("at-1"));
}

static void turn_until_status(uint64_t writes, uint64_t failures)
{
        PersistStatus status;
        do {
                assert_int_equal(loop_turn(loop, NS_PER_S / 100), 0);
                persist_status(persist, &status);
                assert_true(status.failures <= failures && status.writes <= writes);
        } while (status.writes < writes || status.failures < failures);
}

static void turn_until_written(uint64_t writes)
{
        turn_until_status(writes, 0);
}

static void assert_on_disk(const char *expected)
{
        Secret key = make_key(key_bytes);
        Buf text = BUF_INIT(1000);
        assert_int_equal(persist_check(directory, &key, "here", &text), 0);
        assert_memory_equal(buf_str(&text), expected, strlen(expected));
        secret_deinit(&key);
        buf_deinit(&text);
}

static void turn_after(uint64_t ns)
{
        PersistStatus status;
        persist_status(persist, &status);
        clock_advance_fake(ns);
        turn_until_written(status.writes + 1);
}

/* What the API refuses goes from the file at once, and not only with the next change. */
static void test_refused(void **state)
{
        static const ApiError errors[] = {API_E_NOT_FOUND, API_E_ACCESS_DENIED, API_E_CREDENTIALS_REJECTED};
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
                TokenAnswer answer;
                restart();
                learn((FakeToken){.id = "at-1", .value = "first"});
                restart();
                assert_int_equal(get("at-1", &answer), -EINPROGRESS);
                fake_answer_error(fake_get_call(&fake, "at-1"), errors[i]);
                turn_until_written(1);
                assert_on_disk("0 tokens");
        }
}

/* Scopes that are narrower now: what they leave out isn't taken up, and goes from the file at once. */
static void test_scopes(void **state)
{
        (void)state;
        learn((FakeToken){.id = "at-1", .value = "first", .dns_view_id = "v-1"});
        learn((FakeToken){.id = "at-2", .value = "second", .dns_view_id = "v-2"});
        shut_down();
        scopes = (ScopeIds){.dns_view_ids = views, .dns_view_id_count = 1};
        start();
        assert_restored("at-1", "first");
        PersistStatus status;
        persist_status(persist, &status);
        assert_int_equal(status.loaded, 1);
        turn_until_written(1);
        assert_on_disk("1 tokens");
}

/* The document of a token that is out of scope tells so, and isn't written. */
static void test_out_of_scope(void **state)
{
        (void)state;
        scopes = (ScopeIds){.dns_view_ids = views, .dns_view_id_count = 1};
        restart();
        learn((FakeToken){.id = "at-1", .value = "first", .dns_view_id = "v-1"});
        learn((FakeToken){.id = "at-2", .value = "second", .dns_view_id = "v-2"});
        turn_after(2 * NS_PER_S);
        assert_on_disk("1 tokens");
}

/* A token that nobody has read for a day isn't kept, unless a scope names it. */
static void test_unread(void **state)
{
        (void)state;
        static const char *const ids[] = {"scoped", "other"};
        TokenAnswer answer;
        for (int scoped = 0; scoped < 2; scoped++) {
                scopes = scoped ? (ScopeIds){.token_ids = ids, .token_id_count = 2} : (ScopeIds){0};
                restart();
                learn((FakeToken){.id = "scoped", .value = "s"});
                (void)tokens_get(cache->tokens, "ahead", clock_now_ns(), false, NULL, &answer);
                fake_answer_token(&fake, &(FakeToken){.id = "ahead"});
                turn_after(2 * NS_PER_S);
                assert_on_disk("1 tokens"); /* not what was only fetched ahead */
                clock_advance_fake(DAY_NS);
                learn((FakeToken){.id = "other"});
                turn_after(2 * NS_PER_S);
                assert_on_disk(scoped ? "2 tokens" : "1 tokens");
                clock_advance_fake(2 * DAY_NS); /* none is served any more */
        }
}

/* --- The file ------------------------------------------------------------------------------------------------- */

static void assert_ignored(void)
{
        PersistStatus status;
        TokenAnswer answer;
        persist_status(persist, &status);
        assert_int_equal(status.loaded, 0);
        assert_int_equal(tokens_counters(cache->tokens)->tokens, 0);
        assert_int_equal(get("at-1", &answer), -EINPROGRESS); /* as without a file */
}

static void test_another_key_or_account(void **state)
{
        (void)state;
        learn((FakeToken){.id = "at-1", .value = "first"});
        shut_down();
        start_with("another-key-another-key-another-", "here");
        assert_ignored();
        persist = persist_free(persist); /* nothing new: the file stays */
        cache = cache_free(cache);
        start_with(key_bytes, "elsewhere");
        assert_ignored();
        shut_down();
        start();
        assert_restored("at-1", "first");
}

static size_t read_file(char *data, size_t size)
{
        char path[96];
        in_directory("copies", path);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        ssize_t len = read(fd, data, size);
        assert_true(len > 0 && (size_t)len < size);
        (void)close(fd);
        return (size_t)len;
}

static void write_file(const char *data, size_t len)
{
        char path[96];
        in_directory("copies", path);
        (void)unlink(path);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, len), len);
        (void)close(fd);
}

/* Any byte that is another, and any length that is shorter: nothing is taken up, and nothing is lost but the file. */
static void test_damaged(void **state)
{
        (void)state;
        static char good[16384], bad[16384];
        learn((FakeToken){.id = "at-1", .value = "first"});
        shut_down();
        size_t len = read_file(good, sizeof good);
        assert_null(memmem(good, len, "first", 5)); /* encrypted */
        Secret key = make_key(key_bytes);
        Buf plain = BUF_INIT(PERSIST_FILE_MAX);
        for (size_t i = 0; i < len; i++) {
                memcpy(bad, good, len);
                bad[i] ^= 1;
                int r = persist_unseal(&key, (unsigned char *)bad, len, &plain);
                assert_true(r == -EBADMSG || r == -EPROTO);
                assert_int_equal(persist_unseal(&key, (unsigned char *)good, i, &plain), -EBADMSG);
        }
        assert_int_equal(plain.len, 0);
        assert_int_equal(persist_unseal(&key, (unsigned char *)good, len, &plain), 0);
        buf_deinit(&plain);
        secret_deinit(&key);
        bad[len - 1] ^= 1;
        write_file(good, len - 1);
        start();
        assert_ignored();
        shut_down();
        write_file(good, len);
        start();
        assert_restored("at-1", "first");
}

static void test_files_of_others(void **state)
{
        (void)state;
        char path[96];
        learn((FakeToken){.id = "at-1", .value = "first"});
        shut_down();
        struct stat status;
        in_directory("copies", path);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0600);
        assert_int_equal(chmod(path, 0640), 0);
        start();
        assert_ignored();
        shut_down();
        assert_int_equal(chmod(path, 0600), 0);
        assert_int_equal(chmod(directory, 0750), 0);
        start();
        assert_ignored();
        PersistStatus persisted;
        persist_status(persist, &persisted);
        assert_non_null(strstr(persisted.error, "0700"));
        assert_int_equal(chmod(directory, 0700), 0);
        restart();
        assert_restored("at-1", "first");
}

/* A file that can't be replaced is reported, and tried again; readers are served meanwhile. */
static void test_write_fails(void **state)
{
        (void)state;
        char path[96];
        in_directory("copies.new", path);
        assert_int_equal(mkdir(path, 0700), 0); /* in the way of the new file */
        learn((FakeToken){.id = "at-1", .value = "first"});
        clock_advance_fake(2 * NS_PER_S);
        turn_until_status(0, 1);
        PersistStatus status;
        persist_status(persist, &status);
        assert_true(*status.error);
        assert_restored("at-1", "first");
        assert_int_equal(rmdir(path), 0);
        clock_advance_fake(30 * NS_PER_S);
        turn_until_status(1, status.failures); /* it is tried again */
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up_directory, tear_down_directory)
        const struct CMUnitTest tests[] = {
                TEST(test_restart),
                TEST(test_throttled_start),
                TEST(test_names_and_resolvers),
                TEST(test_time),
                TEST(test_clock_set_back),
                TEST(test_clock_set_right),
                TEST(test_refused),
                TEST(test_scopes),
                TEST(test_out_of_scope),
                TEST(test_unread),
                TEST(test_another_key_or_account),
                TEST(test_damaged),
                TEST(test_files_of_others),
                TEST(test_write_fails),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
