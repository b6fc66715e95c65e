#pragma once
/* Shared by the files of this folder: the timers' heap, and libcurl's transfers on the loop. */

#include <curl/curl.h>

#include "tokenfs/base/list.h"
#include "tokenfs/net/loop.h"

/* The timers that are set, as a binary heap: heap[1] is due first, heap[0] isn't used. */
typedef struct LoopTimers {
        LoopTimer **heap;
        size_t count, capacity;
} LoopTimers;
void loop_timers_deinit(LoopTimers *timers);
/* The moment at which the first is due; CLOCK_NEVER if none is set. */
uint64_t loop_timers_next_ns(const LoopTimers *timers);
/* Calls the handlers of those due at `now_ns`. One that is set again by a handler waits for the next turn. */
void loop_timers_run(LoopTimers *timers, uint64_t now_ns);

/* One transfer of libcurl, embedded in its owner. While it runs, `easy` belongs to the loop. */
typedef struct LoopTransfer LoopTransfer;
/* Called from the loop when the transfer has ended. The handler has to call loop_transfer_stop. */
typedef void LoopTransferHandler(LoopTransfer *transfer, CURLcode result);
struct LoopTransfer {
        CURL *easy;
        LoopTransferHandler *handler;
        struct Pool *pool; /* while it runs */
        ListLink link; /* in the pool, while it runs */
};
/* Takes CURLOPT_PRIVATE of `easy`. 0 or -ENOMEM. */
int loop_transfer_start(Loop *loop, LoopTransfer *transfer);
/* Ends it without its handler; right in every state of a zeroed or started transfer. */
void loop_transfer_stop(LoopTransfer *transfer);

/* Adds to (or, when negative, takes from) the number of connections that may be open at once. */
void loop_connections_allow(Loop *loop, long change);
/* No later transfer uses a connection that exists now (nor an address that was looked up, nor a CA bundle that was
 * parsed); idle connections are closed by the end of the turn, the others with their last transfer. */
void loop_connections_forget(Loop *loop);
