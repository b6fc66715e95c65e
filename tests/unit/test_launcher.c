/* credential_process through the helper: it runs what the configuration says, every end is reported, and nothing is
 * left behind. */

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenfs/programs/runner.h"
#include "tokenfs/programs/launcher.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/net/http.h"

#define TURN_MAX_NS (60 * NS_PER_S) /* a bound against hanging, no measure of speed */

static char directory[] = "/tmp/tokenfs-launcher-XXXXXX";
static char config[PATH_MAX], flag[PATH_MAX];
static Loop *loop;
static Runner *process;
static bool has_ended;
static RunnerEnd end;
static int status;
static char output[4096];

static void configure(const char *profile, const char *command)
{
        FILE *file = fopen(config, "we");
        assert_non_null(file);
        assert_true(fprintf(file,
                            "[%s]\ncredential_process = %s\n"
                            "[profile empty]\nregion = x\n[profile hang]\ncredential_process = sleep 1000\n",
                            profile, command) > 0);
        assert_int_equal(fclose(file), 0);
}

static void on_end(const RunnerResult *result, void *userdata)
{
        (void)userdata;
        process = NULL;
        has_ended = true;
        end = result->end;
        status = result->status;
        (void)snprintf(output, sizeof output, "%s", buf_str(result->output));
}

static void start(const char *profile, uint64_t timeout_ns, size_t output_max)
{
        /* What the worker takes the command to be doesn't matter: the helper reads it by itself. */
        char lie[] = "/bin/false";
        has_ended = false;
        assert_int_equal(runner_start_of_profile(loop, profile, (char *[]){lie, NULL},
                                 &(RunnerLimits){timeout_ns, output_max}, on_end, NULL, &process),
                0);
}

static void finish(void)
{
        uint64_t until_ns = clock_now_ns() + TURN_MAX_NS;
        while (!has_ended) {
                assert_true(clock_now_ns() < until_ns);
                assert_int_equal(loop_turn(loop, NS_PER_S), 0);
        }
}

static void run(const char *profile)
{
        start(profile, TURN_MAX_NS, 1000);
        finish();
}

static void test_runs_the_configured_command(void **state)
{
        (void)state;
        configure("default", "sh -c 'echo \"$0 $1\"' one 'two words'");
        run("default");
        assert_int_equal(end, RUNNER_EXITED);
        assert_int_equal(status, 0);
        assert_string_equal(output, "one two words\n");
        /* As it is now, not as it was when the helper was started. */
        configure("profile web", "echo changed");
        run("web");
        assert_string_equal(output, "changed\n");
}

static void test_ends(void **state)
{
        (void)state;
        configure("default", "sh -c 'echo half; exit 7'");
        run("default");
        assert_int_equal(end, RUNNER_EXITED);
        assert_int_equal(status, 7);
        assert_string_equal(output, "half\n");

        configure("default", "sh -c 'kill -9 $$'");
        run("default");
        assert_int_equal(end, RUNNER_SIGNALLED);
        assert_int_equal(status, 9);

        configure("default", "sh -c 'while :; do echo endless; done'");
        run("default");
        assert_int_equal(end, RUNNER_TOO_MUCH);

        configure("default", "/nonexistent/program");
        run("default");
        assert_int_equal(end, RUNNER_NOT_STARTED);
        assert_int_equal(status, ENOENT);
}

static void test_only_what_is_configured(void **state)
{
        (void)state;
        configure("default", "echo x");
        run("empty"); /* a profile without a credential_process */
        assert_int_equal(end, RUNNER_NOT_STARTED);
        assert_int_equal(status, ENOENT);
        run("missing");
        assert_int_equal(end, RUNNER_NOT_STARTED);

        configure("default", "'open quote");
        run("default");
        assert_int_equal(end, RUNNER_NOT_STARTED);
        assert_int_equal(status, EINVAL);

        char lie[] = "/bin/true", longer[2000];
        memset(longer, 'p', sizeof longer);
        longer[sizeof longer - 1] = '\0';
        assert_int_equal(runner_start_of_profile(loop, longer, (char *[]){lie, NULL},
                                 &(RunnerLimits){NS_PER_S, 1000}, on_end, NULL, &process),
                -EINVAL);
        assert_null(process);
}

