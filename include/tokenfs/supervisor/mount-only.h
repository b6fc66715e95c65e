#pragma once
/* --mount-only: mounts, and leaves the serving to another process of the service. */

#include "tokenfs/options/options.h"

/* Mounts, has the service manager keep the connection (NOTIFY_SOCKET), and returns the exit status. A mount whose
 * connection it keeps already is left as it is. */
int mount_only_run(const Options *options);
