/* The hot upgrade.
 *
 * SIGUSR2 executes the binary that lies where ours came from, in this very process. Before that, the same binary is
 * run beside us as a probe, with the same command line and the same descriptors: it does all that the real one will do
 * short of serving. Only a probe that says by its exit status that it can is followed by the real one. The worker of the
 * old binary serves until the new supervisor stands, and then leaves. There needn't be a worker: where workers die
 * again and again, another binary may end that. */

#include "upgrade.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "signals.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/worker/backend.h"
#include "tokenfs/worker/privileges.h"
#include "tokenfs/worker/status.h"

#define PROBE_NS (20 * NS_PER_S)
/* No other program ends with this status by chance. */
#define PROBE_FINE 93

/* The path of this binary; the kernel marks the name of a file that was replaced since. */
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

void upgrade_init(Upgrade *upgrade, char *const *argv, Timers *timers)
{
        *upgrade = (Upgrade){
                .argv = argv,
                .program = find_program(),
                .start_directory = getcwd(NULL, 0),
                .timers = timers,
                .reload = RELOAD_REQUEST_INIT,
        };
}

void upgrade_deinit(Upgrade *upgrade)
{
        upgrade_kill_probe(upgrade);
        if (upgrade->reload.client_fd >= 0)
                reload_answer(&upgrade->reload, "the mount ends");
        free(upgrade->program);
        free(upgrade->start_directory);
        *upgrade = (Upgrade){0};
}

/* Returns only on failure. */
static int execute(const Upgrade *upgrade, const Mount *mount, bool is_probe, int control_fd, int reload_fd)
{
        const Handover handover = {
                .is_probe = is_probe,
                .fuse_fd = session_fd(mount->session),
                .slots_fd = nodes_fd(mount->slots),
                .state_fd = mount->state_fd,
                .control_fd = control_fd,
                .reload_fd = reload_fd,
        };
        /* The command line's relative paths mean what they meant. */
        const ReloadRequest *reload = &upgrade->reload;
        bool is_reload = reload->client_fd >= 0;
        const char *directory = is_reload ? reload->directory : upgrade->start_directory;
        if (directory && chdir(directory) < 0)
                log_debug("%s is gone", directory);
        int r = handover_exec(&handover, upgrade->program, is_reload ? reload->argv : upgrade->argv,
                is_reload ? reload->environment : environ);
        if (chdir("/") < 0)
                log_debug("no root directory");
        return r;
}

bool upgrade_take_request(Upgrade *upgrade, const Options *options, int reload_fd, const char *why_not)
{
        CLEANUP(buf_deinit) Buf error = BUF_INIT(1024);
        ReloadRequest request;
        int r = reload_receive(reload_fd, &request);
        if (r < 0 && r != -EAGAIN)
                log_warning("--reload: a request is refused: %s", strerror(-r));
        if (r < 0)
                return false;
        r = why_not ? buf_append_str(&error, why_not) : reload_check(options, &request, &error);
        if (!why_not && r == 0) {
                upgrade->reload = request;
                return true;
        }
        const char *text = error.len > 0 ? buf_str(&error) : "out of memory";
        log_warning("no other options now: %s", text);
        reload_answer(&request, text);
        return false;
}

void upgrade_start_probe(Upgrade *upgrade, const Mount *mount)
{
        pid_t pid = fork();
        if (pid < 0) {
                log_error("no upgrade: %s", strerror(errno));
                reload_answer(&upgrade->reload, "no process can be started now");
                return;
        }
        if (pid == 0) {
                (void)setpgid(0, 0);
                signals_unblock();
                int r = execute(upgrade, mount, true, -1, -1);
                log_error("can't execute %s: %s", upgrade->program, strerror(-r));
                _exit(127);
        }
        (void)setpgid(pid, pid); /* both processes set it: no matter which is first */
        upgrade->probe = pid;
        timers_set(upgrade->timers, TIMER_PROBE, PROBE_NS);
}

void upgrade_kill_probe(Upgrade *upgrade)
{
        if (upgrade->probe)
                (void)kill(-upgrade->probe, SIGKILL); /* and what it may have started */
}

bool upgrade_probe_ended(Upgrade *upgrade, int wait_status)
{
        char end[48];
        upgrade->probe = 0;
        timers_clear(upgrade->timers, TIMER_PROBE);
        if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == PROBE_FINE)
                return true;
        status_describe_end(wait_status, end);
        if (upgrade->reload.client_fd >= 0)
                log_error("the new options can't be used (%s): going on with those of before", end);
        else
                log_error(
                        "%s can't take over (%s): going on with the binary that runs", upgrade->program, end);
        reload_answer(&upgrade->reload, "the new options can't be used: the service's log says why");
        return false;
}

void upgrade_execute(Upgrade *upgrade, const Mount *mount, int control_fd, int reload_fd)
{
        log_info("going on with %s", upgrade->program);
        reload_accept(&upgrade->reload);
        int r = execute(upgrade, mount, false, control_fd, reload_fd);
        log_error("can't execute %s: %s: going on with the binary that runs", upgrade->program, strerror(-r));
        reload_end(&upgrade->reload);
}

int upgrade_adopt(const Options *options, Handover *handover, Mount *ret_mount)
{
        int r = mount_adopt(options, MOUNT_UPGRADED, handover->fuse_fd, handover->slots_fd,
                handover->state_fd, ret_mount);
        handover->fuse_fd = handover->slots_fd = handover->state_fd = -1; /* taken */
        if (r < 0)
                return r;
        ret_mount->control = handover->control_fd;
        handover->control_fd = -1;
        return 0;
}

int upgrade_probe_run(const Options *options, Handover *handover)
{
        CLEANUP(mount_deinit) Mount mount = MOUNT_INIT;
        int r = upgrade_adopt(options, handover, &mount);
        if (r == 0)
                r = privileges_drop(options->user);
        if (r == 0)
                r = backend_probe(options);
        return r < 0 ? EXIT_FAILURE : PROBE_FINE;
}
