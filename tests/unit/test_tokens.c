/* The cache of token documents, over time and against a source that answers as it is told. */

#include "cache_fixture.h"

static void test_single_flight(void **state)
{
        (void)state;
        FakeReader readers[100];
        TokenAnswer answer;
        for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
                fake_reader_init(&readers[i]);
                pass(NS_PER_MS);
                assert_int_equal(tokens_get(tokens, "at-1", clock_now_ns(), false, &readers[i].wait, &answer),
                        -EINPROGRESS);
        }
        assert_int_equal(fake.started, 1);
        cache_wait_cancel(&readers[7].wait); /* interrupted */
        fake_answer_token(&fake, &token);
        for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
                assert_int_equal(readers[i].woken, i != 7);
                assert_false(list_is_linked(&readers[i].wait.link));
        }
        /* Who came when the call was already out is answered by it. */
        assert_int_equal(tokens_get(tokens, "at-1", clock_now_ns(), false, &readers[99].wait, &answer), 0);
        assert_value(&answer, "first");
        assert_int_equal(fake.started, 1);
        assert_int_equal(changes, 1);
        assert_string_equal(last_change, "at-1");
}

/* One who asks again while he waits is still one. */
static void test_waits_once(void **state)
{
        (void)state;
        FakeReader reader;
        TokenAnswer answer;
        fake_reader_init(&reader);
        assert_int_equal(
                tokens_get(tokens, "at-1", clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        assert_int_equal(
                tokens_get(tokens, "at-1", clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        assert_int_equal(
                tokens_get(tokens, "at-2", clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        fake_answer_token(&fake, &token);
        assert_int_equal(reader.woken, 0);
        fake_answer_token(&fake, &(FakeToken){.id = "at-2"});
        assert_int_equal(reader.woken, 1);
}

static void test_waiting_again_when_woken(void **state)
{
        (void)state;
        remake_cache((TokensSettings){.policy = {.ttl_ns = 0, .negative_ttl_ns = 0, .stale_ns = 0}});
        Rewaiter rewaiters[3];
        TokenAnswer answer;
        for (size_t i = 0; i < ARRAY_LEN(rewaiters); i++) {
                rewaiters[i] = (Rewaiter){.id = i == 1 ? "at-2" : "at-1"};
                cache_wait_init(&rewaiters[i].reader.wait, wait_again);
                assert_int_equal(
                        tokens_get(tokens, "at-1", clock_now_ns(), false, &rewaiters[i].reader.wait, &answer),
                        -EINPROGRESS);
        }
        fake_answer_error(fake_get_call(&fake, "at-1"), API_E_NOT_FOUND);
        for (size_t i = 0; i < ARRAY_LEN(rewaiters); i++) {
                assert_int_equal(rewaiters[i].woken, 1);
                assert_true(list_is_linked(&rewaiters[i].reader.wait.link));
                cache_wait_cancel(&rewaiters[i].reader.wait);
        }
        assert_int_equal(fake.running, 2);
}

static void test_fresh_ageing_due(void **state)
{
        (void)state;
        fetch(&token);
        TokenAnswer answer;
        assert_int_equal(ask("at-1", &answer), 0);
        assert_int_equal(answer.hit, CACHE_HIT_FRESH);
        assert_in_range(answer.keep_ns, TTL_NS / 100 * 75, TTL_NS / 100 * 85);
        assert_int_equal(answer.due_ns, FAKE_NOW_NS + TTL_NS);
        pass(TTL_NS / 100 * 75 - 1);
        assert_served("at-1", "first", CACHE_HIT_FRESH);
        assert_int_equal(fake.started, 1);

        /* Ageing: exactly one call, however many read. */
        pass(TTL_NS / 10 + 1);
        for (int i = 0; i < 10; i++)
                assert_served("at-1", "first", CACHE_HIT_AGEING);
        assert_int_equal(ask("at-1", &answer), 0);
        assert_int_equal(answer.keep_ns, 0);
        assert_int_equal(fake.started, 2);
        assert_int_equal(tokens_counters(tokens)->refreshes, 1);
        fake_answer_token(&fake, &(FakeToken){.id = "at-1", .value = "second"});
        assert_served("at-1", "second", CACHE_HIT_FRESH);
        assert_int_equal(changes, 2);

        /* Due: the read waits. */
        pass(TTL_NS);
        assert_waits("at-1");
        fake_answer_token(&fake, &(FakeToken){.id = "at-1", .value = "second"});
        assert_served("at-1", "second", CACHE_HIT_FRESH);
        assert_int_equal(changes, 2); /* the same bytes are no change */
}

/* Nobody reads: nothing is asked. */
static void test_no_call_for_nobody(void **state)
{
        (void)state;
        fetch(&token);
        for (int i = 0; i < 20; i++)
                pass(TTL_NS);
        assert_int_equal(fake.started, 1);
}

static void test_age_counts_from_sending(void **state)
{
        (void)state;
        assert_waits("at-1");
        pass(TTL_NS / 2);
        fake_answer_token(&fake, &token);
        pass(TTL_NS / 2);
        assert_waits("at-1");
        fake_answer_error(fake_get_call(&fake, "at-1"), API_E_NOT_FOUND);
}

static void test_refresh_that_fails_is_held(void **state)
{
        (void)state;
        fetch(&token);
        pass(TTL_NS / 100 * 86);
        assert_served("at-1", "first", CACHE_HIT_AGEING);
        fake_answer_error(fake_get_call(&fake, "at-1"), API_E_MALFORMED);
        for (int i = 0; i < 10; i++)
                assert_served("at-1", "first", CACHE_HIT_AGEING);
        assert_int_equal(fake.started, 2);
        pass(NS_PER_S);
        assert_served("at-1", "first", CACHE_HIT_AGEING);
        assert_int_equal(fake.started, 3);
        fake_answer_error(fake_get_call(&fake, "at-1"), API_E_NOT_FOUND);
        assert_fails("at-1", API_E_NOT_FOUND);
}

static void test_ttl_zero(void **state)
{
        (void)state;
        remake_cache((TokensSettings){.policy = {.ttl_ns = 0, .negative_ttl_ns = 0, .stale_ns = 0}});
        TokenAnswer answer;
        FakeReader reader;
        fake_reader_init(&reader);
        uint64_t came_ns = clock_now_ns();
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, false, &reader.wait, &answer), -EINPROGRESS);
        pass(NS_PER_MS);
        fake_answer_token(&fake, &token);
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, false, &reader.wait, &answer), 0);
        assert_value(&answer, "first");
        assert_int_equal(answer.keep_ns, 0);
        /* Who has to wait for something else meanwhile is still answered by it. */
        pass(NS_PER_S / 2);
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, false, &reader.wait, &answer), 0);
        assert_int_equal(fake.started, 1); /* and what is never fresh isn't refreshed for nobody */
        /* Who comes later isn't. */
        pass(NS_PER_MS);
        assert_waits("at-1");
        fake_answer_error(fake_get_call(&fake, "at-1"), API_E_NOT_FOUND);
        assert_int_equal(tokens_get(tokens, "at-1", clock_now_ns(), false, &reader.wait, &answer), 0);
        assert_int_equal(answer.error, API_E_NOT_FOUND);
        pass(1);
        assert_waits("at-1");
}

