/* The orders of items. */

#include "items.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare_ids(const void *a, const void *b)
{
        return strcmp(((const TokenItem *)a)->id, ((const TokenItem *)b)->id);
}

size_t items_sort(TokenItem *items, size_t count)
{
        if (count > 1)
                qsort(items, count, sizeof *items, compare_ids);
        size_t kept = 0;
        for (size_t i = 0; i < count; i++)
                if (kept == 0 || strcmp(items[kept - 1].id, items[i].id) != 0)
                        items[kept++] = items[i];
        return kept;
}

const TokenItem *items_find(const TokenItem *items, size_t count, const char *id)
{
        TokenItem key = {0};
        size_t len = strnlen(id, sizeof key.id);
        if (len == sizeof key.id || count == 0)
                return NULL;
        memcpy(key.id, id, len + 1);
        return bsearch(&key, items, count, sizeof *items, compare_ids);
}

int items_compare_age(const TokenItem *a, const TokenItem *b)
{
        if (a->created_wall_ns != b->created_wall_ns)
                return a->created_wall_ns > b->created_wall_ns ? -1 : 1;
        return strcmp(b->id, a->id);
}

static int compare_names(const void *a, const void *b)
{
        const TokenItem *left = *(const TokenItem *const *)a, *right = *(const TokenItem *const *)b;
        int order = strcmp(left->name, right->name);
        return order ? order : items_compare_age(left, right);
}

int items_index_names(const TokenItem *items, size_t count, const TokenItem *const **ret_by_name)
{
        const TokenItem **by_name = calloc(count + 1, sizeof *by_name);
        if (!by_name)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++)
                by_name[i] = &items[i];
        if (count > 1)
                qsort(by_name, count, sizeof *by_name, compare_names);
        *ret_by_name = by_name;
        return 0;
}

size_t items_find_name(const TokenItem *const *by_name, size_t count, const char *name)
{
        size_t low = 0, high = count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (strcmp(by_name[middle]->name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}
