/* The clocks, real and fake. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "tokenfs/base/clock.h"

static void test_real(void **state)
{
        (void)state;
        uint64_t first = clock_now_ns();
        int64_t wall = clock_wall_ns();
        assert_true(first > 0);
        assert_true(clock_now_ns() >= first);
        assert_in_range(wall / (int64_t)NS_PER_S, time(NULL) - 2, time(NULL) + 2);
}

static void test_fake(void **state)
{
        (void)state;
        clock_set_fake(17, -5);
        assert_int_equal(clock_now_ns(), 17);
        assert_int_equal(clock_wall_ns(), -5);
        assert_int_equal(clock_now_ns(), 17);
        clock_advance_fake(100);
        assert_int_equal(clock_now_ns(), 117);
        assert_int_equal(clock_wall_ns(), 95);
        clock_set_fake(1, 2);
        assert_int_equal(clock_now_ns(), 1);
        clock_unset_fake();
        assert_true(clock_now_ns() > 117);
        assert_true(clock_wall_ns() > 95);
}

static void test_add(void **state)
{
        (void)state;
        assert_true(clock_add_ns(1, 2) == 3);
        assert_true(clock_add_ns(0, CLOCK_NEVER) == CLOCK_NEVER);
        assert_true(clock_add_ns(1, CLOCK_NEVER) == CLOCK_NEVER);
        assert_true(clock_add_ns(CLOCK_NEVER - 5, 6) == CLOCK_NEVER);
        assert_true(clock_add_ns(CLOCK_NEVER - 5, 4) == CLOCK_NEVER - 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_real),
                cmocka_unit_test(test_fake),
                cmocka_unit_test(test_add),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
