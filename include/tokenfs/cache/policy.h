#pragma once
/* The rules that all caches share: the source of answers, and their times. */

#include <stdint.h>

#include "tokenfs/cache/source.h"
#include "tokenfs/cache/store.h"

typedef struct CachePolicy {
        CacheSource source;
        uint64_t ttl_ns; /* how long an answer is fresh */
        uint64_t negative_ttl_ns; /* how long "not found" is remembered */
        uint64_t stale_ns; /* how long past ttl the last good copy is served while the API fails */
        const CacheStore *store; /* gets the caches' events; borrowed; NULL: none */
        uint64_t timeout_ns; /* an endpoint that fails this long fails readers without a copy at once */
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
