#pragma once
/* A wait for the cache or the listing, embedded in its owner. One wait is in one list at a time. When something
 * happened that may answer it, it is unlinked and its handler called once; the owner then asks again. Asking again,
 * rather than being given an answer, keeps one path for hits, fetched answers, errors and what is stale. */

#include <stdint.h>

#include "tokenfs/base/list.h"

typedef struct CacheWait CacheWait;
typedef void CacheWaitHandler(CacheWait *wait);
struct CacheWait {
        ListLink link;
        CacheWaitHandler *handler;
        uint32_t uid; /* of the user that reads; API_UID_NONE: the program itself */
        bool is_guess; /* what is asked for by id is in no listing, as far as is known */
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

/* Unlinks every wait of the list and calls its handler; those added meanwhile are left for the next time. */
void cache_wait_wake_all(ListLink *waits);
