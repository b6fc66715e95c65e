#pragma once
/* Watching names in the worker: they are kept fresh though nobody reads, and the supervisor hears what they mean. */

#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/cache.h"
#include "tokenfs/options/options.h"
#include "tokenfs/fs/fs.h"

/* What a worker says: the token that `name` means now; an empty id: none. */
typedef struct ChangeReport {
        char name[TOKEN_NAME_MAX + 1];
        char id[TOKEN_ID_MAX + 1];
} ChangeReport;

typedef struct Watch Watch;

typedef struct WatchSettings {
        Loop *loop;
        const Cache *cache;
        Fs *fs;
        const Options *options;
        int line; /* to the supervisor: a ChangeReport a message; -1: it needn't hear */
} WatchSettings;
/* Borrows all. Begins from the loop. 0 or -ENOMEM; *ret_watch is NULL if there is nothing to watch. */
int watch_new(const WatchSettings *settings, Watch **ret_watch);
/* NULL does nothing. Returns NULL. */
Watch *watch_free(Watch *watch);
CLEANUP_DEFINE(Watch *, watch_free);
