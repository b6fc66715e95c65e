/* The table of requests that are under way.
 *
 * Numbers are put where they hash to, or a few places on. A place that was freed is simply 0: looking a number up
 * passes over gaps. */

#include "inflight.h"

#include <stdbool.h>

#define TAKEN_PROBES 16

static size_t place_of(uint64_t unique, size_t probe)
{
        uint64_t hash = unique * UINT64_C(0x9E3779B97F4A7C15);
        return ((size_t)(hash >> 32) + probe) % NODES_TAKEN_MAX;
}

/* A worker that leaves may free places while the next one looks for some: a place belongs to the worker that swaps its
 * number in. */
void inflight_note(NodesShared *shared, uint64_t unique, pid_t worker)
{
        for (size_t probe = 0; probe < TAKEN_PROBES; probe++) {
                size_t place = place_of(unique, probe);
                uint64_t none = 0;
                if (!__atomic_compare_exchange_n(
                            &shared->taken[place], &none, unique, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
                        continue;
                shared->taken_by[place] = worker;
                return;
        }
}

void inflight_drop(NodesShared *shared, uint64_t unique)
{
        for (size_t probe = 0; probe < TAKEN_PROBES; probe++) {
                uint64_t *place = &shared->taken[place_of(unique, probe)];
                if (*place != unique)
                        continue;
                *place = 0;
                return;
        }
}

static bool is_among(pid_t worker, const pid_t *alive, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (alive[i] == worker)
                        return true;
        return false;
}

uint64_t inflight_take(NodesShared *shared, const pid_t *alive, size_t count)
{
        for (size_t i = 0; i < NODES_TAKEN_MAX; i++) {
                uint64_t unique = shared->taken[i];
                if (unique == 0 || is_among(shared->taken_by[i], alive, count))
                        continue;
                shared->taken[i] = 0;
                return unique;
        }
        return 0;
}
