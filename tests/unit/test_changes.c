/* What is told of changes: once each, whatever happens in between, and nothing that a sound worker wouldn't say. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "supervisor/changes.h"

static char web[] = "web", spaced[] = "a b", slashed[] = "x/y'";
static char *names[] = {web, spaced, slashed};
static Options options;
static Changes changes;

static int set_up(void **state)
{
        (void)state;
        options = (Options){.watch_names = {names, 3}};
        changes_init(&changes, &options);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        changes_deinit(&changes);
        return 0;
}

static int report(const char *name, const char *id)
{
        ChangeReport said;
        memset(&said, 'x', sizeof said);
        (void)snprintf(said.name, sizeof said.name, "%s", name);
        (void)snprintf(said.id, sizeof said.id, "%s", id);
        return changes_report(&changes, &said);
}

static void expect(const char *event, const char *name, const char *old_id, const char *new_id)
{
        Change taken;
        const Change *change = changes_pending(&changes);
        assert_non_null(change);
        changes_take(&changes, change, &taken);
        assert_string_equal(change_event(&taken), event);
        assert_string_equal(taken.name, name);
        assert_string_equal(taken.reported, old_id);
        assert_string_equal(taken.now, new_id);
}

static void expect_nothing(void)
{
        assert_null(changes_pending(&changes));
}

static void test_first_is_where_it_begins(void **state)
{
        (void)state;
        expect_nothing();
        assert_int_equal(report("web", "at-1"), 0);
        assert_int_equal(report("a b", ""), 0);
        expect_nothing();
        assert_int_equal(report("web", "at-1"), 0);
        expect_nothing();
        assert_int_equal(report("web", "at-2"), 0);
        assert_int_equal(report("web", "at-2"), 0);
        expect("changed", "web", "at-1", "at-2");
        expect_nothing();
        assert_int_equal(report("a b", "at-3"), 0);
        expect("appeared", "a b", "", "at-3");
        assert_int_equal(report("a b", ""), 0);
        expect("gone", "a b", "at-3", "");
        expect_nothing();
}

static void test_many_are_one(void **state)
{
        (void)state;
        assert_int_equal(report("web", "at-1"), 0);
        for (int i = 2; i < 10; i++) {
                char id[16];
                (void)snprintf(id, sizeof id, "at-%d", i);
                assert_int_equal(report("web", id), 0);
        }
        expect("changed", "web", "at-1", "at-9");
        expect_nothing();
        /* There and back again is none. */
        assert_int_equal(report("web", "at-1"), 0);
        assert_int_equal(report("web", "at-9"), 0);
        expect_nothing();
}

static void test_each_in_turn(void **state)
{
        (void)state;
        for (int i = 0; i < 3; i++)
                assert_int_equal(report(names[i], "at-1"), 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(report(names[i], "at-2"), 0);
        expect("changed", "web", "at-1", "at-2");
        assert_int_equal(report("web", "at-3"), 0);
        expect("changed", "a b", "at-1", "at-2");
        expect("changed", "x/y'", "at-1", "at-2");
        expect("changed", "web", "at-2", "at-3");
        expect_nothing();
}

static void test_refused(void **state)
{
        (void)state;
        ChangeReport said;
        assert_int_equal(report("other", "at-1"), -EINVAL);
        assert_int_equal(report("", "at-1"), -EINVAL);
        assert_int_equal(report("web", "at 1"), -EINVAL);
        assert_int_equal(report("web", ".."), -EINVAL);
        assert_int_equal(report("web", "at-1\nx"), -EINVAL);
        memset(&said, 'a', sizeof said);
        assert_int_equal(changes_report(&changes, &said), -EINVAL);
        memcpy(said.name, "web", 4);
        assert_int_equal(changes_report(&changes, &said), -EINVAL);
        assert_int_equal(changes.count, 0);
}

/* With token= alone, names are whatever the documents say; but not more than there are tokens. */
static void test_names_of_tokens(void **state)
{
        (void)state;
        static char first[] = "at-1", second[] = "at-2";
        static char *ids[] = {first, second};
        options = (Options){.token_ids = {ids, 2}};
        changes_init(&changes, &options);
        assert_int_equal(report("one", "at-1"), 0);
        assert_int_equal(report("two", "at-2"), 0);
        assert_int_equal(report("three", "at-2"), -EINVAL);
        assert_int_equal(report("one", "at-2"), 0);
        expect("changed", "one", "at-1", "at-2");
}

static void test_passed_on(void **state)
{
        (void)state;
        Buf text = BUF_INIT(4096);
        assert_int_equal(report("web", "at-1"), 0);
        assert_int_equal(report("a b", ""), 0);
        assert_int_equal(report("x/y'", "at-5"), 0);
        assert_int_equal(report("web", "at-2"), 0);
        assert_int_equal(report("x/y'", ""), 0);
        assert_int_equal(changes_write(&changes, &text), 0);
        assert_int_equal(changes_read(&changes, buf_str(&text)), 0);
        expect("changed", "web", "at-1", "at-2");
        expect("gone", "x/y'", "at-5", "");
        expect_nothing();
        assert_int_equal(report("a b", "at-3"), 0);
        expect("appeared", "a b", "", "at-3");
        /* What is watched no more is left out. */
        options.watch_names.count = 1;
        assert_int_equal(changes_read(&changes, buf_str(&text)), 0);
        assert_int_equal(changes.count, 1);
        buf_deinit(&text);
        static const char *const bad[] = {"x", "at-1 at-2 web", "at-1 at-2\n", " at-1 web\n", "at-1  web\n"};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(changes_read(&changes, bad[i]), -EINVAL);
        assert_int_equal(changes_read(&changes, "at-1 at-2 web\nat-3 at-4 web\n"), 0);
        expect("changed", "web", "at-1", "at-2");
        assert_int_equal(changes_read(&changes, ""), 0);
        assert_int_equal(changes.count, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_first_is_where_it_begins, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_many_are_one, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_each_in_turn, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_names_of_tokens, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_passed_on, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
