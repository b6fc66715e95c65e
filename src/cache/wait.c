/* Waking waiting readers. The list is emptied first, since a woken reader may wait again at once. */

#include "tokenfs/cache/wait.h"

void cache_wait_wake_all(ListLink *waits)
{
        ListLink woken;
        list_init(&woken);
        list_splice(&woken, waits);
        CacheWait *wait;
        while ((wait = list_first(&woken, CacheWait, link))) {
                list_unlink(&wait->link);
                wait->handler(wait);
        }
}
