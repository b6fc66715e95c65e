/* The supervisor's timers.
 *
 * A dozen things happen at a time of their own. One table holds when, and the loop asks for the first: no module waits
 * by itself. */

#include "timers.h"

#include "tokenfs/base/clock.h"

#define WAIT_MAX_MS 3600000 /* poll(2) takes an int; waking once an hour costs nothing */

void timers_init(Timers *timers)
{
        for (int i = 0; i < TIMER_COUNT; i++)
                timers->due_ns[i] = CLOCK_NEVER;
}

void timers_set_at(Timers *timers, Timer timer, uint64_t at_ns)
{
        timers->due_ns[timer] = at_ns;
}

void timers_set(Timers *timers, Timer timer, uint64_t in_ns)
{
        timers_set_at(timers, timer, clock_add_ns(clock_now_ns(), in_ns));
}

void timers_clear(Timers *timers, Timer timer)
{
        timers_set_at(timers, timer, CLOCK_NEVER);
}

int timers_wait_ms(const Timers *timers)
{
        uint64_t first_ns = CLOCK_NEVER, now_ns = clock_now_ns();
        for (int i = 0; i < TIMER_COUNT; i++)
                if (timers->due_ns[i] < first_ns)
                        first_ns = timers->due_ns[i];
        if (first_ns == CLOCK_NEVER)
                return -1;
        uint64_t wait_ms = first_ns > now_ns ? (first_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
        return wait_ms < WAIT_MAX_MS ? (int)wait_ms : WAIT_MAX_MS;
}

bool timers_take(Timers *timers, Timer timer)
{
        if (timers->due_ns[timer] > clock_now_ns())
                return false;
        timers_clear(timers, timer);
        return true;
}
