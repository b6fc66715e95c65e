#pragma once
/* What the tests of the listing share: the cache's fixture, and a listing beside it. */

#include "cache_fixture.h"

#include "tokenfs/cache/listing.h"

static Listing *listing;
static uint64_t negative_ttl_ns; /* of the next listing */

static inline int set_up_listing(void **state)
{
        negative_ttl_ns = NEGATIVE_TTL_NS;
        return set_up(state);
}

static inline int tear_down_listing(void **state)
{
        listing = listing_free(listing);
        return tear_down(state);
}

/* A test says what is in scope. */
static inline void make_listing(ListingSettings settings)
{
        settings.loop = loop;
        settings.policy.source = fake_source(&fake);
        settings.tokens = tokens;
        settings.policy.ttl_ns = TTL_NS;
        settings.policy.stale_ns = STALE_NS;
        settings.policy.timeout_ns = TIMEOUT_NS;
        settings.policy.negative_ttl_ns = negative_ttl_ns;
        assert_int_equal(listing_new(&settings, &listing), 0);
}
