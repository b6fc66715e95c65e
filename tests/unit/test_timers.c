/* The supervisor's timers, on a fake clock. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "supervisor/timers.h"
#include "tokenfs/base/clock.h"

static void test_timers(void **state)
{
        (void)state;
        Timers timers;
        clock_set_fake(1000 * NS_PER_S, 0);
        timers_init(&timers);
        assert_int_equal(timers_wait_ms(&timers), -1);
        timers_set(&timers, TIMER_RESTART, 2 * NS_PER_S);
        timers_set(&timers, TIMER_ALIVE, NS_PER_S + 1);
        assert_int_equal(timers_wait_ms(&timers), 1001); /* rounded up: never a turn too early */
        assert_false(timers_take(&timers, TIMER_ALIVE));
        clock_advance_fake(NS_PER_S + 1);
        assert_int_equal(timers_wait_ms(&timers), 0);
        assert_true(timers_take(&timers, TIMER_ALIVE));
        assert_false(timers_take(&timers, TIMER_ALIVE));
        assert_false(timers_take(&timers, TIMER_RESTART));
        timers_clear(&timers, TIMER_RESTART);
        assert_int_equal(timers_wait_ms(&timers), -1);
        timers_set(&timers, TIMER_RESTART, 100000 * NS_PER_S);
        assert_int_equal(timers_wait_ms(&timers), 3600000);
        clock_advance_fake(200000 * NS_PER_S); /* long past */
        assert_int_equal(timers_wait_ms(&timers), 0);
        assert_true(timers_take(&timers, TIMER_RESTART));
        clock_unset_fake();
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_timers)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
