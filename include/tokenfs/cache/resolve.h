#pragma once
/* From an id or a name to a token within the scopes. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/cache/cache.h"
#include "tokenfs/cache/prefetch.h"

/* A reader. */
typedef struct ResolveReader {
        uint64_t since_ns; /* when it came: a later answer of the API is valid for it, even with ttl 0 */
        bool gives_up; /* its deadline has passed: the answer is a stale copy or an error */
        bool is_late; /* list calls had their share of its time: it takes an old listing, or none */
        CacheWait *wait; /* linked when there is something to wait for */
        Prefetch *prefetch; /* notes cold reads; NULL: this is no read of a file */
} ResolveReader;

/* All return 0 with an answer, -ENOMEM, or -EINPROGRESS (`wait` is linked; ask again when its handler is called). */

/* Is the id named by a scope, or by the listing that is held? False: a reader may have made it up. */
bool resolve_is_known(const Cache *cache, const char *id);
/* Does the token exist for this mount, before it is fetched? API_OK: yes, or its document decides (scopes_admit_doc);
 * API_E_NOT_FOUND: no. */
int resolve_admits(const Cache *cache, const char *id, const ResolveReader *reader, ApiError *ret_error);
/* The document of a token. */
int resolve_id(const Cache *cache, const char *id, const ResolveReader *reader, TokenAnswer *ret_token);
/* The token that a name means now; its document isn't fetched. */
int resolve_name_id(const Cache *cache, const char *name, const ResolveReader *reader, NameAnswer *ret_name);
/* The document of the token that a name means now. Rejects a token that is gone, and chooses again. Times are the shorter
 * of the name's and the document's. */
int resolve_name(const Cache *cache, const char *name, const ResolveReader *reader, TokenAnswer *ret_token);
