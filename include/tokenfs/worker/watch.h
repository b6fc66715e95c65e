#pragma once
/* Watches names in the worker: keeps their answers fresh without readers, and reports their tokens to the supervisor. */

#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/cache.h"
#include "tokenfs/options/options.h"
#include "tokenfs/fs/fs.h"

/* The worker's message: the token that `name` means now; an empty id: none. */
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
        int line; /* the socket to the supervisor, a ChangeReport a message; -1: none */
} WatchSettings;
/* Borrows all. Starts from the loop. 0 or -ENOMEM; *ret_watch is NULL if no name is watched. */
int watch_new(const WatchSettings *settings, Watch **ret_watch);
/* NULL does nothing. Returns NULL. */
Watch *watch_free(Watch *watch);
CLEANUP_DEFINE(Watch *, watch_free);
