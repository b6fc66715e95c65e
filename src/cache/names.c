/* Which token a name means now.
 *
 * Why: renewing a token means making a new one, and who is configured with a name should go on without being touched.
 * How: of all candidates with the name (the listing's items, and the documents of `token=` scopes, which no list call
 * gives), the best is chosen: newest OPERATIONAL and unexpired, else newest OPERATIONAL, else newest. The choice ends
 * when the chosen one expires, whatever the ttl. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "listing-private.h"
#include "tokenfs/base/clock.h"

/* The newest first; among equally new ones the greater id. */
static int compare_age(const TokenItem *a, const TokenItem *b)
{
        if (a->created_wall_ns != b->created_wall_ns)
                return a->created_wall_ns > b->created_wall_ns ? -1 : 1;
        return strcmp(b->id, a->id);
}

static int compare_by_name(const void *a, const void *b)
{
        const TokenItem *left = *(const TokenItem *const *)a, *right = *(const TokenItem *const *)b;
        int order = strcmp(left->name, right->name);
        return order ? order : compare_age(left, right);
}

int listing_index_names(const TokenItem *items, size_t count, const TokenItem ***ret_index)
{
        const TokenItem **index = calloc(count + 1, sizeof *index);
        if (!index)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++)
                index[i] = &items[i];
        if (count > 1)
                qsort(index, count, sizeof *index, compare_by_name);
        *ret_index = index;
        return 0;
}

/* 2: OPERATIONAL and not expired, 1: OPERATIONAL, 0: anything else. */
static int rank(const TokenItem *item, int64_t wall_ns)
{
        if (item->status != TOKEN_OPERATIONAL)
                return 0;
        return item->expires_wall_ns > wall_ns ? 2 : 1;
}

static void choose(const Listing *listing, const TokenItem *item, uint64_t since_ns, int64_t wall_ns,
        const TokenItem **best)
{
        if (listing_is_rejected(listing, item->id, since_ns))
                return;
        if (!*best || rank(item, wall_ns) > rank(*best, wall_ns) ||
                (rank(item, wall_ns) == rank(*best, wall_ns) && compare_age(item, *best) < 0))
                *best = item;
}

