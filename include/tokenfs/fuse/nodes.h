#pragma once
/* The table of directory slots: which node ids mean which directory. It lies in memory that the supervisor makes and
 * every worker maps, so that node ids outlive a worker. It holds no secrets. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/fuse/node.h"

typedef struct Nodes Nodes;

/* Makes a table (a memfd of fixed size, close-on-exec). 0 or a negative errno. */
int nodes_new(Nodes **ret_slots);
/* Maps the table of `fd` (taken over on success). -EINVAL if it is none, of another layout, or could be cut. */
int nodes_adopt(int fd, Nodes **ret_slots);
/* Unmaps; the memory lives on while another process has it. Returns NULL. */
Nodes *nodes_free(Nodes *slots);
CLEANUP_DEFINE(Nodes *, nodes_free);
int nodes_fd(const Nodes *slots);

/* Checks every slot, dropping those that are damaged (a worker may have died in the middle of a change, or been taken
 * over): never trusted, never fatal. Returns how many were dropped. A worker calls it before it serves. */
unsigned nodes_repair(Nodes *slots);

/* Calls the visitor with the node id of each file that the kernel may hold (for invalidation). */
typedef void NodesVisitor(uint64_t node_id, void *userdata);
void nodes_visit_nodes(const Nodes *slots, NodesVisitor *visitor, void *userdata);

/* The same for the files of a name alone, those that it had lately as well. */
void nodes_visit_name(const Nodes *slots, const char *name, NodesVisitor *visitor, void *userdata);

#define NODES_TAKEN_MAX 1024

/* Figures that outlive a worker: shown in .service_status and .service_metrics. Written by the supervisor. */
typedef struct NodesShared {
        int64_t started_wall_ns; /* of the mount */
        uint64_t restarts; /* workers that died and were replaced */
        uint64_t upgrades;
        int64_t restart_wall_ns; /* the last one; 0: none */
        int32_t restart_status; /* its wait status */
        uint32_t crash_loop; /* 1 while restarts back off */
        uint64_t taken[NODES_TAKEN_MAX]; /* requests under way: fuse/inflight.h */
} NodesShared;
NodesShared *nodes_shared(Nodes *slots);

/* One slot, as the filesystem needs it. */

typedef enum SlotKind {
        SLOT_FREE,
        SLOT_FIXED,
        SLOT_TOKEN,
        SLOT_NAME,
        SLOT_TOKEN_URL, /* the .doh_url in the directory of SLOT_TOKEN with that key */
        SLOT_NAME_URL,
        SLOT_KIND_COUNT
} SlotKind;
/* True for what means a name, and not an id. */
static inline bool slot_kind_is_name(SlotKind kind)
{
        return kind == SLOT_NAME || kind == SLOT_NAME_URL;
}

#define SLOT_OLD_MAX 4

typedef struct Slot {
        char key[TOKEN_ID_MAX + 1]; /* a token's id, or a name as the API has it */
        uint8_t kind;
        uint16_t fields_looked_up; /* bit per field - NODE_FIELD: files that the kernel may hold */
        uint32_t generation; /* of the files */
        uint32_t lookups; /* that the kernel hasn't forgotten, of the directory and its files */
        uint32_t old_generations[SLOT_OLD_MAX]; /* older files that were told what is current; 0: none */
        uint64_t fingerprint; /* of the content that `generation` stands for; 0: none yet */
        uint32_t check; /* over all of the above but `lookups` */
} Slot;

uint32_t nodes_capacity(const Nodes *slots);
/* One more than the highest slot ever used. */
uint32_t nodes_end(const Nodes *slots);
uint32_t nodes_used(const Nodes *slots);
/* NULL if the index is out of range or the slot is free. The slot is read-only: changes go through the functions. */
const Slot *nodes_get(const Nodes *slots, uint32_t index);
/* The slot of a key. -ENOENT. */
int nodes_find(const Nodes *slots, SlotKind kind, const char *key, uint32_t *ret_index);
/* Finds or adds. When the table is full, a slot that the kernel knows nothing of is taken for the new key (its
 * generation goes on counting). -ENOSPC, -ENOMEM, -ENAMETOOLONG. */
int nodes_take(Nodes *slots, SlotKind kind, const char *key, uint32_t *ret_index);
/* The files of the slot have new content. Returns the new generation. */
uint32_t nodes_next_generation(Nodes *slots, uint32_t index, uint64_t fingerprint);
/* The kernel was given an entry of the slot (field NODE_DIRECTORY or a file), or forgot some. */
void nodes_add_lookup(Nodes *slots, uint32_t index, uint8_t field);
void nodes_drop_lookups(Nodes *slots, uint32_t index, uint64_t count);
/* True if nodes_note_old noted it. */
bool slot_is_old(const Slot *slot, uint32_t generation);
/* Notes that files of an old generation were told what is current. False if there is no room to note it. */
bool nodes_note_old(Nodes *slots, uint32_t index, uint32_t generation);
