#pragma once
/* The FUSE session: mounting, the INIT handshake, and passing both on to another process or another binary. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/fuse/nodes.h"

typedef struct FsSession FsSession;

/* What the mount looks like to the kernel. All copied. */
typedef struct FsSessionSettings {
        const char *source; /* fsname=; subtype is "tokenfs" */
        const char *const *mount_options; /* FUSE's own that the user gave: "allow_other", "auto_unmount" … */
        size_t mount_option_count;
        bool audit; /* no kernel cache: opens are asked for */
        bool debug; /* libfuse's own debug output */
} FsSessionSettings;
int fs_session_new(const FsSessionSettings *settings, FsSession **ret_session);
/* Frees without unmounting. Returns NULL. */
FsSession *fs_session_free(FsSession *session);
CLEANUP_DEFINE(FsSession *, fs_session_free);

/* Mounts on a directory (resolved: absolute, without links), or takes over "/dev/fd/N". -ESTALE: a part of the path is a
 * link now, or the directory was moved. Negative errno on failure (libfuse has said why on stderr). */
int fs_session_mount(FsSession *session, const char *mountpoint);
/* Reads the kernel's INIT and answers it. 0; -ETIMEDOUT or -EPROTO if there is none, or another request instead: the
 * connection has been served before; or another negative errno. */
int fs_session_handshake(FsSession *session);
/* The FUSE descriptor, and the INIT message as it was received: what another binary needs to go on. */
int fs_session_fd(const FsSession *session);
const void *fs_session_init_message(const FsSession *session, size_t *ret_len);
/* Goes on with the session of another binary: takes `fd` over, and replays INIT into libfuse. `mountpoint` is what
 * fs_session_unmount is to unmount (NULL or /dev/fd/N: nothing). */
int fs_session_adopt(
        FsSession *session, int fd, const void *init_message, size_t len, const char *mountpoint);
/* Lazily unmounts what fs_session_mount mounted. */
void fs_session_unmount(FsSession *session);
/* Asks the kernel to send again what was read but not answered (by a process that died).
 * 0; -ENOSYS or -EINVAL where the kernel has no FUSE_NOTIFY_RESEND. */
int fs_session_resend(FsSession *session);
/* Sees to the requests that a worker took and didn't answer before it died: the kernel sends them again or, where it
 * can't (`can_resend` false, or it says so), they are answered with EIO. Returns how many were. */
unsigned fs_session_recover(FsSession *session, Slots *slots, bool can_resend);
/* Tells the kernel that a node's attributes are out of date. Blocks while that node's pages are locked: never call it
 * from the process that serves (fuse/notify has one of its own). */
int fs_session_invalidate(FsSession *session, uint64_t node_id);
