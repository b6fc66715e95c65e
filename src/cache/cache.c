/* The caches of a mount, from the bottom upwards: scopes, documents, the listing, names, resolvers. */

#include "tokenfs/cache/cache.h"

#include <errno.h>
#include <stdlib.h>

int cache_new(const CacheSettings *settings, Cache **ret_cache)
{
        CLEANUP(cache_free_p) Cache *cache = calloc(1, sizeof *cache);
        if (!cache)
                return -ENOMEM;
        int r = scopes_new(&settings->scopes, &cache->scopes);
        if (r < 0)
                return r;
        CachePolicy policy = settings->policy;
        policy.store = &cache->store;
        const TokensSettings tokens = {settings->loop, policy, settings->max_tokens};
        r = tokens_new(&tokens, &cache->tokens);
        if (r < 0)
                return r;
        const ListingSettings listing = {settings->loop, policy, cache->scopes};
        r = listing_new(&listing, &cache->listing);
        if (r < 0)
                return r;
        const NamesSettings names = {policy, cache->scopes, cache->listing, cache->tokens};
        r = names_new(&names, &cache->names);
        if (r < 0)
                return r;
        r = resolvers_new(&policy, &cache->resolvers);
        if (r < 0)
                return r;
        *ret_cache = TAKE(cache);
        return 0;
}

Cache *cache_free(Cache *cache)
{
        if (!cache)
                return NULL;
        resolvers_free(cache->resolvers);
        names_free(cache->names);
        listing_free(cache->listing);
        tokens_free(cache->tokens);
        scopes_free(cache->scopes);
        free(cache);
        return NULL;
}
