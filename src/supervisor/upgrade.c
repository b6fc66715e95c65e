/* The hot upgrade.
 *
 * SIGUSR2 executes the binary that lies where ours came from, in this very process. Before that, the same binary is
 * run beside us as a probe, with the same command line and duplicates of the same descriptors: it does all that the
 * real one will do short of serving. Only one that says by its exit status that it can is given the mount. The worker
 * of the old binary serves until the new supervisor stands, and then leaves; the kernel gives what it left
 * unanswered to the new worker. There needn't be one: where workers die again and again, another binary is what may end
 * that. */

#include "supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tokenfs/worker/backend.h"
#include "hook.h"
#include "tokenfs/worker/privileges.h"
#include "tokenfs/worker/status.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define PROBE_NS (20 * NS_PER_S)
/* No program that isn't ours says this by chance. */
#define PROBE_FINE 93

/* What is handed over; all borrowed but init_fd, to be closed. */
static int describe(const Supervisor *supervisor, bool is_probe, Handover *ret_handover)
{
        size_t len = 0;
        const void *init = session_init_message(supervisor->session, &len);
        Handover handover = {
                .is_probe = is_probe,
                .is_background = supervisor->is_background,
                .fuse_fd = session_fd(supervisor->session),
                .slots_fd = nodes_fd(supervisor->slots),
                .worker_pid = is_probe ? 0 : supervisor->worker,
                .worker_control = is_probe ? -1 : supervisor->control,
                .mountpoint = supervisor->mountpoint,
        };
        int r = handover_store(init, len, &handover.init_fd);
        if (r == 0)
                *ret_handover = handover;
        return r;
}

/* Returns only on failure. */
static int execute(const Supervisor *supervisor, bool is_probe)
{
        Handover handover = HANDOVER_INIT;
        int r = describe(supervisor, is_probe, &handover);
        if (r < 0)
                return r;
        /* The command line's relative paths mean what they meant. */
        if (supervisor->start_directory && chdir(supervisor->start_directory) < 0)
                log_debug("%s is gone", supervisor->start_directory);
        int passed_fd CLEANUP(cleanup_close) = -1;
        if (!is_probe && hook_pass_on(supervisor, &passed_fd) < 0)
                log_warning("on_change: what is known can't be passed on");
        r = handover_exec(&handover, supervisor->program, supervisor->argv);
        hook_forget_passed();
        (void)close(handover.init_fd);
        if (chdir("/") < 0)
                log_debug("no root directory");
        return r;
}

static const char *why_not_now(const Supervisor *supervisor)
{
        if (!supervisor->program)
                return "it isn't known where the binary is";
        if (supervisor->is_stopping)
                return "the mount ends";
        if (supervisor->probe)
                return "one is under way";
        if (!supervisor->had_worker) /* who started us still waits for it */
                return "no worker has served yet";
        return NULL;
}

void supervisor_upgrade(Supervisor *supervisor)
{
        const char *why_not = why_not_now(supervisor);
        if (why_not) {
                log_warning("no upgrade now: %s", why_not);
                return;
        }
        pid_t pid = fork();
        if (pid < 0) {
                log_error("no upgrade: %s", strerror(errno));
                return;
        }
        if (pid == 0) {
                sigset_t none;
                (void)setpgid(0, 0);
                (void)sigemptyset(&none);
                (void)sigprocmask(SIG_SETMASK, &none, NULL);
                int r = execute(supervisor, true);
                log_error("can't execute %s: %s", supervisor->program, strerror(-r));
                _exit(127);
        }
        (void)setpgid(pid, pid); /* as it does itself: whoever is first */
        supervisor->probe = pid;
        supervisor_plan(supervisor, DUE_PROBE, PROBE_NS);
}

void supervisor_probe_kill(Supervisor *supervisor)
{
        if (supervisor->probe)
                (void)kill(-supervisor->probe, SIGKILL); /* and what it may have started */
}

void supervisor_probe_ended(Supervisor *supervisor, int wait_status)
{
        char end[48];
        supervisor->probe = 0;
        supervisor->due_ns[DUE_PROBE] = CLOCK_NEVER;
        if (supervisor->is_stopping || supervisor->is_done) /* another binary would know nothing of it */
                return;
        if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != PROBE_FINE) {
                status_describe_end(wait_status, end);
                log_error("%s can't take over (%s): going on with the binary that runs", supervisor->program,
                        end);
                return;
        }
        log_info("going on with %s", supervisor->program);
        if (supervisor->notifier)
                (void)kill(supervisor->notifier, SIGKILL);
        int r = execute(supervisor, false);
        log_error("can't execute %s: %s: going on with the binary that runs", supervisor->program,
                strerror(-r));
}

int supervisor_probe(const Options *options, Handover *handover)
{
        Supervisor supervisor = {.options = options, .report = -1, .control = -1, .signals = -1};
        int r = supervisor_adopt(&supervisor, handover);
        if (r == 0)
                r = privileges_drop(options->user);
        if (r == 0)
                r = backend_probe(options);
        session_free(supervisor.session);
        nodes_free(supervisor.slots);
        free(supervisor.mountpoint);
        return r < 0 ? EXIT_FAILURE : PROBE_FINE;
}
