/* The log: what gets through, and in which form. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenfs/base/log.h"

static char captured[8192];
static long captured_to;
static FILE *sink;
static int saved_stderr;

static int setup(void **state)
{
        (void)state;
        captured_to = 0;
        sink = tmpfile();
        saved_stderr = dup(2);
        return !sink || saved_stderr < 0 || dup2(fileno(sink), 2) < 0;
}

static int teardown(void **state)
{
        (void)state;
        (void)dup2(saved_stderr, 2);
        (void)close(saved_stderr);
        (void)fclose(sink);
        log_open(LOG_LEVEL_INFO, false);
        return 0;
}

/* What was written since the last time. */
static const char *written(void)
{
        (void)fseek(sink, captured_to, SEEK_SET);
        size_t len = fread(captured, 1, sizeof captured - 1, sink);
        captured[len] = '\0';
        captured_to += (long)len;
        return captured;
}

static void test_levels(void **state)
{
        (void)state;
        static const LogLevel levels[] = {
                LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG};
        static const char *const expected[] = {
                "tokenfs: error: e 1\n",
                "tokenfs: error: e 1\ntokenfs: warning: w\n",
                "tokenfs: error: e 1\ntokenfs: warning: w\ntokenfs: info: i\n",
                "tokenfs: error: e 1\ntokenfs: warning: w\ntokenfs: info: i\ntokenfs: debug: d\n",
        };
        for (size_t i = 0; i < 4; i++) {
                log_open(levels[i], false);
                assert_int_equal(log_level(), levels[i]);
                log_error("e %d", 1);
                log_warning("w");
                log_info("i");
                log_debug("d");
                assert_string_equal(written(), expected[i]);
        }
}

static void test_one_line_a_message(void **state)
{
        (void)state;
        log_open(LOG_LEVEL_INFO, false);
        log_info("%s", "a\nb\r\x1b[31m\x7f\tc\xC3\xA4");
        assert_string_equal(written(), "tokenfs: info: a?b??[31m??c\xC3\xA4\n");
        log_info("%s", "");
        assert_string_equal(written(), "tokenfs: info: \n");
}

static void test_long_messages_are_cut(void **state)
{
        (void)state;
        char text[3000];
        memset(text, 'x', sizeof text);
        text[sizeof text - 1] = '\0';
        log_info("%s", text);
        const char *line = written();
        assert_int_equal(strlen(line), strlen("tokenfs: info: ") + 1023 + 1);
        assert_string_equal(line + strlen(line) - 5, "x...\n");
        log_info("%.1023s", text);
        line = written();
        assert_string_equal(line + strlen(line) - 5, "xxxx\n");
}

static void test_keeps_errno(void **state)
{
        (void)state;
        errno = ENOTTY;
        log_info("x");
        log_debug("not written");
        assert_int_equal(errno, ENOTTY);
        assert_string_equal(written(), "tokenfs: info: x\n");
}

static void test_syslog_instead(void **state)
{
        (void)state;
        log_open(LOG_LEVEL_DEBUG, true);
        log_debug("a message of the unit tests");
        assert_string_equal(written(), "");
}

static void test_silence(void **state)
{
        (void)state;
        log_silence();
        log_error("nobody hears this");
        assert_string_equal(written(), "");
        log_open(LOG_LEVEL_ERROR, false);
        log_error("but this");
        assert_string_equal(written(), "tokenfs: error: but this\n");
}

static void test_parse(void **state)
{
        (void)state;
        LogLevel level = LOG_LEVEL_INFO;
        assert_int_equal(log_level_parse("error", &level), 0);
        assert_int_equal(level, LOG_LEVEL_ERROR);
        assert_int_equal(log_level_parse("warning", &level), 0);
        assert_int_equal(level, LOG_LEVEL_WARNING);
        assert_int_equal(log_level_parse("info", &level), 0);
        assert_int_equal(level, LOG_LEVEL_INFO);
        assert_int_equal(log_level_parse("debug", &level), 0);
        assert_int_equal(level, LOG_LEVEL_DEBUG);
        assert_int_equal(log_level_parse("", &level), -EINVAL);
        assert_int_equal(log_level_parse("Debug", &level), -EINVAL);
        assert_int_equal(log_level_parse("3", &level), -EINVAL);
        assert_int_equal(level, LOG_LEVEL_DEBUG);
}

#define log_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                log_test(test_levels),
                log_test(test_one_line_a_message),
                log_test(test_long_messages_are_cut),
                log_test(test_keeps_errno),
                log_test(test_syslog_instead),
                log_test(test_silence),
                cmocka_unit_test(test_parse),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
