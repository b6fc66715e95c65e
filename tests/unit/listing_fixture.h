#pragma once
/* What the tests of the listing share: a cache, a listing, and the source of both. */

#include "fake_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/log.h"
#include "tokenfs/cache/cache.h"
#include "tokenfs/cache/listing.h"

#define TTL_NS (100 * NS_PER_S)
#define STALE_NS (1000 * NS_PER_S)
#define NEGATIVE_TTL_NS (5 * NS_PER_S)
#define TIMEOUT_NS (10 * NS_PER_S)

static Loop *loop;
static FakeSource fake;
static Cache *cache;
static Listing *listing;
static uint64_t negative_ttl_ns; /* of the next listing */

static inline int set_up(void **state)
{
        (void)state;
        fake_source_init(&fake);
        log_open(LOG_LEVEL_ERROR, false);
        negative_ttl_ns = NEGATIVE_TTL_NS;
        assert_int_equal(loop_new(&loop), 0);
        CacheSettings settings = {.loop = loop,
                .source = fake_source(&fake),
                .ttl_ns = TTL_NS,
                .negative_ttl_ns = NEGATIVE_TTL_NS,
                .stale_ns = STALE_NS,
                .timeout_ns = TIMEOUT_NS,
                .max_tokens = 1000};
        assert_int_equal(cache_new(&settings, &cache), 0);
        return 0;
}

static inline int tear_down(void **state)
{
        (void)state;
        listing = listing_free(listing);
        cache = cache_free(cache);
        loop = loop_free(loop);
        fake_source_deinit(&fake);
        return 0;
}

/* A test says what is in scope. */
static inline void make_listing(ListingSettings settings)
{
        settings.loop = loop;
        settings.source = fake_source(&fake);
        settings.cache = cache;
        settings.ttl_ns = TTL_NS;
        settings.stale_ns = STALE_NS;
        settings.timeout_ns = TIMEOUT_NS;
        settings.negative_ttl_ns = negative_ttl_ns;
        assert_int_equal(listing_new(&settings, &listing), 0);
}
