/* The table of directory nodes, in memory that outlives a worker.
 *
 * Why: the kernel, and a container's bind mount, hold node ids without a limit of time; a new worker must know their
 * meaning. How: a memfd holds a header and an array of fixed-size nodes, each with a checksum. A worker may have died
 * in the middle of a change, or an attacker may have taken it over. So the next one checks every slot and drops damaged
 * ones: such a node is answered with ESTALE, and the kernel looks its path up again. The size is sealed: if a worker
 * could truncate the memory, the supervisor's next access would raise SIGBUS. The index by key is private to each
 * process. */

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

#define NODES_MAGIC UINT64_C(0x63736c6f74736674) /* changes with the layout */
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
        NodesText *texts; /* of SLOT_STATUS and SLOT_METRICS */
        void *index; /* tsearch tree of Slot, by kind and key */
        uint32_t indexed; /* slots below this one are in it */
        bool is_locked; /* by this process */
        uint32_t used;
        uint32_t hand; /* where the search for a slot to take over goes on */
        bool nothing_to_reclaim; /* it went round in vain, and nothing was forgotten since */
};

static size_t table_bytes(void)
{
        return sizeof(NodesHeader) + (size_t)NODES_CAPACITY * sizeof(Slot) + 2 * sizeof(NodesText);
}

static int compare_slots(const void *a, const void *b)
{
        const Slot *left = a, *right = b;
        if (left->kind != right->kind)
                return left->kind < right->kind ? -1 : 1;
        return strcmp(left->key, right->key);
}

/* FNV-1a: finds damage, not forgeries. */
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
                {&slot->follow_below, sizeof slot->follow_below},
                {&slot->follow_next, sizeof slot->follow_next},
                {&slot->old_generation, sizeof slot->old_generation},
                {&slot->is_dropped, sizeof slot->is_dropped},
                {&slot->content, sizeof slot->content},
                {&slot->old_content, sizeof slot->old_content},
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

static void set_end(Nodes *nodes, uint32_t end)
{
        nodes->header->end = end;
        nodes->header->end_check = ~end;
}

static int nodes_map(int fd, Nodes **ret_nodes)
{
        Nodes *nodes = calloc(1, sizeof *nodes);
        if (!nodes)
                return -ENOMEM;
        void *memory = mmap(NULL, table_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) {
                int r = -errno;
                free(nodes);
                return r;
        }
        nodes->fd = fd;
        nodes->header = memory;
        nodes->slots = (Slot *)(nodes->header + 1);
        nodes->texts = (NodesText *)(nodes->slots + NODES_CAPACITY);
        nodes->hand = nodes->indexed = SLOT_FIXED_COUNT;
        *ret_nodes = nodes;
        return 0;
}

