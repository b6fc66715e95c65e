/* Running credential_process without waiting for it.
 *
 * Why: a credential process may hang, print without end, or leave children behind, and the loop serves readers all the
 * while. How: posix_spawn (no copy of our memory, which holds secrets) in a process group of its own, so that an end by
 * force reaches its children; a pidfd tells its exit, since the end of its output may come earlier (it closes it) or
 * never (a child keeps it). Killed ones are not waited for: they are reaped when the next process starts or ends.
 *
 * This is the one place that starts programs. A process that has locked itself in has them started by the launcher's
 * helper: then a lifeline takes the place of pid and pidfd. */

#include "runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher-private.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/pidfd.h"
#include "tokenfs/base/secret.h"

struct Process {
        pid_t pid; /* and the process group's; 0: ended, or the helper's */
        int pid_fd; /* or the lifeline, if the helper runs it */
        int output_fd;
        LoopFd *pid_source, *output_source;
        LoopTimer timer;
        Buf output;
        ProcessHandler *handler;
        void *userdata;
};

/* Killed, and not yet reaped. */
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
        (void)waitpid(pid, NULL, 0); /* sixteen that don't die: then we do wait */
}

static Process *process_free(Process *process)
{
        loop_fd_free(process->pid_source);
        loop_fd_free(process->output_source);
        loop_timer_cancel(&process->timer);
        cleanup_close(&process->pid_fd);
        cleanup_close(&process->output_fd);
        buf_deinit(&process->output);
        free(process);
        return NULL;
}
CLEANUP_DEFINE(Process *, process_free);

static void process_end(Process *process, ProcessEnd end, int status)
{
        if (process->pid > 0)
                kill_group(process->pid);
        process->pid = 0;
        process->handler(&(ProcessResult){end, status, &process->output}, process->userdata);
        process_free(process);
}

/* Reads what is there. 1: the output has ended, 0: more may come, or what went wrong. */
static int process_read(Process *process)
{
        for (;;) {
                char piece[4096];
                ssize_t len = read(process->output_fd, piece, sizeof(piece));
                if (len < 0 && errno == EINTR)
                        continue;
                if (len <= 0)
                        return len == 0 ? 1 : errno == EAGAIN ? 0 : -errno;
                int r = buf_append(&process->output, piece, (size_t)len);
                secret_wipe(piece, sizeof(piece));
                if (r < 0)
                        return r;
        }
}

/* True if reading failed, and with it the process. */
static bool process_read_failed(Process *process, int r)
{
        if (r >= 0)
                return false;
        process_end(process, r == -EMSGSIZE ? PROCESS_TOO_MUCH : PROCESS_LOST, -r);
        return true;
}

static void process_on_output(int fd, short revents, void *userdata)
{
        (void)fd, (void)revents;
        Process *process = userdata;
        int r = process_read(process);
        if (!process_read_failed(process, r) && r == 1)
                process->output_source = loop_fd_free(process->output_source);
}

static void process_on_exit(int fd, short revents, void *userdata)
{
        (void)fd, (void)revents;
        Process *process = userdata;
        if (process_read_failed(process, process_read(process)))
                return;
        siginfo_t info = {0};
        int r = waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG);
        if (r == 0 && info.si_pid == 0)
                return;
        process->pid = 0;
        if (r < 0)
                process_end(process, PROCESS_LOST, errno);
        else
                process_end(process, info.si_code == CLD_EXITED ? PROCESS_EXITED : PROCESS_SIGNALLED,
                        info.si_status);
}

static void process_on_timer(LoopTimer *timer, void *userdata)
{
        (void)timer;
        process_end(userdata, PROCESS_TIMED_OUT, 0);
}

int process_spawn(char *const argv[], int output_fd, pid_t *ret_pid)
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none, all;
        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        int r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attributes);
        if (r != 0) {
                (void)posix_spawn_file_actions_destroy(&actions);
                return -r;
        }
        /* The pipe first: it may have any number. */
        if ((r = posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO)) == 0 &&
                (r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)) ==
                        0 &&
                (r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)) ==
                        0 &&
                (r = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)) == 0 &&
                (r = posix_spawnattr_setflags(&attributes,
                         POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)) == 0 &&
                (r = posix_spawnattr_setpgroup(&attributes, 0)) == 0 &&
                (r = posix_spawnattr_setsigmask(&attributes, &none)) == 0 &&
                (r = posix_spawnattr_setsigdefault(&attributes, &all)) == 0)
                r = posix_spawnp(ret_pid, argv[0], &actions, &attributes, argv, environ);
        (void)posix_spawnattr_destroy(&attributes);
        (void)posix_spawn_file_actions_destroy(&actions);
        return -r;
}

