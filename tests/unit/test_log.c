/* The log: what gets through, and in which form. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
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

static void test_levels_for_the_journal(void **state)
{
        (void)state;
        struct stat status;
        char stream[64];
        assert_int_equal(fstat(2, &status), 0);
        (void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
        assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
        log_open(LOG_LEVEL_DEBUG, false);
        log_error("e");
        log_warning("w");
        log_info("i");
        log_debug("d");
        assert_string_equal(written(),
                "<3>tokenfs: error: e\n<4>tokenfs: warning: w\n<6>tokenfs: info: i\n<7>tokenfs: debug: d\n");
        /* Redirected since. */
        assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0);
        log_open(LOG_LEVEL_INFO, false);
        log_error("e");
        assert_string_equal(written(), "tokenfs: error: e\n");
        assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
}

#define MANY 5000 /* more lines than a pipe of PIPE_BYTES or a socket's queue takes */
#define PIPE_BYTES 65536 /* the default where pages have 4 KiB; elsewhere it is more */

static void test_pipe_that_nobody_reads(void **state)
{
        (void)state;
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_in_range(fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES), 1, 2 * PIPE_BYTES);
        assert_int_equal(dup2(ends[1], 2), 2);
        for (int i = 0; i < MANY; i++)
                log_error("%d", i);
        assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0); /* it is others' as well */

        /* From line to line: none is cut, and what is missing is told. */
        assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
        FILE *lines = fdopen(ends[0], "r");
        assert_non_null(lines);
        char line[256], expected[256];
        int taken = 0;
        for (; fgets(line, sizeof line, lines); taken++) {
                (void)snprintf(expected, sizeof expected, "tokenfs: error: %d\n", taken);
                assert_string_equal(line, expected);
        }
        assert_in_range(taken, 1, MANY - 1);
        clearerr(lines);
        log_info("the next");
        (void)snprintf(expected, sizeof expected,
                "tokenfs: warning: log: nobody took %d lines before this one: they are lost\n", MANY - taken);
        assert_non_null(fgets(line, sizeof line, lines));
        assert_string_equal(line, expected);
        assert_non_null(fgets(line, sizeof line, lines));
        assert_string_equal(line, "tokenfs: info: the next\n");
        assert_null(fgets(line, sizeof line, lines));
        assert_int_equal(fclose(lines), 0);
        (void)close(ends[1]);
}

/* In a mount namespace of its own: a daemon of syslog that takes nothing, and then something. Its exit status. */
static int be_syslog(int type)
{
        const struct sockaddr_un address = {AF_UNIX, "/dev/log"};
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("tmpfs", "/dev", "tmpfs", 0, NULL) < 0)
                return 77;
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
                (type == SOCK_STREAM && listen(fd, 1) < 0))
                return 1;
        log_open(LOG_LEVEL_INFO, true);
        for (int i = 0; i < MANY; i++)
                log_error("%d", i);
        char text[2048];
        for (bool is_told = false; !is_told;) {
                int from = type == SOCK_STREAM ? accept4(fd, NULL, NULL, SOCK_CLOEXEC) : fd;
                ssize_t len = recv(from, text, sizeof text - 1, 0);
                if (len <= 0)
                        return 2;
                text[len] = '\0';
                if (strncmp(text, "<27>", 4) != 0 && strncmp(text, "<28>", 4) != 0)
                        return 3;
                is_told = strstr(text, "]: log: nobody took ");
                if (type == SOCK_STREAM)
                        (void)close(from);
                if (!is_told)
                        log_error("the next");
        }
        return 0;
}

static void test_syslog_that_takes_nothing(void **state)
{
        (void)state;
        static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
        for (size_t i = 0; i < 2; i++) {
                int wait_status = 0;
                pid_t pid = fork();
                assert_true(pid >= 0);
                if (pid == 0)
                        _exit(be_syslog(types[i]));
                assert_int_equal(waitpid(pid, &wait_status, 0), pid);
                assert_true(WIFEXITED(wait_status));
                if (WEXITSTATUS(wait_status) == 77)
                        skip();
                assert_int_equal(WEXITSTATUS(wait_status), 0);
        }
}

/* A line that must be taken: nothing is said of one that isn't, and nothing is lost; the level doesn't count. */
static void test_try(void **state)
{
        (void)state;
        int ends[2];
        char line[256];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_in_range(fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES), 1, 2 * PIPE_BYTES);
        assert_int_equal(dup2(ends[1], 2), 2);
        log_open(LOG_LEVEL_ERROR, false);
        int taken = 0;
        while (log_try("%d", taken))
                taken++;
        assert_in_range(taken, 1, MANY);
        assert_false(log_try("refused"));

        FILE *lines = fdopen(ends[0], "r");
        assert_non_null(lines);
        assert_non_null(
                fgets(line, sizeof line, lines)); /* the stream takes more than a line: there is room */
        assert_string_equal(line, "tokenfs: info: 0\n");
        assert_true(log_try("the next\n"));
        for (int i = 1; i < taken; i++)
                assert_non_null(fgets(line, sizeof line, lines));
        assert_non_null(fgets(line, sizeof line, lines));
        assert_string_equal(line, "tokenfs: info: the next?\n");
        assert_int_equal(fclose(lines), 0);
        (void)close(ends[1]);
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
                log_test(test_levels_for_the_journal),
                log_test(test_pipe_that_nobody_reads),
                log_test(test_syslog_that_takes_nothing),
                log_test(test_try),
                log_test(test_silence),
                cmocka_unit_test(test_parse),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
