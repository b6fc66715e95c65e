#pragma once
/* Leaving the terminal: the program that was started exits when the mount answers, or when it fails. */

#include "tokenfs/base/log.h"

/* The exit statuses of the program. */
enum {
        EXIT_USAGE = 1, /* a wrong command line */
        EXIT_MOUNT = 32, /* the mount failed; mount(8)'s number for it */
};

/* Forks. In the child, the daemon, returns 0 and a descriptor for daemonize_report. The parent doesn't return: it exits
 * with the reported status, or with EXIT_MOUNT if the child ends without a report. Negative errno if there is no child. */
int daemonize_start(int *ret_report_fd);
/* Has the parent exit with `status`; closes *fd. 0, or -EPIPE if the parent has ended (the user interrupted it). */
int daemonize_report(int *fd, int status);
/* From now on the log goes to syslog, and the standard streams to /dev/null. */
void daemonize_detach(LogLevel level);
/* Makes the relative paths in environment variables absolute, since the daemon's working directory is /. 0 or
 * -ENOMEM. */
int daemonize_fix_environment(void);
