#pragma once
/* All caches of a mount. */

#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/listing.h"
#include "tokenfs/cache/names.h"
#include "tokenfs/cache/policy.h"
#include "tokenfs/cache/resolvers.h"
#include "tokenfs/cache/scopes.h"
#include "tokenfs/cache/tokens.h"

typedef struct Cache {
        CacheStore store; /* the listener; may be set and reset at any time */
        Scopes *scopes;
        Tokens *tokens;
        Listing *listing;
        Names *names;
        Resolvers *resolvers;
} Cache;

typedef struct CacheSettings {
        Loop *loop;
        CachePolicy policy;
        uint32_t max_tokens;
        ScopeIds scopes; /* copied */
} CacheSettings;
/* 0 or -ENOMEM. */
int cache_new(const CacheSettings *settings, Cache **ret_cache);
/* The caller ends all waits before. Wipes all copies. Returns NULL. */
Cache *cache_free(Cache *cache);
CLEANUP_DEFINE(Cache *, cache_free);
