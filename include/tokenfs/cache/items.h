#pragma once
/* The items of a listing, packed: a million of them take about 80 MB. Two orders: by id, and by name. */

#include <stddef.h>

#include "tokenfs/api/token.h"

/* Immutable as part of a listing. NULL is empty. */
typedef struct Items Items;

size_t items_count(const Items *items);
/* The item at a position in the order of ids. No id repeats. */
void items_get(const Items *items, size_t position, TokenItem *ret_item);
const char *items_id(const Items *items, size_t position); /* borrowed */
/* 0 or -ENOENT. */
int items_find(const Items *items, const char *id, size_t *ret_position);

/* A place is a position in the order of names. Of one name the newest item comes first; of equally new items the one
 * with the greater id. */
size_t items_find_name(const Items *items, const char *name); /* the first place whose name isn't less */
const char *items_name_at(const Items *items, size_t place); /* "" if it has none; borrowed */
void items_get_at(const Items *items, size_t place, TokenItem *ret_item);
/* < 0: `a` comes before `b` of the same name. */
int items_compare_age(const TokenItem *a, const TokenItem *b);
