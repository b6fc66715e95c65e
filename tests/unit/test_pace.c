/* The pace: what a throttled call and a success change. How a fleet fares with it is tests/bench/fleet's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/pace.h"
#include "tokenfs/base/cleanup.h"

#define T0 (1000 * NS_PER_S)
#define TTL_NS (60 * NS_PER_S)
#define STALE_NS (3600 * NS_PER_S)
#define TOOK_NS (20 * NS_PER_MS)

static Pace pace;
static uint64_t now_ns;

static int setup(void **state)
{
        (void)state;
        now_ns = T0;
        pace_init(&pace, TTL_NS, STALE_NS);
        return 0;
}

static void report(ApiError error, bool is_refresh, bool is_full)
{
        pace_report(&pace,
                &(PaceAttempt){.error = error,
                        .took_ns = TOOK_NS,
                        .is_refresh = is_refresh,
                        .is_current = true,
                        .is_full = is_full},
                now_ns);
}

static void test_nothing_changes_without_throttling(void **state)
{
        (void)state;
        static const ApiError errors[] = {
                API_OK, API_E_NOT_FOUND, API_E_SERVER, API_E_TIMEOUT, API_E_UNREACHABLE, API_E_TLS};
        for (size_t i = 0; i < ARRAY_LEN(errors); i++)
                report(errors[i], true, false);
        assert_true(pace_stretch(&pace) <= 1);
        assert_true(pace_stretch_that_would_do(&pace) <= 1);
        assert_int_equal(pace.since_ns, 0);
        assert_int_equal(pace.in_flight_max, PACE_IN_FLIGHT_FIRST);
}

static void test_a_throttled_refresh_doubles_the_ttl(void **state)
{
        (void)state;
        report(API_E_THROTTLED, true, false);
        assert_int_equal(pace.since_ns, T0);
        assert_float_equal(pace_stretch(&pace), 2, 1e-9);
        /* those that were on their way with it change nothing more */
        report(API_E_THROTTLED, true, false);
        now_ns += TTL_NS / 2;
        report(API_E_THROTTLED, true, false);
        assert_float_equal(pace_stretch(&pace), 2, 1e-9);
        now_ns += TTL_NS;
        report(API_E_THROTTLED, true, false);
        assert_float_equal(pace_stretch(&pace), 4, 1e-9);
}

static void test_it_stays_within_stale(void **state)
{
        (void)state;
        for (int i = 0; i < 20; i++) {
                report(API_E_THROTTLED, true, false);
                now_ns += 2 * STALE_NS;
        }
        assert_true(pace_stretch(&pace) * (double)TTL_NS < (double)(TTL_NS + STALE_NS));
        assert_true(pace_stretch(&pace) * (double)TTL_NS > (double)STALE_NS / 2);
        pace_init(&pace, TTL_NS, 0);
        report(API_E_THROTTLED, true, false);
        assert_float_equal(pace_stretch(&pace), 1, 1e-9);
        pace_init(&pace, 0, STALE_NS); /* counts as a ttl of a second */
        report(API_E_THROTTLED, true, false);
        assert_float_equal(pace_stretch(&pace), 2, 1e-9);
}

static void test_reads_without_a_copy_stretch_nothing(void **state)
{
        (void)state;
        report(API_E_THROTTLED, false, false);
        assert_true(pace_stretch(&pace) <= 1);
        report(API_E_THROTTLED, true, false);
        double before = pace_stretch(&pace);
        now_ns += TTL_NS;
        report(API_OK, false, false);
        assert_float_equal(pace_stretch(&pace), before, 1e-9);
}

static void test_successes_bring_it_back(void **state)
{
        (void)state;
        report(API_E_THROTTLED, true, false);
        double stretch = pace_stretch(&pace);
        int successes = 0;
        for (; pace.since_ns && successes < 10000; successes++) {
                now_ns += TTL_NS / 20;
                report(API_OK, true, false);
                assert_true(pace_stretch(&pace) < stretch);
                stretch = pace_stretch(&pace);
        }
        /* about as many as one throttled call in twenty leaves room for */
        assert_in_range(successes, 20, 200);
        assert_float_equal(pace_stretch(&pace), 1, 1e-9);
        /* many tokens bring it back no quicker than doubling in each round */
        report(API_E_THROTTLED, true, false);
        uint64_t start_ns = now_ns;
        while (pace.since_ns) {
                now_ns += TTL_NS / 5000;
                report(API_OK, true, false);
        }
        assert_true(now_ns - start_ns > TTL_NS);
}

static void test_the_ttl_that_would_do(void **state)
{
        (void)state;
        report(API_E_THROTTLED, true, false);
        /* throttled at a share of about 0.3 in the long run: 1 / 0.3 / 0.8 */
        for (int i = 0; i < 2000; i++) {
                now_ns += TTL_NS / 5;
                report(pace.share > 0.35 ? API_E_THROTTLED : API_OK, true, false);
        }
        assert_true(pace_stretch_that_would_do(&pace) > 1 / 0.35 / 0.8);
        assert_true(pace_stretch_that_would_do(&pace) < 1 / 0.18 / 0.8);
}

