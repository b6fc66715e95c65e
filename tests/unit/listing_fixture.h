#pragma once
/* What the tests of the listing share: the cache's fixture, and scopes, a listing and names beside it. */

#include "cache_fixture.h"

#include "tokenfs/cache/cache.h"

static Listing *listing;
static Cache cache; /* of what the test has made so far */
static uint64_t negative_ttl_ns; /* of the next listing */

static inline int set_up_listing(void **state)
{
        negative_ttl_ns = NEGATIVE_TTL_NS;
        return set_up(state);
}

static inline void drop_listing(void)
{
        cache.names = names_free(cache.names);
        listing = listing_free(listing);
        cache.scopes = scopes_free(cache.scopes);
}

static inline int tear_down_listing(void **state)
{
        drop_listing();
        return tear_down(state);
}

/* A test says what is in scope; a listing that it made before goes. */
static inline void make_listing(ScopeIds ids)
{
        const CachePolicy policy = {
                .source = fake_source(&fake),
                .ttl_ns = TTL_NS,
                .negative_ttl_ns = negative_ttl_ns,
                .stale_ns = STALE_NS,
                .timeout_ns = TIMEOUT_NS,
        };
        drop_listing();
        cache.tokens = tokens;
        assert_int_equal(scopes_new(&ids, &cache.scopes), 0);
        assert_int_equal(listing_new(&(ListingSettings){loop, policy, cache.scopes}, &listing), 0);
        cache.listing = listing;
        const NamesSettings settings = {policy, cache.scopes, listing, tokens};
        assert_int_equal(names_new(&settings, &cache.names), 0);
}

/* A long listing is sorted in slices; this waits for the last. Returns how many there were. */
static inline unsigned settle_listing(void)
{
        unsigned slices = 0;
        ListingStatus status;
        for (listing_status(listing, &status); fake.running == 0 && status.is_walking;
                listing_status(listing, &status), slices++)
                assert_int_equal(loop_turn(loop, 0), 0);
        return slices;
}
