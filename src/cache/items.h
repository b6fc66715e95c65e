#pragma once
/* Items of list calls, in the orders that readers need: by id, and by name. */

#include <stddef.h>

#include "tokenfs/api/token.h"

/* Sorts by id and drops repeats; returns how many are left. */
size_t items_sort(TokenItem *items, size_t count);
/* The item of that id among items sorted by id; NULL: there is none. */
const TokenItem *items_find(const TokenItem *items, size_t count, const char *id);

/* An index by name, the newest of each name first. Owned by the caller. 0 or -ENOMEM. */
int items_index_names(const TokenItem *items, size_t count, const TokenItem *const **ret_by_name);
/* Where the items of that name begin in such an index, or would. */
size_t items_find_name(const TokenItem *const *by_name, size_t count, const char *name);
/* < 0: `a` is newer, or equally new with the greater id. */
int items_compare_age(const TokenItem *a, const TokenItem *b);