/* A copy that is no answer to anybody goes, without a read. */
static void test_wiped_without_stale(void **state)
{
        (void)state;
        remake_cache((TokensSettings){.policy = {.ttl_ns = 0, .negative_ttl_ns = 0, .stale_ns = 0}});
        fetch(&token);
        assert_int_equal(ends, 0);
        pass(NS_PER_S + NS_PER_MS);
        assert_int_equal(ends, 1);
        assert_int_equal(tokens_counters(tokens)->tokens, 0);
        assert_int_equal(tokens_counters(tokens)->negatives, 0);
}

static void test_negative(void **state)
{
        (void)state;
        assert_waits("at-1");
        fake_answer_error(fake_get_call(&fake, "at-1"), API_E_NOT_FOUND);
        TokenAnswer answer;
        assert_int_equal(ask("at-1", &answer), 0);
        assert_int_equal(answer.error, API_E_NOT_FOUND);
        assert_int_equal(answer.hit, CACHE_HIT_NEGATIVE);
        assert_int_equal(answer.keep_ns, NEGATIVE_TTL_NS);
        /* Looking up doesn't prolong it. */
        for (int i = 0; i < 49; i++) {
                pass(NEGATIVE_TTL_NS / 50);
                assert_fails("at-1", API_E_NOT_FOUND);
        }
        assert_int_equal(fake.started, 1);
        pass(NEGATIVE_TTL_NS / 50);
        assert_waits("at-1");
        fake_answer_token(&fake, &token);
        assert_served("at-1", "first", CACHE_HIT_FRESH);
}

