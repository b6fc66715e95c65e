#pragma once
/* One slot of the table, for the tree alone. */

#include "tokenfs/fuse/node.h"
#include "tokenfs/fuse/nodes.h"

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

uint32_t slots_capacity(const Slots *slots);
/* One more than the highest slot ever used. */
uint32_t slots_end(const Slots *slots);
uint32_t slots_used(const Slots *slots);
/* NULL if the index is out of range or the slot is free. The slot is read-only: changes go through the functions. */
const Slot *slots_get(const Slots *slots, uint32_t index);
/* The slot of a key. -ENOENT. */
int slots_find(const Slots *slots, SlotKind kind, const char *key, uint32_t *ret_index);
/* Finds or adds. When the table is full, a slot that the kernel knows nothing of is taken for the new key (its
 * generation goes on counting). -ENOSPC, -ENOMEM, -ENAMETOOLONG. */
int slots_take(Slots *slots, SlotKind kind, const char *key, uint32_t *ret_index);
/* The files of the slot have new content. Returns the new generation. */
uint32_t slots_next_generation(Slots *slots, uint32_t index, uint64_t fingerprint);
/* The kernel was given an entry of the slot (field NODE_DIRECTORY or a file), or forgot some. */
void slots_add_lookup(Slots *slots, uint32_t index, uint8_t field);
void slots_drop_lookups(Slots *slots, uint32_t index, uint64_t count);
/* True if slots_note_old noted it. */
bool slot_is_old(const Slot *slot, uint32_t generation);
/* Notes that files of an old generation were told what is current. False if there is no room to note it. */
bool slots_note_old(Slots *slots, uint32_t index, uint32_t generation);