static void test_without_our_descriptors(void **state)
{
        (void)state;
        configure("default", "sh -c 'cd /proc/self/fd && echo *'");
        run("default");
        /* Those of the shell's own look at the directory aside, the standard streams. */
        assert_true(strncmp(output, "0 1 2", 5) == 0);
        assert_true(strlen(output) <= strlen("0 1 2 3\n"));
}

/* Waits until the program, or what it started, is gone: then the lock on `flag` is free. */
static void assert_gone(void)
{
        char command[PATH_MAX + 64];
        (void)snprintf(command, sizeof command, "flock %s echo free", flag);
        configure("default", command);
        run("default");
        assert_string_equal(output, "free\n");
}

static void wait_until_locked(void)
{
        struct stat file_status;
        for (uint64_t until_ns = clock_now_ns() + TURN_MAX_NS; stat(flag, &file_status) < 0;) {
                assert_true(clock_now_ns() < until_ns);
                assert_int_equal(loop_turn(loop, 10 * NS_PER_MS), 0);
        }
}

static void test_given_up_ones_are_killed(void **state)
{
        (void)state;
        char command[PATH_MAX + 64];
        (void)snprintf(command, sizeof command, "flock %s sh -c 'sleep 1000 & sleep 1000'", flag);
        (void)unlink(flag);
        configure("default", command);
        start("default", TURN_MAX_NS, 1000);
        wait_until_locked();
        process = runner_cancel(process);
        assert_false(has_ended);
        assert_gone();

        configure("default", command);
        start("default", 1, 1000);
        finish();
        assert_int_equal(end, RUNNER_TIMED_OUT);
        assert_gone();
}

static void test_many_at_once(void **state)
{
        (void)state;
        configure("default", "echo beside");
        Runner *hanging[20];
        for (size_t i = 0; i < ARRAY_LEN(hanging); i++) {
                start("hang", TURN_MAX_NS, 1000);
                hanging[i] = process;
        }
        run("default"); /* one that hangs holds up nobody */
        assert_int_equal(end, RUNNER_EXITED);
        for (size_t i = 0; i < ARRAY_LEN(hanging); i++)
                runner_cancel(hanging[i]);
}

static void test_without_helper(void **state)
{
        (void)state;
        launcher_stop();
        char program[] = "echo", word[] = "direct";
        has_ended = false;
        assert_int_equal(runner_start_of_profile(loop, "default", (char *[]){program, word, NULL},
                                 &(RunnerLimits){TURN_MAX_NS, 1000}, on_end, NULL, &process),
                0);
        finish();
        assert_string_equal(output, "direct\n");
}

static int set_up(void **state)
{
        (void)state;
        if (!mkdtemp(directory))
                return -1;
        (void)snprintf(config, sizeof config, "%s/config", directory);
        (void)snprintf(flag, sizeof flag, "%s/flag", directory);
        if (setenv("AWS_CONFIG_FILE", config, 1) < 0 ||
                setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials", 1) < 0)
                return -1;
        (void)unsetenv("AWS_PROFILE");
        (void)unsetenv("AWS_DEFAULT_PROFILE");
        if (launcher_start() < 0 || http_global_init() < 0)
                return -1;
        return loop_new(&loop);
}

static int tear_down(void **state)
{
        (void)state;
        loop = loop_free(loop);
        launcher_stop();
        (void)unlink(config);
        (void)unlink(flag);
        return rmdir(directory);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_runs_the_configured_command),
                cmocka_unit_test(test_ends),
                cmocka_unit_test(test_only_what_is_configured),
                cmocka_unit_test(test_without_our_descriptors),
                cmocka_unit_test(test_given_up_ones_are_killed),
                cmocka_unit_test(test_many_at_once),
                cmocka_unit_test(test_without_helper),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
