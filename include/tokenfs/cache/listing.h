#pragma once
/* The listing: which tokens there are within the scopes, and which one a name means now. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/api/token.h"
#include "tokenfs/cache/tokens.h"
#include "tokenfs/cache/policy.h"
#include "tokenfs/cache/wait.h"
#include "tokenfs/net/loop.h"

typedef struct Listing Listing;

typedef struct ListingSettings {
        Loop *loop;
        CachePolicy policy;
        Tokens *tokens; /* documents of `token=` scopes, whose names no list call gives; borrowed */
        /* Scopes, copied; all empty: everything. */
        const char *const *token_ids, *const *dns_view_ids, *const *resolver_ids;
        size_t token_id_count, dns_view_id_count, resolver_id_count;
} ListingSettings;
int listing_new(const ListingSettings *settings, Listing **ret_listing);
Listing *listing_free(Listing *listing);
CLEANUP_DEFINE(Listing *, listing_free);

/* What list calls gave: items sorted by id, without repeats. Immutable. */
typedef struct ListingAnswer {
        ApiError error; /* API_OK, or why there is no (or only an old or a partial) listing */
        const TokenItem *items; /* borrowed until the loop's next turn */
        size_t item_count;
        bool complete; /* nothing was denied or left out: what isn't in it, isn't there */
        uint64_t version; /* changes whenever the items do; 0: there are none to speak of */
        uint64_t keep_ns; /* as TokenAnswer's */
        uint64_t due_ns;
} ListingAnswer;

/* As tokens_get. A listing that was denied, or fails without a copy, is an answer with its error and without items.
 * With only `token=` scopes it is empty, complete, and never calls. */
int listing_get(
        Listing *listing, uint64_t since_ns, bool give_up, CacheWait *wait, ListingAnswer *ret_answer);
/* What is held now; starts nothing. */
void listing_peek(Listing *listing, ListingAnswer *ret_answer);
/* NULL if it isn't there. */
const TokenItem *listing_find(const ListingAnswer *answer, const char *id);

/* The token that `name` means now. */
typedef struct NameAnswer {
        ApiError error; /* API_OK: `id` is the answer; API_E_NOT_FOUND */
        char id[TOKEN_ID_MAX + 1];
        uint64_t keep_ns, due_ns;
} NameAnswer;
/* Chooses as design §3 says: the newest (createdAt) that is OPERATIONAL and not expired, else the newest OPERATIONAL,
 * else the newest; among equals the greater id. Returns as tokens_get. */
int listing_get_name(Listing *listing, const char *name, uint64_t since_ns, bool give_up, CacheWait *wait,
        NameAnswer *ret_answer);
/* Calls the visitor for each name, once, in order; returns as tokens_get. */
typedef void ListingNameVisitor(const char *name, void *userdata);
int listing_visit_names(Listing *listing, uint64_t since_ns, bool give_up, CacheWait *wait,
        ListingNameVisitor *visitor, void *userdata);
/* A token was found to be gone (404) or another: the next listing_get_name of a name that meant it leaves it out, and
 * the listing is fetched anew. */
void listing_reject(Listing *listing, const char *id);

/* Is the token within the scopes? Before the fetch: API_OK (yes), API_E_NOT_FOUND (no), or API_E_ACCESS_DENIED-like
 * unknowns are left to listing_admits_doc. Returns as tokens_get, with *ret_error. */
int listing_admits(Listing *listing, const char *id, uint64_t since_ns, bool give_up, CacheWait *wait,
        ApiError *ret_error);
bool listing_admits_doc(const Listing *listing, const TokenDoc *doc);
bool listing_has_scopes(const Listing *listing);
/* The `token=` scopes. Borrowed. */
const char *const *listing_token_ids(const Listing *listing, size_t *ret_count);

/* Forgets the listing (SIGHUP); waiting readers ask anew. */
void listing_forget(Listing *listing);

typedef struct ListingStatus {
        size_t tokens, resolvers, dns_views;
        bool complete;
        ApiError error;
        uint64_t age_ns; /* CLOCK_NEVER: none yet */
        const char *state;
} ListingStatus;
void listing_status(const Listing *listing, ListingStatus *ret_status);
