#pragma once
/* Gives up privileges of this process for good. */

#include <sys/types.h>

/* No core dump, and no tracing by processes of the same user: memory and environment may hold keys. */
void privileges_hide(void);
/* Raises RLIMIT_MEMLOCK, as far as allowed, for a child without capabilities that locks its secrets into memory. */
void privileges_raise_memlock(void);
/* Changes to `user` (NULL: no change), drops all capabilities for good, and sets HOME, USER and LOGNAME to the user's. 0 or a
 * negative errno, logged. */
int privileges_drop(const char *user);