int nodes_new(Nodes **ret_nodes)
{
        int fd CLEANUP(cleanup_close) = memfd_create("tokenfs-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0 || ftruncate(fd, (off_t)table_bytes()) < 0 || fcntl(fd, F_ADD_SEALS, NODES_SEALS) < 0)
                return -errno;
        int r = nodes_map(fd, ret_nodes);
        if (r < 0)
                return r;
        fd = -1;
        Nodes *nodes = *ret_nodes;
        nodes->header->magic = NODES_MAGIC;
        nodes->header->slot_size = sizeof(Slot);
        nodes->header->capacity = NODES_CAPACITY;
        set_end(nodes, SLOT_FIXED_COUNT);
        nodes->header->shared.started_wall_ns = nodes->header->shared.changed_wall_ns = clock_wall_ns();
        return 0;
}

int nodes_adopt(int fd, Nodes **ret_nodes)
{
        struct stat status;
        if (fstat(fd, &status) < 0)
                return -errno;
        int seals = fcntl(fd, F_GET_SEALS);
        if (status.st_size != (off_t)table_bytes() || seals < 0 || (seals & NODES_SEALS) != NODES_SEALS)
                return -EINVAL;
        int r = nodes_map(fd, ret_nodes);
        if (r < 0)
                return r;
        const NodesHeader *header = (*ret_nodes)->header;
        if (header->magic != NODES_MAGIC || header->slot_size != sizeof(Slot) ||
                header->capacity != NODES_CAPACITY) {
                (*ret_nodes)->fd = -1;
                *ret_nodes = nodes_free(*ret_nodes);
                return -EINVAL;
        }
        return 0;
}

static void index_keeps_nothing(void *slot)
{
        (void)slot;
}

Nodes *nodes_free(Nodes *nodes)
{
        if (!nodes)
                return NULL;
        tdestroy(nodes->index, index_keeps_nothing);
        (void)munmap(nodes->header, table_bytes());
        cleanup_close(&nodes->fd);
        free(nodes);
        return NULL;
}

int nodes_fd(const Nodes *nodes)
{
        return nodes->fd;
}

NodesShared *nodes_shared(Nodes *nodes)
{
        return &nodes->header->shared;
}

NodesText *nodes_text(Nodes *nodes, uint32_t slot)
{
        return &nodes->texts[slot == SLOT_METRICS];
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

/* An emptied slot goes on counting generations, so that its old file nodes mean no new file. It keeps its look-ups: while the
 * kernel holds its directory node, that must mean no other directory. */
static void slot_clear(Slot *slot)
{
        uint32_t generation = slot->generation, lookups = slot->lookups;
        memset(slot, 0, sizeof *slot);
        slot->generation = generation_after(generation);
        slot->lookups = lookups;
}

void nodes_index(Nodes *nodes)
{
        for (uint32_t i = SLOT_FIXED_COUNT; i < nodes_end(nodes); i++)
                if (slot_is_sound(&nodes->slots[i]))
                        (void)tsearch(&nodes->slots[i], &nodes->index, compare_slots);
}

/* Not in the checksum, since they change with each answer. Too late a time would make old files unreadable. */
static void slot_bound_times(Slot *slot)
{
        uint64_t most = clock_add_ns(clock_now_ns(), NODES_VALID_MAX_NS);
        if (slot->follow_next_ns > most)
                slot->follow_next_ns = most;
        if (slot->valid_until_ns > most)
                slot->valid_until_ns = most;
        if (slot->old_valid_until_ns > most)
                slot->old_valid_until_ns = most;
}

static void set_lock(const Nodes *nodes, short type)
{
        struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
        while (fcntl(nodes->fd, F_SETLKW, &lock) < 0 && errno == EINTR)
                ;
}

void nodes_lock(Nodes *nodes)
{
        if (nodes->is_locked)
                return;
        set_lock(nodes, F_WRLCK);
        nodes->is_locked = true;
        /* Slots that another worker has added. */
        for (; nodes->indexed < nodes_end(nodes); nodes->indexed++) {
                Slot *slot = &nodes->slots[nodes->indexed];
                bool is_used = slot->kind != SLOT_FREE && slot_is_sound(slot);
                if (is_used && tsearch(slot, &nodes->index, compare_slots))
                        nodes->used++;
        }
}

void nodes_unlock(Nodes *nodes)
{
        if (nodes->is_locked)
                set_lock(nodes, F_UNLCK);
        nodes->is_locked = false;
}

unsigned nodes_repair(Nodes *nodes)
{
        unsigned dropped = 0;
        nodes_lock(nodes);
        tdestroy(nodes->index, index_keeps_nothing);
        nodes->index = NULL;
        nodes->used = 0;
        nodes->nothing_to_reclaim = false;
        uint32_t end = nodes->header->end;
        if (end < SLOT_FIXED_COUNT || end > NODES_CAPACITY || nodes->header->end_check != ~end)
                end = NODES_CAPACITY;
        set_end(nodes, end);
        for (uint32_t i = 0; i < SLOT_FIXED_COUNT; i++) {
                Slot *slot = &nodes->slots[i];
                if (fixed_is_sound(slot))
                        continue;
                dropped += slot->kind != SLOT_FREE;
                slot_clear(slot);
                slot->kind = SLOT_FIXED;
                slot_seal(slot);
        }
        for (uint32_t i = SLOT_FIXED_COUNT; i < end; i++) {
                Slot *slot = &nodes->slots[i];
                if (slot->kind == SLOT_FREE)
                        continue;
                Slot **found = slot_is_sound(slot) ? tsearch(slot, &nodes->index, compare_slots) : NULL;
                if (found && *found == slot) {
                        nodes->used++;
                        slot_bound_times(slot);
                        continue;
                }
                slot_clear(slot);
                dropped++;
        }
        nodes->indexed = end;
        nodes_unlock(nodes);
        return dropped;
}

uint32_t nodes_capacity(const Nodes *nodes)
{
        (void)nodes;
        return NODES_CAPACITY;
}

uint32_t nodes_end(const Nodes *nodes)
{
        return nodes->header->end < NODES_CAPACITY ? nodes->header->end : NODES_CAPACITY;
}

uint32_t nodes_used(const Nodes *nodes)
{
        return nodes->used;
}

const Slot *nodes_get(const Nodes *nodes, uint32_t index)
{
        if (index >= nodes_end(nodes) || nodes->slots[index].kind == SLOT_FREE)
                return NULL;
        return &nodes->slots[index];
}

int nodes_find(const Nodes *nodes, SlotKind kind, const char *key, uint32_t *ret_index)
{
        Slot wanted = {.kind = (uint8_t)kind};
        size_t len = strnlen(key, sizeof wanted.key);
        if (len == sizeof wanted.key)
                return -ENOENT;
        memcpy(wanted.key, key, len);
        void *found = tfind(&wanted, &nodes->index, compare_slots);
        if (!found)
                return -ENOENT;
        *ret_index = (uint32_t)(*(Slot **)found - nodes->slots);
        return 0;
}

/* A slot of which the kernel knows nothing, or, if `even_damaged`, one that was dropped in a repair; 0 if there is
 * none. */
static uint32_t nodes_search(Nodes *nodes, bool even_damaged)
{
        for (uint32_t tried = 0; tried < NODES_CAPACITY - SLOT_FIXED_COUNT; tried++) {
                if (nodes->hand >= NODES_CAPACITY)
                        nodes->hand = SLOT_FIXED_COUNT;
                uint32_t index = nodes->hand++;
                const Slot *slot = &nodes->slots[index];
                if (slot->lookups == 0 || (even_damaged && slot->kind == SLOT_FREE))
                        return index;
        }
        return 0;
}

/* Empties a slot for another key; 0 if there is none. */
static uint32_t nodes_reclaim(Nodes *nodes)
{
        if (nodes->nothing_to_reclaim)
                return 0;
        uint32_t index = nodes_search(nodes, false);
        if (index == 0)
                index = nodes_search(nodes, true);
        nodes->nothing_to_reclaim = index == 0;
        if (index == 0)
                return 0;
        Slot *slot = &nodes->slots[index];
        if (slot->kind != SLOT_FREE) {
                tdelete(slot, &nodes->index, compare_slots);
                nodes->used--;
        }
        slot_clear(slot);
        slot->lookups = 0;
        return index;
}

int nodes_take(Nodes *nodes, SlotKind kind, const char *key, uint32_t *ret_index)
{
        if (nodes_find(nodes, kind, key, ret_index) == 0)
                return 0;
        size_t len = strnlen(key, TOKEN_ID_MAX + 1);
        if (len > TOKEN_ID_MAX)
                return -ENAMETOOLONG;
        uint32_t index = nodes_end(nodes);
        if (index == NODES_CAPACITY)
                index = nodes_reclaim(nodes);
        if (index == 0)
                return -ENOSPC;
        Slot *slot = &nodes->slots[index];
        slot->kind = (uint8_t)kind;
        memcpy(slot->key, key, len + 1);
        if (!tsearch(slot, &nodes->index, compare_slots)) {
                slot_clear(slot);
                return -ENOMEM;
        }
        slot_seal(slot);
        nodes->used++;
        if (index == nodes_end(nodes)) {
                set_end(nodes, index + 1);
                nodes->indexed = index + 1;
        }
        *ret_index = index;
        return 0;
}

uint64_t slot_settled_ns(const Slot *slot)
{
        return clock_add_ns(slot->old_valid_until_ns, NODES_GRACE_NS);
}

/* Where content changes faster than a grace ends, slot_settled_ns is always ahead. So generations follow by groups: one group
 * waits for its end, and all that are superseded meanwhile are the next. */
bool slot_follows(const Slot *slot, uint32_t generation)
{
        uint64_t now_ns = clock_now_ns();
        return generation_is_before(generation, slot->follow_below) || now_ns >= slot_settled_ns(slot) ||
               (generation_is_before(generation, slot->follow_next) && now_ns >= slot->follow_next_ns);
}

uint32_t nodes_begin_generation(Nodes *nodes, uint32_t index, const SlotContent *content)
{
        Slot *slot = &nodes->slots[index];
        uint64_t now_ns = clock_now_ns();
        bool is_settled = now_ns >= slot_settled_ns(slot);
        if (slot->valid_until_ns > slot->old_valid_until_ns)
                slot->old_valid_until_ns = slot->valid_until_ns;
        slot->valid_until_ns = 0;
        if (is_settled || now_ns >= slot->follow_next_ns) {
                slot->follow_below = is_settled ? slot->generation : slot->follow_next;
                slot->follow_next = generation_after(slot->generation);
                slot->follow_next_ns = slot_settled_ns(slot);
        }
        slot->old_generation = slot->content.ctime_ns != 0 && !slot->is_dropped ? slot->generation : 0;
        slot->is_dropped = 0;
        slot->old_content = slot->content;
        slot->generation = generation_after(slot->generation);
        slot->content = *content;
        slot_seal(slot);
        return slot->generation;
}

void nodes_set_dropped(Nodes *nodes, uint32_t index, bool is_dropped)
{
        Slot *slot = &nodes->slots[index];
        if (slot->is_dropped == is_dropped)
                return;
        slot->is_dropped = is_dropped;
        slot_seal(slot);
}

void nodes_extend(Nodes *nodes, uint32_t index, uint64_t until_ns)
{
        Slot *slot = &nodes->slots[index];
        if (until_ns > slot->valid_until_ns)
                slot->valid_until_ns = until_ns;
}

void nodes_add_lookup(Nodes *nodes, uint32_t index, uint8_t field)
{
        Slot *slot = &nodes->slots[index];
        if (field >= NODE_FIELD && !(slot->fields_looked_up & 1u << (field - NODE_FIELD))) {
                slot->fields_looked_up = (uint16_t)(slot->fields_looked_up | 1u << (field - NODE_FIELD));
                slot_seal(slot);
        }
        if (slot->lookups < UINT32_MAX)
                slot->lookups++;
}

void nodes_drop_lookups(Nodes *nodes, uint32_t index, uint64_t count)
{
        Slot *slot = &nodes->slots[index];
        if (slot->lookups == UINT32_MAX)
                return; /* more than were counted */
        slot->lookups = count < slot->lookups ? slot->lookups - (uint32_t)count : 0;
        nodes->nothing_to_reclaim = nodes->nothing_to_reclaim && slot->lookups > 0;
        if (slot->lookups == 0 && slot->kind != SLOT_FREE) {
                slot->fields_looked_up = 0;
                slot_seal(slot);
        }
}

uint32_t nodes_directory(const Nodes *nodes, uint32_t index)
{
        const Slot *slot = &nodes->slots[index];
        uint32_t directory = index;
        if (slot->kind == SLOT_TOKEN_URL || slot->kind == SLOT_NAME_URL)
                (void)nodes_find(
                        nodes, slot->kind == SLOT_NAME_URL ? SLOT_NAME : SLOT_TOKEN, slot->key, &directory);
        return directory;
}

/* Older generations than this many are long past the times of their attributes, where the kernel still has them. */
#define GENERATIONS_MAX 8

/* The files of the current generation, and of older ones whose attributes the kernel may use. */
static void visit_files(const Nodes *nodes, uint32_t index, NodesVisitor *visitor, void *userdata)
{
        const Slot *slot = &nodes->slots[index];
        uint32_t count = clock_now_ns() < slot->old_valid_until_ns ? GENERATIONS_MAX : 1;
        for (uint32_t k = 0; k < count && k < slot->generation; k++)
                for (unsigned field = NODE_FIELD; field < NODE_KIND_COUNT; field++)
                        if (slot->fields_looked_up & 1u << (field - NODE_FIELD))
                                visitor((Node){index, slot->generation - k, (uint8_t)field},
                                        nodes_directory(nodes, index), userdata);
}

/* What was valid until `seen_ns` is void now. Where more was given meanwhile, that stays. */
static void void_validity(uint64_t *until_ns, uint64_t seen_ns)
{
        uint64_t now = clock_now_ns();
        if (seen_ns > now)
                (void)__atomic_compare_exchange_n(
                        until_ns, &seen_ns, now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void invalidate_slot(Nodes *nodes, uint32_t index, NodesVisitor *visitor, void *userdata)
{
        Slot *slot = &nodes->slots[index];
        uint64_t valid_until_ns = slot->valid_until_ns, old_valid_until_ns = slot->old_valid_until_ns;
        visit_files(nodes, index, visitor, userdata);
        void_validity(&slot->valid_until_ns, valid_until_ns);
        void_validity(&slot->old_valid_until_ns, old_valid_until_ns);
}

/* Nothing is known of a slot that a repair dropped, but the kernel may hold entries of its files. */
static void visit_dropped(uint32_t index, NodesVisitor *visitor, void *userdata)
{
        for (unsigned field = NODE_FIELD; field < NODE_KIND_COUNT; field++)
                visitor((Node){index, 0, (uint8_t)field}, index, userdata);
}

void nodes_invalidate(Nodes *nodes, NodesVisitor *visitor, void *userdata)
{
        for (uint32_t i = 0; i < nodes_end(nodes); i++) {
                const Slot *slot = &nodes->slots[i];
                if (i >= SLOT_FIXED_COUNT && slot->kind == SLOT_FREE)
                        visit_dropped(i, visitor, userdata);
                if (i >= SLOT_FIXED_COUNT && (slot->kind == SLOT_FREE || slot->lookups == 0))
                        continue;
                if (i != SLOT_STATUS && i != SLOT_METRICS)
                        visitor((Node){i, 0, NODE_DIRECTORY}, i, userdata);
                invalidate_slot(nodes, i, visitor, userdata);
        }
}

void nodes_invalidate_name(Nodes *nodes, const char *name, NodesVisitor *visitor, void *userdata)
{
        static const SlotKind kinds[] = {SLOT_NAME, SLOT_NAME_URL};
        uint32_t index;
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                if (nodes_find(nodes, kinds[i], name, &index) == 0)
                        invalidate_slot(nodes, index, visitor, userdata);
}
