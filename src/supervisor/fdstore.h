#pragma once
/* A mount whose connection the service manager keeps. */

#include "mount.h"

/* Has the manager keep the mount for a successor. Warns on failure. */
void fdstore_save(const Mount *mount);
/* The mount that the manager kept: MOUNT_PREPARED or MOUNT_REVIVED. 0; -ENOENT: it kept none; or another negative
 * errno, logged. */
int fdstore_load(const Options *options, Mount *ret_mount);
