#pragma once
/* The FUSE session: mounting, the INIT handshake, and passing both on to another process or another binary. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/fuse/nodes.h"

typedef struct Session Session;
struct fuse_lowlevel_ops;

/* The mount as the kernel sees it. All copied. */
typedef struct SessionSettings {
        const char *source; /* fsname=; subtype is "tokenfs" */
        const char *const *mount_options; /* FUSE's own that the user gave: "allow_other", "auto_unmount" … */
        size_t mount_option_count;
        bool debug; /* libfuse's own debug output */
        const struct fuse_lowlevel_ops *operations; /* the handlers of requests, but `init`; NULL: none */
} SessionSettings;
int session_new(const SessionSettings *settings, Session **ret_session);
/* Frees without unmounting. Returns NULL. */
Session *session_free(Session *session);
CLEANUP_DEFINE(Session *, session_free);

/* Mounts on a directory (resolved: absolute, without links), or takes over "/dev/fd/N". -ESTALE: a part of the path is a
 * link now, or the directory was moved. Negative errno on failure (libfuse has said why on stderr). */
int session_mount(Session *session, const char *mountpoint);
/* Reads the kernel's INIT and answers it. 0; -ETIMEDOUT or -EPROTO if there is none, or another request instead: the
 * connection has been served before; -ECONNREFUSED: libfuse refuses it (and has said why on stderr); or another negative
 * errno. */
int session_handshake(Session *session);
/* The FUSE descriptor, and the INIT message as it was received: another binary needs both to go on. */
int session_fd(const Session *session);
const void *session_init_message(const Session *session, size_t *ret_len);
/* Goes on with the session of another binary: takes `fd` over, and replays INIT into libfuse. session_unmount
 * unmounts `mountpoint` (NULL or /dev/fd/N: nothing). */
int session_adopt(Session *session, int fd, const void *init_message, size_t len, const char *mountpoint);
/* Lazily unmounts the mount point of session_mount. */
void session_unmount(Session *session);
/* Asks the kernel to send again what was read but not answered (by a process that died).
 * 0; -ENOSYS or -EINVAL where the kernel has no FUSE_NOTIFY_RESEND. */
int session_resend(Session *session);
/* Has the kernel send again the requests that dead workers took and didn't answer. Where it can't, after all, those requests are
 * answered with EIO. Returns how many were. */
unsigned session_recover(Session *session, Nodes *slots);
/* Answers with EIO the requests of workers that are none of `alive`: for kernels that can't send them again. Returns how many. */
unsigned session_refuse_lost(Session *session, Nodes *slots, const pid_t *alive, size_t count);
/* Tells the kernel that a node's attributes are out of date. Blocks while that node's pages are locked: never call it
 * from the process that serves (fuse/notify has one of its own). */
int session_invalidate(Session *session, uint64_t node_id);
/* The same of a name in a directory; blocks while a look-up in that directory waits for its answer. */
int session_invalidate_entry(Session *session, uint64_t directory_id, const char *name);
/* Tells the kernel that the file `node_id` of that name is deleted, so that its watchers (inotify) get an event. Blocks as
 * session_invalidate_entry. 0; -ENOENT: the kernel doesn't know it by that name; another negative errno. */
int session_delete_entry(Session *session, uint64_t directory_id, uint64_t node_id, const char *name);

/* Serving. */

/* Requests are handled for `userdata`, and noted in `shared` until they are answered. Both borrowed; both NULL: this
 * process serves no longer. */
void session_serve(Session *session, void *userdata, NodesShared *shared);
void *session_userdata(const Session *session);
/* Reads one request as the kernel wrote it; borrowed until the next is read. Its length, at least that of a header; 0:
 * unmounted; -EAGAIN: none waits; another negative errno: the connection can't be read. */
ssize_t session_read(Session *session, const void **ret_request);
/* Reads one request and has it handled. 1; else as session_read. */
int session_take(Session *session);
/* A handler answers the request that it was called for later: it stays noted until session_note_answered is called with
 * the number that this returns. */
uint64_t session_keep_noted(Session *session);
void session_note_answered(Session *session, uint64_t unique);
/* The kernel takes ENOSYS for an answer to OPEN, and opens by itself from then on. */
bool session_may_skip_open(const Session *session);
