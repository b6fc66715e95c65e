/* Refreshes that are put off, since the API throttles or has just come back; and whom a call is for. */

#include "cache_fixture.h"

/* While the API throttles, an old copy is served a while longer, as stale; then one call asks, and ends when it is throttled
 * again. */
static void test_throttled_refreshes(void **state)
{
        (void)state;
        fetch(&token);
        fake.health.stretch = 4;
        fake.health.throttled_since_ns = clock_now_ns();
        size_t before = fake.started;
        pass(TTL_NS / 10 * 9); /* ageing: fresh all the same, and no refresh */
        assert_served("at-1", "first", CACHE_HIT_AGEING);
        pass(TTL_NS);
        assert_served("at-1", "first", CACHE_HIT_STALE);
        assert_int_equal(fake.started, before);
        pass(3 * TTL_NS);
        assert_waits("at-1");
        assert_int_equal(fake_get_call(&fake, "at-1")->purpose, API_FOR_REFRESH);
        fake_answer_retry(fake_get_call(&fake, "at-1"), API_E_THROTTLED, clock_now_ns() + NS_PER_S);
        assert_int_equal(fake.running, 0);
        /* stretched further, as the client does: served again without a call */
        fake.health.stretch = 8;
        before = fake.started;
        assert_served("at-1", "first", CACHE_HIT_STALE);
        assert_int_equal(fake.started, before);
        /* a token without a copy is asked for, and waits for an answer, throttled or not */
        assert_waits("at-2");
        fake_answer_retry(fake_get_call(&fake, "at-2"), API_E_THROTTLED, clock_now_ns() + NS_PER_S);
        assert_int_equal(fake_get_call(&fake, "at-2")->purpose, API_FOR_READ);
        fake_answer_token(&fake, &(FakeToken){.id = "at-2", .value = "two"});
        assert_served("at-2", "two", CACHE_HIT_FRESH);
}

/* What fell due while the API failed is refreshed within as long as it failed, a ttl at most, and served until then. */
static void test_refreshes_after_an_outage_are_spread(void **state)
{
        (void)state;
        char id[16];
        for (int i = 0; i < 100; i++) {
                (void)snprintf(id, sizeof id, "at-%d", i);
                fetch(&(FakeToken){.id = id, .value = "old"});
        }
        pass(5 * TTL_NS);
        fake.health.recovered_ns = clock_now_ns();
        fake.health.failed_ns = 4 * TTL_NS;
        size_t before = fake.started, half = 0;
        for (int part = 1; part <= 2; part++) {
                pass(TTL_NS / 2);
                for (int i = 0; i < 100; i++) {
                        TokenAnswer answer;
                        (void)snprintf(id, sizeof id, "at-%d", i);
                        (void)tokens_get(tokens, id, clock_now_ns(), false, NULL, &answer);
                }
                half = part == 1 ? fake.started - before : half;
        }
        assert_in_range(half, 20, 80);
        assert_int_equal(fake.started - before, 100);
        while (fake.running)
                fake_answer_error(fake_call(&fake, API_GET_ACCESS_TOKEN, NULL), API_E_NOT_FOUND);
}

/* The user that reads, and whether the id may be made up, reach the source. */
static void test_whom_a_call_is_for(void **state)
{
        (void)state;
        TokenAnswer answer;
        FakeReader reader;
        fake_reader_init(&reader);
        reader.wait.uid = 1000;
        reader.wait.is_guess = true;
        assert_int_equal(
                tokens_get(tokens, "at-1", clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        assert_int_equal(fake_get_call(&fake, "at-1")->uid, 1000);
        assert_int_equal(fake_get_call(&fake, "at-1")->purpose, API_FOR_GUESS);
        fake_answer_token(&fake, &token);
        pass(TTL_NS);
        assert_int_equal(
                tokens_get(tokens, "at-1", clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        assert_int_equal(fake_get_call(&fake, "at-1")->purpose, API_FOR_REFRESH); /* it is held */
        fake_answer_token(&fake, &token);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_throttled_refreshes),
                TEST(test_refreshes_after_an_outage_are_spread),
                TEST(test_whom_a_call_is_for),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
