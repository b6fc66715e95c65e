#pragma once
/* The start by a user or a service manager. */

#include "mount.h"

/* Everything up to the first worker: the background, the configuration's check, the mount. 0 and a mount, or a negative
 * errno, logged: nothing is left mounted then. `*ret_report`: for daemonize_report; -1 in the foreground. */
int start_mount(const Options *options, int *ret_report, Mount *ret_mount);
