/* Programs beside the loop: every end they can have, and that none is left behind. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenfs/programs/runner.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/net/http.h"

static Loop *loop;
static Runner *process;
static unsigned ended;
static RunnerEnd end;
static int status;
static char output[256];
static size_t output_len;

static int setup(void **state)
{
        (void)state;
        process = NULL;
        ended = 0;
        return loop_new(&loop);
}

static int teardown(void **state)
{
        (void)state;
        clock_unset_fake();
        process = runner_cancel(process);
        loop = loop_free(loop);
        return 0;
}

static void on_end(const RunnerResult *result, void *userdata)
{
        assert_ptr_equal(userdata, &ended);
        process = NULL;
        ended++;
        end = result->end;
        status = result->status;
        output_len = result->output->len;
        (void)snprintf(output, sizeof(output), "%s", buf_str(result->output));
}

static int start(const char *script, size_t output_max)
{
        static char shell[] = "sh", option[] = "-c";
        char *argv[] = {shell, option, (char *)(uintptr_t)script, NULL};
        return runner_start(loop, argv, &(RunnerLimits){60 * NS_PER_S, output_max}, on_end, &ended, &process);
}

static void run(const char *script, size_t output_max)
{
        assert_int_equal(start(script, output_max), 0);
        assert_int_equal(ended, 0);
        for (unsigned i = 0; i < 1000 && !ended; i++)
                assert_int_equal(loop_turn(loop, NS_PER_S), 0);
        assert_int_equal(ended, 1);
}

/* No child is left, alive or dead, once those that were killed had time to die. */
static void assert_no_child(void)
{
        int r;
        while ((r = waitpid(-1, NULL, 0)) > 0 || (r < 0 && errno == EINTR))
                ;
        assert_int_equal(errno, ECHILD);
}

static void test_exits(void **state)
{
        (void)state;
        run("printf 'a\\nb'", 100);
        assert_int_equal(end, RUNNER_EXITED);
        assert_int_equal(status, 0);
        assert_string_equal(output, "a\nb");
        assert_no_child();
}

static void test_exits_with_status(void **state)
{
        (void)state;
        run("echo x; exit 7", 100);
        assert_int_equal(end, RUNNER_EXITED);
        assert_int_equal(status, 7);
        assert_string_equal(output, "x\n");
}

static void test_is_killed_by_signal(void **state)
{
        (void)state;
        run("kill -TERM $$", 100);
        assert_int_equal(end, RUNNER_SIGNALLED);
        assert_int_equal(status, SIGTERM);
}

static void test_output_limit(void **state)
{
        (void)state;
        run("head -c 5000 /dev/zero", 5000);
        assert_int_equal(end, RUNNER_EXITED);
        assert_int_equal(output_len, 5000);
        ended = 0;
        run("head -c 5001 /dev/zero; sleep 600", 5000);
        assert_int_equal(end, RUNNER_TOO_MUCH);
        assert_no_child();
        ended = 0;
        run("head -c 5001 /dev/zero", 5000);
        assert_int_equal(end, RUNNER_TOO_MUCH);
}

static void test_closes_its_output_early(void **state)
{
        (void)state;
        run("echo x; exec >&-; sleep 0.1; exit 3", 100);
        assert_int_equal(end, RUNNER_EXITED);
        assert_int_equal(status, 3);
        assert_string_equal(output, "x\n");
}

static void test_leaves_a_child_with_its_output(void **state)
{
        (void)state;
        run("echo x; sleep 600 & echo $!", 100);
        assert_int_equal(end, RUNNER_EXITED);
        assert_memory_equal(output, "x\n", 2);
        assert_int_equal(kill((pid_t)strtol(output + 2, NULL, 10), SIGKILL), 0);
}

static void test_time_limit(void **state)
{
        (void)state;
        clock_set_fake(NS_PER_S, 0);
        assert_int_equal(start("sleep 600 & sleep 600", 100), 0);
        clock_advance_fake(60 * NS_PER_S - 1);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(ended, 0);
        clock_advance_fake(1);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(ended, 1);
        assert_int_equal(end, RUNNER_TIMED_OUT);
        assert_no_child();
}

static void test_cancel(void **state)
{
        (void)state;
        for (unsigned i = 0; i < 20; i++) {
                assert_int_equal(start("sleep 600 & sleep 600", 100), 0);
                process = runner_cancel(process);
                assert_null(process);
        }
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(ended, 0);
        assert_no_child();
        assert_null(runner_cancel(NULL));
}

static void test_cannot_start(void **state)
{
        (void)state;
        static const struct {
                const char *program;
                int error;
        } programs[] = {{"/no/such/program", -ENOENT}, {"no-such-program-in-path", -ENOENT},
                {"/etc/passwd", -EACCES}, {"/", -EACCES}};
        for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
                char *argv[] = {(char *)(uintptr_t)programs[i].program, NULL};
                assert_int_equal(
                        runner_start(loop, argv, &(RunnerLimits){NS_PER_S, 10}, on_end, &ended, &process),
                        programs[i].error);
                assert_null(process);
        }
        assert_no_child();
}

static void test_inherits_nothing(void **state)
{
        (void)state;
        int leaky = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, on purpose */
        assert_true(leaky >= 0);
        run("for fd in /proc/self/fd/*; do echo ${fd##*/}; done; readlink /proc/self/fd/0 /proc/self/fd/2",
                200);
        (void)close(leaky);
        char leaked[16];
        (void)snprintf(leaked, sizeof(leaked), "\n%d\n", leaky);
        assert_null(strstr(output, leaked));
        assert_non_null(strstr(output, "/dev/null\n/dev/null\n"));
}

static void test_signals_are_at_their_defaults(void **state)
{
        (void)state;
        sigset_t blocked, old;
        (void)sigemptyset(&blocked);
        (void)sigaddset(&blocked, SIGTERM);
        (void)sigprocmask(SIG_BLOCK, &blocked, &old);
        void (*chld)(int) = signal(SIGCHLD, SIG_IGN);
        void (*pipe_handler)(int) = signal(SIGPIPE, SIG_IGN);
        run("grep -E 'SigBlk|SigIgn' /proc/self/status | grep -vc -E '0000000000000000|0000000180000000'",
                100);
        (void)signal(SIGCHLD, chld);
        (void)signal(SIGPIPE, pipe_handler);
        (void)sigprocmask(SIG_SETMASK, &old, NULL);
        assert_string_equal(output, "0\n");
        assert_int_equal(end, RUNNER_EXITED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_exits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_exits_with_status, setup, teardown),
                cmocka_unit_test_setup_teardown(test_is_killed_by_signal, setup, teardown),
                cmocka_unit_test_setup_teardown(test_output_limit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_closes_its_output_early, setup, teardown),
                cmocka_unit_test_setup_teardown(test_leaves_a_child_with_its_output, setup, teardown),
                cmocka_unit_test_setup_teardown(test_time_limit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cannot_start, setup, teardown),
                cmocka_unit_test_setup_teardown(test_inherits_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_signals_are_at_their_defaults, setup, teardown),
        };
        if (http_global_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
