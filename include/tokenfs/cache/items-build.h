#pragma once
/* Gathering the items of a listing, and sorting them in slices. */

#include <stdbool.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/items.h"

/* The memory of one listing; two exist while one replaces the other. */
#define ITEMS_BYTES_MAX ((size_t)92 * 1024 * 1024)

/* 0 or -ENOMEM. */
int items_new(Items **ret_items);
Items *items_free(Items *items);
CLEANUP_DEFINE(Items *, items_free);
/* 0, -ENOMEM, or -EFBIG: more than ITEMS_BYTES_MAX. */
int items_append(Items *items, const TokenItem *item);
/* Sorts, drops repeats and compares with the items of the listing before (NULL: none), in at most `steps` steps of some
 * 100 ns. 0: done; -EAGAIN: call it again; -ENOMEM. Callers append nothing after the first call, and leave `before` as it
 * is until the last. */
int items_settle(Items *items, const Items *before, size_t steps);
/* Afterwards: do the items differ from `before`? */
bool items_have_changed(const Items *items);
