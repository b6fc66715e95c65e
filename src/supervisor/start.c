/* The supervisor's start: by a user, or by another binary of it.
 *
 * Everything that can fail for reasons a user can do something about fails here, with a sentence on standard error and
 * nothing left mounted. What a configuration needs may lie on a filesystem that hangs: until there is a mount, signals
 * end the program as they end any other. */

#include "supervisor.h"

#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tokenfs/worker/backend.h"
#include "tokenfs/base/daemonize.h"
#include "tokenfs/fuse/mounts.h"
#include "hook.h"
#include "tokenfs/worker/privileges.h"
#include "sdnotify.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fs/fs.h"

#define HAS_RESEND (UINT64_C(1) << 39) /* FUSE_HAS_RESEND, kernel 6.9; the header of Debian 12 is older */

int supervisor_new_session(Supervisor *supervisor)
{
        const Options *options = supervisor->options;
        const SessionSettings settings = {
                .source = options->source,
                .mount_options = (const char *const *)options->mount_options.items,
                .mount_option_count = options->mount_options.count,
                .debug = options->debug,
                .operations = &fs_operations,
        };
        int r = session_new(&settings, &supervisor->session);
        if (r < 0)
                log_error("can't make a FUSE session: %s", strerror(-r));
        return r;
}

static bool kernel_can_resend(const Session *session)
{
        struct fuse_init_in init;
        size_t len = 0;
        const char *message = session_init_message(session, &len);
        if (!message || len < sizeof(struct fuse_in_header) + sizeof init)
                return false;
        memcpy(&init, message + sizeof(struct fuse_in_header), sizeof init);
        uint64_t flags = init.flags | (init.flags & FUSE_INIT_EXT ? (uint64_t)init.flags2 << 32 : 0);
        return flags & HAS_RESEND;
}

/* Which number /sys/fs/fuse/connections knows the mount by. */
static void find_connection(Supervisor *supervisor)
{
        MountInfo info;
        supervisor->connection = -1;
        if (mounts_find(supervisor->mountpoint, &info) == 0 && mounts_is_ours(&info))
                supervisor->connection = (int)info.minor;
}

static int prepare_mountpoint(Supervisor *supervisor)
{
        const char *given = supervisor->options->mountpoint;
        int r = mounts_resolve(given, &supervisor->mountpoint);
        if (r == 0)
                r = mounts_prepare(supervisor->mountpoint);
        switch (-r) {
        case 0: return 0;
        case ENOENT: log_error("the mount point %s doesn't exist", given); break;
        case ENOTDIR: log_error("the mount point %s is no directory", given); break;
        case EBADF: log_error("%s is no descriptor of /dev/fuse", given); break;
        case ENOSYS: log_error("can't mount on %s: /proc isn't mounted here", given); break;
        case EBUSY: log_error("%s is mounted already (umount it first)", supervisor->mountpoint); break;
        default: log_error("can't mount on %s: %s", given, strerror(-r)); break;
        }
        return r;
}

/* `where`: the mount point, or /dev/fd/N of a connection that is mounted there already. */
static int mount_session(Supervisor *supervisor, const char *where)
{
        int r = session_mount(supervisor->session, where);
        if (r < 0) {
                log_error("can't mount on %s: %s", supervisor->mountpoint,
                        r == -ESTALE ? "a directory on its path was replaced meanwhile" : strerror(-r));
                return r;
        }
        r = session_handshake(supervisor->session);
        if (r == 0)
                return 0;
        switch (-r) {
        case EPROTO:
        case ETIMEDOUT:
                log_error("the connection of %s has been served before: umount, then mount again",
                        supervisor->mountpoint);
                break;
        case EPERM: log_error("nothing is mounted with %s", supervisor->mountpoint); break;
        default: log_error("the kernel's FUSE doesn't answer: %s", strerror(-r)); break;
        }
        session_unmount(supervisor->session);
        return r;
}

/* Paths that are relative mean something here, and nothing later. May be done again. */
static int settle(void)
{
        if (daemonize_fix_environment() < 0 || chdir("/") < 0)
                return -ENOMEM;
        privileges_hide();
        return 0;
}

