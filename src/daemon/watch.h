#pragma once
/* Watching names in the worker: they are kept fresh though nobody reads, and the supervisor hears what they mean. */

#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/cache.h"
#include "tokenfs/cache/listing.h"
#include "tokenfs/daemon/options.h"
#include "tokenfs/fs/fs.h"

typedef struct Watch Watch;

typedef struct WatchSettings {
        Loop *loop;
        Cache *cache;
        Listing *listing;
        Fs *fs;
        const Options *options;
        int line; /* to the supervisor: a ChangeReport a message; -1: it needn't hear */
} WatchSettings;
/* Borrows all. Begins from the loop. 0 or -ENOMEM; *ret_watch is NULL if there is nothing to watch. */
int watch_new(const WatchSettings *settings, Watch **ret_watch);
/* NULL does nothing. Returns NULL. */
Watch *watch_free(Watch *watch);
CLEANUP_DEFINE(Watch *, watch_free);
