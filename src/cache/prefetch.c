/* Fetching ahead of a scan.
 *
 * Why: `cat MNT/<star>/status` over a thousand cold tokens would wait for a thousand calls one after the other. How: a read
 * that has to wait is looked up in the listing's order; when it comes right after the one before it, several times in
 * a row, it is a scan, and the tokens that follow are asked for: one the first time, then twice as many with each
 * read, until as many calls are ahead as may be in flight. A scan that stops is seen by no further read, so no further
 * call is made: at most those in flight are wasted. A single read never starts one. */

#include "tokenfs/cache/prefetch.h"

#include "tokenfs/base/clock.h"

#define PREFETCH_RUN_MIN 2 /* reads in a row that make a scan */

void prefetch_note(Prefetch *prefetch, Cache *cache, Listing *listing, const char *id)
{
        ListingAnswer answer;
        listing_peek(listing, &answer);
        const TokenItem *item = listing_find(&answer, id);
        if (!item)
                return;
        size_t position = (size_t)(item - answer.items);
        bool follows =
                prefetch->run > 0 && prefetch->version == answer.version && position == prefetch->last + 1;
        if (prefetch->run > 0 && prefetch->version == answer.version && position == prefetch->last)
                return; /* another file of the same token */
        prefetch->version = answer.version;
        prefetch->last = position;
        prefetch->run = follows ? prefetch->run + 1 : 1;
        if (!follows || prefetch->ahead <= position)
                prefetch->ahead = position + 1;
        if (prefetch->run < PREFETCH_RUN_MIN)
                return;
        size_t window = prefetch->run - PREFETCH_RUN_MIN < 4 ? (size_t)1 << (prefetch->run - PREFETCH_RUN_MIN)
                                                             : API_IN_FLIGHT_MAX;
        for (; prefetch->ahead <= position + window && prefetch->ahead < answer.item_count;
                prefetch->ahead++) {
                CacheAnswer ignored;
                (void)cache_get(
                        cache, answer.items[prefetch->ahead].id, clock_now_ns(), false, NULL, &ignored);
        }
}
