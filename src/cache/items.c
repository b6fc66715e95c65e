/* The items of a listing.
 *
 * Why: an account may have a million tokens, and memory holds two listings while one replaces the other. How: the items
 * lie one behind the other in one block, each with its id and name. Views and resolvers, which many items share, are
 * strings of the block too. Both orders are arrays of 32-bit offsets. Merge sort makes them, since it can stop after any
 * step: sorting a million items takes seconds, and requests come in between. */

#include "tokenfs/cache/items-build.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 8
#define INTERNED_MAX 8 /* at most four list calls run at once */

typedef struct Record {
        int64_t created_wall_ns, updated_wall_ns, expires_wall_ns;
        uint32_t dns_view, global_resolver; /* offsets of strings */
        uint8_t status;
        uint8_t name; /* where the name begins in `text` */
        char text[]; /* id and name, each with its NUL */
} Record;

/* The state of a merge sort of offsets: it merges runs of `width` from `from` to `to`. */
typedef struct Sorter {
        uint32_t *from, *to;
        size_t width, start, left, right, out;
} Sorter;

typedef enum ItemsPhase {
        ITEMS_GATHERING,
        ITEMS_SORTING_IDS,
        ITEMS_DROPPING_REPEATS,
        ITEMS_COMPARING,
        ITEMS_SORTING_NAMES,
        ITEMS_SETTLED,
} ItemsPhase;

struct Items {
        char *block;
        size_t len, capacity;
        uint32_t *by_id, *by_name;
        size_t count, index_capacity;
        uint32_t interned[INTERNED_MAX]; /* the strings that were used last */
        unsigned interned_next;

        ItemsPhase phase;
        Sorter sorter;
        size_t at, kept;
        bool has_changed;
};

static const Record *record_at(const Items *items, uint32_t offset)
{
        return (const Record *)(const void *)(items->block + offset);
}

static const char *string_at(const Items *items, uint32_t offset)
{
        return items->block + offset;
}

static const char *name_of(const Record *record)
{
        return record->text + record->name;
}

/* --- Gathering ---------------------------------------------------------------------------------------------- */

static int reserve(Items *items, size_t len)
{
        if (items->len + len + (items->count + 1) * 2 * sizeof(uint32_t) > ITEMS_BYTES_MAX)
                return -EFBIG;
        if (items->len + len <= items->capacity)
                return 0;
        size_t capacity = items->capacity ? items->capacity * 2 : 4096;
        char *block = realloc(items->block, capacity);
        if (!block)
                return -ENOMEM;
        items->block = block;
        items->capacity = capacity;
        return 0;
}

/* Appends bytes to the block, at a multiple of ALIGN. */
static int take(Items *items, size_t len, uint32_t *ret_offset)
{
        len = (len + ALIGN - 1) / ALIGN * ALIGN;
        int r = reserve(items, len);
        if (r < 0)
                return r;
        *ret_offset = (uint32_t)items->len;
        items->len += len;
        return 0;
}

/* The offset of a string: a recently used one, or a new one. */
static int intern(Items *items, const char *text, uint32_t *ret_offset)
{
        for (size_t i = 0; i < INTERNED_MAX; i++)
                if (strcmp(string_at(items, items->interned[i]), text) == 0) {
                        *ret_offset = items->interned[i];
                        return 0;
                }
        size_t len = strlen(text) + 1;
        int r = take(items, len, ret_offset);
        if (r < 0)
                return r;
        memcpy(items->block + *ret_offset, text, len);
        items->interned[items->interned_next++ % INTERNED_MAX] = *ret_offset;
        return 0;
}

int items_new(Items **ret_items)
{
        CLEANUP(items_free_p) Items *items = calloc(1, sizeof *items);
        uint32_t empty;
        if (!items || take(items, 1, &empty) < 0)
                return -ENOMEM;
        items->block[empty] = '\0'; /* the offsets in `interned` are 0 at first */
        *ret_items = TAKE(items);
        return 0;
}

static void sorter_deinit(Sorter *sorter)
{
        free(sorter->to);
        *sorter = (Sorter){0};
}

Items *items_free(Items *items)
{
        if (!items)
                return NULL;
        if (items->phase == ITEMS_SORTING_IDS)
                items->by_id = items->sorter.from;
        if (items->phase == ITEMS_SORTING_NAMES)
                items->by_name = items->sorter.from;
        sorter_deinit(&items->sorter);
        free(items->block);
        free(items->by_id);
        free(items->by_name);
        free(items);
        return NULL;
}

static int grow_index(Items *items)
{
        if (items->count < items->index_capacity)
                return 0;
        size_t capacity = items->index_capacity ? items->index_capacity * 2 : 64;
        uint32_t *by_id = reallocarray(items->by_id, capacity, sizeof *by_id);
        if (!by_id)
                return -ENOMEM;
        items->by_id = by_id;
        items->index_capacity = capacity;
        return 0;
}

