#pragma once
/* Memory for secrets: never dumped, locked as far as the limit allows, wiped when freed. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/base/cleanup.h"

/* Allocates, resizes and frees in the secret heap. free, and realloc if it moves the block, wipe the old bytes.
 * NULL without memory (errno ENOMEM). Thread-safe. secret_free(NULL) does nothing. */
void *secret_malloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *secret_calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *secret_realloc(void *memory, size_t size) __attribute__((alloc_size(2)));
void secret_free(void *memory);

/* The same interface over malloc: wiped, but neither locked nor kept out of dumps. For libraries (curl, OpenSSL) whose
 * buffers hold secrets for a while. */
void *wiping_malloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *wiping_calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *wiping_realloc(void *memory, size_t size) __attribute__((alloc_size(2)));
void wiping_free(void *memory);
char *wiping_strdup(const char *string) __attribute__((malloc));

/* True if all chunks of the secret heap are locked. */
bool secret_is_locked(void);

/* A byte string that is a secret. No function formats or logs one. */
typedef struct Secret {
        char *data; /* NUL behind the last byte, which `len` doesn't count; NULL when unset */
        size_t len;
} Secret;

#define SECRET_INIT ((Secret){NULL, 0})

/* Copies `len` bytes into *secret, freeing what it held. Returns 0, or -ENOMEM (then unchanged). */
int secret_set(Secret *secret, const void *data, size_t len);
/* Wipes and frees; the secret is unset afterwards. */
void secret_deinit(Secret *secret);

/* Wipes memory; the compiler can't remove it. */
void secret_wipe(void *memory, size_t size);

static inline void secret_free_p(void *pointer)
{
        secret_free(*(void **)pointer);
}
