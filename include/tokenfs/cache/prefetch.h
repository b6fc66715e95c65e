#pragma once
/* Fetching ahead of a scan, which reads token after token in listing order. */

#include <stddef.h>
#include <stdint.h>

#include "tokenfs/cache/tokens.h"
#include "tokenfs/cache/listing.h"

/* Where the last cold reads were. Zeroed: none yet. */
typedef struct Prefetch {
        uint64_t version; /* of the listing that the positions are of */
        size_t last; /* position of the last cold read */
        size_t run; /* how many cold reads came one beside the other */
        int direction; /* of the run: 1, -1; 0: none yet */
        size_t ahead; /* how many tokens beyond `last` were fetched */
} Prefetch;

/* Notes a cold read: of a token that is not held, or that was prefetched. Within a scan it starts calls for the following
 * tokens. */
void prefetch_note(Prefetch *prefetch, Tokens *tokens, Listing *listing, const char *id);
