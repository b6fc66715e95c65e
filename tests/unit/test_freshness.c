/* The freshness rule by itself: its bounds, and clocks that do what clocks do. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/freshness.h"
#include "tokenfs/base/clock.h"

#define NOW_NS (5000 * NS_PER_S)
#define WALL_NS (INT64_C(1767225600) * (int64_t)NS_PER_S)
#define TTL_NS (100 * NS_PER_S)
#define STALE_NS (1000 * NS_PER_S)

static int set_up(void **state)
{
        (void)state;
        clock_set_fake(NOW_NS, WALL_NS);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        clock_unset_fake();
        return 0;
}

static void at(uint64_t since_ns)
{
        clock_set_fake(NOW_NS + since_ns, WALL_NS + (int64_t)since_ns);
}

static int64_t expires_in(int64_t s)
{
        return WALL_NS + s * (int64_t)NS_PER_S;
}

static void test_times(void **state)
{
        (void)state;
        Freshness freshness;
        freshness_set(&freshness, NOW_NS, TTL_NS, STALE_NS, INT64_MAX);
        assert_int_equal(freshness.due_ns, NOW_NS + TTL_NS);
        assert_int_equal(freshness.stale_ns, NOW_NS + TTL_NS + STALE_NS);
        at(TTL_NS - 1);
        assert_true(freshness_is_valid(&freshness, UINT64_MAX));
        assert_true(freshness_is_ageing(&freshness));
        assert_int_equal(freshness_keep_ns(&freshness), 0);
        at(TTL_NS);
        assert_false(freshness_is_valid(&freshness, UINT64_MAX));
        assert_false(freshness_is_valid(&freshness, NOW_NS + 1));
        assert_true(freshness_is_valid(&freshness, NOW_NS));
        assert_false(freshness_is_ageing(&freshness));
        assert_true(freshness_may_be_stale(&freshness));
        at(TTL_NS + STALE_NS - 1);
        assert_true(freshness_may_be_stale(&freshness));
        at(TTL_NS + STALE_NS);
        assert_false(freshness_may_be_stale(&freshness));
}

static void test_jitter(void **state)
{
        (void)state;
        uint64_t least = UINT64_MAX, most = 0;
        for (int i = 0; i < 2000; i++) {
                Freshness freshness;
                freshness_set(&freshness, NOW_NS, TTL_NS, STALE_NS, INT64_MAX);
                uint64_t after = freshness.refresh_ns - NOW_NS;
                assert_in_range(after, TTL_NS / 100 * 75, TTL_NS / 100 * 85);
                assert_int_equal(freshness_keep_ns(&freshness), after);
                least = after < least ? after : least;
                most = after > most ? after : most;
        }
        assert_true(
                least < TTL_NS / 100 * 77); /* what was fetched together spreads (p of failing < 1e-100) */
        assert_true(most > TTL_NS / 100 * 83);
}

static void test_expiry_nears(void **state)
{
        (void)state;
        static const struct {
                int64_t left_s;
                uint64_t ttl_ns;
        } rows[] = {
                {1000, TTL_NS}, {200, TTL_NS}, {199, 199 * NS_PER_S / 2}, {60, 30 * NS_PER_S}, {2, NS_PER_S},
                {1, NS_PER_S}, /* not less than a second: an expiry is no storm of calls */
                {0, TTL_NS}, {-5, TTL_NS}, /* expired when it came: as the API gives it */
        };
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                Freshness freshness;
                freshness_set(&freshness, NOW_NS, TTL_NS, STALE_NS, expires_in(rows[i].left_s));
                assert_int_equal(freshness.due_ns - NOW_NS, rows[i].ttl_ns);
                assert_true(freshness.refresh_ns <= freshness.due_ns);
                assert_true(freshness_is_valid(&freshness, UINT64_MAX));
                if (rows[i].left_s > 0)
                        assert_true(freshness.stale_ns <= NOW_NS + (uint64_t)rows[i].left_s * NS_PER_S);
                else
                        assert_false((at(rows[i].ttl_ns), freshness_may_be_stale(&freshness)));
                at(0);
        }
        Freshness freshness; /* a ttl below a second isn't made longer */
        freshness_set(&freshness, NOW_NS, NS_PER_S / 2, STALE_NS, expires_in(1));
        assert_int_equal(freshness.due_ns - NOW_NS, NS_PER_S / 2);
}

static void test_expiry_on_the_wall(void **state)
{
        (void)state;
        Freshness freshness;
        freshness_set(&freshness, NOW_NS, TTL_NS, STALE_NS, expires_in(1000));
        clock_set_fake(NOW_NS, expires_in(1000) - 1);
        assert_true(freshness_is_valid(&freshness, UINT64_MAX));
        assert_int_equal(freshness_keep_ns(&freshness), 1);
        clock_set_fake(NOW_NS, expires_in(1000));
        assert_false(freshness_is_valid(&freshness, UINT64_MAX));
        assert_false(freshness_may_be_stale(&freshness));
        assert_int_equal(freshness_keep_ns(&freshness), 0);
        clock_set_fake(NOW_NS, INT64_MAX);
        assert_false(freshness_is_valid(&freshness, UINT64_MAX));
        clock_set_fake(NOW_NS, 0); /* back before everything */
        assert_true(freshness_is_valid(&freshness, UINT64_MAX));
        assert_true(freshness_keep_ns(&freshness) <= TTL_NS);
        clock_set_fake(NOW_NS + 1000 * NS_PER_S, 0); /* and yet no longer than it had */
        assert_false(freshness_may_be_stale(&freshness));
}

static void test_extremes(void **state)
{
        (void)state;
        Freshness freshness;
        freshness_set(&freshness, NOW_NS, UINT64_MAX, UINT64_MAX, INT64_MAX);
        assert_true(freshness.due_ns >= CLOCK_NEVER / 2 && freshness.stale_ns == CLOCK_NEVER);
        assert_true(freshness_is_valid(&freshness, UINT64_MAX));
        freshness_set(&freshness, NOW_NS, UINT64_MAX, UINT64_MAX, INT64_MAX - 1);
        assert_true(freshness_is_valid(&freshness, UINT64_MAX));
        freshness_set(&freshness, NOW_NS, 0, 0, INT64_MAX);
        assert_int_equal(freshness_keep_ns(&freshness), 0);
        assert_false(freshness_is_ageing(&freshness));
        at(NS_PER_S / 10);
        assert_false(freshness_is_valid(&freshness, UINT64_MAX));
        assert_true(freshness_is_valid(&freshness, NOW_NS));
        assert_false(freshness_may_be_stale(&freshness));
        assert_int_equal(freshness_keep_ns(&freshness), 0);
        at(0);
        freshness_set(&freshness, NOW_NS, 1, 1, INT64_MAX);
        assert_true(freshness_is_valid(&freshness, UINT64_MAX));
        freshness_set(&freshness, NOW_NS, TTL_NS, STALE_NS, 0);
        assert_true(freshness_is_valid(&freshness, UINT64_MAX));
        clock_set_fake(NOW_NS, 0);
        freshness_set(&freshness, NOW_NS, TTL_NS, STALE_NS, INT64_MAX - 1);
        assert_true(freshness_is_valid(&freshness, UINT64_MAX));
        /* Zeroed, as before the first fetch. */
        freshness = (Freshness){0};
        assert_false(freshness_is_valid(&freshness, 0));
        assert_false(freshness_may_be_stale(&freshness));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_times),
                TEST(test_jitter),
                TEST(test_expiry_nears),
                TEST(test_expiry_on_the_wall),
                TEST(test_extremes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