static void test_other_errors_are_held_a_second(void **state)
{
        (void)state;
        static const ApiError errors[] = {API_E_ACCESS_DENIED, API_E_MALFORMED, API_E_NO_CREDENTIALS,
                API_E_CREDENTIALS_EXPIRED, API_E_CREDENTIALS_REJECTED, API_E_TLS};
        for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
                assert_waits("at-1");
                fake_answer_error(fake_get_call(&fake, "at-1"), errors[i]);
                TokenAnswer answer;
                assert_int_equal(ask("at-1", &answer), 0);
                assert_int_equal(answer.error, errors[i]);
                assert_int_equal(answer.keep_ns, 0);
                pass(NS_PER_S - 1);
                assert_fails("at-1", errors[i]);
                pass(1);
        }
}

static void test_stale_if_error(void **state)
{
        (void)state;
        fetch(&token);
        pass(TTL_NS + 7 * NS_PER_S);
        FakeReader reader;
        TokenAnswer answer;
        uint64_t came_ns = clock_now_ns();
        fake_reader_init(&reader);
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, false, &reader.wait, &answer), -EINPROGRESS);
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_SERVER, came_ns + NS_PER_S);
        assert_int_equal(reader.woken, 1);
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, false, &reader.wait, &answer), 0);
        assert_value(&answer, "first");
        assert_int_equal(answer.hit, CACHE_HIT_STALE);
        assert_int_equal(answer.keep_ns, 0);
        assert_int_equal(answer.due_ns, came_ns);
        assert_true(tokens_counters(tokens)->stale_age_sum_s > 6.9 &&
                    tokens_counters(tokens)->stale_age_sum_s < 7.1);
        /* Those who come while the call goes on needn't wait, and start none. */
        for (int i = 0; i < 10; i++)
                assert_served("at-1", "first", CACHE_HIT_STALE);
        assert_int_equal(fake.started, 2);
        assert_int_equal(fake.running, 1);
        /* The API is back. */
        fake_answer_token(&fake, &(FakeToken){.id = "at-1", .value = "second"});
        assert_served("at-1", "second", CACHE_HIT_FRESH);
}

static void test_stale_ends(void **state)
{
        (void)state;
        fetch(&token);
        pass(TTL_NS + STALE_NS - NS_PER_MS);
        assert_waits("at-1");
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_UNREACHABLE, clock_now_ns() + NS_PER_S);
        assert_served("at-1", "first", CACHE_HIT_STALE);
        assert_int_equal(ends, 0);
        pass(NS_PER_MS);
        assert_waits("at-1");
        pass(NS_PER_MS);
        assert_int_equal(ends, 1); /* wiped, without a read */
        assert_int_equal(tokens_counters(tokens)->tokens, 0);
        TokenAnswer answer;
        FakeReader reader;
        fake_reader_init(&reader);
        assert_int_equal(tokens_get(tokens, "at-1", clock_now_ns(), true, &reader.wait, &answer), 0);
        assert_true(answer.error == API_E_UNREACHABLE || answer.error == API_E_TIMEOUT);
        assert_int_equal(tokens_peek(tokens, "at-1", &answer), -ENOENT);
}

