/* Running a command when a watched name means another token.
 *
 * Why: a program that uses a token (a DNS proxy) must read it again, without a shell loop that watches the file. How:
 * the supervisor runs it, since the worker may start nothing. It runs in a helper that is forked for it: that makes the
 * kernel forget what it holds of the name, so that the command reads the new token, and becomes the command. No shell,
 * an environment of its own, nothing secret, no descriptors. One command runs at a time; changes meanwhile are one more
 * run for each name (changes.c). One that takes too long is killed with its process group. */

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
#include "tokenfs/base/pidfd.h"

#define COMMAND_NS (60 * NS_PER_S)
/* Between the end of one and the start of the next: a worker that was taken over may say many things. */
#define PAUSE_NS NS_PER_S
#define FORGET_MS 5000
#define PATH_VARIABLE "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define CHANGES_MAX ((size_t)8 * 1024 * 1024) /* as text; so many names can't be watched */
#define REPORTS_A_TURN 16

/* Makes the kernel forget the files of the name; not for long, as waiting readers may hold them. */
static void make_kernel_forget(const Hook *hook, const char *name)
{
        pid_t pid = 0;
        if (notify_start(hook->mount->session, hook->mount->slots, name, &pid) < 0)
                return;
        int fd CLEANUP(cleanup_close) = pidfd_get(pid);
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        if (poll(&ended, 1, FORGET_MS) <= 0) {
                (void)kill(pid, SIGKILL);
                log_warning("on_change: the kernel can't forget '%s' while readers wait", name);
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
static char **make_environment(const Hook *hook, const Change *change)
{
        static char *pointers[8];
        const char *const pairs[][2] = {
                {"TOKENFS_EVENT", change_event(change)},
                {"TOKENFS_NAME", change->name},
                {"TOKENFS_OLD_ID", change->reported},
                {"TOKENFS_NEW_ID", change->now},
                {"TOKENFS_MOUNTPOINT", hook->mount->path},
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
static void be_helper(const Hook *hook, const Change *change)
{
        char **words = NULL;
        set_up_process();
        int r = shellwords_split(hook->options->on_change, &words);
        char **environment = r == 0 ? make_environment(hook, change) : NULL;
        if (!environment)
                _exit(126);
        make_kernel_forget(hook, change->name);
        (void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
        environ = environment; /* where PATH is looked up */
        (void)execvp(words[0], words);
        log_error("on_change: can't run %s: %s", words[0], strerror(errno));
        _exit(127);
}

static void run(Hook *hook, const Change *change)
{
        pid_t pid = fork();
        if (pid == 0)
                be_helper(hook, change);
        if (pid < 0) {
                log_error("on_change: can't start a process: %s", strerror(errno));
                timers_set(hook->timers, TIMER_COMMAND, PAUSE_NS);
                return;
        }
        (void)setpgid(pid, pid); /* both processes set it: no matter which is first */
        hook->command = pid;
        timers_set(hook->timers, TIMER_COMMAND_LATE, COMMAND_NS);
        Change taken;
        changes_take(&hook->changes, change, &taken);
        log_info("on_change: '%s' %s: %s, was %s", taken.name, change_event(&taken),
                *taken.now ? taken.now : "none", *taken.reported ? taken.reported : "none");
}

void hook_init(Hook *hook, const Options *options, const Mount *mount, Timers *timers)
{
        *hook = (Hook){.options = options, .mount = mount, .timers = timers, .line = -1};
        changes_init(&hook->changes, options);
}

void hook_deinit(Hook *hook)
{
        if (hook->command > 0)
                (void)kill(-hook->command, SIGKILL);
        hook->command = 0;
        cleanup_close(&hook->line);
        changes_deinit(&hook->changes);
}

void hook_set_line(Hook *hook, int line)
{
        cleanup_close(&hook->line);
        hook->line = line;
        hook->line_is_odd = false;
}

bool hook_run(Hook *hook)
{
        const Change *change = changes_pending(&hook->changes);
        if (!change || hook->command || !hook->options->on_change)
                return false;
        run(hook, change);
        return hook->command != 0;
}

void hook_listen(Hook *hook)
{
        for (int i = 0; i < REPORTS_A_TURN && hook->line >= 0; i++) {
                ChangeReport report;
                ssize_t len = recv(hook->line, &report, sizeof report, MSG_DONTWAIT | MSG_TRUNC);
                if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR))
                        cleanup_close(&hook->line);
                if (len <= 0)
                        break;
                int r = len == (ssize_t)sizeof report ? changes_report(&hook->changes, &report) : -EINVAL;
                if (r == -EINVAL && !hook->line_is_odd)
                        log_warning("the worker reports a name that isn't watched, or no name");
                hook->line_is_odd |= r == -EINVAL;
        }
        bool is_pause = hook->timers->due_ns[TIMER_COMMAND] != CLOCK_NEVER;
        if (!is_pause && !hook->command && changes_pending(&hook->changes))
                timers_set(hook->timers, TIMER_COMMAND, 0);
}

void hook_kill(Hook *hook)
{
        if (hook->command <= 0)
                return;
        log_warning("on_change: the command takes longer than %d s: killed", (int)(COMMAND_NS / NS_PER_S));
        (void)kill(-hook->command, SIGKILL);
}

void hook_ended(Hook *hook, int wait_status)
{
        hook->command = 0;
        timers_clear(hook->timers, TIMER_COMMAND_LATE);
        timers_set(hook->timers, TIMER_COMMAND, PAUSE_NS);
        if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
                return;
        char end_text[48];
        status_describe_end(wait_status, end_text);
        log_warning("on_change: the command ended by %s", end_text);
}

int hook_save(const Hook *hook, State *state)
{
        CLEANUP(buf_deinit) Buf changes = BUF_INIT(CHANGES_MAX);
        int r = changes_write(&hook->changes, &changes);
        state->command = hook->command;
        state->changes = buf_str(&changes);
        state->mountpoint = hook->mount->path;
        state->audit = hook->options->audit;
        state->newline = hook->options->newline;
        state->init = session_init_message(hook->mount->session, &state->init_len);
        return r < 0 ? r : state_write(hook->mount->state_fd, state);
}

void hook_restore(Hook *hook, const char *changes, pid_t command)
{
        if (changes_read(&hook->changes, changes) < 0)
                log_warning("on_change: what the supervisor before knew can't be read: beginning again");
        hook->command = command;
        if (command)
                timers_set(hook->timers, TIMER_COMMAND_LATE, COMMAND_NS);
        else
                timers_set(hook->timers, TIMER_COMMAND, 0);
}
