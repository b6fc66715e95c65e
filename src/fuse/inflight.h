#pragma once
/* Requests that a worker has taken from the kernel and not answered yet, noted in memory that outlives it: the
 * next worker must refuse them where the kernel can't send them again (before 6.9). */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tokenfs/fuse/nodes.h"

/* Notes a request by its unique number (never 0), and the process that took it. One that finds no room isn't noted: it
 * would be lost with its worker. */
void inflight_note(NodesShared *shared, uint64_t unique, pid_t worker);
/* The request is answered. */
void inflight_drop(NodesShared *shared, uint64_t unique);
/* Takes one out that none of the processes `alive` took. 0: there is none left. */
uint64_t inflight_take(NodesShared *shared, const pid_t *alive, size_t count);
