#pragma once
/* Names: the token that a name means now. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/cache/listing.h"
#include "tokenfs/cache/policy.h"
#include "tokenfs/cache/scopes.h"
#include "tokenfs/cache/tokens.h"
#include "tokenfs/cache/wait.h"

typedef struct Names Names;

typedef struct NamesSettings {
        CachePolicy policy;
        const Scopes *scopes; /* borrowed */
        Listing *listing; /* borrowed */
        Tokens *tokens; /* documents of `token=` scopes, whose names no list call gives; borrowed */
} NamesSettings;
int names_new(const NamesSettings *settings, Names **ret_names);
/* NULL does nothing. Returns NULL. */
Names *names_free(Names *names);
CLEANUP_DEFINE(Names *, names_free);

typedef struct NameAnswer {
        ApiError error; /* API_OK: `id` is the answer; API_E_NOT_FOUND */
        char id[TOKEN_ID_MAX + 1];
        uint64_t keep_ns, due_ns; /* as TokenAnswer's */
} NameAnswer;
/* The token that `name` means now: the newest (createdAt) that is OPERATIONAL and not expired, else the newest
 * OPERATIONAL, else the newest; among equals the greater id. Returns as tokens_get. */
int names_get(Names *names, const char *name, uint64_t since_ns, bool give_up, CacheWait *wait,
        NameAnswer *ret_answer);
/* The progress of a visit of all names. Zeroed: not begun. */
typedef struct NamesCursor {
        bool has_begun;
        uint64_t version; /* of the listing */
        size_t place;
} NamesCursor;
typedef struct NamesReader {
        uint64_t since_ns;
        bool give_up;
        CacheWait *wait;
} NamesReader;
/* `name` NULL: the visit begins, or begins again since the listing was replaced. */
typedef void NameVisitor(const char *name, void *userdata);
/* Continues a visit of all names, each once, for some milliseconds at most. A finished visit begins again when the names
 * may have changed. *ret_error: why there is no listing; API_OK otherwise. Returns as tokens_get, or -EAGAIN: there are
 * more names. */
int names_visit(Names *names, const NamesReader *reader, NamesCursor *cursor, NameVisitor *visitor,
        void *userdata, ApiError *ret_error);
/* Rejects a token that is gone (404) or out of scope: names_get leaves it out, and the next reader waits for another
 * listing. */
void names_reject(Names *names, const char *id);