/* Everything but the start; `ret_child_end` is where the process is to write. */
static int process_new(Loop *loop, const ProcessLimits *limits, ProcessHandler *handler, void *userdata,
        int *ret_child_end, Process **ret_process)
{
        CLEANUP(process_free_p) Process *process = calloc(1, sizeof(*process));
        if (!process)
                return -ENOMEM;
        process->pid_fd = process->output_fd = -1;
        process->output = BUF_INIT(limits->output_max);
        process->handler = handler;
        process->userdata = userdata;
        loop_timer_init(&process->timer, loop, process_on_timer, process);

        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        process->output_fd = ends[0];
        CLEANUP(cleanup_close) int child_end = ends[1];
        if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        *ret_child_end = child_end;
        child_end = -1;
        *ret_process = TAKE(process);
        return 0;
}

/* Has a process that was started looked after by the loop. */
static int process_watch(Process *process, Loop *loop, uint64_t timeout_ns, LoopFdHandler *on_exit)
{
        int r = loop_timer_set(&process->timer, clock_add_ns(clock_now_ns(), timeout_ns));
        if (r == 0)
                r = loop_fd_new(loop, process->output_fd, POLLIN, process_on_output, process,
                        &process->output_source);
        if (r == 0)
                r = loop_fd_new(loop, process->pid_fd, POLLIN, on_exit, process, &process->pid_source);
        return r;
}

int process_start(Loop *loop, char *const argv[], const ProcessLimits *limits, ProcessHandler *handler,
        void *userdata, Process **ret_process)
{
        reap_killed();
        /* A parent that ignores SIGCHLD hands this down, and nobody could be waited for. */
        struct sigaction action;
        if (sigaction(SIGCHLD, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
                (void)signal(SIGCHLD, SIG_DFL);

        CLEANUP(process_free_p) Process *process = NULL;
        CLEANUP(cleanup_close) int child_end = -1;
        int r = process_new(loop, limits, handler, userdata, &child_end, &process);
        if (r < 0 || !process)
                return r;
        r = process_spawn(argv, child_end, &process->pid);
        if (r < 0)
                return r;
        process->pid_fd = pidfd_get(process->pid);
        r = process->pid_fd < 0 ? -errno : process_watch(process, loop, limits->timeout_ns, process_on_exit);
        if (r < 0) {
                kill_group(process->pid);
                return r;
        }
        *ret_process = TAKE(process);
        return 0;
}

/* The helper's report. */
static void process_on_report(int fd, short revents, void *userdata)
{
        (void)revents;
        Process *process = userdata;
        if (process_read_failed(process, process_read(process)))
                return;
        LauncherReport report;
        ssize_t len = recv(fd, &report, sizeof(report), MSG_DONTWAIT);
        if (len < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (len != (ssize_t)sizeof(report))
                process_end(process, PROCESS_LOST, len < 0 ? errno : ECHILD);
        else if (report.error)
                process_end(process, PROCESS_NOT_STARTED, report.error);
        else
                process_end(process, report.code == CLD_EXITED ? PROCESS_EXITED : PROCESS_SIGNALLED,
                        report.status);
}

int process_start_of_profile(Loop *loop, const char *profile, char *const argv[], const ProcessLimits *limits,
        ProcessHandler *handler, void *userdata, Process **ret_process)
{
        if (!launcher_is_running())
                return process_start(loop, argv, limits, handler, userdata, ret_process);
        CLEANUP(process_free_p) Process *process = NULL;
        CLEANUP(cleanup_close) int child_end = -1;
        int r = process_new(loop, limits, handler, userdata, &child_end, &process);
        if (r < 0 || !process)
                return r;
        r = launcher_run(profile, child_end, &process->pid_fd);
        if (r == 0)
                r = process_watch(process, loop, limits->timeout_ns, process_on_report);
        if (r == 0)
                *ret_process = TAKE(process);
        return r;
}

Process *process_cancel(Process *process)
{
        if (!process)
                return NULL;
        if (process->pid > 0)
                kill_group(process->pid);
        return process_free(process);
}
