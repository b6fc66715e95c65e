#pragma once
/* The listing: the tokens within the scopes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/api/token.h"
#include "tokenfs/cache/items.h"
#include "tokenfs/cache/policy.h"
#include "tokenfs/cache/scopes.h"
#include "tokenfs/cache/wait.h"
#include "tokenfs/net/loop.h"

typedef struct Listing Listing;

typedef struct ListingSettings {
        Loop *loop;
        CachePolicy policy;
        const Scopes *scopes; /* borrowed */
} ListingSettings;
int listing_new(const ListingSettings *settings, Listing **ret_listing);
Listing *listing_free(Listing *listing);
CLEANUP_DEFINE(Listing *, listing_free);

/* The outcome of list calls. Immutable. */
typedef struct ListingAnswer {
        ApiError error; /* API_OK, or why there is no listing, or an old or partial one */
        const Items *items; /* borrowed until the loop's next turn; NULL: none */
        bool complete; /* nothing was denied or left out: a token that is not in it does not exist */
        uint64_t version; /* changes with the items; 0: none */
        uint64_t keep_ns; /* as TokenAnswer's */
        uint64_t due_ns;
} ListingAnswer;

/* Returns as tokens_get. A denied listing, or one that fails without a copy, is an answer with its error and without
 * items. With `token=` scopes alone it is empty and complete, and makes no call. */
int listing_get(
        Listing *listing, uint64_t since_ns, bool give_up, CacheWait *wait, ListingAnswer *ret_answer);
/* The held listing; makes no call. */
void listing_peek(Listing *listing, ListingAnswer *ret_answer);

/* Begins with the items of an earlier process (copy_restore), as far as they are in scope: it may have had other scopes.
 * Takes them. */
void listing_restore(Listing *listing, Items *items, int64_t fetched_wall_ns, int64_t now_wall_ns);
/* When the held listing was fetched, by the wall clock. */
int64_t listing_fetched_wall_ns(const Listing *listing);
/* Does a call of the current walk wait for its next attempt? */
bool listing_is_failing(const Listing *listing);
/* When the first call of the held listing was sent; 0: none is held. */
uint64_t listing_sent_ns(const Listing *listing);
/* Ends the validity of the held listing: the next reader waits for another. */
void listing_outdate(Listing *listing);

typedef struct ListingStatus {
        size_t tokens, resolvers, dns_views;
        size_t skipped; /* items left out since they were malformed */
        bool complete;
        bool is_walking; /* calls are in flight, or their items are sorted */
        ApiError error;
        uint64_t age_ns; /* CLOCK_NEVER: none yet */
        const char *state;
} ListingStatus;
void listing_status(const Listing *listing, ListingStatus *ret_status);
