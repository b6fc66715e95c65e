#pragma once
/* Fetching ahead of a scan: who reads token after token in listing order finds the next ones already there. */

#include <stddef.h>
#include <stdint.h>

#include "tokenfs/cache/tokens.h"
#include "tokenfs/cache/listing.h"

/* Where the last cold reads were. Zeroed: none yet. */
typedef struct Prefetch {
        uint64_t version; /* of the listing that the positions are of */
        size_t last; /* position of the last cold read */
        size_t run; /* how many came one beside the other, in listing order or its reverse */
        int direction; /* of the run: 1, -1; 0: none yet */
        size_t ahead; /* how many beyond `last` were asked for */
} Prefetch;

/* A token was read that wasn't in the cache, or was there only since it was prefetched. Starts calls for those that
 * follow, if this is part of a scan; they cost nothing if they aren't read but the calls. */
void prefetch_note(Prefetch *prefetch, Tokens *tokens, Listing *listing, const char *id);
