/* The token that a name means.
 *
 * Why: renewing a token means creating a new one, and a client with a name in its configuration must need no change. How:
 * the candidates are the listing's items with that name, and the documents of `token=` scopes, which no list call gives.
 * The best is the newest OPERATIONAL and unexpired one, else the newest OPERATIONAL one, else the newest one. The choice
 * ends when the chosen token expires, whatever the ttl. A token that is gone is rejected until a later listing. */

#include "tokenfs/cache/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/clock.h"

#define NAMES_VISIT_MAX 1000 /* in one turn of the loop: requests come in between */

typedef struct Rejected {
        char id[TOKEN_ID_MAX + 1];
        uint64_t at_ns;
} Rejected;

struct Names {
        NamesSettings settings;
        Rejected rejected[64]; /* tokens that are gone, though the listing names them */
        size_t rejected_count;
};

int names_new(const NamesSettings *settings, Names **ret_names)
{
        Names *names = calloc(1, sizeof *names);
        if (!names)
                return -ENOMEM;
        names->settings = *settings;
        *ret_names = names;
        return 0;
}

Names *names_free(Names *names)
{
        free(names);
        return NULL;
}

/* List calls may lag behind GetAccessToken: so a rejection holds for negative_ttl, and until a listing was fetched after
 * it. For a reader that came before it holds in any case: else that reader could alternate for ever between a listing with
 * the token and a token that is gone. */
static bool rejection_holds(const Names *names, const Rejected *rejected, uint64_t since_ns)
{
        return rejected->at_ns >= since_ns || listing_sent_ns(names->settings.listing) < rejected->at_ns ||
               clock_now_ns() < clock_add_ns(rejected->at_ns, names->settings.policy.negative_ttl_ns);
}

static bool is_rejected(const Names *names, const char *id, uint64_t since_ns)
{
        for (size_t i = 0; i < names->rejected_count; i++)
                if (strcmp(names->rejected[i].id, id) == 0 &&
                        rejection_holds(names, &names->rejected[i], since_ns))
                        return true;
        return false;
}

void names_reject(Names *names, const char *id)
{
        size_t len = strnlen(id, TOKEN_ID_MAX + 1);
        uint64_t now = clock_now_ns();
        if (len > TOKEN_ID_MAX || is_rejected(names, id, CLOCK_NEVER))
                return;
        /* No reader is older than its deadline. */
        uint64_t oldest_ns =
                now > names->settings.policy.timeout_ns ? now - names->settings.policy.timeout_ns : 0;
        size_t kept = 0;
        for (size_t i = 0; i < names->rejected_count; i++)
                if (strcmp(names->rejected[i].id, id) != 0 &&
                        rejection_holds(names, &names->rejected[i], oldest_ns))
                        names->rejected[kept++] = names->rejected[i];
        names->rejected_count = kept;
        /* The oldest rejection goes. If a name still means that token, the next read rejects it again. */
        if (names->rejected_count == ARRAY_LEN(names->rejected)) {
                memmove(&names->rejected[0], &names->rejected[1],
                        (ARRAY_LEN(names->rejected) - 1) * sizeof names->rejected[0]);
                names->rejected_count--;
        }
        Rejected *rejected = &names->rejected[names->rejected_count++];
        memcpy(rejected->id, id, len + 1);
        rejected->at_ns = now;
        /* The listing names the token, so it is outdated. */
        listing_outdate(names->settings.listing);
}

/* 2: OPERATIONAL and not expired, 1: OPERATIONAL, 0: anything else. */
static int rank(const TokenItem *item, int64_t wall_ns)
{
        if (item->status != TOKEN_OPERATIONAL)
                return 0;
        return item->expires_wall_ns > wall_ns ? 2 : 1;
}

/* Replaces `best` if the item is better; `best` has the id "" while there is none. */
static void choose(
        const Names *names, const TokenItem *item, uint64_t since_ns, int64_t wall_ns, TokenItem *best)
{
        if (is_rejected(names, item->id, since_ns))
                return;
        if (!*best->id || rank(item, wall_ns) > rank(best, wall_ns) ||
                (rank(item, wall_ns) == rank(best, wall_ns) && items_compare_age(item, best) < 0))
                *best = *item;
}

/* Items from the documents of `token=` scopes; no walk covers these tokens. */
typedef struct ScopeItems {
        TokenItem *items;
        size_t count;
        ApiError error; /* of a document that can't be had now */
        uint64_t keep_ns, due_ns;
} ScopeItems;

