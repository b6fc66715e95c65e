/* Fetching ahead of a scan.
 *
 * Why: `cat MNT/<star>/status` over a thousand cold tokens would make a thousand calls, one after the other. How: a cold
 * read is looked up in the listing's order. Several cold reads in a row, each beside the one before, are a scan. Then the
 * following tokens are fetched: one at first, twice as many with each read, up to the number of calls in flight. A scan
 * that stops wastes the calls in flight at most. A single read starts none. */

#include "tokenfs/cache/prefetch.h"

#include "tokenfs/base/clock.h"

#define PREFETCH_RUN_MIN 2 /* cold reads in a row that are a scan */

/* A scan may go either way: a shell's glob looks at its matches from the last to the first. */
static int direction_of(const Prefetch *prefetch, uint64_t version, size_t position)
{
        if (prefetch->run == 0 || prefetch->version != version)
                return 0;
        return position == prefetch->last + 1 ? 1 : position + 1 == prefetch->last ? -1 : 0;
}

void prefetch_note(Prefetch *prefetch, Tokens *tokens, Listing *listing, const char *id)
{
        ListingAnswer answer;
        listing_peek(listing, &answer);
        size_t position;
        if (items_find(answer.items, id, &position) < 0)
                return;
        if (prefetch->run > 0 && prefetch->version == answer.version && position == prefetch->last)
                return; /* another file of the same token */
        int direction = direction_of(prefetch, answer.version, position);
        bool goes_on = direction != 0 && (prefetch->run == 1 || direction == prefetch->direction);
        prefetch->version = answer.version;
        prefetch->last = position;
        prefetch->run = goes_on ? prefetch->run + 1 : 1;
        prefetch->ahead = goes_on && prefetch->ahead > 0 ? prefetch->ahead - 1 : 0;
        prefetch->direction = direction;
        if (prefetch->run < PREFETCH_RUN_MIN)
                return;
        size_t window = prefetch->run - PREFETCH_RUN_MIN < 4 ? (size_t)1 << (prefetch->run - PREFETCH_RUN_MIN)
                                                             : tokens_in_flight_max(tokens);
        /* Documents beyond max_tokens would be dropped before they are read. */
        size_t room = tokens_max_tokens(tokens) / 2;
        if (window > room)
                window = room;
        size_t left = direction > 0 ? items_count(answer.items) - 1 - position : position;
        for (; prefetch->ahead < window && prefetch->ahead < left; prefetch->ahead++) {
                size_t distance = prefetch->ahead + 1;
                size_t next = direction > 0 ? position + distance : position - distance;
                TokenAnswer ignored;
                (void)tokens_get(tokens, items_id(answer.items, next), clock_now_ns(), false, NULL, &ignored);
        }
}
