#pragma once
/* A wait for a cached copy, embedded in its owner. One wait is in one list at a time. An event of the copy unlinks it and
 * calls its handler once; the owner then asks again. So hits, fetched answers, errors and stale copies take one path. */

#include <stdint.h>

#include "tokenfs/base/list.h"

typedef struct CacheWait CacheWait;
typedef void CacheWaitHandler(CacheWait *wait);
struct CacheWait {
        ListLink link;
        CacheWaitHandler *handler;
        uint32_t uid; /* of the user that reads; API_UID_NONE: the program itself */
        bool is_guess; /* the id is in no known listing */
};

static inline void cache_wait_init(CacheWait *wait, CacheWaitHandler *handler)
{
        list_init(&wait->link);
        wait->handler = handler;
        wait->uid = UINT32_MAX;
        wait->is_guess = false;
}

/* Right in any state. */
static inline void cache_wait_cancel(CacheWait *wait)
{
        list_unlink(&wait->link);
}

/* Unlinks every wait of the list and calls its handler. Waits that a handler adds stay. */
void cache_wait_wake_all(ListLink *waits);
