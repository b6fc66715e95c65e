#pragma once
/* The session as the handlers see it. */

#include <fuse_lowlevel.h>

#include "tokenfs/fuse/session.h"
#include "tokenfs/fuse/nodes.h"

struct FsSession {
        struct fuse_session *fuse;
        char *mountpoint; /* absolute; NULL: not ours to unmount (/dev/fd/N) */
        bool audit;
        bool mounts_directly; /* by mount(2), not by fusermount3 */
        bool init_done, init_answered;
        bool wants_parallel_lookups;
        bool may_skip_open; /* the kernel takes ENOSYS for "open by yourself" */
        void *init_message;
        size_t init_len;
        void *handlers_userdata; /* the Fs, once one serves */
        SlotsShared *shared; /* where requests under way are noted; NULL: nobody serves yet */
};

/* ops.c: what the session is made with. */
extern const struct fuse_lowlevel_ops fs_operations;
void fs_operation_init(void *userdata, struct fuse_conn_info *connection);