static void test_calls_in_flight(void **state)
{
        (void)state;
        /* they grow only while calls wait for a place */
        report(API_OK, false, false);
        assert_int_equal(pace.in_flight_max, PACE_IN_FLIGHT_FIRST);
        for (int i = 0; i < 100; i++)
                report(API_OK, false, true);
        assert_int_equal(pace.in_flight_max, PACE_IN_FLIGHT_MAX);
        /* an answer that took much longer than others takes one back */
        pace_report(&pace, &(PaceAttempt){.error = API_OK, .took_ns = 5 * TOOK_NS, .is_full = true}, now_ns);
        assert_int_equal(pace.in_flight_max, PACE_IN_FLIGHT_MAX - 1);
        report(API_E_THROTTLED, false, true);
        assert_int_equal(pace.in_flight_max, (PACE_IN_FLIGHT_MAX - 1) / 2);
        /* those that went out with it say nothing new */
        pace_report(&pace, &(PaceAttempt){.error = API_E_THROTTLED, .took_ns = TOOK_NS}, now_ns);
        assert_int_equal(pace.in_flight_max, (PACE_IN_FLIGHT_MAX - 1) / 2);
        for (int i = 0; i < 10; i++)
                report(API_E_THROTTLED, false, true);
        assert_int_equal(pace.in_flight_max, 1);
        for (int i = 0; i < PACE_IN_FLIGHT_FIRST; i++)
                report(API_OK, false, false);
        assert_int_equal(pace.in_flight_max, PACE_IN_FLIGHT_FIRST);
}

static void guess(ApiError error)
{
        now_ns += TOOK_NS;
        pace_report(&pace,
                &(PaceAttempt){.error = error, .took_ns = TOOK_NS, .is_guess = true, .is_current = true},
                now_ns);
}

static void test_throttled_guesses_come_more_slowly(void **state)
{
        (void)state;
        guess(API_E_NOT_FOUND);
        pace_note_guess(&pace, now_ns);
        assert_int_equal(pace.guess_at_ns, now_ns);
        guess(API_E_THROTTLED);
        now_ns -= TOOK_NS / 2;
        guess(API_E_THROTTLED); /* it went out with that one */
        assert_int_equal(pace.guess_gap_ns, PACE_GUESS_GAP_FIRST_NS);
        now_ns += NS_PER_S;
        pace_report(&pace,
                &(PaceAttempt){.error = API_E_THROTTLED,
                        .took_ns = TOOK_NS,
                        .is_guess = true,
                        .is_current = true,
                        .is_probe = true,
                        .retry_after_ns = 3 * NS_PER_S},
                now_ns);
        assert_int_equal(pace.guess_gap_ns, PACE_GUESS_GAP_FIRST_NS);
        assert_int_equal(pace.guess_at_ns, now_ns + 3 * NS_PER_S);
        now_ns += 3 * NS_PER_S;
        pace_note_guess(&pace, now_ns);
        assert_int_equal(pace.guess_at_ns, now_ns + PACE_GUESS_GAP_FIRST_NS);
        for (int i = 0; i < 20; i++)
                guess(API_E_THROTTLED);
        assert_int_equal(pace.guess_gap_ns, PACE_GUESS_GAP_MAX_NS);
        assert_true(pace_stretch(&pace) <= 1); /* other calls are not slowed for guesses */
        assert_int_equal(pace.in_flight_max, PACE_IN_FLIGHT_FIRST);
        /* neither other calls nor an outage shorten the gap */
        report(API_OK, true, false);
        guess(API_E_UNREACHABLE);
        assert_int_equal(pace.guess_gap_ns, PACE_GUESS_GAP_MAX_NS);
        guess(API_E_NOT_FOUND);
        assert_true(pace.guess_gap_ns < PACE_GUESS_GAP_MAX_NS);
        for (int i = 0; i < 3000; i++)
                guess(API_E_NOT_FOUND);
        assert_int_equal(pace.guess_gap_ns, 0);
        assert_int_equal(pace_guesses_max(&pace), PACE_IN_FLIGHT_FIRST / PACE_GUESSES_PART);
        guess(API_E_THROTTLED);
        for (int i = 0; i < 30; i++)
                guess(API_OK); /* the ids were not made up */
        assert_int_equal(pace.guess_gap_ns, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_nothing_changes_without_throttling, setup),
                cmocka_unit_test_setup(test_throttled_guesses_come_more_slowly, setup),
                cmocka_unit_test_setup(test_a_throttled_refresh_doubles_the_ttl, setup),
                cmocka_unit_test_setup(test_it_stays_within_stale, setup),
                cmocka_unit_test_setup(test_reads_without_a_copy_stretch_nothing, setup),
                cmocka_unit_test_setup(test_successes_bring_it_back, setup),
                cmocka_unit_test_setup(test_the_ttl_that_would_do, setup),
                cmocka_unit_test_setup(test_calls_in_flight, setup),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
