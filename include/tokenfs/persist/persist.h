#pragma once
/* The last good copies on disk, encrypted, for a start while the API can't be reached. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/secret.h"
#include "tokenfs/cache/cache.h"

/* Reads a key of 32 bytes, from a file that isn't open to every user, in one step or in two. 0, or a negative errno with a
 * sentence that names the remedy. */
int persist_key_load(const char *path, Buf *error, Secret *ret_key);
int persist_key_open(const char *path, Buf *error, int *ret_fd);
int persist_key_read(int fd, const char *path, Buf *error, Secret *ret_key);

#define PERSIST_IDENTITY_MAX 4096 /* bytes, without the NUL */
#define PERSIST_IDENTITY_TOO_LONG                                                                            \
        "the endpoint's URL and the profile's names and ARNs are longer than 4096 bytes"

typedef struct Persist Persist;

typedef struct PersistSettings {
        Loop *loop;
        Cache *cache; /* borrowed; still empty */
        CachePolicy policy;
        const char *directory; /* borrowed */
        const char *
                identity; /* of endpoint and account; copied. Copies of another are ignored; see its maximum. */
} PersistSettings;
/* Takes the key over. Puts the file's copies into the caches, as stale copies; then writes changes. Warns of a file or
 * directory that it can't open, and goes on without. 0 or -ENOMEM. */
int persist_new(const PersistSettings *settings, Secret *key, Persist **ret_persist);
/* Writes the last changes. NULL does nothing. Returns NULL. */
Persist *persist_free(Persist *persist);
CLEANUP_DEFINE(Persist *, persist_free);

typedef struct PersistStatus {
        size_t loaded; /* tokens from the file at the start */
        int64_t loaded_wall_ns; /* when that file was written; 0: there was none */
        int64_t written_wall_ns; /* the last write; 0: none yet */
        uint64_t writes, failures;
        const char *error; /* why copies can't be written; "" if they can. Borrowed. */
} PersistStatus;
void persist_status(const Persist *persist, PersistStatus *ret_status);

/* For --check: opens the file and changes nothing. `text` describes the content or the fault. 0 or a negative errno;
 * -ENOENT: there is no file yet. */
int persist_check(const char *directory, const Secret *key, const char *identity, Buf *text);