/* The child that looks at the configuration; doesn't return. */
static void be_configuration_probe(const Options *options)
{
        bool is_fine = privileges_drop(options->user) == 0;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* after the change of user, which undoes it */
        _exit(is_fine && backend_probe(options) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* As the user that the worker will be: a process that keeps its privileges reads no files of others. */
int supervisor_probe_configuration(const Options *options, pid_t *ret_pid)
{
        pid_t pid = fork();
        if (pid < 0) {
                int r = -errno;
                log_error("can't start a process: %s", strerror(-r));
                return r;
        }
        if (pid == 0)
                be_configuration_probe(options);
        *ret_pid = pid;
        return 0;
}

/* Finds what the worker would refuse before anything is mounted. */
static int probe_configuration(const Options *options)
{
        int status = 0;
        pid_t pid = 0;
        int r = supervisor_probe_configuration(options, &pid);
        if (r < 0)
                return r;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS ? 0 : -EINVAL;
}

int supervisor_open_signals(Supervisor *supervisor)
{
        sigset_t signals;
        (void)sigemptyset(&signals);
        static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD};
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
                (void)sigaddset(&signals, numbers[i]);
        if (sigprocmask(SIG_SETMASK, &signals, NULL) < 0)
                return -errno;
        (void)signal(SIGPIPE, SIG_IGN);
        /* What we fork has groups of its own: a terminal that belongs to ours doesn't stop who logs there. */
        (void)signal(SIGTTOU, SIG_IGN);
        (void)signal(SIGTTIN, SIG_IGN);
        supervisor->signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        return supervisor->signals < 0 ? -errno : 0;
}

int supervisor_start_on(Supervisor *supervisor, const char *where)
{
        int r = settle();
        if (r == 0)
                r = supervisor_open_signals(supervisor);
        if (r < 0)
                return r;
        privileges_raise_memlock();
        r = nodes_new(&supervisor->slots);
        if (r < 0) {
                log_error("can't make the node table: %s",
                        r == -EFBIG ? "the limit of file sizes (ulimit -f) is too small" : strerror(-r));
                return r;
        }
        r = supervisor_new_session(supervisor);
        if (r == 0)
                r = mount_session(supervisor, where);
        if (r < 0)
                return r;
        supervisor->shared = nodes_shared(supervisor->slots);
        supervisor->can_resend = kernel_can_resend(supervisor->session);
        find_connection(supervisor);
        return 0;
}

static int start_anew(Supervisor *supervisor)
{
        int r = prepare_mountpoint(supervisor);
        if (r == 0)
                r = settle();
        if (r == 0)
                r = probe_configuration(supervisor->options);
        return r < 0 ? r : supervisor_start_on(supervisor, supervisor->mountpoint);
}

/* The binary as it was when it was started; one that was replaced since has " (deleted)" behind its name. */
static char *find_program(void)
{
        static const char mark[] = " (deleted)";
        char path[4096];
        ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
        if (len <= 0)
                return NULL;
        path[len] = '\0';
        size_t mark_len = sizeof mark - 1;
        if ((size_t)len > mark_len && strcmp(path + (size_t)len - mark_len, mark) == 0)
                path[(size_t)len - mark_len] = '\0';
        return strdup(path);
}

/* What a starter left open by oversight: a lock or a pipe would be held for as long as the mount lives. */
static void close_inherited(const Options *options)
{
        unsigned first = (unsigned)sdnotify_kept_end();
        int given = mounts_descriptor(options->mountpoint);
        if (given >= 0 && (unsigned)given >= first) {
                if ((unsigned)given > first)
                        (void)close_range(first, (unsigned)given - 1, 0);
                first = (unsigned)given + 1;
        }
        (void)close_range(first, ~0U, 0);
}

/* What only means something to who serves waits until then, rather than end the start. */
static void hold_signals(void)
{
        sigset_t held;
        (void)sigemptyset(&held);
        (void)sigaddset(&held, SIGHUP);
        (void)sigaddset(&held, SIGUSR2);
        (void)sigprocmask(SIG_BLOCK, &held, NULL);
}

int supervisor_start(Supervisor *supervisor)
{
        const Options *options = supervisor->options;
        close_inherited(options);
        supervisor->is_background = !options->foreground;
        supervisor->program = find_program();
        supervisor->start_directory = getcwd(NULL, 0);
        /* On its way to the background, who started it is told what is wrong, and nothing else. */
        bool be_quiet = supervisor->is_background && options->log_level > LOG_LEVEL_WARNING;
        log_open(be_quiet ? LOG_LEVEL_WARNING : options->log_level, false);
        if (supervisor->is_background) {
                int r = daemonize_start(&supervisor->report);
                if (r < 0) {
                        log_error("can't go to the background: %s", strerror(-r));
                        return r;
                }
        }
        hold_signals();
        int r = supervisor_start_kept(supervisor);
        if (r == -ENOENT)
                r = start_anew(supervisor);
        /* Only now: autofs lets none but the process group of who asked for the mount pass to the mount point. */
        if (r == 0 && supervisor->is_background)
                (void)setsid();
        return r;
}

static int adopt_session(Supervisor *supervisor, Handover *handover)
{
        CLEANUP(cleanup_free) void *init = NULL;
        size_t len = 0;
        int r = handover_load(handover->init_fd, &init, &len);
        if (r < 0)
                return r;
        r = session_adopt(supervisor->session, handover->fuse_fd, init, len, handover->mountpoint);
        if (r == 0)
                handover->fuse_fd = -1;
        return r;
}

int supervisor_adopt(Supervisor *supervisor, Handover *handover)
{
        if (daemonize_fix_environment() < 0 || chdir("/") < 0)
                return -ENOMEM;
        privileges_hide();
        supervisor->mountpoint = TAKE(handover->mountpoint);
        int r = nodes_adopt(handover->slots_fd, &supervisor->slots);
        if (r == 0) {
                handover->slots_fd = -1;
                r = supervisor_new_session(supervisor);
        }
        handover->mountpoint = supervisor->mountpoint; /* lent */
        if (r == 0)
                r = adopt_session(supervisor, handover);
        handover->mountpoint = NULL;
        if (r < 0) {
                log_error("can't take over from the binary before: %s", strerror(-r));
                return r;
        }
        supervisor->shared = nodes_shared(supervisor->slots);
        supervisor->can_resend = kernel_can_resend(supervisor->session);
        supervisor->worker = handover->worker_pid;
        supervisor->worker_started_ns = clock_now_ns();
        supervisor->control = handover->worker_control;
        handover->worker_control = -1;
        supervisor->had_worker = true;
        find_connection(supervisor);
        return 0;
}

int supervisor_go_on(Supervisor *supervisor, Handover *handover)
{
        supervisor->is_background = handover->is_background;
        supervisor->program = find_program();
        supervisor->start_directory = getcwd(NULL, 0);
        log_open(supervisor->options->log_level, handover->is_background);
        hook_take_over(supervisor);
        int r = supervisor_open_signals(supervisor);
        return r < 0 ? r : supervisor_adopt(supervisor, handover);
}
