#pragma once
/* What the listing's parts share: listing.c (the walk over the API), scopes.c, names.c. */

#include <stdio.h>

#include "copy.h"
#include "tokenfs/base/list.h"
#include "tokenfs/cache/listing.h"

typedef struct IdSet {
        char **ids; /* sorted */
        size_t count;
} IdSet;

typedef struct ListingScopes {
        IdSet tokens, dns_views, resolvers;
} ListingScopes;

/* What one walk over the API gathers. */
typedef struct Walk {
        uint64_t started_ns;
        ListLink todo, running;
        TokenItem *items;
        size_t item_count, item_capacity;
        size_t branch_count; /* so far, those that have ended included */
        size_t skipped, resolvers, dns_views;
        ApiError denied; /* a branch was refused */
        char detail[256]; /* of that */
} Walk;

typedef struct Rejected {
        char id[TOKEN_ID_MAX + 1];
        uint64_t at_ns;
} Rejected;

struct Listing {
        ListingSettings settings;
        ListingScopes scopes;
        Copy copy; /* of a walk's outcome: the members down to `version` */
        TokenItem *items; /* by id */
        size_t item_count;
        const TokenItem **by_name; /* by name, then the newest first */
        bool complete;
        ApiError denied;
        size_t resolvers, dns_views;
        uint64_t version;

        Walk walk;
        ApiError logged_error;

        Rejected rejected[64]; /* found to be gone since the listing was fetched */
        size_t rejected_count;
};

/* scopes.c */
int listing_scopes_copy(ListingScopes *scopes, const ListingSettings *settings);
void listing_scopes_deinit(ListingScopes *scopes);
bool listing_has_only_token_scopes(const Listing *listing);

/* names.c */
/* An index of items by name, the newest first. Owned by the caller. 0 or -ENOMEM. */
int listing_index_names(const TokenItem *items, size_t count, const TokenItem ***ret_index);

/* listing.c */
/* `since_ns`: when the reader came. */
bool listing_is_rejected(const Listing *listing, const char *id, uint64_t since_ns);
