#pragma once
/* The last good copies on disk, encrypted: what a mount begins with when the API can't be reached. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/secret.h"
#include "tokenfs/cache/cache.h"

/* Reads a key of 32 bytes. 0, or a negative errno with a sentence that says what to do. */
int persist_key_load(const char *path, Buf *error, Secret *ret_key);

typedef struct Persist Persist;

typedef struct PersistSettings {
        Loop *loop;
        Cache *cache; /* borrowed; nothing is in it yet */
        CachePolicy policy;
        const char *directory; /* borrowed */
        const char *identity; /* of endpoint and account; copied. Copies of another are ignored. */
} PersistSettings;
/* Takes the key over. What the file holds is put into the caches, as stale copies; then changes are written. What can't
 * be opened is warned of and done without. 0 or -ENOMEM. */
int persist_new(const PersistSettings *settings, Secret *key, Persist **ret_persist);
/* Writes what has changed. NULL does nothing. Returns NULL. */
Persist *persist_free(Persist *persist);
CLEANUP_DEFINE(Persist *, persist_free);

typedef struct PersistStatus {
        size_t loaded; /* tokens that were taken from the file at the start */
        int64_t loaded_wall_ns; /* when that file was written; 0: none was */
        int64_t written_wall_ns; /* the last write; 0: none yet */
        uint64_t writes, failures;
        const char *error; /* what is wrong now; "" if nothing. Borrowed. */
} PersistStatus;
void persist_status(const Persist *persist, PersistStatus *ret_status);

/* For --check: looks into the file and changes nothing. `text` is what was found, or what is wrong. 0 or a negative
 * errno; -ENOENT: there is no file yet. */
int persist_check(const char *directory, const Secret *key, const char *identity, Buf *text);
