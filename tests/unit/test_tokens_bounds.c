/* What bounds the cache: its memory, its calls for nobody, its log; and what forgetting leaves. */

#include "cache_fixture.h"

#include <unistd.h>

static void fetch_numbered(int number)
{
        char id[32];
        (void)snprintf(id, sizeof id, "at-%d", number);
        fetch(&(FakeToken){.id = id});
}

static void test_lru(void **state)
{
        (void)state;
        TokensSettings settings = usual;
        settings.max_tokens = 10;
        remake_cache(settings);
        for (int i = 0; i < 10; i++)
                fetch_numbered(i);
        assert_served("at-0", "secret", CACHE_HIT_FRESH);
        fetch_numbered(10);
        assert_int_equal(tokens_counters(tokens)->tokens, 10);
        assert_int_equal(tokens_counters(tokens)->evictions, 1);
        assert_int_equal(ends, 1);
        assert_string_equal(last_change, "at-1");
        assert_served("at-0", "secret", CACHE_HIT_FRESH);
        TokenAnswer answer;
        assert_int_equal(tokens_peek(tokens, "at-1", &answer), -ENOENT);
        /* Looking at what is held isn't use. */
        assert_int_equal(tokens_peek(tokens, "at-2", &answer), 0);
        fetch_numbered(11);
        assert_int_equal(tokens_peek(tokens, "at-2", &answer), -ENOENT);
}

/* One that somebody waits for isn't dropped; as soon as he is gone, it is. */
static void test_lru_spares_what_is_waited_for(void **state)
{
        (void)state;
        TokensSettings settings = usual;
        settings.max_tokens = 1;
        remake_cache(settings);
        fetch(&token);
        pass(TTL_NS);
        FakeReader reader;
        TokenAnswer answer;
        fake_reader_init(&reader);
        assert_int_equal(
                tokens_get(tokens, "at-1", clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        fetch_numbered(2);
        assert_true(list_is_linked(&reader.wait.link));
        assert_int_equal(tokens_peek(tokens, "at-1", &answer), 0);
        fake_answer_token(&fake, &token);
        assert_int_equal(reader.woken, 1);
        assert_int_equal(tokens_counters(tokens)->tokens, 1);
}

/* An entry that is dropped takes its refresh along. */
static void test_eviction_ends_the_refresh(void **state)
{
        (void)state;
        TokensSettings settings = usual;
        settings.max_tokens = 1;
        remake_cache(settings);
        fetch(&token);
        pass(TTL_NS / 100 * 86);
        assert_served("at-1", "first", CACHE_HIT_AGEING);
        fetch_numbered(2);
        assert_int_equal(fake.running, 0);
        assert_int_equal(fake.cancelled, 1);
}

static void test_negatives_are_bounded(void **state)
{
        (void)state;
        fetch(&token);
        for (int i = 0; i < 3000; i++) {
                char id[32];
                (void)snprintf(id, sizeof id, "no-%d", i);
                assert_waits(id);
                fake_answer_error(fake_get_call(&fake, id), API_E_NOT_FOUND);
        }
        assert_in_range(tokens_counters(tokens)->negatives, 1000, 1024);
        assert_fails("no-2999", API_E_NOT_FOUND);
        assert_int_equal(tokens_counters(tokens)->tokens, 1); /* tokens are no prey of look-ups */
        assert_served("at-1", "first", CACHE_HIT_FRESH);
}

static void test_many_in_flight(void **state)
{
        (void)state;
        TokensSettings settings = usual;
        settings.max_tokens = 100;
        remake_cache(settings);
        FakeReader *readers = calloc(3000, sizeof *readers);
        TokenAnswer answer;
        for (int i = 0; i < 3000; i++) {
                char id[32];
                (void)snprintf(id, sizeof id, "at-%d", i);
                fake_reader_init(&readers[i]);
                assert_int_equal(tokens_get(tokens, id, clock_now_ns(), false, &readers[i].wait, &answer),
                        -EINPROGRESS);
        }
        for (int i = 0; i < 3000; i++) {
                ApiCall *call = fake_call(&fake, API_GET_ACCESS_TOKEN, NULL);
                TokenDoc *doc = fake_doc(&(FakeToken){.id = call->id});
                if (i % 2)
                        fake_answer_doc(call, doc);
                else
                        fake_answer_error(call, API_E_NOT_FOUND);
                token_doc_unref(doc);
                assert_int_equal(readers[i].woken, 1);
        }
        assert_int_equal(tokens_counters(tokens)->tokens, 100);
        assert_in_range(tokens_counters(tokens)->negatives, 1, 1024);
        free(readers);
}

static void test_prefetch(void **state)
{
        (void)state;
        TokenAnswer answer = {.error = API_E_MALFORMED};
        assert_int_equal(tokens_get(tokens, "at-1", clock_now_ns(), false, NULL, &answer), -EINPROGRESS);
        assert_int_equal(tokens_get(tokens, "at-1", clock_now_ns(), false, NULL, &answer), -EINPROGRESS);
        assert_int_equal(tokens_counters(tokens)->prefetches, 1);
        fake_answer_token(&fake, &token);
        assert_int_equal(tokens_get(tokens, "at-1", clock_now_ns(), false, NULL, &answer), 0);
        assert_value(&answer, "first"); /* an answer, and still none that was read */
        assert_served("at-1", "first", CACHE_HIT_PREFETCHED);
        assert_served("at-1", "first", CACHE_HIT_FRESH);
        assert_int_equal(tokens_counters(tokens)->prefetches_wasted, 0);

        /* Joined by a reader: no waste, and no first read of one that was fetched ahead. */
        assert_int_equal(tokens_get(tokens, "at-2", clock_now_ns(), false, NULL, &answer), -EINPROGRESS);
        FakeReader reader;
        fake_reader_init(&reader);
        assert_int_equal(
                tokens_get(tokens, "at-2", clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "at-2"});
        assert_int_equal(reader.woken, 1);
        assert_served("at-2", "secret", CACHE_HIT_FRESH);

        /* Never read: wasted, once, whether it is dropped or replaced. */
        assert_int_equal(tokens_get(tokens, "at-3", clock_now_ns(), false, NULL, &answer), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "at-3"});
        assert_int_equal(tokens_get(tokens, "at-4", clock_now_ns(), false, NULL, &answer), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "at-4"});
        pass(TTL_NS);
        fetch(&(FakeToken){.id = "at-3"});
        assert_int_equal(tokens_counters(tokens)->prefetches_wasted, 1);
        pass(STALE_NS + NS_PER_MS);
        assert_int_equal(tokens_counters(tokens)->prefetches_wasted, 2);
        assert_int_equal(tokens_counters(tokens)->prefetches, 4);
}