static int scope_items_get(Names *names, uint64_t since_ns, bool give_up, CacheWait *wait, ScopeItems *items)
{
        *items = (ScopeItems){.keep_ns = CLOCK_NEVER, .due_ns = CLOCK_NEVER};
        const ScopeIds scopes = scopes_ids(names->settings.scopes);
        size_t count = scopes.token_id_count;
        const char *const *ids = scopes.token_ids;
        if (count == 0)
                return 0;
        items->items = calloc(count, sizeof *items->items);
        if (!items->items)
                return -ENOMEM;
        TokenAnswer answer;
        /* Starts all calls before it waits for the first. */
        for (size_t i = 0; i < count && wait; i++)
                (void)tokens_get(names->settings.tokens, ids[i], since_ns, false, NULL, &answer);
        for (size_t i = 0; i < count; i++) {
                int r = tokens_get(names->settings.tokens, ids[i], since_ns, give_up, wait, &answer);
                if (r < 0) {
                        free(TAKE(items->items));
                        return r;
                }
                if (answer.error != API_OK) {
                        /* One unreachable token must not disable kernel caching for all names. */
                        answer.keep_ns = names->settings.policy.negative_ttl_ns;
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

int names_get(Names *names, const char *name, uint64_t since_ns, bool give_up, CacheWait *wait,
        NameAnswer *ret_answer)
{
        ListingAnswer answer;
        int r = listing_get(names->settings.listing, since_ns, give_up, wait, &answer);
        if (r < 0)
                return r;
        ScopeItems scope_items;
        r = scope_items_get(names, since_ns, give_up, wait, &scope_items);
        if (r < 0)
                return r;

        TokenItem best = {0}, item;
        int64_t wall_ns = clock_wall_ns();
        size_t count = items_count(answer.items);
        for (size_t place = items_find_name(answer.items, name);
                place < count && strcmp(items_name_at(answer.items, place), name) == 0; place++) {
                items_get_at(answer.items, place, &item);
                choose(names, &item, since_ns, wall_ns, &best);
        }
        for (size_t i = 0; i < scope_items.count; i++)
                if (strcmp(scope_items.items[i].name, name) == 0)
                        choose(names, &scope_items.items[i], since_ns, wall_ns, &best);

        NameAnswer chosen = {
                .keep_ns = answer.keep_ns < scope_items.keep_ns ? answer.keep_ns : scope_items.keep_ns,
                .due_ns = answer.due_ns < scope_items.due_ns ? answer.due_ns : scope_items.due_ns,
        };
        if (*best.id) {
                memcpy(chosen.id, best.id, sizeof chosen.id);
                if (rank(&best, wall_ns) == 2) {
                        uint64_t left = (uint64_t)(best.expires_wall_ns - wall_ns);
                        uint64_t now = clock_now_ns();
                        chosen.keep_ns = left < chosen.keep_ns ? left : chosen.keep_ns;
                        chosen.due_ns = clock_add_ns(now, left) < chosen.due_ns ? clock_add_ns(now, left)
                                                                                : chosen.due_ns;
                }
        } else if (scope_items.error != API_OK) {
                chosen.error = scope_items.error;
        } else {
                /* A name that is not in the listing does not exist, unless the listing itself failed. */
                chosen.error = answer.error != API_OK && !answer.complete ? answer.error : API_E_NOT_FOUND;
        }
        free(scope_items.items);
        if (chosen.error != API_OK && chosen.keep_ns > names->settings.policy.negative_ttl_ns)
                chosen.keep_ns = names->settings.policy.negative_ttl_ns;
        *ret_answer = chosen;
        return 0;
}

static bool has_name(const ScopeItems *scope_items, size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(scope_items->items[i].name, name) == 0)
                        return true;
        return false;
}

int names_visit(Names *names, const NamesReader *reader, NamesCursor *cursor, NameVisitor *visitor,
        void *userdata, ApiError *ret_error)
{
        ListingAnswer answer;
        int r = listing_get(
                names->settings.listing, reader->since_ns, reader->give_up, reader->wait, &answer);
        if (r < 0)
                return r;
        ScopeItems scopes;
        r = scope_items_get(names, reader->since_ns, reader->give_up, reader->wait, &scopes);
        if (r < 0)
                return r;
        *ret_error = answer.items ? API_OK : answer.error;
        size_t count = items_count(answer.items);
        bool is_whole = cursor->has_begun && cursor->place == count;
        if (!cursor->has_begun || cursor->version != answer.version || (is_whole && scopes.count)) {
                *cursor = (NamesCursor){.has_begun = true, .version = answer.version};
                visitor(NULL, userdata);
                for (size_t i = 0; i < scopes.count; i++)
                        if (*scopes.items[i].name && !has_name(&scopes, i, scopes.items[i].name))
                                visitor(scopes.items[i].name, userdata);
        }
        size_t end = count - cursor->place > NAMES_VISIT_MAX ? cursor->place + NAMES_VISIT_MAX : count;
        for (; cursor->place < end; cursor->place++) {
                const char *name = items_name_at(answer.items, cursor->place);
                bool is_first = cursor->place == 0 ||
                                strcmp(name, items_name_at(answer.items, cursor->place - 1)) != 0;
                if (*name && is_first && !has_name(&scopes, scopes.count, name))
                        visitor(name, userdata);
        }
        free(scopes.items);
        return end < count ? -EAGAIN : 0;
}
