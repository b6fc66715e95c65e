/* The table of directory slots, in memory that outlives a worker.
 *
 * Why: the kernel, and a container's bind mount, hold node ids for as long as they like; a new worker must know what
 * they mean. How: a memfd holds a header and an array of fixed-size slots, each with a checksum. A worker may have
 * died in the middle of a change, or have been taken over by an attacker, so the next one checks every slot and drops
 * what is damaged: the kernel is then told ESTALE for such a node, and looks its path up anew. Its size is sealed: in
 * one that was cut, the supervisor would die of its next look. The index by key is this process's own, made from the
 * table. */

#include "tokenfs/fuse/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/parse.h"

#define NODES_MAGIC UINT64_C(0x34736c6f74736674) /* changes with the layout */
#define NODES_CAPACITY (UINT32_C(1) << 18)
#define NODES_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

typedef struct NodesHeader {
        uint64_t magic;
        uint32_t slot_size, capacity;
        uint32_t end, end_check; /* one more than the highest slot ever used, and its complement */
        NodesShared shared;
} NodesHeader;

struct Nodes {
        int fd;
        NodesHeader *header;
        Slot *slots;
        void *index; /* tsearch tree of Slot, by kind and key */
        uint32_t used;
        uint32_t hand; /* where the search for a slot to take over goes on */
        bool nothing_to_reclaim; /* it went round in vain, and nothing was forgotten since */
};

static size_t table_bytes(void)
{
        return sizeof(NodesHeader) + (size_t)NODES_CAPACITY * sizeof(Slot);
}

static int compare_slots(const void *a, const void *b)
{
        const Slot *left = a, *right = b;
        if (left->kind != right->kind)
                return left->kind < right->kind ? -1 : 1;
        return strcmp(left->key, right->key);
}

/* FNV-1a: it is to find damage, not to keep anybody out. */
static uint32_t slot_check(const Slot *slot)
{
        const struct {
                const void *data;
                size_t len;
        } parts[] = {
                {slot->key, sizeof slot->key},
                {&slot->kind, sizeof slot->kind},
                {&slot->fields_looked_up, sizeof slot->fields_looked_up},
                {&slot->generation, sizeof slot->generation},
                {slot->old_generations, sizeof slot->old_generations},
                {&slot->fingerprint, sizeof slot->fingerprint},
        };
        uint32_t check = 2166136261u;
        for (size_t i = 0; i < ARRAY_LEN(parts); i++)
                for (size_t k = 0; k < parts[i].len; k++)
                        check = (check ^ ((const unsigned char *)parts[i].data)[k]) * 16777619u;
        return check;
}

static void slot_seal(Slot *slot)
{
        slot->check = slot_check(slot);
}

static void set_end(Nodes *slots, uint32_t end)
{
        slots->header->end = end;
        slots->header->end_check = ~end;
}

static int nodes_map(int fd, Nodes **ret_slots)
{
        Nodes *slots = calloc(1, sizeof *slots);
        if (!slots)
                return -ENOMEM;
        void *memory = mmap(NULL, table_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) {
                int r = -errno;
                free(slots);
                return r;
        }
        slots->fd = fd;
        slots->header = memory;
        slots->slots = (Slot *)(slots->header + 1);
        slots->hand = SLOT_FIXED_COUNT;
        *ret_slots = slots;
        return 0;
}

