#pragma once
/* Gathering the items of a listing, and sorting them a little at a time. */

#include <stdbool.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/items.h"

/* What one listing may take: two are held while one replaces the other. */
#define ITEMS_BYTES_MAX ((size_t)92 * 1024 * 1024)

/* 0 or -ENOMEM. */
int items_new(Items **ret_items);
Items *items_free(Items *items);
CLEANUP_DEFINE(Items *, items_free);
/* 0, -ENOMEM, or -EFBIG: more than ITEMS_BYTES_MAX. */
int items_append(Items *items, const TokenItem *item);
/* Sorts, drops repeats and compares with the items that were there before (NULL: none), at most `steps` steps of some
 * 100 ns. 0: done; -EAGAIN: there is more to do; -ENOMEM. Nothing is appended after the first step, and `before` stays
 * the same until it is done. */
int items_settle(Items *items, const Items *before, size_t steps);
/* Once it is done: are they others than those that were there before? */
bool items_have_changed(const Items *items);