static void test_never_stale_past_expiry(void **state)
{
        (void)state;
        int64_t left_s = 300;
        fetch(&(FakeToken){.id = "at-1", .value = "first", .expires_s = left_s});
        pass((uint64_t)left_s * NS_PER_S - 1);
        assert_waits("at-1");
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_SERVER, clock_now_ns() + NS_PER_S);
        assert_served("at-1", "first", CACHE_HIT_STALE);
        clock_advance_fake(1);
        assert_waits("at-1");
        TokenAnswer answer;
        assert_int_equal(tokens_peek(tokens, "at-1", &answer), -ENOENT);
        pass(NS_PER_MS);
        assert_int_equal(ends, 1);
}

/* The wall clock jumped over the token's expiry; ages are of the other clock. */
static void test_wall_clock_jumps(void **state)
{
        (void)state;
        fetch(&token);
        clock_set_fake(FAKE_NOW_NS + NS_PER_S, FAKE_WALL_NS + 200 * 86400 * (int64_t)NS_PER_S);
        assert_waits("at-1");
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_SERVER, clock_now_ns() + NS_PER_S);
        assert_waits("at-1"); /* an expired copy isn't served instead */
        clock_set_fake(FAKE_NOW_NS + 2 * NS_PER_S, FAKE_WALL_NS - 86400 * (int64_t)NS_PER_S);
        assert_served("at-1", "first", CACHE_HIT_FRESH);
        clock_set_fake(FAKE_NOW_NS + TTL_NS, FAKE_WALL_NS - 86400 * (int64_t)NS_PER_S);
        TokenAnswer answer;
        assert_int_equal(ask("at-1", &answer), 0); /* its call fails: stale */
        assert_int_equal(answer.hit, CACHE_HIT_STALE);
        fake_answer_error(fake_get_call(&fake, "at-1"), API_E_NOT_FOUND);
}

/* The wall clock going backwards gives a copy no more time than it had. */
static void test_wall_clock_set_back_before_expiry(void **state)
{
        (void)state;
        fetch(&(FakeToken){.id = "at-1", .expires_s = 300});
        clock_set_fake(FAKE_NOW_NS + 301 * NS_PER_S, FAKE_WALL_NS - 1000 * (int64_t)NS_PER_S);
        TokenAnswer answer;
        assert_int_equal(tokens_peek(tokens, "at-1", &answer), -ENOENT);
        assert_waits("at-1");
}

static void test_suspend(void **state)
{
        (void)state;
        fetch(&token);
        clock_advance_fake(8 * 3600 * NS_PER_S); /* no loop turn: we come from the reader */
        TokenAnswer answer;
        assert_int_equal(tokens_peek(tokens, "at-1", &answer), -ENOENT);
        assert_waits("at-1");
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(ends, 1);
}

static void test_expired_token_is_fresh_but_never_stale(void **state)
{
        (void)state;
        fetch(&(FakeToken){.id = "at-1", .value = "old", .created_s = -7200, .expires_s = -60});
        assert_served("at-1", "old", CACHE_HIT_FRESH);
        pass(TTL_NS - 1);
        assert_served("at-1", "old", CACHE_HIT_AGEING);
        clock_advance_fake(1);
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_SERVER, clock_now_ns() + NS_PER_S);
        assert_waits("at-1");
}

static void test_expiry_shortens_ttl(void **state)
{
        (void)state;
        fetch(&(FakeToken){.id = "at-1", .value = "first", .expires_s = 60});
        TokenAnswer answer;
        assert_int_equal(ask("at-1", &answer), 0);
        assert_int_equal(answer.due_ns, FAKE_NOW_NS + 30 * NS_PER_S);
        pass(30 * NS_PER_S);
        assert_waits("at-1");
        fake_answer_token(&fake, &(FakeToken){.id = "at-1", .value = "first", .expires_s = 60});
        assert_int_equal(ask("at-1", &answer), 0);
        assert_int_equal(answer.due_ns, clock_now_ns() + 15 * NS_PER_S);
}

