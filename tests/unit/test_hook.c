/* The command's life in the supervisor: started for a change, limited in time, one at a time; and what a worker may say. */

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
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/hook.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

static char web[] = "web", other[] = "other", mountpoint[] = "/mnt";
static char *names[] = {web, other};
static Options options;
static Supervisor supervisor;
static int worker;

static void make(const char *command)
{
        int ends[2];
        static char text[64];
        (void)snprintf(text, sizeof text, "%s", command);
        options = (Options){.watch_names = {names, 2}, .on_change = text};
        supervisor = (Supervisor){.options = &options, .mountpoint = mountpoint, .worker = 1};
        for (size_t i = 0; i < DUE_COUNT; i++)
                supervisor.due_ns[i] = CLOCK_NEVER;
        changes_init(&supervisor.changes, &options);
        assert_int_equal(nodes_new(&supervisor.slots), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        supervisor.watch = ends[0];
        worker = ends[1];
        log_silence();
}

static int tear_down(void **state)
{
        (void)state;
        pid_t command = supervisor.command;
        hook_stop(&supervisor);
        if (command > 0)
                (void)waitpid(command, NULL, 0);
        cleanup_close(&supervisor.watch);
        cleanup_close(&worker);
        supervisor.slots = nodes_free(supervisor.slots);
        return 0;
}

static void say(const char *name, const char *id)
{
        ChangeReport report = {0};
        (void)snprintf(report.name, sizeof report.name, "%s", name);
        (void)snprintf(report.id, sizeof report.id, "%s", id);
        assert_int_equal(send(worker, &report, sizeof report, 0), sizeof report);
        hook_listen(&supervisor);
}

static int wait_for_end(void)
{
        int wait_status = 0;
        assert_int_equal(waitpid(supervisor.command, &wait_status, 0), supervisor.command);
        return wait_status;
}

static void test_one_at_a_time(void **state)
{
        (void)state;
        make("true");
        say("web", "at-1");
        assert_int_equal(supervisor.command, 0);
        say("web", "at-2");
        pid_t first = supervisor.command;
        assert_true(first > 0);
        assert_true(supervisor.due_ns[DUE_COMMAND_LATE] != CLOCK_NEVER);
        say("web", "at-3");
        assert_int_equal(supervisor.command, first);
        int wait_status = wait_for_end();
        assert_true(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0);
        hook_ended(&supervisor, wait_status);
        assert_int_equal(supervisor.command, 0);
        assert_true(supervisor.due_ns[DUE_COMMAND_LATE] == CLOCK_NEVER);
        /* The pause holds, whatever the worker says. */
        say("web", "at-4");
        assert_int_equal(supervisor.command, 0);
        assert_true(supervisor.due_ns[DUE_COMMAND] != CLOCK_NEVER);
        supervisor.due_ns[DUE_COMMAND] = CLOCK_NEVER;
        hook_run(&supervisor);
        assert_true(supervisor.command > 0);
        assert_string_equal(supervisor.changes.items[0].told, "at-4");
}

static void test_killed_when_late(void **state)
{
        (void)state;
        make("sh -c 'sleep 1000 & sleep 1000'");
        say("web", "at-1");
        say("web", "at-2");
        hook_late(&supervisor);
        int wait_status = wait_for_end();
        assert_true(WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL);
        hook_ended(&supervisor, wait_status);
        /* When nothing runs, nothing is killed. */
        hook_late(&supervisor);
}

static void test_cannot_be_run(void **state)
{
        (void)state;
        make("/nonexistent");
        say("web", "at-1");
        say("web", "at-2");
        int wait_status = wait_for_end();
        assert_true(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 127);
        hook_ended(&supervisor, wait_status);
}

static void test_odd_worker(void **state)
{
        (void)state;
        make("true");
        char text[sizeof(ChangeReport) + 1];
        memset(text, 'a', sizeof text);
        for (size_t len = 1; len <= sizeof text; len++) {
                supervisor.worker_is_odd = false;
                assert_int_equal(send(worker, text, len, 0), len);
                hook_listen(&supervisor);
                assert_true(supervisor.worker_is_odd);
        }
        say("unwatched", "at-1");
        assert_int_equal(supervisor.changes.count, 0);
        /* Its end. */
        cleanup_close(&worker);
        hook_listen(&supervisor);
        assert_int_equal(supervisor.watch, -1);
        assert_int_equal(supervisor.command, 0);
}

/* A binary hands over to the next one, which is this one again. */
static void hand_over(void)
{
        int fd = -1;
        assert_int_equal(hook_pass_on(&supervisor, &fd), 0);
        assert_int_equal(fcntl(fd, F_GETFD), 0);
        changes_deinit(&supervisor.changes);
        supervisor.command = 0;
        hook_take_over(&supervisor);
        assert_null(secure_getenv("TOKENFS_CHANGES"));
        assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_passed_on(void **state)
{
        (void)state;
        make("sleep 1000");
        say("web", "at-1");
        say("other", "at-5");
        say("web", "at-2");
        say("other", "at-6");
        pid_t command = supervisor.command;
        assert_true(command > 0);
        hand_over();
        assert_int_equal(supervisor.command, command);
        assert_string_equal(supervisor.changes.items[0].told, "at-2");
        assert_string_equal(changes_pending(&supervisor.changes)->name, "other");
}

/* As many names, as long as they may be. */
static void test_passes_many_on(void **state)
{
        (void)state;
        enum { MANY = 1000 };
        static char texts[MANY][TOKEN_NAME_MAX + 1];
        static char *many[MANY];
        char id[TOKEN_ID_MAX + 1];
        make("true");
        for (int i = 0; i < MANY; i++) {
                (void)snprintf(texts[i], sizeof texts[i], "n%0*d", TOKEN_NAME_MAX - 1, i);
                many[i] = texts[i];
        }
        options.watch_names = (OptionList){many, MANY};
        changes_init(&supervisor.changes, &options);
        supervisor.is_stopping = true; /* nothing is run */
        for (int i = 0; i < MANY; i++) {
                (void)snprintf(id, sizeof id, "at-%0*d", TOKEN_ID_MAX - 3, i);
                say(many[i], id);
        }
        say(many[MANY - 1], "at-new");
        hand_over();
        assert_int_equal(supervisor.command, 0);
        assert_int_equal(supervisor.changes.count, MANY);
        assert_string_equal(changes_pending(&supervisor.changes)->name, many[MANY - 1]);
}

static void test_passed_on_badly(void **state)
{
        (void)state;
        make("true");
        static const char *const texts[] = {"", "x", "5", "-1\n", "99999999999\n", "0\nat-1"};
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
                for (size_t ended = 0; ended < 2; ended++) {
                        int fd = -1;
                        char number[12];
                        assert_int_equal(handover_store(texts[i], strlen(texts[i]) + ended, &fd), 0);
                        (void)snprintf(number, sizeof number, "%d", fd);
                        assert_int_equal(setenv("TOKENFS_CHANGES", number, 1), 0);
                        hook_take_over(&supervisor);
                        assert_int_equal(supervisor.command, 0);
                        assert_int_equal(fcntl(fd, F_GETFD), -1);
                }
        static const char *const numbers[] = {"", "x", "-1", "990", "5\n"};
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
                assert_int_equal(setenv("TOKENFS_CHANGES", numbers[i], 1), 0);
                hook_take_over(&supervisor);
                assert_int_equal(supervisor.command, 0);
                assert_null(secure_getenv("TOKENFS_CHANGES"));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_one_at_a_time, tear_down),
                cmocka_unit_test_teardown(test_killed_when_late, tear_down),
                cmocka_unit_test_teardown(test_cannot_be_run, tear_down),
                cmocka_unit_test_teardown(test_odd_worker, tear_down),
                cmocka_unit_test_teardown(test_passed_on, tear_down),
                cmocka_unit_test_teardown(test_passes_many_on, tear_down),
                cmocka_unit_test_teardown(test_passed_on_badly, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
