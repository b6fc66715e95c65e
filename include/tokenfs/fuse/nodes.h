#pragma once
/* The table of directory slots: which node ids mean which directory. It lies in memory that the supervisor makes and
 * every worker maps, so that node ids outlive a worker. It holds no secrets. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/base/cleanup.h"

typedef struct Slots Slots;

/* Makes a table (a memfd of fixed size, close-on-exec). 0 or a negative errno. */
int slots_new(Slots **ret_slots);
/* Maps the table of `fd` (taken over on success). -EINVAL if it is none, of another layout, or could be cut. */
int slots_adopt(int fd, Slots **ret_slots);
/* Unmaps; the memory lives on while another process has it. Returns NULL. */
Slots *slots_free(Slots *slots);
CLEANUP_DEFINE(Slots *, slots_free);
int slots_fd(const Slots *slots);

/* Checks every slot, dropping those that are damaged (a worker may have died in the middle of a change, or been taken
 * over): never trusted, never fatal. Returns how many were dropped. A worker calls it before it serves. */
unsigned slots_repair(Slots *slots);

/* Calls the visitor with the node id of each file that the kernel may hold (for invalidation). */
typedef void SlotsNodeVisitor(uint64_t node_id, void *userdata);
void slots_visit_nodes(const Slots *slots, SlotsNodeVisitor *visitor, void *userdata);

/* The same for the files of a name alone, those that it had lately as well. */
void slots_visit_name(const Slots *slots, const char *name, SlotsNodeVisitor *visitor, void *userdata);

#define SLOTS_TAKEN_MAX 1024

/* Figures that outlive a worker: shown in .service_status and .service_metrics. Written by the supervisor. */
typedef struct SlotsShared {
        int64_t started_wall_ns; /* of the mount */
        uint64_t restarts; /* workers that died and were replaced */
        uint64_t upgrades;
        int64_t restart_wall_ns; /* the last one; 0: none */
        int32_t restart_status; /* its wait status */
        uint32_t crash_loop; /* 1 while restarts back off */
        uint64_t taken[SLOTS_TAKEN_MAX]; /* requests under way: fuse/inflight.h */
} SlotsShared;
SlotsShared *slots_shared(Slots *slots);
