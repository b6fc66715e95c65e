/* Reading the configuration before a worker has to.
 *
 * A child reads it, as the worker's user: a process that keeps all its rights must not read files that others write, and
 * files may lie on a filesystem that hangs. */

#include "config-probe.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/worker/backend.h"
#include "tokenfs/worker/privileges.h"

#define LIMIT_NS (20 * NS_PER_S)
#define RETRY_NS NS_PER_S /* until a process that couldn't be made is tried again */

/* The child; doesn't return. */
static void be_probe(const Options *options)
{
        bool is_fine = privileges_drop(options->user) == 0;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* after the change of user, which undoes it */
        _exit(is_fine && backend_probe(options) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

static int start(const Options *options, pid_t *ret_pid)
{
        pid_t pid = fork();
        if (pid < 0) {
                int r = -errno;
                log_error("can't start a process: %s", strerror(-r));
                return r;
        }
        if (pid == 0)
                be_probe(options);
        *ret_pid = pid;
        return 0;
}

static bool is_success(int wait_status)
{
        return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_SUCCESS;
}

int config_probe_run(const Options *options)
{
        int status = 0;
        pid_t pid = 0;
        int r = start(options, &pid);
        if (r < 0)
                return r;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return is_success(status) ? 0 : -EINVAL;
}

void config_probe_cancel(ConfigProbe *probe)
{
        if (probe->pid)
                (void)kill(probe->pid, SIGKILL); /* a hanging filesystem may delay its death */
        probe->pid = 0;
        timers_clear(probe->timers, TIMER_RELOAD);
}

void config_probe_start(ConfigProbe *probe)
{
        config_probe_cancel(probe);
        int r = start(probe->options, &probe->pid);
        timers_set(probe->timers, TIMER_RELOAD, r < 0 ? RETRY_NS : LIMIT_NS);
}

bool config_probe_ended(ConfigProbe *probe, int wait_status)
{
        probe->pid = 0;
        timers_clear(probe->timers, TIMER_RELOAD);
        return is_success(wait_status);
}

bool config_probe_is_late(ConfigProbe *probe)
{
        if (!probe->pid) {
                config_probe_start(probe);
                return false;
        }
        log_error("the configuration can't be read within %g s", (double)LIMIT_NS / (double)NS_PER_S);
        config_probe_cancel(probe);
        return true;
}
