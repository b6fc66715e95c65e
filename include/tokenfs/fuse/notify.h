#pragma once
/* Telling the kernel that what it holds is out of date. */

#include <sys/types.h>

#include "tokenfs/fuse/session.h"
#include "tokenfs/fuse/nodes.h"

/* Forks a process that does it, for the files of a name or (NULL) for all, and ends; its pid is the caller's to wait for. It may hang for as long as readers
 * wait: the caller kills it after a while. 0 or a negative errno. */
int notify_start(Session *session, Nodes *nodes, const char *name, pid_t *ret_pid);
