#pragma once
/* The table of directory slots: which node ids mean which directory. It lies in memory that the supervisor makes and
 * every worker maps, so that node ids outlive a worker. It holds no secrets. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/fuse/node.h"

typedef struct Nodes Nodes;

/* Makes a table (a memfd of fixed size, close-on-exec). 0 or a negative errno. */
int nodes_new(Nodes **ret_nodes);
/* Maps the table of `fd` (taken over on success). -EINVAL if it is none, of another layout, or could be cut. */
int nodes_adopt(int fd, Nodes **ret_nodes);
/* Unmaps; the memory lives on while another process has it. Returns NULL. */
Nodes *nodes_free(Nodes *nodes);
CLEANUP_DEFINE(Nodes *, nodes_free);
int nodes_fd(const Nodes *nodes);

/* A worker changes the table between these alone: a leaving one may answer its last requests while the next one serves. The
 * kernel gives the lock back if its owner dies. A process that has the lock keeps it; one nodes_unlock gives it back. */
void nodes_lock(Nodes *nodes);
void nodes_unlock(Nodes *nodes);

/* Checks every slot, dropping those that are damaged (a worker may have died in the middle of a change, or been taken
 * over): never trusted, never fatal. Returns how many were dropped. A worker calls it before it serves. */
unsigned nodes_repair(Nodes *nodes);

/* Prepares for nodes_find in a process that takes no slots: damaged ones are left out. */
void nodes_index(Nodes *nodes);

/* Calls the visitor, which invalidates the node, for each node that the kernel may hold; attributes that the kernel got
 * before are void then. `directory` is the slot of the directory itself, or of the one that shows the file. */
typedef void NodesVisitor(Node node, uint32_t directory, void *userdata);
void nodes_invalidate(Nodes *nodes, NodesVisitor *visitor, void *userdata);

/* The same for the files of a name alone. */
void nodes_invalidate_name(Nodes *nodes, const char *name, NodesVisitor *visitor, void *userdata);

#define NODES_TAKEN_MAX 1024

/* Figures that outlive a worker: shown in .service_status and .service_metrics. Written by the supervisor. */
typedef struct NodesShared {
        int64_t started_wall_ns; /* of the mount */
        uint64_t
                shown; /* a sum over the directories that the root shows, 0 before the first listing; the worker's */
        int64_t changed_wall_ns; /* the root's and .by_name's mtime: when their entries changed */
        uint64_t restarts; /* workers that died and were replaced */
        uint64_t upgrades;
        int64_t restart_wall_ns; /* the last one; 0: none */
        int32_t restart_status; /* its wait status */
        uint32_t crash_loop; /* 1 while restarts back off */
        uint64_t taken[NODES_TAKEN_MAX]; /* requests under way: fuse/inflight.h */
        int32_t taken_by[NODES_TAKEN_MAX]; /* the process that took each */
} NodesShared;
NodesShared *nodes_shared(Nodes *nodes);

/* The current text of a service file, which holds no secrets, for readers that opened it under the worker before. */
#define NODES_TEXT_MAX ((size_t)1024 * 1024)
typedef struct NodesText {
        uint32_t generation; /* 0: none */
        uint32_t len;
        char data[NODES_TEXT_MAX];
} NodesText;
/* Of SLOT_STATUS or SLOT_METRICS. Another worker may have left anything there: check it. */
NodesText *nodes_text(Nodes *nodes, uint32_t slot);

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
/* True if the key is a name, and not an id. */
static inline bool slot_kind_is_name(SlotKind kind)
{
        return kind == SLOT_NAME || kind == SLOT_NAME_URL;
}

/* No attributes are valid for longer. */
#define NODES_VALID_MAX_NS (86400 * NS_PER_S)

/* How long a single-file bind mount or an open file may show superseded content. The time begins when the kernel may no
 * longer use its attributes. */
#define NODES_GRACE_NS (5 * NS_PER_S)

/* What the kernel may know of the files of one generation. The bytes aren't here: they are secret. */
#define SLOT_NO_FILE UINT32_MAX
typedef struct SlotContent {
        uint64_t fingerprint; /* of the bytes */
        int64_t mtime_ns, ctime_ns; /* wall clock; ctime_ns 0: there is no content yet */
        uint32_t sizes[NODE_FILE_COUNT]; /* bytes, by field - NODE_FIELD; or SLOT_NO_FILE */
} SlotContent;

typedef struct Slot {
        char key[TOKEN_ID_MAX + 1]; /* a token's id, or a name as the API has it */
        uint8_t kind;
        uint16_t fields_looked_up; /* bit per field - NODE_FIELD: files that the kernel may hold */
        uint32_t generation; /* of the files */
        uint32_t old_generation; /* the one before; 0: none */
        uint32_t follow_below; /* files of generations before this one show the current content */
        uint32_t follow_next; /* those of generations before this one do from `follow_next_ns` on */
        uint32_t is_dropped; /* 1: the API refused the current content: none of it may be shown again */
        uint32_t lookups; /* that the kernel hasn't forgotten, of the directory and its files */
        SlotContent content, old_content; /* of `generation`, and of `old_generation` */
        uint64_t follow_next_ns; /* CLOCK_BOOTTIME, as the next two */
        uint64_t valid_until_ns; /* the kernel may use attributes of `generation` until then (clock_now_ns) */
        uint64_t old_valid_until_ns; /* the same of all older generations */
        uint32_t check; /* over all members but `lookups` and the times before it */
} Slot;

uint32_t nodes_capacity(const Nodes *nodes);
/* One more than the highest slot ever used. */
uint32_t nodes_end(const Nodes *nodes);
uint32_t nodes_used(const Nodes *nodes);
/* NULL if the index is out of range or the slot is free. The slot is read-only: changes go through the functions. */
const Slot *nodes_get(const Nodes *nodes, uint32_t index);
/* The slot of a key. -ENOENT. */
int nodes_find(const Nodes *nodes, SlotKind kind, const char *key, uint32_t *ret_index);
/* The slot of the directory that shows a slot's files. */
uint32_t nodes_directory(const Nodes *nodes, uint32_t index);
/* Finds or adds. When the table is full, a slot that the kernel knows nothing of is taken for the new key (its
 * generation goes on counting). -ENOSPC, -ENOMEM, -ENAMETOOLONG. */
int nodes_take(Nodes *nodes, SlotKind kind, const char *key, uint32_t *ret_index);
/* The files of the slot have new content (copied). Returns the new generation. */
uint32_t nodes_begin_generation(Nodes *nodes, uint32_t index, const SlotContent *content);
/* Generations are serial numbers: after the greatest comes 1 again. */
static inline bool generation_is_before(uint32_t generation, uint32_t other)
{
        return (int32_t)(generation - other) < 0;
}
/* True if files of that superseded generation show the current content. */
bool slot_follows(const Slot *slot, uint32_t generation);
/* From when on those of all superseded generations do, if the current content stays. */
uint64_t slot_settled_ns(const Slot *slot);
/* The current content may not be shown again, or it is there again. */
void nodes_set_dropped(Nodes *nodes, uint32_t index, bool is_dropped);
/* The kernel may use attributes of the current generation until then. */
void nodes_extend(Nodes *nodes, uint32_t index, uint64_t until_ns);
/* The kernel was given an entry of the slot (field NODE_DIRECTORY or a file), or forgot some. */
void nodes_add_lookup(Nodes *nodes, uint32_t index, uint8_t field);
void nodes_drop_lookups(Nodes *nodes, uint32_t index, uint64_t count);
