#pragma once
/* What all caches have in common: where answers come from, and how long they are good. */

#include <stdint.h>

#include "tokenfs/cache/source.h"
#include "tokenfs/cache/store.h"

typedef struct CachePolicy {
        CacheSource source;
        uint64_t ttl_ns; /* how long an answer is fresh */
        uint64_t negative_ttl_ns; /* how long "there is no such thing" is remembered */
        uint64_t stale_ns; /* how long past ttl the last good copy is served while the API fails */
        const CacheStore *store; /* hears of what the caches learn; borrowed; NULL: nobody does */
        uint64_t timeout_ns; /* readers without a copy get the endpoint's error at once after this long */
} CachePolicy;

/* Where an answer comes from, for metrics. */
typedef enum CacheHit {
        CACHE_HIT_FRESH,
        CACHE_HIT_AGEING, /* fresh, and a refresh is under way */
        CACHE_HIT_STALE, /* the last good copy, since the API fails */
        CACHE_HIT_NEGATIVE, /* an error */
        CACHE_MISS, /* the reader waits for the API */
        CACHE_HIT_PREFETCHED, /* fetched ahead of a scan; this is its first read */
        CACHE_HIT_COUNT,
} CacheHit;
