#pragma once
/* Fetches the tokens of the `token=` scopes before the first reader: services that systemd starts after the mount find
 * them in the cache. */

#include "tokenfs/cache/cache.h"

typedef struct Warmup Warmup;
/* Called once, from the loop: all tokens came or failed, or `limit_ns` has passed. */
typedef void WarmupHandler(void *userdata);
/* Borrows all. 0 or -ENOMEM. */
int warmup_new(Loop *loop, const Cache *cache, uint64_t limit_ns, WarmupHandler *handler, void *userdata,
        Warmup **ret_warmup);
/* NULL does nothing. Returns NULL. */
Warmup *warmup_free(Warmup *warmup);
