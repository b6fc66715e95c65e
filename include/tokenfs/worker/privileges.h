#pragma once
/* What a process of ours gives up for good. */

#include <sys/types.h>

/* Nothing of this process is dumped or traced by its like: no core, not dumpable. Its environment may hold keys. */
void privileges_hide(void);
/* Lets a later process without capabilities lock as much memory as its secrets may need, where that may be granted. */
void privileges_raise_memlock(void);
/* Goes on as `user` (NULL: as it is), without capabilities, and never to have any again. HOME, USER and LOGNAME become
 * those of the user. 0 or a negative errno, logged. */
int privileges_drop(const char *user);