static void test_what_ends_a_copy(void **state)
{
        (void)state;
        for (ApiError error = API_E_NOT_FOUND; error < API_ERROR_COUNT; error++) {
                remake_cache(usual);
                ends = 0;
                fetch(&token);
                pass(TTL_NS);
                assert_waits("at-1");
                fake_answer_error(fake_get_call(&fake, "at-1"), error);
                bool ended = error == API_E_NOT_FOUND || error == API_E_ACCESS_DENIED ||
                             error == API_E_CREDENTIALS_REJECTED;
                assert_int_equal(ends, ended);
                if (ended)
                        assert_fails("at-1", error);
                else
                        assert_served("at-1", "first", CACHE_HIT_STALE);
        }
}

/* Even in the ageing window, where nobody waits. */
static void test_denied_ends_a_fresh_copy(void **state)
{
        (void)state;
        fetch(&token);
        pass(TTL_NS / 100 * 86);
        assert_served("at-1", "first", CACHE_HIT_AGEING);
        fake_answer_error(fake_get_call(&fake, "at-1"), API_E_ACCESS_DENIED);
        assert_int_equal(ends, 1);
        assert_fails("at-1", API_E_ACCESS_DENIED);
        assert_int_equal(tokens_counters(tokens)->tokens, 0);
        assert_int_equal(tokens_counters(tokens)->negatives, 1);
}

static void test_deadline(void **state)
{
        (void)state;
        FakeReader reader;
        TokenAnswer answer;
        uint64_t came_ns = clock_now_ns();
        fake_reader_init(&reader);
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, false, &reader.wait, &answer), -EINPROGRESS);
        pass(TIMEOUT_NS);
        cache_wait_cancel(&reader.wait);
        /* Nothing is known but that it takes too long. */
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, true, &reader.wait, &answer), 0);
        assert_int_equal(answer.error, API_E_TIMEOUT);
        assert_false(list_is_linked(&reader.wait.link));
        assert_int_equal(fake.started, 1);
        /* What an attempt said is said to the reader. */
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_THROTTLED, clock_now_ns() + NS_PER_S);
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, true, &reader.wait, &answer), 0);
        assert_int_equal(answer.error, API_E_THROTTLED);
}

static void test_deadline_with_a_copy(void **state)
{
        (void)state;
        fetch(&token);
        pass(TTL_NS);
        FakeReader reader;
        TokenAnswer answer;
        uint64_t came_ns = clock_now_ns();
        fake_reader_init(&reader);
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, false, &reader.wait, &answer), -EINPROGRESS);
        pass(TIMEOUT_NS);
        cache_wait_cancel(&reader.wait);
        assert_int_equal(tokens_get(tokens, "at-1", came_ns, true, &reader.wait, &answer), 0);
        assert_value(&answer, "first");
        assert_int_equal(answer.hit, CACHE_HIT_STALE);
}

/* The endpoint is known to fail: who has a copy is answered at once, and one call goes out to find out more. */
static void test_known_to_fail(void **state)
{
        (void)state;
        fetch(&token);
        pass(TTL_NS);
        fake.health = (ApiHealth){.error = API_E_UNREACHABLE, .since_ns = clock_now_ns()};
        for (int i = 0; i < 10; i++)
                assert_served("at-1", "first", CACHE_HIT_STALE);
        assert_int_equal(fake.running, 1);
        /* Who has none waits, until it has failed for long. */
        assert_waits("at-2");
        pass(TIMEOUT_NS + 1);
        assert_fails("at-2", API_E_UNREACHABLE);
        assert_fails("at-3", API_E_UNREACHABLE);
        fake.health = (ApiHealth){0};
        fake_answer_token(&fake, &token);
        fake_answer_token(&fake, &(FakeToken){.id = "at-2", .value = "two"});
        assert_served("at-2", "two", CACHE_HIT_FRESH);
}

