/* The table of requests that are under way.
 *
 * Numbers are put where they hash to, or a few places on. A place that was freed is simply 0: looking a number up
 * passes over gaps. */

#include "inflight.h"

#include <stddef.h>

#define TAKEN_PROBES 16

static uint64_t *taken_place(NodesShared *shared, uint64_t unique, size_t probe)
{
        uint64_t hash = unique * UINT64_C(0x9E3779B97F4A7C15);
        return &shared->taken[((size_t)(hash >> 32) + probe) % NODES_TAKEN_MAX];
}

void inflight_note(NodesShared *shared, uint64_t unique)
{
        for (size_t probe = 0; probe < TAKEN_PROBES; probe++) {
                uint64_t *place = taken_place(shared, unique, probe);
                if (*place != 0)
                        continue;
                *place = unique;
                return;
        }
}

void inflight_drop(NodesShared *shared, uint64_t unique)
{
        for (size_t probe = 0; probe < TAKEN_PROBES; probe++) {
                uint64_t *place = taken_place(shared, unique, probe);
                if (*place != unique)
                        continue;
                *place = 0;
                return;
        }
}

uint64_t inflight_take(NodesShared *shared)
{
        for (size_t i = 0; i < NODES_TAKEN_MAX; i++) {
                uint64_t unique = shared->taken[i];
                shared->taken[i] = 0;
                if (unique != 0)
                        return unique;
        }
        return 0;
}
