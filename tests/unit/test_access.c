/* Accesses under way: who goes on with which version, and for how long. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/access.h"

#define NODE UINT64_C(0x10000000a0c)

static Accesses accesses;

static int set_up(void **state)
{
        (void)state;
        accesses = (Accesses){0};
        clock_set_fake(100 * NS_PER_S, 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        clock_unset_fake();
        return 0;
}

static void test_a_task_goes_on(void **state)
{
        (void)state;
        assert_int_equal(access_follow(&accesses, NODE, 7), 0);
        access_begin(&accesses, NODE, 7, 3, false);
        assert_int_equal(access_follow(&accesses, NODE, 7), 3);
        assert_int_equal(access_follow(&accesses, NODE, 8), 0);
        assert_int_equal(access_follow(&accesses, NODE + 1, 7), 0);
        clock_advance_fake(ACCESS_NS - 1);
        assert_int_equal(access_follow(&accesses, NODE, 7), 3);
        clock_advance_fake(1);
        assert_int_equal(access_follow(&accesses, NODE, 7), 0);
}

static void test_opening_ends_it(void **state)
{
        (void)state;
        access_open(&accesses, NODE, 7);
        access_begin(&accesses, NODE, 7, 3, false);
        access_open(&accesses, NODE, 8);
        assert_int_equal(access_follow(&accesses, NODE, 7), 3);
        access_open(&accesses, NODE, 7);
        assert_int_equal(access_follow(&accesses, NODE, 7), 0);
}

/* Opening and fstat are of the same access as the look-up; an access that began by reading ends with an opening. */
static void test_a_look_up_and_its_opening(void **state)
{
        (void)state;
        access_begin(&accesses, NODE, 7, 3, true);
        assert_true(access_open(&accesses, NODE, 7));
        assert_true(access_open(&accesses, NODE, 7));
        assert_int_equal(access_follow(&accesses, NODE, 7), 3);
        access_begin(&accesses, NODE, 7, 4, false);
        assert_false(access_open(&accesses, NODE, 7));
        assert_int_equal(access_follow(&accesses, NODE, 7), 0);
}

/* What was begun before can't go on; what begins afterwards can. */
/* A look-up of a directory, and the one of a file in it. */
static void test_a_directory_is_entered(void **state)
{
        (void)state;
        assert_int_equal(access_entered_ns(&accesses, NODE, 7), 0);
        access_enter(&accesses, NODE, 7, 42);
        assert_int_equal(access_entered_ns(&accesses, NODE, 8), 0);
        assert_int_equal(access_entered_ns(&accesses, NODE, 7), 42);
        assert_int_equal(access_entered_ns(&accesses, NODE, 7), 0);
        access_enter(&accesses, NODE, 7, 42);
        clock_advance_fake(ACCESS_NS);
        assert_int_equal(access_entered_ns(&accesses, NODE, 7), 0);
}

static void test_versions_are_forgotten(void **state)
{
        (void)state;
        access_begin(&accesses, NODE, 7, 3, false);
        assert_int_equal(access_cut_generation(&accesses, NODE, 7), 0);
        access_cut_all(&accesses);
        assert_int_equal(access_cut_generation(&accesses, NODE, 7), 3);
        assert_int_equal(access_cut_generation(&accesses, NODE, 8), 0);
        access_begin(&accesses, NODE, 7, 4, false);
        assert_int_equal(access_cut_generation(&accesses, NODE, 7), 0);
        access_cut_all(&accesses);
        clock_advance_fake(ACCESS_NS);
        assert_int_equal(access_cut_generation(&accesses, NODE, 7), 0);
}

static void test_the_newest_are_kept(void **state)
{
        (void)state;
        for (pid_t task = 1; task <= 100000; task++) {
                access_begin(&accesses, NODE, task, 3, false);
                assert_int_equal(access_follow(&accesses, NODE, task), 3);
                clock_advance_fake(1);
        }
        unsigned kept = 0;
        for (pid_t task = 1; task <= 100000; task++)
                kept += access_follow(&accesses, NODE, task) == 3;
        assert_in_range(kept, ACCESS_ROWS, ACCESS_ROWS * ACCESS_COLUMNS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_a_task_goes_on),
                TEST(test_opening_ends_it),
                TEST(test_a_look_up_and_its_opening),
                TEST(test_a_directory_is_entered),
                TEST(test_versions_are_forgotten),
                TEST(test_the_newest_are_kept),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
