/* Running credential_process without waiting for it.
 *
 * Why: a credential process may hang, print without end, or leave children behind, and the loop serves readers all the
 * while. How: the program has a process group of its own, so that SIGKILL reaches its children. A pidfd reports its exit:
 * the end of its output may come earlier (it closes it) or never (a child keeps it). Killed processes are not waited for:
 * they are reaped when the next process starts or ends.
 *
 * A process that has locked itself in has programs started by the launcher's helper: then a lifeline takes the place of
 * pid and pidfd. */

#include "tokenfs/programs/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher-private.h"
#include "spawn.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/pidfd.h"
#include "tokenfs/base/secret.h"

struct Runner {
        pid_t pid; /* the process group as well; 0: it has ended, or it is the helper's */
        int pid_fd; /* or the lifeline, if the helper runs it */
        int output_fd;
        LoopFd *pid_source, *output_source;
        LoopTimer timer;
        Buf output;
        RunnerHandler *handler;
        void *userdata;
};

/* Killed, and still to be reaped. */
static pid_t killed[16];

static void reap_killed(void)
{
        for (size_t i = 0; i < ARRAY_LEN(killed); i++)
                if (killed[i] && waitpid(killed[i], NULL, WNOHANG) != 0)
                        killed[i] = 0;
}

static void kill_group(pid_t pid)
{
        (void)kill(-pid, SIGKILL);
        reap_killed();
        if (waitpid(pid, NULL, WNOHANG) != 0)
                return;
        for (size_t i = 0; i < ARRAY_LEN(killed); i++)
                if (!killed[i]) {
                        killed[i] = pid;
                        return;
                }
        (void)waitpid(pid, NULL, 0); /* all places are taken: waits */
}

static Runner *runner_free(Runner *runner)
{
        loop_fd_free(runner->pid_source);
        loop_fd_free(runner->output_source);
        loop_timer_cancel(&runner->timer);
        cleanup_close(&runner->pid_fd);
        cleanup_close(&runner->output_fd);
        buf_deinit(&runner->output);
        free(runner);
        return NULL;
}
CLEANUP_DEFINE(Runner *, runner_free);

static void runner_end(Runner *runner, RunnerEnd end, int status)
{
        if (runner->pid > 0)
                kill_group(runner->pid);
        runner->pid = 0;
        runner->handler(&(RunnerResult){end, status, &runner->output}, runner->userdata);
        runner_free(runner);
}

/* Reads the output that is there. 1: it has ended, 0: more may come, or a negative errno. */
static int runner_read(Runner *runner)
{
        for (;;) {
                char piece[4096];
                ssize_t len = read(runner->output_fd, piece, sizeof(piece));
                if (len < 0 && errno == EINTR)
                        continue;
                if (len <= 0)
                        return len == 0 ? 1 : errno == EAGAIN ? 0 : -errno;
                int r = buf_append(&runner->output, piece, (size_t)len);
                secret_wipe(piece, sizeof(piece));
                if (r < 0)
                        return r;
        }
}

/* True if the read failed; the process has ended then. */
static bool runner_read_failed(Runner *runner, int r)
{
        if (r >= 0)
                return false;
        runner_end(runner, r == -EMSGSIZE ? RUNNER_TOO_MUCH : RUNNER_LOST, -r);
        return true;
}

static void runner_on_output(int fd, short revents, void *userdata)
{
        (void)fd, (void)revents;
        Runner *runner = userdata;
        int r = runner_read(runner);
        if (!runner_read_failed(runner, r) && r == 1)
                runner->output_source = loop_fd_free(runner->output_source);
}

static void runner_on_exit(int fd, short revents, void *userdata)
{
        (void)fd, (void)revents;
        Runner *runner = userdata;
        if (runner_read_failed(runner, runner_read(runner)))
                return;
        siginfo_t info = {0};
        int r = waitid(P_PID, (id_t)runner->pid, &info, WEXITED | WNOHANG);
        if (r == 0 && info.si_pid == 0)
                return;
        runner->pid = 0;
        if (r < 0)
                runner_end(runner, RUNNER_LOST, errno);
        else
                runner_end(runner, info.si_code == CLD_EXITED ? RUNNER_EXITED : RUNNER_SIGNALLED,
                        info.si_status);
}

static void runner_on_timer(LoopTimer *timer, void *userdata)
{
        (void)timer;
        runner_end(userdata, RUNNER_TIMED_OUT, 0);
}

