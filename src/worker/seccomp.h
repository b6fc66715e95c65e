#pragma once
/* Limits the system calls that this process can make. */

/* From now on this thread, and threads that it starts, can make only the calls that serving needs. 0, or a negative errno
 * (then nothing is restricted). */
int syscall_filter_enter(void);
