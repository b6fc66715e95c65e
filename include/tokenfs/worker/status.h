#pragma once
/* The service files: the daemon's state, for people and for Prometheus. Neither shows a secret, and neither makes a call. */

#include "tokenfs/worker/backend.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/cache/tokens.h"
#include "tokenfs/cache/listing.h"
#include "tokenfs/persist/persist.h"
#include "tokenfs/options/options.h"
#include "tokenfs/fs/fs.h"
#include "tokenfs/fuse/nodes.h"

/* How many tokens the status and the metrics list at most: the failing ones first. */
#define STATUS_TOKENS_MAX 1000

/* Where the figures come from. All borrowed. */
typedef struct StatusSources {
        const Options *options;
        const char *mountpoint; /* absolute */
        const Backend *backend;
        Tokens *tokens;
        Listing *listing;
        const Persist *persist; /* NULL: none */
        const Fs *fs;
        const NodesShared *shared;
} StatusSources;

/* FsServiceWriter; `userdata` is a StatusSources. */
void status_write(Buf *out, void *userdata);
void metrics_write(Buf *out, void *userdata);

/* How an answer of the cache is named in the metrics. A constant. */
const char *metrics_hit_name(CacheHit hit);

/* How a process ended, from its wait status: "signal 9 (Killed)", "exit status 3". */
void status_describe_end(int wait_status, char text[static 48]);