int items_append(Items *items, const TokenItem *item)
{
        size_t id_len = strlen(item->id) + 1, name_len = strlen(item->name) + 1;
        Record record = {
                .created_wall_ns = item->created_wall_ns,
                .updated_wall_ns = item->updated_wall_ns,
                .expires_wall_ns = item->expires_wall_ns,
                .status = (uint8_t)item->status,
                .name = (uint8_t)id_len,
        };
        uint32_t offset = 0;
        int r = grow_index(items);
        if (r == 0)
                r = intern(items, item->dns_view_id, &record.dns_view);
        if (r == 0)
                r = intern(items, item->global_resolver_id, &record.global_resolver);
        if (r == 0)
                r = take(items, offsetof(Record, text) + id_len + name_len, &offset);
        if (r < 0)
                return r;
        char *at = items->block + offset;
        memcpy(at, &record, offsetof(Record, text));
        memcpy(at + offsetof(Record, text), item->id, id_len);
        memcpy(at + offsetof(Record, text) + id_len, item->name, name_len);
        items->by_id[items->count++] = offset;
        return 0;
}

/* --- Sorting ------------------------------------------------------------------------------------------------ */

static int compare_ids(const Record *a, const Record *b)
{
        return strcmp(a->text, b->text);
}

static int compare_ages(int64_t a_created_ns, const char *a_id, int64_t b_created_ns, const char *b_id)
{
        if (a_created_ns != b_created_ns)
                return a_created_ns > b_created_ns ? -1 : 1;
        return strcmp(b_id, a_id);
}

int items_compare_age(const TokenItem *a, const TokenItem *b)
{
        return compare_ages(a->created_wall_ns, a->id, b->created_wall_ns, b->id);
}

static int compare_names(const Record *a, const Record *b)
{
        int order = strcmp(name_of(a), name_of(b));
        return order ? order : compare_ages(a->created_wall_ns, a->text, b->created_wall_ns, b->text);
}

static size_t min_size(size_t a, size_t b)
{
        return a < b ? a : b;
}

static int sorter_init(Sorter *sorter, uint32_t *offsets, size_t count)
{
        *sorter = (Sorter){.from = offsets, .width = 1, .right = min_size(1, count)};
        sorter->to = calloc(count + 1, sizeof *sorter->to);
        return sorter->to ? 0 : -ENOMEM;
}

/* Takes at most *steps steps and counts them down. True: `from` is sorted. */
static bool sorter_step(
        Sorter *sorter, const Items *items, int (*compare)(const Record *a, const Record *b), size_t *steps)
{
        size_t count = items->count;
        for (; *steps > 0 && sorter->width < count; (*steps)--) {
                size_t middle = min_size(sorter->start + sorter->width, count);
                size_t end = min_size(middle + sorter->width, count);
                bool is_left = sorter->left < middle;
                if (is_left && sorter->right < end)
                        is_left = compare(record_at(items, sorter->from[sorter->left]),
                                          record_at(items, sorter->from[sorter->right])) <= 0;
                sorter->to[sorter->out++] = sorter->from[is_left ? sorter->left++ : sorter->right++];
                if (sorter->out < end)
                        continue;
                if (end == count) { /* the last pair of runs: go on with wider runs */
                        uint32_t *sorted = sorter->to;
                        sorter->to = sorter->from;
                        sorter->from = sorted;
                        sorter->width *= 2;
                        end = 0;
                }
                sorter->start = sorter->left = sorter->out = end;
                sorter->right = min_size(end + sorter->width, count);
        }
        return sorter->width >= count;
}

/* --- Settling ----------------------------------------------------------------------------------------------- */

static bool is_same(const Items *items, const Items *before, size_t position)
{
        const Record *a = record_at(items, items->by_id[position]);
        const Record *b = record_at(before, before->by_id[position]);
        return compare_ids(a, b) == 0 && strcmp(name_of(a), name_of(b)) == 0 && a->status == b->status &&
               a->created_wall_ns == b->created_wall_ns && a->updated_wall_ns == b->updated_wall_ns &&
               a->expires_wall_ns == b->expires_wall_ns &&
               strcmp(string_at(items, a->dns_view), string_at(before, b->dns_view)) == 0 &&
               strcmp(string_at(items, a->global_resolver), string_at(before, b->global_resolver)) == 0;
}

static int begin_sorting_ids(Items *items)
{
        char *block = realloc(items->block, items->len); /* gives the spare capacity back */
        items->block = block ? block : items->block;
        int r = sorter_init(&items->sorter, items->by_id, items->count);
        if (r == 0)
                items->phase = ITEMS_SORTING_IDS;
        return r;
}