/* The first place in the index whose name isn't less than `name`. */
static size_t index_find(const Listing *listing, const char *name)
{
        size_t low = 0, high = listing->item_count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (strcmp(listing->by_name[middle]->name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* What the documents of `token=` scopes say; the listing's walk doesn't cover them. */
typedef struct ScopeItems {
        TokenItem *items;
        size_t count;
        ApiError error; /* one couldn't be had for now */
        uint64_t keep_ns, due_ns;
} ScopeItems;

static int scope_items_get(
        Listing *listing, uint64_t since_ns, bool give_up, CacheWait *wait, ScopeItems *items)
{
        *items = (ScopeItems){.keep_ns = CLOCK_NEVER, .due_ns = CLOCK_NEVER};
        size_t count;
        const char *const *ids = listing_token_ids(listing, &count);
        if (count == 0)
                return 0;
        items->items = calloc(count, sizeof *items->items);
        if (!items->items)
                return -ENOMEM;
        TokenAnswer answer;
        /* All are asked for before the first is waited for. */
        for (size_t i = 0; i < count && wait; i++)
                (void)tokens_get(listing->settings.tokens, ids[i], since_ns, false, NULL, &answer);
        for (size_t i = 0; i < count; i++) {
                int r = tokens_get(listing->settings.tokens, ids[i], since_ns, give_up, wait, &answer);
                if (r < 0) {
                        free(TAKE(items->items));
                        return r;
                }
                if (answer.error != API_OK) {
                        /* One that can't be had for long mustn't keep all names from the kernel. */
                        answer.keep_ns = listing->settings.policy.negative_ttl_ns;
                        answer.due_ns = clock_add_ns(clock_now_ns(), answer.keep_ns);
                }
                if (answer.keep_ns < items->keep_ns)
                        items->keep_ns = answer.keep_ns;
                if (answer.due_ns < items->due_ns)
                        items->due_ns = answer.due_ns;
                if (answer.error == API_OK)
                        token_item_from_doc(answer.doc, &items->items[items->count++]);
                else if (answer.error != API_E_NOT_FOUND)
                        items->error = answer.error;
        }
        return 0;
}

int listing_get_name(Listing *listing, const char *name, uint64_t since_ns, bool give_up, CacheWait *wait,
        NameAnswer *ret_answer)
{
        ListingAnswer answer;
        int r = listing_get(listing, since_ns, give_up, wait, &answer);
        if (r < 0)
                return r;
        ScopeItems scope_items;
        r = scope_items_get(listing, since_ns, give_up, wait, &scope_items);
        if (r < 0)
                return r;

        const TokenItem *best = NULL;
        int64_t wall_ns = clock_wall_ns();
        size_t i = answer.item_count ? index_find(listing, name) : 0;
        for (; i < answer.item_count && strcmp(listing->by_name[i]->name, name) == 0; i++)
                choose(listing, listing->by_name[i], since_ns, wall_ns, &best);
        for (i = 0; i < scope_items.count; i++)
                if (strcmp(scope_items.items[i].name, name) == 0)
                        choose(listing, &scope_items.items[i], since_ns, wall_ns, &best);

        NameAnswer chosen = {
                .keep_ns = answer.keep_ns < scope_items.keep_ns ? answer.keep_ns : scope_items.keep_ns,
                .due_ns = answer.due_ns < scope_items.due_ns ? answer.due_ns : scope_items.due_ns,
        };
        if (best) {
                memcpy(chosen.id, best->id, sizeof chosen.id);
                if (rank(best, wall_ns) == 2) {
                        uint64_t left = (uint64_t)(best->expires_wall_ns - wall_ns);
                        uint64_t now = clock_now_ns();
                        chosen.keep_ns = left < chosen.keep_ns ? left : chosen.keep_ns;
                        chosen.due_ns = clock_add_ns(now, left) < chosen.due_ns ? clock_add_ns(now, left)
                                                                                : chosen.due_ns;
                }
        } else if (scope_items.error != API_OK) {
                chosen.error = scope_items.error;
        } else {
                /* Not in the listing: not there, unless the listing itself can't be had. */
                chosen.error = answer.error != API_OK && !answer.complete ? answer.error : API_E_NOT_FOUND;
        }
        free(scope_items.items);
        if (chosen.error != API_OK && chosen.keep_ns > listing->settings.policy.negative_ttl_ns)
                chosen.keep_ns = listing->settings.policy.negative_ttl_ns;
        *ret_answer = chosen;
        return 0;
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int listing_visit_names(Listing *listing, uint64_t since_ns, bool give_up, CacheWait *wait,
        ListingNameVisitor *visitor, void *userdata)
{
        ListingAnswer answer;
        int r = listing_get(listing, since_ns, give_up, wait, &answer);
        if (r < 0)
                return r;
        ScopeItems scope_items;
        r = scope_items_get(listing, since_ns, give_up, wait, &scope_items);
        if (r < 0)
                return r;
        const char **names = calloc(answer.item_count + scope_items.count + 1, sizeof *names);
        if (!names) {
                free(scope_items.items);
                return -ENOMEM;
        }
        size_t count = 0;
        for (size_t i = 0; i < answer.item_count; i++)
                names[count++] = answer.items[i].name;
        for (size_t i = 0; i < scope_items.count; i++)
                names[count++] = scope_items.items[i].name;
        qsort(names, count, sizeof *names, compare_names);
        for (size_t i = 0; i < count; i++)
                if (*names[i] && (i == 0 || strcmp(names[i], names[i - 1]) != 0))
                        visitor(names[i], userdata);
        free(names);
        free(scope_items.items);
        return 0;
}
