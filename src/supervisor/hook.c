/* Running a command when a watched name means another token.
 *
 * Why: what uses a token (a DNS proxy) must be told to read it again, without a shell loop that watches the file. How:
 * the supervisor runs it, since the worker may start nothing. It runs in a helper that is forked for it: that makes the
 * kernel forget what it holds of the name, so that the command reads what it is told of, and becomes the command. No
 * shell, an environment of its own, nothing secret, no descriptors. One command at a time; what changes meanwhile
 * is one more run for each name (changes.c). One that takes too long is killed with its process group. */

#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tokenfs/fuse/notify.h"
#include "tokenfs/worker/status.h"
#include "tokenfs/base/shellwords.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/base/pidfd.h"

#define COMMAND_NS (60 * NS_PER_S)
/* Between the end of one and the start of the next: a worker that was taken over may say many things. */
#define PAUSE_NS NS_PER_S
#define FORGET_MS 5000
#define PATH_VARIABLE "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define STATE_VARIABLE "TOKENFS_CHANGES"
#define STATE_MAX ((size_t)16 * 1024 * 1024)
#define REPORTS_A_TURN 16

/* Makes the kernel forget the files of the name; not for long, as readers who wait may hold them. */
static void make_kernel_forget(const Supervisor *supervisor, const char *name)
{
        pid_t pid = 0;
        if (notify_start_name(supervisor->session, supervisor->slots, name, &pid) < 0)
                return;
        int fd CLEANUP(cleanup_close) = pidfd_get(pid);
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        if (poll(&ended, 1, FORGET_MS) <= 0) {
                (void)kill(pid, SIGKILL);
                log_warning("on_change: the kernel can't be told to forget '%s' while readers wait", name);
                return;
        }
        (void)waitpid(pid, NULL, 0);
}

static void set_up_process(void)
{
        sigset_t none;
        (void)setpgid(0, 0);
        (void)sigemptyset(&none);
        (void)signal(SIGPIPE, SIG_DFL);
        (void)signal(SIGXFSZ, SIG_DFL);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null >= 0) {
                (void)dup2(null, STDIN_FILENO);
                (void)dup2(STDERR_FILENO, STDOUT_FILENO);
        }
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The environment: pairs in one block of memory, borrowed until the next call. */
static char **make_environment(const Supervisor *supervisor, const Change *change)
{
        static char *pointers[8];
        const char *const pairs[][2] = {
                {"TOKENFS_EVENT", change_event(change)},
                {"TOKENFS_NAME", change->name},
                {"TOKENFS_OLD_ID", change->told},
                {"TOKENFS_NEW_ID", change->now},
                {"TOKENFS_MOUNTPOINT", supervisor->mountpoint},
        };
        static char path[] = PATH_VARIABLE;
        size_t count = 0;
        pointers[count++] = path;
        for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
                if (asprintf(&pointers[count], "%s=%s", pairs[i][0], pairs[i][1]) < 0)
                        return NULL;
                count++;
        }
        pointers[count] = NULL;
        return pointers;
}

/* The helper; doesn't return. */
static void be_helper(const Supervisor *supervisor, const Change *change)
{
        char **words = NULL;
        set_up_process();
        int r = shellwords_split(supervisor->options->on_change, &words);
        char **environment = r == 0 ? make_environment(supervisor, change) : NULL;
        if (!environment)
                _exit(126);
        make_kernel_forget(supervisor, change->name);
        (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
        environ = environment; /* where PATH is looked up */
        (void)execvp(words[0], words);
        log_error("on_change: can't run %s: %s", words[0], strerror(errno));
        _exit(127);
}

static void run(Supervisor *supervisor, const Change *change)
{
        pid_t pid = fork();
        if (pid == 0)
                be_helper(supervisor, change);
        if (pid < 0) {
                log_error("on_change: can't start a process: %s", strerror(errno));
                supervisor_plan(supervisor, DUE_COMMAND, PAUSE_NS);
                return;
        }
        (void)setpgid(pid, pid); /* as it does itself: whoever is first */
        supervisor->command = pid;
        supervisor_plan(supervisor, DUE_COMMAND_LATE, COMMAND_NS);
        Change told;
        changes_take(&supervisor->changes, change, &told);
        log_info("on_change: '%s' %s: %s, was %s", told.name, change_event(&told),
                *told.now ? told.now : "none", *told.told ? told.told : "none");
}

void hook_run(Supervisor *supervisor)
{
        const Change *change = changes_pending(&supervisor->changes);
        if (change && !supervisor->command && supervisor->options->on_change && !supervisor->is_stopping)
                run(supervisor, change);
}

void hook_listen(Supervisor *supervisor)
{
        for (int i = 0; i < REPORTS_A_TURN && supervisor->watch >= 0; i++) {
                ChangeReport report;
                ssize_t len = recv(supervisor->watch, &report, sizeof report, MSG_DONTWAIT | MSG_TRUNC);
                if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR)) {
                        cleanup_close(&supervisor->watch);
                }
                if (len <= 0)
                        break;
                int r = len == (ssize_t)sizeof report ? changes_report(&supervisor->changes, &report)
                                                      : -EINVAL;
                if (r == -EINVAL && !supervisor->worker_is_odd)
                        log_warning("worker %ld says what it has no reason to say", (long)supervisor->worker);
                supervisor->worker_is_odd |= r == -EINVAL;
        }
        if (supervisor->due_ns[DUE_COMMAND] == CLOCK_NEVER) /* not during a pause */
                hook_run(supervisor);
}

