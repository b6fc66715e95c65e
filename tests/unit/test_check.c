/* --check: what it prints, and what it reads of /etc/fuse.conf. The whole is tested end to end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "commands/check-access.h"
#include "commands/check-fuse.h"
#include "commands/check-report.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/commands/check.h"

static CheckReport report;
static char *printed;
static size_t printed_len;

static void begin(bool as_json, bool is_ascii, size_t width)
{
        check_report_init(&report, as_json);
        report.out = open_memstream(&printed, &printed_len);
        assert_non_null(report.out);
        report.is_ascii = is_ascii;
        report.width = width;
}

static void assert_printed(int status, const char *expected)
{
        assert_int_equal(check_report_end(&report), status);
        assert_int_equal(fclose(report.out), 0);
        assert_string_equal(printed, expected);
        free(printed);
}

static void add_three_steps(void)
{
        check_report_step(&report, "a", "first", CHECK_OK, NULL, "key %s", "AKID…0001");
        check_report_step(&report, "b", "second", CHECK_FAILED, "do that", "it's %d", 7);
        check_report_step(&report, "c", "third", CHECK_SKIPPED, NULL, "skipped");
}

static void test_for_people(void **state)
{
        (void)state;
        begin(false, false, 0);
        add_three_steps();
        assert_printed(EXIT_FAILURE, "✓ first          key AKID…0001\n"
                                     "✗ second         it's 7\n"
                                     "                 → do that\n"
                                     "– third          skipped\n"
                                     "\nA mount would not work: 1 step failed.\n");
}

static void test_in_ascii(void **state)
{
        (void)state;
        begin(false, true, 0);
        add_three_steps();
        assert_printed(EXIT_FAILURE, "+ first          key AKID...0001\n"
                                     "x second         it's 7\n"
                                     "                 -> do that\n"
                                     "- third          skipped\n"
                                     "\nA mount would not work: 1 step failed.\n");
}

static void test_success(void **state)
{
        (void)state;
        begin(false, false, 0);
        check_report_step(&report, "a", "first", CHECK_OK, "but do that", "fine");
        check_report_step(&report, "b", "second", CHECK_SKIPPED, NULL, "unknown");
        assert_printed(EXIT_SUCCESS, "✓ first          fine\n"
                                     "                 → but do that\n"
                                     "– second         unknown\n"
                                     "\nA mount would work.\n");
}

static void test_long_lines_are_wrapped(void **state)
{
        (void)state;
        begin(false, false, 40);
        check_report_step(&report, "a", "first", CHECK_FAILED, "öne twö three föur five six",
                "one two three four five averyveryverylongwordindeed end");
        assert_printed(EXIT_FAILURE, "✗ first          one two three four five\n"
                                     "                 averyveryverylongwordindeed\n"
                                     "                 end\n"
                                     "                 → öne twö three föur\n"
                                     "                   five six\n"
                                     "\nA mount would not work: 1 step failed.\n");
}

static void test_control_characters_do_not_get_out(void **state)
{
        (void)state;
        begin(false, false, 0);
        check_report_step(&report, "a", "first", CHECK_OK, "\x1b[31m", "x\ny\x7f");
        assert_printed(EXIT_SUCCESS, "✓ first          x?y?\n"
                                     "                 → ?[31m\n"
                                     "\nA mount would work.\n");
}

static void test_for_machines(void **state)
{
        (void)state;
        begin(true, false, 0);
        add_three_steps();
        assert_int_equal(check_report_end(&report), EXIT_FAILURE);
        assert_int_equal(fclose(report.out), 0);
        CLEANUP(json_free_p) cJSON *json = NULL;
        assert_int_equal(json_parse(printed, printed_len, 8, &json), 0);
        free(printed);
        const cJSON *ok = NULL, *steps = NULL, *step;
        assert_int_equal(json_member(json, "ok", &ok), 0);
        assert_true(cJSON_IsFalse(ok));
        assert_int_equal(json_member(json, "steps", &steps), 0);
        assert_int_equal(cJSON_GetArraySize(steps), 3);
        step = cJSON_GetArrayItem(steps, 0);
        assert_string_equal(json_string(step, "name"), "a");
        assert_string_equal(json_string(step, "detail"), "key AKID…0001");
        assert_true(cJSON_IsTrue(cJSON_GetObjectItem(step, "ok")));
        assert_true(cJSON_IsNull(cJSON_GetObjectItem(step, "remedy")));
        step = cJSON_GetArrayItem(steps, 1);
        assert_true(cJSON_IsFalse(cJSON_GetObjectItem(step, "ok")));
        assert_string_equal(json_string(step, "remedy"), "do that");
        assert_true(cJSON_IsNull(cJSON_GetObjectItem(cJSON_GetArrayItem(steps, 2), "ok")));
}

/* A full disk, a closed pipe: what wasn't written is no success. */
static void test_what_cannot_be_written(void **state)
{
        (void)state;
        check_report_init(&report, false);
        report.out = fopen("/dev/full", "we");
        assert_non_null(report.out);
        check_report_step(&report, "a", "first", CHECK_OK, NULL, "fine");
        assert_int_equal(check_report_end(&report), EXIT_FAILURE);
        (void)fclose(report.out);
}