/* With calls enough to probe a failing endpoint no more are queued, except for one who would wait for nothing else. */
static void test_probes_are_enough(void **state)
{
        (void)state;
        fetch(&token);
        pass(TTL_NS);
        fake.health = (ApiHealth){
                .error = API_E_UNREACHABLE, .since_ns = clock_now_ns(), .queued = API_IN_FLIGHT_FIRST};
        size_t before = fake.started;
        assert_served("at-1", "first", CACHE_HIT_STALE);
        TokenAnswer answer;
        assert_int_equal(tokens_get(tokens, "at-9", clock_now_ns(), false, NULL, &answer), -EINPROGRESS);
        assert_int_equal(fake.started, before);

        FakeReader reader;
        fake_reader_init(&reader);
        assert_int_equal(
                tokens_get(tokens, "at-2", clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        assert_int_equal(fake.started, before + 1);
        fake.health = (ApiHealth){0};
        fake_answer_token(&fake, &(FakeToken){.id = "at-2"});
        assert_int_equal(reader.woken, 1);
        fake.health = (ApiHealth){
                .error = API_E_UNREACHABLE, .since_ns = clock_now_ns(), .queued = API_IN_FLIGHT_FIRST};
        pass(TIMEOUT_NS + 1);
        assert_fails("at-3", API_E_UNREACHABLE);
        assert_int_equal(fake.running, 0);
}

/* Looking for tokens that there may not be takes no memory without bound, though no call ends. */
static void test_failing_endpoint_and_many_ids(void **state)
{
        (void)state;
        fake.health = (ApiHealth){
                .error = API_E_UNREACHABLE, .since_ns = clock_now_ns(), .queued = API_IN_FLIGHT_FIRST};
        pass(TIMEOUT_NS + 1);
        for (int i = 0; i < 5000; i++) {
                char id[32];
                (void)snprintf(id, sizeof id, "at-%d", i);
                assert_fails(id, API_E_UNREACHABLE);
        }
        assert_int_equal(fake.started, 0);
        assert_in_range(tokens_counters(tokens)->negatives, 1, 1024);
}

/* A call that fails for a token which nobody reads any more ends after a while; one that is read goes on. */
static void test_probe_ends(void **state)
{
        (void)state;
        fetch(&token);
        pass(TTL_NS);
        assert_waits("at-1");
        for (uint64_t passed = 0; passed < TTL_NS; passed += 10 * NS_PER_S) {
                fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_SERVER, clock_now_ns() + 10 * NS_PER_S);
                assert_int_equal(fake.running, 1);
                pass(10 * NS_PER_S);
        }
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_SERVER, clock_now_ns() + 10 * NS_PER_S);
        assert_int_equal(fake.running, 0);
        assert_int_equal(fake.cancelled, 1);

        pass(1);
        assert_waits("at-1");
        for (int i = 0; i < 50; i++) {
                fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_SERVER, clock_now_ns() + 10 * NS_PER_S);
                pass(10 * NS_PER_S);
                assert_served("at-1", "first", CACHE_HIT_STALE);
        }
        assert_int_equal(fake.cancelled, 1);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_single_flight),
                TEST(test_waits_once),
                TEST(test_waiting_again_when_woken),
                TEST(test_fresh_ageing_due),
                TEST(test_no_call_for_nobody),
                TEST(test_age_counts_from_sending),
                TEST(test_refresh_that_fails_is_held),
                TEST(test_ttl_zero),
                TEST(test_wiped_without_stale),
                TEST(test_negative),
                TEST(test_other_errors_are_held_a_second),
                TEST(test_stale_if_error),
                TEST(test_stale_ends),
                TEST(test_never_stale_past_expiry),
                TEST(test_wall_clock_jumps),
                TEST(test_wall_clock_set_back_before_expiry),
                TEST(test_suspend),
                TEST(test_expired_token_is_fresh_but_never_stale),
                TEST(test_expiry_shortens_ttl),
                TEST(test_what_ends_a_copy),
                TEST(test_denied_ends_a_fresh_copy),
                TEST(test_deadline),
                TEST(test_deadline_with_a_copy),
                TEST(test_known_to_fail),
                TEST(test_probes_are_enough),
                TEST(test_failing_endpoint_and_many_ids),
                TEST(test_probe_ends),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
