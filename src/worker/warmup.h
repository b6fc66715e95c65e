#pragma once
/* Fetching the tokens of the `token=` scopes before anybody reads them, so that what is started after the mount finds
 * them there. */

#include "tokenfs/cache/cache.h"

typedef struct Warmup Warmup;
/* Called once, from the loop: all are there, or failed, or `limit_ns` has passed. */
typedef void WarmupHandler(void *userdata);
/* Borrows all. 0 or -ENOMEM. */
int warmup_new(Loop *loop, const Cache *cache, uint64_t limit_ns, WarmupHandler *handler, void *userdata,
        Warmup **ret_warmup);
/* NULL does nothing. Returns NULL. */
Warmup *warmup_free(Warmup *warmup);
