/* Reading the configuration before a worker has to.
 *
 * A child reads it, as the worker's user: a process that keeps all its rights must not read files that others write, and
 * files may lie on a filesystem that hangs. */

#include "config-probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tokenfs/base/log.h"
#include "tokenfs/worker/backend.h"
#include "tokenfs/worker/privileges.h"

/* The child; doesn't return. */
static void be_probe(const Options *options)
{
        bool is_fine = privileges_drop(options->user) == 0;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* after the change of user, which undoes it */
        _exit(is_fine && backend_probe(options) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

int config_probe_start(const Options *options, pid_t *ret_pid)
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

int config_probe_run(const Options *options)
{
        int status = 0;
        pid_t pid = 0;
        int r = config_probe_start(options, &pid);
        if (r < 0)
                return r;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS ? 0 : -EINVAL;
}