int nodes_new(Nodes **ret_slots)
{
        int fd CLEANUP(cleanup_close) = memfd_create("tokenfs-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0 || ftruncate(fd, (off_t)table_bytes()) < 0 || fcntl(fd, F_ADD_SEALS, NODES_SEALS) < 0)
                return -errno;
        int r = nodes_map(fd, ret_slots);
        if (r < 0)
                return r;
        fd = -1;
        Nodes *slots = *ret_slots;
        slots->header->magic = NODES_MAGIC;
        slots->header->slot_size = sizeof(Slot);
        slots->header->capacity = NODES_CAPACITY;
        set_end(slots, SLOT_FIXED_COUNT);
        slots->header->shared.started_wall_ns = clock_wall_ns();
        return 0;
}

int nodes_adopt(int fd, Nodes **ret_slots)
{
        struct stat status;
        if (fstat(fd, &status) < 0)
                return -errno;
        int seals = fcntl(fd, F_GET_SEALS);
        if (status.st_size != (off_t)table_bytes() || seals < 0 || (seals & NODES_SEALS) != NODES_SEALS)
                return -EINVAL;
        int r = nodes_map(fd, ret_slots);
        if (r < 0)
                return r;
        const NodesHeader *header = (*ret_slots)->header;
        if (header->magic != NODES_MAGIC || header->slot_size != sizeof(Slot) ||
                header->capacity != NODES_CAPACITY) {
                (*ret_slots)->fd = -1;
                *ret_slots = nodes_free(*ret_slots);
                return -EINVAL;
        }
        return 0;
}

static void index_keeps_nothing(void *slot)
{
        (void)slot;
}

Nodes *nodes_free(Nodes *slots)
{
        if (!slots)
                return NULL;
        tdestroy(slots->index, index_keeps_nothing);
        (void)munmap(slots->header, table_bytes());
        cleanup_close(&slots->fd);
        free(slots);
        return NULL;
}

int nodes_fd(const Nodes *slots)
{
        return slots->fd;
}

NodesShared *nodes_shared(Nodes *slots)
{
        return &slots->header->shared;
}

static bool fixed_is_sound(const Slot *slot)
{
        return slot->kind == SLOT_FIXED && slot->key[0] == '\0' && slot->check == slot_check(slot);
}

static bool slot_is_sound(const Slot *slot)
{
        if (slot->kind < SLOT_TOKEN || slot->kind >= SLOT_KIND_COUNT)
                return false;
        if (memchr(slot->key, '\0', sizeof slot->key) == NULL || slot->check != slot_check(slot))
                return false;
        return slot_kind_is_name((SlotKind)slot->kind) ? token_name_is_valid(slot->key)
                                                       : token_id_is_valid(slot->key);
}

static uint32_t generation_after(uint32_t generation)
{
        return generation == UINT32_MAX ? 1 : generation + 1;
}

/* An emptied slot keeps counting generations from a place that the kernel can't know. It also keeps its look-ups: as
 * long as the kernel knows its directory, that shall mean no other. */
static void slot_clear(Slot *slot)
{
        uint32_t generation = slot->generation, lookups = slot->lookups;
        memset(slot, 0, sizeof *slot);
        slot->generation = generation_after(generation);
        slot->lookups = lookups;
}

unsigned nodes_repair(Nodes *slots)
{
        unsigned dropped = 0;
        tdestroy(slots->index, index_keeps_nothing);
        slots->index = NULL;
        slots->used = 0;
        slots->nothing_to_reclaim = false;
        uint32_t end = slots->header->end;
        if (end < SLOT_FIXED_COUNT || end > NODES_CAPACITY || slots->header->end_check != ~end)
                end = NODES_CAPACITY;
        set_end(slots, end);
        for (uint32_t i = 0; i < SLOT_FIXED_COUNT; i++) {
                Slot *slot = &slots->slots[i];
                if (fixed_is_sound(slot))
                        continue;
                dropped += slot->kind != SLOT_FREE;
                slot_clear(slot);
                slot->kind = SLOT_FIXED;
                slot_seal(slot);
        }
        for (uint32_t i = SLOT_FIXED_COUNT; i < end; i++) {
                Slot *slot = &slots->slots[i];
                if (slot->kind == SLOT_FREE)
                        continue;
                Slot **found = slot_is_sound(slot) ? tsearch(slot, &slots->index, compare_slots) : NULL;
                if (found && *found == slot) {
                        slots->used++;
                        continue;
                }
                slot_clear(slot);
                dropped++;
        }
        return dropped;
}

uint32_t nodes_capacity(const Nodes *slots)
{
        (void)slots;
        return NODES_CAPACITY;
}

uint32_t nodes_end(const Nodes *slots)
{
        return slots->header->end < NODES_CAPACITY ? slots->header->end : NODES_CAPACITY;
}

uint32_t nodes_used(const Nodes *slots)
{
        return slots->used;
}

const Slot *nodes_get(const Nodes *slots, uint32_t index)
{
        if (index >= nodes_end(slots) || slots->slots[index].kind == SLOT_FREE)
                return NULL;
        return &slots->slots[index];
}

int nodes_find(const Nodes *slots, SlotKind kind, const char *key, uint32_t *ret_index)
{
        Slot wanted = {.kind = (uint8_t)kind};
        size_t len = strnlen(key, sizeof wanted.key);
        if (len == sizeof wanted.key)
                return -ENOENT;
        memcpy(wanted.key, key, len);
        void *found = tfind(&wanted, &slots->index, compare_slots);
        if (!found)
                return -ENOENT;
        *ret_index = (uint32_t)(*(Slot **)found - slots->slots);
        return 0;
}

/* A slot of which the kernel knows nothing, or, if `even_damaged`, one that was dropped in a repair; 0 if there is
 * none. */
static uint32_t nodes_search(Nodes *slots, bool even_damaged)
{
        for (uint32_t tried = 0; tried < NODES_CAPACITY - SLOT_FIXED_COUNT; tried++) {
                if (slots->hand >= NODES_CAPACITY)
                        slots->hand = SLOT_FIXED_COUNT;
                uint32_t index = slots->hand++;
                const Slot *slot = &slots->slots[index];
                if (slot->lookups == 0 || (even_damaged && slot->kind == SLOT_FREE))
                        return index;
        }
        return 0;
}

/* Empties a slot for another key; 0 if there is none. */
static uint32_t nodes_reclaim(Nodes *slots)
{
        if (slots->nothing_to_reclaim)
                return 0;
        uint32_t index = nodes_search(slots, false);
        if (index == 0)
                index = nodes_search(slots, true);
        slots->nothing_to_reclaim = index == 0;
        if (index == 0)
                return 0;
        Slot *slot = &slots->slots[index];
        if (slot->kind != SLOT_FREE) {
                tdelete(slot, &slots->index, compare_slots);
                slots->used--;
        }
        slot_clear(slot);
        slot->lookups = 0;
        return index;
}

int nodes_take(Nodes *slots, SlotKind kind, const char *key, uint32_t *ret_index)
{
        if (nodes_find(slots, kind, key, ret_index) == 0)
                return 0;
        size_t len = strnlen(key, TOKEN_ID_MAX + 1);
        if (len > TOKEN_ID_MAX)
                return -ENAMETOOLONG;
        uint32_t index = nodes_end(slots);
        if (index == NODES_CAPACITY)
                index = nodes_reclaim(slots);
        if (index == 0)
                return -ENOSPC;
        Slot *slot = &slots->slots[index];
        slot->kind = (uint8_t)kind;
        memcpy(slot->key, key, len + 1);
        if (!tsearch(slot, &slots->index, compare_slots)) {
                slot_clear(slot);
                return -ENOMEM;
        }
        slot_seal(slot);
        slots->used++;
        if (index == nodes_end(slots))
                set_end(slots, index + 1);
        *ret_index = index;
        return 0;
}

uint32_t nodes_next_generation(Nodes *slots, uint32_t index, uint64_t fingerprint)
{
        Slot *slot = &slots->slots[index];
        slot->generation = generation_after(slot->generation);
        slot->fingerprint = fingerprint;
        slot_seal(slot);
        return slot->generation;
}

void nodes_add_lookup(Nodes *slots, uint32_t index, uint8_t field)
{
        Slot *slot = &slots->slots[index];
        if (field >= NODE_FIELD && !(slot->fields_looked_up & 1u << (field - NODE_FIELD))) {
                slot->fields_looked_up = (uint16_t)(slot->fields_looked_up | 1u << (field - NODE_FIELD));
                slot_seal(slot);
        }
        if (slot->lookups < UINT32_MAX)
                slot->lookups++;
}

void nodes_drop_lookups(Nodes *slots, uint32_t index, uint64_t count)
{
        Slot *slot = &slots->slots[index];
        if (slot->lookups == UINT32_MAX)
                return; /* more than were counted */
        slot->lookups = count < slot->lookups ? slot->lookups - (uint32_t)count : 0;
        slots->nothing_to_reclaim = slots->nothing_to_reclaim && slot->lookups > 0;
        if (slot->lookups == 0 && slot->kind != SLOT_FREE) {
                slot->fields_looked_up = 0;
                memset(slot->old_generations, 0, sizeof slot->old_generations);
                slot_seal(slot);
        }
}

bool slot_is_old(const Slot *slot, uint32_t generation)
{
        for (size_t i = 0; i < SLOT_OLD_MAX; i++)
                if (generation && slot->old_generations[i] == generation)
                        return true;
        return false;
}

bool nodes_note_old(Nodes *slots, uint32_t index, uint32_t generation)
{
        Slot *slot = &slots->slots[index];
        for (size_t i = 0; i < SLOT_OLD_MAX; i++) {
                if (slot->old_generations[i] == generation)
                        return true;
                if (slot->old_generations[i] == 0) {
                        slot->old_generations[i] = generation;
                        slot_seal(slot);
                        return true;
                }
        }
        return false;
}

static void visit_files(
        const Slot *slot, uint32_t index, uint32_t generation, NodesVisitor *visitor, void *userdata)
{
        for (unsigned field = NODE_FIELD; field < NODE_KIND_COUNT; field++)
                if (slot->fields_looked_up & 1u << (field - NODE_FIELD))
                        visitor(node_id((Node){index, generation, (uint8_t)field}), userdata);
}

void nodes_visit_nodes(const Nodes *slots, NodesVisitor *visitor, void *userdata)
{
        for (uint32_t i = 0; i < nodes_end(slots); i++) {
                const Slot *slot = &slots->slots[i];
                if (i >= SLOT_FIXED_COUNT && (slot->kind == SLOT_FREE || slot->lookups == 0))
                        continue;
                if (i != SLOT_STATUS && i != SLOT_METRICS)
                        visitor(node_directory(i), userdata);
                visit_files(slot, i, slot->generation, visitor, userdata);
                for (size_t k = 0; k < SLOT_OLD_MAX; k++)
                        if (slot->old_generations[k])
                                visit_files(slot, i, slot->old_generations[k], visitor, userdata);
        }
}

/* The kernel may hold files of generations that were followed by others before it was told. */
#define LATELY 8

void nodes_visit_name(const Nodes *slots, const char *name, NodesVisitor *visitor, void *userdata)
{
        for (uint32_t i = SLOT_FIXED_COUNT; i < nodes_end(slots); i++) {
                const Slot *slot = &slots->slots[i];
                if (!slot_kind_is_name((SlotKind)slot->kind) ||
                        strncmp(slot->key, name, sizeof slot->key) != 0)
                        continue;
                for (uint32_t k = 0; k < LATELY && k < slot->generation; k++)
                        visit_files(slot, i, slot->generation - k, visitor, userdata);
                for (size_t k = 0; k < SLOT_OLD_MAX; k++)
                        if (slot->old_generations[k])
                                visit_files(slot, i, slot->old_generations[k], visitor, userdata);
        }
}