static void test_prefetch_that_cannot_start(void **state)
{
        (void)state;
        TokenAnswer answer;
        fake.start_result = -ENOMEM;
        assert_int_equal(tokens_get(tokens, "at-1", clock_now_ns(), false, NULL, &answer), -ENOMEM);
        assert_int_equal(tokens_counters(tokens)->prefetches, 0);
        assert_int_equal(ask("at-1", &answer), -ENOMEM);
        fake.start_result = 0;
        fetch(&token);
        /* With a copy, being short of memory is a failure as any other. */
        pass(TTL_NS);
        fake.start_result = -ENOMEM;
        assert_served("at-1", "first", CACHE_HIT_STALE);
}

typedef struct Visits {
        char text[512];
} Visits;

static void note_visit(const TokensEntryStatus *status, void *userdata)
{
        Visits *visits = userdata;
        size_t len = strlen(visits->text);
        (void)snprintf(visits->text + len, sizeof visits->text - len, "%s=%s ", status->id, status->state);
        assert_int_equal(status->has_doc, status->doc != NULL);
}

static void test_visit(void **state)
{
        (void)state;
        fetch(&(FakeToken){.id = "c"});
        fetch(&(FakeToken){.id = "d"});
        pass(TTL_NS / 100 * 90);
        fetch(&(FakeToken){.id = "b"});
        assert_waits("a");
        fake_answer_error(fake_get_call(&fake, "a"), API_E_NOT_FOUND);
        assert_waits("e");
        Visits visits = {0};
        tokens_visit(tokens, 10, note_visit, &visits);
        assert_string_equal(visits.text, "b=fresh d=ageing c=ageing e=fetching a=not_found ");
        pass(TTL_NS / 10);
        assert_waits("d");
        fake_answer_retry(fake_get_call(&fake, "d"), API_E_SERVER, clock_now_ns() + NS_PER_S);
        visits = (Visits){0};
        tokens_visit(tokens, 10, note_visit, &visits);
        assert_string_equal(visits.text, "d=stale b=fresh c=due e=fetching a=not_found ");
        assert_int_equal(fake.started, 6); /* looking starts nothing */
}

static void visit(size_t max, const char *expected)
{
        Visits visits = {0};
        tokens_visit(tokens, max, note_visit, &visits);
        assert_string_equal(visits.text, expected);
}