static void set_locale_variables(const char *all, const char *ctype, const char *lang)
{
        const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"}, *const values[] = {all, ctype, lang};
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                assert_int_equal(values[i] ? setenv(names[i], values[i], 1) : unsetenv(names[i]), 0);
}

static void test_locale(void **state)
{
        (void)state;
        static const struct {
                const char *all, *ctype, *lang;
                bool is_ascii;
        } cases[] = {
                {NULL, NULL, NULL, false},
                {NULL, NULL, "C", true},
                {NULL, NULL, "POSIX", true},
                {NULL, NULL, "C.UTF-8", false},
                {NULL, NULL, "de_DE.UTF-8", false},
                {"C", NULL, "de_DE.UTF-8", true},
                {"", "", "C", true},
                {"de_DE.UTF-8", "C", "C", false},
                {NULL, "C", "de_DE.UTF-8", true},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                set_locale_variables(cases[i].all, cases[i].ctype, cases[i].lang);
                check_report_init(&report, false);
                assert_int_equal(report.is_ascii, cases[i].is_ascii);
                buf_deinit(&report.text);
        }
}

static void test_remedies_are_cut_off(void **state)
{
        (void)state;
        static const struct {
                const char *text, *detail, *remedy;
        } cases[] = {
                {"wrong; mend it", "wrong", "mend it"},
                {"a; b; c", "a; b", "c"},
                {"wrong", "wrong", "otherwise"},
                {"wrong;mend", "wrong;mend", "otherwise"},
                {"none; set it (x: y; z)", "none", "set it (x: y; z)"},
                {"", "", "otherwise"},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                char text[64];
                (void)snprintf(text, sizeof text, "%s", cases[i].text);
                assert_string_equal(check_cut_remedy(text, "otherwise"), cases[i].remedy);
                assert_string_equal(text, cases[i].detail);
        }
}

static void test_fuse_conf(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                bool allows;
        } cases[] = {
                {"", false},
                {"user_allow_other", true},
                {"user_allow_other\n", true},
                {"mount_max = 3\n \tuser_allow_other \t # yes\n", true},
                {"#user_allow_other\n", false},
                {"user_allow_other = 1\n", false},
                {"xuser_allow_other\n", false},
                {"user_allow_others\n", false},
                {"\n\n\nuser_allow_other\r\n", true},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                char text[128];
                (void)snprintf(text, sizeof text, "%s", cases[i].text);
                assert_int_equal(check_conf_allows_other(text), cases[i].allows);
        }
}

static void test_times(void **state)
{
        (void)state;
        static const struct {
                int64_t after_s;
                const char *text;
        } cases[] = {
                {0, "2030-01-31T12:00:00Z (in 0 seconds)"},
                {1, "2030-01-31T12:00:01Z (in 1 second)"},
                {-1, "2030-01-31T11:59:59Z (1 second ago)"},
                {119, "2030-01-31T12:01:59Z (in 119 seconds)"},
                {120, "2030-01-31T12:02:00Z (in 2 minutes)"},
                {7200, "2030-01-31T14:00:00Z (in 2 hours)"},
                {-86400 * 3, "2030-01-28T12:00:00Z (3 days ago)"},
        };
        const int64_t now_s = 1896091200;
        clock_set_fake(NS_PER_S, now_s * (int64_t)NS_PER_S);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                char text[64];
                check_format_time((now_s + cases[i].after_s) * (int64_t)NS_PER_S, text);
                assert_string_equal(text, cases[i].text);
        }
        clock_unset_fake();
}

static void test_is_asked(void **state)
{
        (void)state;
        static const struct {
                const char *words[4];
                bool is_asked;
        } cases[] = {
                {{"-o", "nonsense", "--check"}, true},
                {{"--che"}, true},
                {{"-o", "nonsense", "/mnt"}, false},
                {{"--", "--check"}, false},
                {{"--"}, false},
                {{NULL}, false},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                char words[4][16] = {"tokenfs"}, *argv[5] = {words[0], NULL};
                int argc = 1;
                for (; cases[i].words[argc - 1]; argc++) {
                        (void)snprintf(words[argc], sizeof words[argc], "%s", cases[i].words[argc - 1]);
                        argv[argc] = words[argc];
                }
                assert_int_equal(check_is_asked(argc, argv), cases[i].is_asked);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_for_people),
                cmocka_unit_test(test_in_ascii),
                cmocka_unit_test(test_success),
                cmocka_unit_test(test_long_lines_are_wrapped),
                cmocka_unit_test(test_control_characters_do_not_get_out),
                cmocka_unit_test(test_for_machines),
                cmocka_unit_test(test_what_cannot_be_written),
                cmocka_unit_test(test_locale),
                cmocka_unit_test(test_remedies_are_cut_off),
                cmocka_unit_test(test_fuse_conf),
                cmocka_unit_test(test_times),
                cmocka_unit_test(test_is_asked),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
