/* Timers: a binary heap of timers that are embedded in their owners.
 *
 * Why: each waiting reader, each call and each backoff has a timer, and most are cancelled before they fire. A heap sets and
 * cancels in O(log n), and has the next one at hand. How: a timer holds its place in the heap (from 1; 0: it isn't set), so
 * cancelling needs no search. The array grows and never shrinks. */

#include "tokenfs/net/loop.h"

#include <errno.h>
#include <stdlib.h>

#include "loop-private.h"
#include "tokenfs/base/clock.h"

static void heap_put(LoopTimers *timers, size_t index, LoopTimer *timer)
{
        timers->heap[index] = timer;
        timer->heap_index = index;
}

/* Finds the place of `timer` from the free place `index` on, moving others out of its way. */
static void heap_settle(LoopTimers *timers, size_t index, LoopTimer *timer)
{
        while (index > 1 && timers->heap[index / 2]->at_ns > timer->at_ns) {
                heap_put(timers, index, timers->heap[index / 2]);
                index /= 2;
        }
        for (size_t child = 2 * index; child <= timers->count; child = 2 * index) {
                if (child < timers->count && timers->heap[child + 1]->at_ns < timers->heap[child]->at_ns)
                        child++;
                if (timers->heap[child]->at_ns >= timer->at_ns)
                        break;
                heap_put(timers, index, timers->heap[child]);
                index = child;
        }
        heap_put(timers, index, timer);
}

static int heap_reserve(LoopTimers *timers)
{
        if (timers->count + 1 < timers->capacity)
                return 0;
        size_t capacity = timers->capacity ? 2 * timers->capacity : 32;
        LoopTimer **heap = reallocarray(timers->heap, capacity, sizeof *heap);
        if (!heap)
                return -ENOMEM;
        timers->heap = heap;
        timers->capacity = capacity;
        return 0;
}

int loop_timer_set(LoopTimer *timer, uint64_t at_ns)
{
        LoopTimers *timers = timer->timers;
        if (at_ns == CLOCK_NEVER) {
                loop_timer_cancel(timer);
                return 0;
        }
        if (!loop_timer_is_set(timer)) {
                int r = heap_reserve(timers);
                if (r < 0)
                        return r;
                timer->heap_index = ++timers->count;
        }
        timer->at_ns = at_ns;
        heap_settle(timers, timer->heap_index, timer);
        return 0;
}

void loop_timer_cancel(LoopTimer *timer)
{
        if (!loop_timer_is_set(timer))
                return;
        LoopTimers *timers = timer->timers;
        size_t index = timer->heap_index;
        LoopTimer *last = timers->heap[timers->count--];
        timer->heap_index = 0;
        if (last != timer)
                heap_settle(timers, index, last);
}

uint64_t loop_timers_next_ns(const LoopTimers *timers)
{
        return timers->count ? timers->heap[1]->at_ns : CLOCK_NEVER;
}

void loop_timers_run(LoopTimers *timers, uint64_t now_ns)
{
        /* At most as many as there are now, so that a timer which is always due can't keep the turn. */
        for (size_t left = timers->count; left && loop_timers_next_ns(timers) <= now_ns; left--) {
                LoopTimer *timer = timers->heap[1];
                loop_timer_cancel(timer);
                timer->handler(timer, timer->userdata);
        }
}

void loop_timers_deinit(LoopTimers *timers)
{
        free(timers->heap);
        *timers = (LoopTimers){0};
}
