/* The restart policy.
 *
 * A worker that dies once is replaced at once: readers don't notice. A worker that dies at every start must not keep
 * the machine busy. So the first restart has no delay, the next 0.1 s, doubling up to 5 s. A worker that lived ten
 * times the delay, and at least a second, is replaced at once: restarts take at most a tenth of the time.
 *
 * Three deaths in a row are called a crash loop. One request may kill each worker, as the kernel sends it to the next.
 * So when no worker has served for a reader's whole time-out, the supervisor refuses the waiting requests. */

#include "backoff.h"

#include "tokenfs/base/clock.h"

#define DELAY_FIRST_NS (NS_PER_S / 10)
#define DELAY_MAX_NS (5 * NS_PER_S)
#define EARNED_FACTOR 10
#define SERVED_NS NS_PER_S
#define LOOP_DEATHS 3

void backoff_init(Backoff *backoff)
{
        *backoff = (Backoff){.served_ns = clock_now_ns()};
}

static uint64_t earned_after_ns(const Backoff *backoff)
{
        uint64_t earned_ns = backoff->delay_ns * EARNED_FACTOR;
        return earned_ns > SERVED_NS ? earned_ns : SERVED_NS;
}

uint64_t backoff_recovers_ns(const Backoff *backoff, uint64_t started_ns)
{
        return backoff->deaths > 0 ? clock_add_ns(started_ns, earned_after_ns(backoff)) : CLOCK_NEVER;
}

void backoff_recovered(Backoff *backoff)
{
        backoff->delay_ns = 0;
        backoff->deaths = 0;
        backoff->served_ns = clock_now_ns();
}

uint64_t backoff_death(Backoff *backoff, uint64_t started_ns)
{
        uint64_t now_ns = clock_now_ns();
        uint64_t lived_ns = now_ns - started_ns;
        if (lived_ns >= SERVED_NS)
                backoff->served_ns = now_ns;
        if (lived_ns >= earned_after_ns(backoff))
                backoff_recovered(backoff);

        uint64_t delay_ns = backoff->deaths == 0 ? 0 : backoff->delay_ns * 2;
        if (backoff->deaths > 0 && delay_ns < DELAY_FIRST_NS)
                delay_ns = DELAY_FIRST_NS;
        backoff->delay_ns = delay_ns < DELAY_MAX_NS ? delay_ns : DELAY_MAX_NS;
        backoff->deaths++;
        return backoff->delay_ns;
}

bool backoff_is_loop(const Backoff *backoff)
{
        return backoff->deaths >= LOOP_DEATHS;
}

bool backoff_is_hopeless(const Backoff *backoff, uint64_t limit_ns)
{
        return backoff_is_loop(backoff) && clock_now_ns() - backoff->served_ns >= limit_ns;
}
