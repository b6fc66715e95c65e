/* The watchdog's judgement, on a clock of its own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "supervisor/watchdog.h"
#include "tokenfs/base/clock.h"

#define LIMIT_NS (30 * NS_PER_S)

static WatchdogVerdict look_when_due(Watchdog *watchdog, uint64_t late_ns)
{
        clock_advance_fake(watchdog->look_ns - clock_now_ns() + late_ns);
        return watchdog_look(watchdog);
}

static void test_off(void **state)
{
        (void)state;
        Watchdog watchdog;
        watchdog_init(&watchdog, 0);
        watchdog_start(&watchdog, true);
        assert_int_equal(watchdog.look_ns, CLOCK_NEVER);
}

static void test_no_worker_no_look(void **state)
{
        (void)state;
        Watchdog watchdog;
        watchdog_init(&watchdog, LIMIT_NS);
        assert_int_equal(watchdog.look_ns, CLOCK_NEVER);
        watchdog_start(&watchdog, true);
        assert_int_equal(watchdog.look_ns, clock_now_ns() + LIMIT_NS / 2);
        watchdog_start(&watchdog, false);
        assert_int_equal(watchdog.look_ns, CLOCK_NEVER);
}

static void test_hangs_within_the_limit(void **state)
{
        (void)state;
        Watchdog watchdog;
        watchdog_init(&watchdog, LIMIT_NS);
        watchdog_start(&watchdog, true);
        uint64_t start_ns = clock_now_ns();
        assert_int_equal(look_when_due(&watchdog, 0), WATCHDOG_ASK);
        watchdog_asked(&watchdog);
        assert_int_equal(look_when_due(&watchdog, 0), WATCHDOG_HANGS);
        assert_int_equal(clock_now_ns() - start_ns, LIMIT_NS);
}

static void test_an_answer_is_enough(void **state)
{
        (void)state;
        Watchdog watchdog;
        watchdog_init(&watchdog, LIMIT_NS);
        watchdog_start(&watchdog, true);
        for (int i = 0; i < 10; i++) {
                assert_int_equal(look_when_due(&watchdog, 0), WATCHDOG_ASK);
                watchdog_asked(&watchdog);
                watchdog_answered(&watchdog);
        }
        /* Not asked, since nobody waits: nothing is held against it either. */
        for (int i = 0; i < 10; i++)
                assert_int_equal(look_when_due(&watchdog, 0), WATCHDOG_ASK);
}

static void test_who_sleeps_himself_doesnt_judge(void **state)
{
        (void)state;
        Watchdog watchdog;
        watchdog_init(&watchdog, LIMIT_NS);
        watchdog_start(&watchdog, true);
        (void)look_when_due(&watchdog, 0);
        watchdog_asked(&watchdog);
        assert_int_equal(
                look_when_due(&watchdog, 3600 * NS_PER_S), WATCHDOG_FINE); /* suspended for an hour */
        assert_int_equal(look_when_due(&watchdog, 0), WATCHDOG_HANGS); /* and still no answer */
}

static void test_the_next_worker_starts_clean(void **state)
{
        (void)state;
        Watchdog watchdog;
        watchdog_init(&watchdog, LIMIT_NS);
        watchdog_start(&watchdog, true);
        (void)look_when_due(&watchdog, 0);
        watchdog_asked(&watchdog);
        watchdog_start(&watchdog, true);
        assert_int_equal(look_when_due(&watchdog, 0), WATCHDOG_ASK);
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
                cmocka_unit_test_setup(test_off, set_up),
                cmocka_unit_test_setup(test_no_worker_no_look, set_up),
                cmocka_unit_test_setup(test_hangs_within_the_limit, set_up),
                cmocka_unit_test_setup(test_an_answer_is_enough, set_up),
                cmocka_unit_test_setup(test_who_sleeps_himself_doesnt_judge, set_up),
                cmocka_unit_test_setup(test_the_next_worker_starts_clean, set_up),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
