/* The restart policy, on a clock of its own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "supervisor/backoff.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"

#define MS NS_PER_MS

/* A worker lives for so long and dies; then the wait passes. Returns the wait. */
static uint64_t live_and_die(Backoff *backoff, uint64_t lived_ns)
{
        uint64_t started_ns = clock_now_ns();
        clock_advance_fake(lived_ns);
        uint64_t delay_ns = backoff_death(backoff, started_ns);
        clock_advance_fake(delay_ns);
        return delay_ns;
}

static void test_first_death_costs_nothing(void **state)
{
        (void)state;
        Backoff backoff;
        backoff_init(&backoff);
        assert_int_equal(live_and_die(&backoff, 0), 0);
        assert_false(backoff_is_loop(&backoff));
}

static void test_doubles_up_to_its_maximum(void **state)
{
        (void)state;
        static const uint64_t expected_ms[] = {0, 100, 200, 400, 800, 1600, 3200, 5000, 5000};
        Backoff backoff;
        backoff_init(&backoff);
        for (size_t i = 0; i < ARRAY_LEN(expected_ms); i++) {
                assert_int_equal(live_and_die(&backoff, 10 * MS), expected_ms[i] * MS);
                assert_true(backoff_is_loop(&backoff) == (i >= 2));
        }
}

static void test_life_is_rewarded(void **state)
{
        (void)state;
        Backoff backoff;
        backoff_init(&backoff);
        for (int i = 0; i < 8; i++)
                (void)live_and_die(&backoff, 0); /* now at 5 s */
        assert_int_equal(live_and_die(&backoff, 49 * NS_PER_S), 5 * NS_PER_S);
        assert_int_equal(live_and_die(&backoff, 50 * NS_PER_S), 0);
        assert_false(backoff_is_loop(&backoff));

        /* A worker that is killed each 3 s is replaced at once each time. */
        for (int i = 0; i < 20; i++)
                assert_int_equal(live_and_die(&backoff, 3 * NS_PER_S), 0);
}

static void test_recovery_is_planned(void **state)
{
        (void)state;
        Backoff backoff;
        backoff_init(&backoff);
        assert_int_equal(backoff_recovers_ns(&backoff, clock_now_ns()), CLOCK_NEVER);
        (void)live_and_die(&backoff, 0);
        assert_int_equal(backoff_recovers_ns(&backoff, 7), 7 + NS_PER_S);
        (void)live_and_die(&backoff, 0);
        (void)live_and_die(&backoff, 0); /* 0.2 s */
        assert_int_equal(backoff_recovers_ns(&backoff, 7), 7 + 2 * NS_PER_S);
        assert_true(backoff_is_loop(&backoff));
        backoff_recovered(&backoff);
        assert_false(backoff_is_loop(&backoff));
        assert_int_equal(live_and_die(&backoff, 0), 0);
}

static void test_hopeless_after_a_readers_time(void **state)
{
        (void)state;
        const uint64_t limit_ns = 10 * NS_PER_S;
        Backoff backoff;
        backoff_init(&backoff);
        uint64_t start_ns = clock_now_ns();
        while (!backoff_is_hopeless(&backoff, limit_ns))
                (void)live_and_die(&backoff, 5 * MS);
        assert_true(clock_now_ns() - start_ns >= limit_ns);
        assert_true(clock_now_ns() - start_ns < limit_ns + 5 * NS_PER_S);
        /* One that has served for a second restores hope, though not an immediate restart. */
        assert_true(live_and_die(&backoff, NS_PER_S) > 0);
        assert_false(backoff_is_hopeless(&backoff, limit_ns));
        assert_true(backoff_is_loop(&backoff));
}

static void test_one_death_long_after_is_not_hopeless(void **state)
{
        (void)state;
        Backoff backoff;
        backoff_init(&backoff);
        clock_advance_fake(3600 * NS_PER_S);
        assert_false(backoff_is_hopeless(&backoff, NS_PER_S));
        (void)live_and_die(&backoff, 0);
        assert_false(backoff_is_hopeless(&backoff, NS_PER_S));
}

static int set_up(void **state)
{
        (void)state;
        clock_set_fake(100 * NS_PER_S, 0);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_first_death_costs_nothing, set_up),
                cmocka_unit_test_setup(test_doubles_up_to_its_maximum, set_up),
                cmocka_unit_test_setup(test_life_is_rewarded, set_up),
                cmocka_unit_test_setup(test_recovery_is_planned, set_up),
                cmocka_unit_test_setup(test_hopeless_after_a_readers_time, set_up),
                cmocka_unit_test_setup(test_one_death_long_after_is_not_hopeless, set_up),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
