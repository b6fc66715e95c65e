#pragma once
/* The listing: which tokens there are within the scopes. */

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

/* What list calls gave. Immutable. */
typedef struct ListingAnswer {
        ApiError error; /* API_OK, or why there is no (or only an old or a partial) listing */
        const Items *items; /* borrowed until the loop's next turn; NULL: none */
        bool complete; /* nothing was denied or left out: what isn't in it, isn't there */
        uint64_t version; /* changes whenever the items do; 0: there are none to speak of */
        uint64_t keep_ns; /* as TokenAnswer's */
        uint64_t due_ns;
} ListingAnswer;

/* Returns as tokens_get. A listing that was denied, or fails without a copy, is an answer with its error and without items.
 * With only `token=` scopes it is empty, complete, and never calls. */
int listing_get(
        Listing *listing, uint64_t since_ns, bool give_up, CacheWait *wait, ListingAnswer *ret_answer);
/* What is held now; starts nothing. */
void listing_peek(Listing *listing, ListingAnswer *ret_answer);

/* Begins with the items of an earlier process (copy_restore). Takes them. */
void listing_restore(Listing *listing, Items *items, int64_t fetched_wall_ns, int64_t now_wall_ns);
/* When what is held was fetched, by the wall clock. */
int64_t listing_fetched_wall_ns(const Listing *listing);
/* Is a call of the walk that is under way waiting for its next attempt? */
bool listing_is_failing(const Listing *listing);
/* When the calls were sent that gave what is held; 0: nothing is. */
uint64_t listing_sent_ns(const Listing *listing);
/* What is held turned out to be wrong: it isn't valid from now on, and the next reader waits for another. */
void listing_outdate(Listing *listing);

typedef struct ListingStatus {
        size_t tokens, resolvers, dns_views;
        size_t skipped; /* items left out since they were malformed */
        bool complete;
        bool is_walking; /* calls are under way, or what they gave is sorted */
        ApiError error;
        uint64_t age_ns; /* CLOCK_NEVER: none yet */
        const char *state;
} ListingStatus;
void listing_status(const Listing *listing, ListingStatus *ret_status);