void hook_late(Supervisor *supervisor)
{
        if (supervisor->command <= 0)
                return;
        log_warning("on_change: the command takes longer than %d s: killed", (int)(COMMAND_NS / NS_PER_S));
        (void)kill(-supervisor->command, SIGKILL);
}

void hook_ended(Supervisor *supervisor, int wait_status)
{
        supervisor->command = 0;
        supervisor->due_ns[DUE_COMMAND_LATE] = CLOCK_NEVER;
        supervisor_plan(supervisor, DUE_COMMAND, PAUSE_NS);
        if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
                return;
        char end_text[48];
        status_describe_end(wait_status, end_text);
        log_warning("on_change: the command ended by %s", end_text);
}

void hook_stop(Supervisor *supervisor)
{
        if (supervisor->command > 0)
                (void)kill(-supervisor->command, SIGKILL);
        supervisor->command = 0;
        changes_deinit(&supervisor->changes);
}

int hook_pass_on(const Supervisor *supervisor, int *ret_fd)
{
        Buf text = BUF_INIT(STATE_MAX - 1);
        int fd CLEANUP(cleanup_close) = -1;
        (void)buf_appendf(&text, "%ld\n", (long)supervisor->command);
        int r = changes_write(&supervisor->changes, &text);
        if (r == 0)
                r = handover_store(buf_str(&text), text.len + 1, &fd);
        buf_deinit(&text);
        if (r < 0)
                return r;
        *ret_fd = fcntl(fd, F_DUPFD, 3); /* which the next binary keeps */
        if (*ret_fd < 0)
                return -errno;
        char number[12];
        (void)snprintf(number, sizeof number, "%d", *ret_fd);
        return setenv(STATE_VARIABLE, number, 1) < 0 ? -errno : 0;
}

void hook_forget_passed(void)
{
        (void)unsetenv(STATE_VARIABLE);
}

/* 0, -ENOENT, or another negative errno. The text is to be freed. */
static int load_passed(char **ret_text)
{
        const char *number = secure_getenv(STATE_VARIABLE);
        uint64_t value;
        void *text = NULL;
        size_t len = 0;
        if (!number)
                return -ENOENT;
        if (parse_uint(number, INT32_MAX, &value) < 0)
                return -EINVAL;
        int fd CLEANUP(cleanup_close) = (int)value;
        int r = handover_load(fd, &text, &len);
        *ret_text = text;
        return r < 0 ? r : ((char *)text)[len - 1] == '\0' ? 0 : -EINVAL;
}

static int read_passed(Supervisor *supervisor)
{
        CLEANUP(cleanup_free) char *text = NULL;
        int r = load_passed(&text);
        if (r < 0)
                return r;
        char *end = strchr(text, '\n');
        uint64_t pid;
        if (!end)
                return -EINVAL;
        *end = '\0';
        r = parse_uint(text, INT32_MAX, &pid);
        if (r == 0 && pid > 1)
                supervisor->command = (pid_t)pid;
        return r < 0 ? r : changes_read(&supervisor->changes, end + 1);
}

void hook_take_over(Supervisor *supervisor)
{
        int r = read_passed(supervisor);
        if (r < 0 && r != -ENOENT)
                log_warning("on_change: what the binary before knew can't be read: beginning anew");
        if (supervisor->command)
                supervisor_plan(supervisor, DUE_COMMAND_LATE, COMMAND_NS);
        else
                supervisor_plan(supervisor, DUE_COMMAND, 0);
        hook_forget_passed();
}
