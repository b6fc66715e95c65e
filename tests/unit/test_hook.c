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
#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

static char web[] = "web", other[] = "other", mountpoint[] = "/mnt";
static char *names[] = {web, other};
static Options options;
static Mount mounted;
static Timers timers;
static Hook hook;
static int worker;

static void make(const char *command)
{
        int ends[2];
        static char text[64];
        (void)snprintf(text, sizeof text, "%s", command);
        options = (Options){.watch_names = {names, 2}, .on_change = text};
        mounted = MOUNT_INIT;
        mounted.path = mountpoint;
        timers_init(&timers);
        hook_init(&hook, &options, &mounted, &timers);
        assert_int_equal(nodes_new(&mounted.slots), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        hook_set_line(&hook, ends[0]);
        worker = ends[1];
        log_silence();
}

static int tear_down(void **state)
{
        (void)state;
        pid_t command = hook.command;
        hook_deinit(&hook);
        if (command > 0)
                (void)waitpid(command, NULL, 0);
        cleanup_close(&worker);
        mounted.slots = nodes_free(mounted.slots);
        return 0;
}

/* What the supervisor's loop does with the timer. */
static void run_due(void)
{
        if (timers_take(&timers, TIMER_COMMAND))
                (void)hook_run(&hook);
}

static void say(const char *name, const char *id)
{
        ChangeReport report = {0};
        (void)snprintf(report.name, sizeof report.name, "%s", name);
        (void)snprintf(report.id, sizeof report.id, "%s", id);
        assert_int_equal(send(worker, &report, sizeof report, 0), sizeof report);
        hook_listen(&hook);
        run_due();
}

static int wait_for_end(void)
{
        int wait_status = 0;
        assert_int_equal(waitpid(hook.command, &wait_status, 0), hook.command);
        return wait_status;
}

static void test_one_at_a_time(void **state)
{
        (void)state;
        make("true");
        say("web", "at-1");
        assert_int_equal(hook.command, 0);
        say("web", "at-2");
        pid_t first = hook.command;
        assert_true(first > 0);
        assert_true(timers.due_ns[TIMER_COMMAND_LATE] != CLOCK_NEVER);
        say("web", "at-3");
        assert_int_equal(hook.command, first);
        int wait_status = wait_for_end();
        assert_true(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0);
        hook_ended(&hook, wait_status);
        assert_int_equal(hook.command, 0);
        assert_true(timers.due_ns[TIMER_COMMAND_LATE] == CLOCK_NEVER);
        /* The pause holds, whatever the worker says. */
        say("web", "at-4");
        assert_int_equal(hook.command, 0);
        assert_true(timers.due_ns[TIMER_COMMAND] != CLOCK_NEVER);
        timers_clear(&timers, TIMER_COMMAND);
        assert_true(hook_run(&hook));
        assert_true(hook.command > 0);
        assert_string_equal(hook.changes.items[0].reported, "at-4");
}

static void test_killed_when_late(void **state)
{
        (void)state;
        make("sh -c 'sleep 1000 & sleep 1000'");
        say("web", "at-1");
        say("web", "at-2");
        hook_kill(&hook);
        int wait_status = wait_for_end();
        assert_true(WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL);
        hook_ended(&hook, wait_status);
        /* When nothing runs, nothing is killed. */
        hook_kill(&hook);
}

static void test_cannot_be_run(void **state)
{
        (void)state;
        make("/nonexistent");
        say("web", "at-1");
        say("web", "at-2");
        int wait_status = wait_for_end();
        assert_true(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 127);
        hook_ended(&hook, wait_status);
}

static void test_odd_worker(void **state)
{
        (void)state;
        make("true");
        char text[sizeof(ChangeReport) + 1];
        memset(text, 'a', sizeof text);
        for (size_t len = 1; len <= sizeof text; len++) {
                hook.line_is_odd = false;
                assert_int_equal(send(worker, text, len, 0), len);
                hook_listen(&hook);
                assert_true(hook.line_is_odd);
        }
        say("unwatched", "at-1");
        assert_int_equal(hook.changes.count, 0);
        /* Its end. */
        cleanup_close(&worker);
        hook_listen(&hook);
        assert_int_equal(hook.line, -1);
        assert_int_equal(hook.command, 0);
}

/* What was known is restored in a successor; `command` is the one that runs there. */
static void hand_over(pid_t command)
{
        CLEANUP(buf_deinit) Buf text = BUF_INIT(1024 * 1024);
        assert_int_equal(changes_write(&hook.changes, &text), 0);
        changes_deinit(&hook.changes);
        hook.command = 0;
        hook_init(&hook, &options, &mounted, &timers);
        hook_restore(&hook, buf_str(&text), command);
}

static void test_passed_on(void **state)
{
        (void)state;
        make("sleep 1000");
        say("web", "at-1");
        say("other", "at-5");
        say("web", "at-2");
        say("other", "at-6");
        pid_t command = hook.command;
        assert_true(command > 0);
        hand_over(command);
        assert_int_equal(hook.command, command);
        assert_true(timers.due_ns[TIMER_COMMAND_LATE] != CLOCK_NEVER);
        assert_string_equal(hook.changes.items[0].reported, "at-2");
        assert_string_equal(changes_pending(&hook.changes)->name, "other");
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
        changes_init(&hook.changes, &options);
        timers_set(&timers, TIMER_COMMAND, 3600 * NS_PER_S); /* nothing is run */
        for (int i = 0; i < MANY; i++) {
                (void)snprintf(id, sizeof id, "at-%0*d", TOKEN_ID_MAX - 3, i);
                say(many[i], id);
        }
        say(many[MANY - 1], "at-new");
        hand_over(0);
        assert_int_equal(hook.command, 0);
        assert_int_equal(hook.changes.count, MANY);
        assert_string_equal(changes_pending(&hook.changes)->name, many[MANY - 1]);
}

/* What can't be read is left out: the next reports are where changes begin. */
static void test_passed_on_badly(void **state)
{
        (void)state;
        make("true");
        static const char *const texts[] = {
                "x", "at-1", "at-1 at-2", "at-1 at-2 web", "at-1  web\n", " at-1 web\n"};
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                hook_restore(&hook, texts[i], 0);
                assert_null(changes_pending(&hook.changes));
        }
        run_due();
        assert_int_equal(hook.command, 0);
        say("web", "at-1");
        assert_int_equal(hook.command, 0);
        say("web", "at-2");
        assert_true(hook.command > 0);
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