/* Makes all but the process; `ret_child_end` is the descriptor for its output. */
static int runner_new(Loop *loop, const RunnerLimits *limits, RunnerHandler *handler, void *userdata,
        int *ret_child_end, Runner **ret_runner)
{
        CLEANUP(runner_free_p) Runner *runner = calloc(1, sizeof(*runner));
        if (!runner)
                return -ENOMEM;
        runner->pid_fd = runner->output_fd = -1;
        runner->output = BUF_INIT(limits->output_max);
        runner->handler = handler;
        runner->userdata = userdata;
        loop_timer_init(&runner->timer, loop, runner_on_timer, runner);

        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        runner->output_fd = ends[0];
        CLEANUP(cleanup_close) int child_end = ends[1];
        if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        *ret_child_end = child_end;
        child_end = -1;
        *ret_runner = TAKE(runner);
        return 0;
}

/* Adds a started process to the loop. */
static int runner_watch(Runner *runner, Loop *loop, uint64_t timeout_ns, LoopFdHandler *on_exit)
{
        int r = loop_timer_set(&runner->timer, clock_add_ns(clock_now_ns(), timeout_ns));
        if (r == 0)
                r = loop_fd_new(
                        loop, runner->output_fd, POLLIN, runner_on_output, runner, &runner->output_source);
        if (r == 0)
                r = loop_fd_new(loop, runner->pid_fd, POLLIN, on_exit, runner, &runner->pid_source);
        return r;
}

int runner_start(Loop *loop, char *const argv[], const RunnerLimits *limits, RunnerHandler *handler,
        void *userdata, Runner **ret_runner)
{
        reap_killed();
        /* Inherited SIGCHLD=SIG_IGN breaks waitid(). */
        struct sigaction action;
        if (sigaction(SIGCHLD, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
                (void)signal(SIGCHLD, SIG_DFL);

        CLEANUP(runner_free_p) Runner *runner = NULL;
        CLEANUP(cleanup_close) int child_end = -1;
        int r = runner_new(loop, limits, handler, userdata, &child_end, &runner);
        if (r < 0 || !runner)
                return r;
        r = spawn_program(argv, child_end, &runner->pid);
        if (r < 0)
                return r;
        runner->pid_fd = pidfd_get(runner->pid);
        r = runner->pid_fd < 0 ? -errno : runner_watch(runner, loop, limits->timeout_ns, runner_on_exit);
        if (r < 0) {
                kill_group(runner->pid);
                return r;
        }
        *ret_runner = TAKE(runner);
        return 0;
}

/* The helper's report. */
static void runner_on_report(int fd, short revents, void *userdata)
{
        (void)revents;
        Runner *runner = userdata;
        if (runner_read_failed(runner, runner_read(runner)))
                return;
        LauncherReport report;
        ssize_t len = recv(fd, &report, sizeof(report), MSG_DONTWAIT);
        if (len < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (len != (ssize_t)sizeof(report))
                runner_end(runner, RUNNER_LOST, len < 0 ? errno : ECHILD);
        else if (report.error)
                runner_end(runner, RUNNER_NOT_STARTED, report.error);
        else
                runner_end(
                        runner, report.code == CLD_EXITED ? RUNNER_EXITED : RUNNER_SIGNALLED, report.status);
}

int runner_start_of_profile(Loop *loop, const char *profile, char *const argv[], const RunnerLimits *limits,
        RunnerHandler *handler, void *userdata, Runner **ret_runner)
{
        if (!launcher_is_running())
                return runner_start(loop, argv, limits, handler, userdata, ret_runner);
        CLEANUP(runner_free_p) Runner *runner = NULL;
        CLEANUP(cleanup_close) int child_end = -1;
        int r = runner_new(loop, limits, handler, userdata, &child_end, &runner);
        if (r < 0 || !runner)
                return r;
        r = launcher_run(profile, child_end, &runner->pid_fd);
        if (r == 0)
                r = runner_watch(runner, loop, limits->timeout_ns, runner_on_report);
        if (r == 0)
                *ret_runner = TAKE(runner);
        return r;
}

Runner *runner_cancel(Runner *runner)
{
        if (!runner)
                return NULL;
        if (runner->pid > 0)
                kill_group(runner->pid);
        return runner_free(runner);
}
