#pragma once
/* Names: which token a name means now. */

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
/* Calls the visitor for each name, once, in order; returns as tokens_get. */
typedef void NameVisitor(const char *name, void *userdata);
int names_visit(
        Names *names, uint64_t since_ns, bool give_up, CacheWait *wait, NameVisitor *visitor, void *userdata);
/* A token was found to be gone (404), or another: the next names_get of a name that meant it leaves it out, and the
 * listing is fetched again. */
void names_reject(Names *names, const char *id);
