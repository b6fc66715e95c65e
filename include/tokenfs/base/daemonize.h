#pragma once
/* Leaving the terminal: what was started returns when the mount answers, or with the reason why it doesn't. */

#include "tokenfs/base/log.h"

/* The exit statuses of the program. */
enum {
        EXIT_USAGE = 1, /* a wrong command line */
        EXIT_MOUNT = 32, /* the mount failed; mount(8)'s number for it */
};

/* Forks. In the child, which is the daemon, returns 0 and a descriptor for daemonize_report. The parent doesn't
 * return: it exits with the status that is reported, or with EXIT_MOUNT if the child ends without. Negative errno if
 * that isn't possible. */
int daemonize_start(int *ret_report_fd);
/* Tells the parent to exit with `status`; closes *fd. 0, or -EPIPE if it is gone (the user interrupted it). */
int daemonize_report(int *fd, int status);
/* From now on the log goes to syslog, and the standard streams nowhere. */
void daemonize_detach(LogLevel level);
/* The files that environment variables name are looked for from /, which a daemon's directory is: makes those names
 * absolute. 0 or -ENOMEM. */
int daemonize_fix_environment(void);
