#pragma once
/* Which system calls a worker may make. */

/* From now on this thread, and those it starts, may make only the calls that serving needs. 0, or a negative errno:
 * nothing is restricted then. */
int syscall_filter_enter(void);
