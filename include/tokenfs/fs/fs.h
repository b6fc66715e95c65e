#pragma once
/* The filesystem as a worker serves it: the tree, and the answers to the kernel's requests. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/cache/cache.h"
#include "tokenfs/fuse/session.h"
#include "tokenfs/fuse/nodes.h"
#include "tokenfs/net/loop.h"

typedef struct Fs Fs;

/* The handlers, for the session that is to be served (SessionSettings). */
extern const struct fuse_lowlevel_ops fs_operations;

/* Writes the text of a service file: at most FS_SERVICE_MAX bytes, in some milliseconds, without the network, since every
 * reader waits. Called once in FS_SERVICE_NS at most, however many read; all of them get that text. */
#define FS_SERVICE_MAX NODES_TEXT_MAX
#define FS_SERVICE_NS NS_PER_S
typedef void FsServiceWriter(Buf *out, void *userdata);

typedef struct FsSettings {
        Loop *loop;
        Session *session; /* borrowed; its INIT is done */
        Nodes *slots; /* borrowed; repaired */
        const Cache *cache; /* borrowed */
        uid_t uid;
        gid_t gid;
        mode_t mode, secret_mode; /* permission bits */
        uint64_t timeout_ns; /* how long a read waits */
        int watchers; /* the line to the process that sends inotify events (fuse/notify.h); -1: none */
        bool audit, newline;
        FsServiceWriter *write_status, *write_metrics;
        void *writer_userdata;
} FsSettings;
/* Takes up serving on the loop. Calls loop_quit(loop, 0) when the kernel unmounted. */
int fs_new(const FsSettings *settings, Fs **ret_fs);
/* Requests still waiting are answered with EINTR if `answer_waiting`, else left for the next worker. Returns NULL. */
Fs *fs_free(Fs *fs, bool answer_waiting);

/* Takes no more requests, and calls loop_quit with `status` once those that wait are answered: within `timeout_ns`. */
void fs_drain(Fs *fs, int status);

/* A name means another token: its files are those of `doc` from now on. Returns from when on (clock_now_ns) they are so for
 * each node that the kernel may hold. Nothing changes where the kernel holds none. */
uint64_t fs_set_name(Fs *fs, const char *name, TokenDoc *doc);

#define FS_ERRNO_MAX 134
typedef struct FsCounters {
        /* How the requests for tokens' files ended, by errno: those that failed of any kind; [0]: reads that gave bytes. */
        uint64_t reads[FS_ERRNO_MAX];
        uint64_t requests[64]; /* by FUSE opcode; larger ones in [0] */
        uint64_t interrupted, deadlines;
        uint64_t audit_refused; /* opens whose line syslog did not take */
        uint32_t waiting, waiting_max;
        uint32_t versions; /* superseded snapshots still held */
        uint32_t nodes_used;
} FsCounters;
const FsCounters *fs_counters(const Fs *fs);
