#pragma once
/* Notifications to the kernel: entries and attributes that are out of date, files that were replaced. */

#include <stdint.h>
#include <sys/types.h>

#include "tokenfs/fuse/nodes.h"
#include "tokenfs/fuse/session.h"

/* Forks a process that does it, for the files of a name or (NULL) for all, and ends; its pid is the caller's to wait for.
 * It may hang for as long as readers wait: the caller kills it after a while. 0 or a negative errno. */
int notify_start(Session *session, Nodes *nodes, const char *name, pid_t *ret_pid);

/* Files that were superseded. */
typedef struct NotifyChange {
        uint32_t slot, generation; /* of their nodes */
        uint32_t directory; /* the slot of the directory that shows them */
        uint32_t fields; /* bit per field - NODE_FIELD */
} NotifyChange;

/* Forks a process that sends events to the watchers (inotify) of superseded files, as long as the other end of its line is
 * open. *ret_fd is that end, close-on-exec: the process answers each change with the change itself, when the events are
 * sent. 0 or a negative errno. */
int notify_start_watchers(Session *session, int *ret_fd);
/* Sends a change, without waiting. 0; -EAGAIN: too many are under way, and this one has no events; another negative errno. */
int notify_send(int fd, const NotifyChange *change);
/* Takes an answer. 0; -EAGAIN: there is none; another negative errno: the process is gone. */
int notify_receive(int fd, NotifyChange *ret_change);