/* Whatever the bound, the failing ones come first, each once; the counters tell of all. */
static void test_visit_is_bounded(void **state)
{
        (void)state;
        for (int i = 1; i <= 4; i++)
                fetch_numbered(i);
        pass(TTL_NS);
        assert_waits("at-2");
        fake_answer_error(fake_get_call(&fake, "at-2"), API_E_TLS);
        assert_waits("at-3");
        fake_answer_error(fake_get_call(&fake, "at-3"), API_E_ACCESS_DENIED);
        assert_waits("never");
        fake_answer_error(fake_get_call(&fake, "never"), API_E_ACCESS_DENIED);
        assert_waits("typo");
        fake_answer_error(fake_get_call(&fake, "typo"), API_E_NOT_FOUND);
        visit(10, "at-3=failing at-2=stale never=failing at-4=due at-1=due typo=not_found ");
        visit(4, "at-3=failing at-2=stale never=failing at-4=due ");
        visit(1, "at-3=failing ");
        visit(0, "");
        const TokensCounters *counters = tokens_counters(tokens);
        assert_int_equal(counters->failing[API_E_ACCESS_DENIED], 2);
        assert_int_equal(counters->failing[API_E_TLS], 1);
        assert_int_equal(counters->failing[API_E_NOT_FOUND], 1);
        assert_int_equal(counters->failing[API_OK], 0);
        pass(NS_PER_S); /* the error isn't remembered any more */
        assert_waits("at-3");
        fake_answer_token(&fake, &(FakeToken){.id = "at-3"});
        assert_int_equal(counters->failing[API_E_ACCESS_DENIED], 1);
        visit(10, "at-2=stale never=failing at-3=fresh at-4=due at-1=due typo=not_found ");
}

/* A call for another token probes the endpoint; this one has no failure of its own, and is stale all the same. */
static void test_served_stale_without_a_call(void **state)
{
        (void)state;
        fetch(&token);
        pass(TTL_NS);
        visit(1, "at-1=due ");
        fake.health = (ApiHealth){.error = API_E_SERVER, .since_ns = 1, .in_flight = 1, .stretch = 1};
        assert_served("at-1", "first", CACHE_HIT_STALE);
        assert_int_equal(fake.running, 0);
        visit(1, "at-1=stale ");
        fake.health = (ApiHealth){.stretch = 1};
        assert_waits("at-1");
        fake_answer_token(&fake, &token);
        visit(1, "at-1=fresh ");
}

/* Lines logged while `step` ran. */
static unsigned lines_logged(void (*step)(int), int turns)
{
        char path[] = "/tmp/tokenfs-test-XXXXXX", line[512];
        int fd = mkstemp(path), saved = dup(STDERR_FILENO);
        assert_true(fd >= 0 && saved >= 0);
        (void)unlink(path);
        (void)dup2(fd, STDERR_FILENO);
        log_open(LOG_LEVEL_INFO, false);
        for (int i = 0; i < turns; i++)
                step(i);
        log_open(LOG_LEVEL_ERROR, false);
        (void)dup2(saved, STDERR_FILENO);
        (void)close(saved);
        FILE *file = fdopen(fd, "r");
        rewind(file);
        unsigned lines = 0;
        while (fgets(line, sizeof line, file))
                lines++;
        (void)fclose(file);
        return lines;
}

static void fetch_with(const char *id, ApiError error)
{
        TokenAnswer answer;
        if (ask(id, &answer) != -EINPROGRESS)
                return;
        if (error == API_OK)
                fake_answer_token(&fake, &(FakeToken){.id = id});
        else
                fake_answer_error(fake_get_call(&fake, id), error);
}

static void step_denied_beside_good(int turn)
{
        (void)turn;
        pass(2 * TTL_NS);
        fetch_with("denied", API_E_ACCESS_DENIED);
        fetch_with("good", API_OK);
        fetch_with("broken", API_E_MALFORMED);
}

static void step_many_denied(int turn)
{
        char id[32];
        (void)snprintf(id, sizeof id, "at-%d", turn);
        fetch_with(id, API_E_ACCESS_DENIED);
}

static void step_now_and_then(int turn)
{
        pass(NS_PER_MS);
        char id[32];
        (void)snprintf(id, sizeof id, "at-%d", turn);
        fetch_with(id, turn % 2 ? API_OK : API_E_TLS);
}

static void step_expired(int turn)
{
        (void)turn;
        pass(TTL_NS);
        TokenAnswer answer;
        if (ask("at-1", &answer) == -EINPROGRESS)
                fake_answer_token(&fake, &(FakeToken){.id = "at-1", .created_s = -7200, .expires_s = -60});
}

static void test_log_says_news_once(void **state)
{
        (void)state;
        assert_int_equal(lines_logged(step_denied_beside_good, 50), 2);
        remake_cache(usual);
        assert_int_equal(lines_logged(step_expired, 50), 1);
        remake_cache(usual);
        assert_int_equal(lines_logged(step_many_denied, 500), 21);
        remake_cache(usual);
        assert_int_equal(lines_logged(step_now_and_then, 500), 21);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_lru),
                TEST(test_lru_spares_what_is_waited_for),
                TEST(test_eviction_ends_the_refresh),
                TEST(test_negatives_are_bounded),
                TEST(test_many_in_flight),
                TEST(test_prefetch),
                TEST(test_served_stale_without_a_call),
                TEST(test_prefetch_that_cannot_start),
                TEST(test_visit),
                TEST(test_visit_is_bounded),
                TEST(test_log_says_news_once),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