static void sort_ids(Items *items, size_t *steps)
{
        if (!sorter_step(&items->sorter, items, compare_ids, steps))
                return;
        items->by_id = items->sorter.from;
        sorter_deinit(&items->sorter);
        items->phase = ITEMS_DROPPING_REPEATS;
}

static void drop_repeats(Items *items, size_t *steps)
{
        for (; *steps > 0 && items->at < items->count; items->at++, (*steps)--) {
                const Record *record = record_at(items, items->by_id[items->at]);
                if (items->kept == 0 ||
                        compare_ids(record_at(items, items->by_id[items->kept - 1]), record) != 0)
                        items->by_id[items->kept++] = items->by_id[items->at];
        }
        if (items->at < items->count)
                return;
        items->count = items->kept;
        items->at = 0;
        items->phase = ITEMS_COMPARING;
}

static int compare_with(Items *items, const Items *before, size_t *steps)
{
        if (items->count != items_count(before))
                items->has_changed = true;
        for (; items->at < items->count && !items->has_changed && *steps > 0; items->at++, (*steps)--)
                items->has_changed = !is_same(items, before, items->at);
        if (items->at < items->count && !items->has_changed)
                return 0;
        uint32_t *by_name = calloc(items->count + 1, sizeof *by_name);
        if (!by_name)
                return -ENOMEM;
        if (items->count)
                memcpy(by_name, items->by_id, items->count * sizeof *by_name);
        int r = sorter_init(&items->sorter, by_name, items->count);
        if (r < 0) {
                free(by_name);
                return r;
        }
        items->phase = ITEMS_SORTING_NAMES;
        return 0;
}

static void sort_names(Items *items, size_t *steps)
{
        if (!sorter_step(&items->sorter, items, compare_names, steps))
                return;
        items->by_name = items->sorter.from;
        sorter_deinit(&items->sorter);
        items->phase = ITEMS_SETTLED;
}

int items_settle(Items *items, const Items *before, size_t steps)
{
        int r = 0;
        while (r == 0 && items->phase != ITEMS_SETTLED && steps > 0) {
                switch (items->phase) {
                case ITEMS_GATHERING: r = begin_sorting_ids(items); break;
                case ITEMS_SORTING_IDS: sort_ids(items, &steps); break;
                case ITEMS_DROPPING_REPEATS: drop_repeats(items, &steps); break;
                case ITEMS_COMPARING: r = compare_with(items, before, &steps); break;
                case ITEMS_SORTING_NAMES: sort_names(items, &steps); break;
                case ITEMS_SETTLED: break;
                }
        }
        return r < 0 ? r : items->phase == ITEMS_SETTLED ? 0 : -EAGAIN;
}

bool items_have_changed(const Items *items)
{
        return items->has_changed;
}

/* --- Reading ------------------------------------------------------------------------------------------------ */

size_t items_count(const Items *items)
{
        return items ? items->count : 0;
}

static void copy_string(char *to, const char *from)
{
        memcpy(to, from, strlen(from) + 1);
}

static void unpack(const Items *items, uint32_t offset, TokenItem *ret_item)
{
        const Record *record = record_at(items, offset);
        *ret_item = (TokenItem){
                .status = (TokenStatus)record->status,
                .created_wall_ns = record->created_wall_ns,
                .updated_wall_ns = record->updated_wall_ns,
                .expires_wall_ns = record->expires_wall_ns,
        };
        /* Each string fits: items_append took it from such an item. */
        copy_string(ret_item->id, record->text);
        copy_string(ret_item->name, name_of(record));
        copy_string(ret_item->dns_view_id, string_at(items, record->dns_view));
        copy_string(ret_item->global_resolver_id, string_at(items, record->global_resolver));
}

void items_get(const Items *items, size_t position, TokenItem *ret_item)
{
        unpack(items, items->by_id[position], ret_item);
}

const char *items_id(const Items *items, size_t position)
{
        return record_at(items, items->by_id[position])->text;
}

int items_find(const Items *items, const char *id, size_t *ret_position)
{
        size_t low = 0, high = items_count(items);
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int order = strcmp(items_id(items, middle), id);
                if (order == 0) {
                        *ret_position = middle;
                        return 0;
                }
                if (order < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return -ENOENT;
}

const char *items_name_at(const Items *items, size_t place)
{
        return name_of(record_at(items, items->by_name[place]));
}

void items_get_at(const Items *items, size_t place, TokenItem *ret_item)
{
        unpack(items, items->by_name[place], ret_item);
}

size_t items_find_name(const Items *items, const char *name)
{
        size_t low = 0, high = items_count(items);
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (strcmp(items_name_at(items, middle), name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}
