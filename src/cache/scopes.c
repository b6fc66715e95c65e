/* The scopes.
 *
 * Why: a mount shows and serves the tokens of its options and no others, whatever its credentials may read. How: three
 * sets of ids hold for reads as for the listing. A document names its view and its resolver, so it decides where list
 * calls are denied or fail. */

#include "tokenfs/cache/scopes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct IdSet {
        char **ids; /* sorted */
        size_t count;
} IdSet;

struct Scopes {
        IdSet tokens, dns_views, resolvers;
};

static int compare_ids(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int id_set_copy(IdSet *set, const char *const *ids, size_t count)
{
        if (count == 0)
                return 0;
        set->ids = calloc(count, sizeof *set->ids);
        if (!set->ids)
                return -ENOMEM;
        for (; set->count < count; set->count++) {
                set->ids[set->count] = strdup(ids[set->count]);
                if (!set->ids[set->count])
                        return -ENOMEM;
        }
        qsort(set->ids, set->count, sizeof *set->ids, compare_ids);
        return 0;
}

static void id_set_deinit(IdSet *set)
{
        for (size_t i = 0; i < set->count; i++)
                free(set->ids[i]);
        free(set->ids);
}

static bool id_set_has(const IdSet *set, const char *id)
{
        return set->count && bsearch(&id, set->ids, set->count, sizeof *set->ids, compare_ids);
}

int scopes_new(const ScopeIds *ids, Scopes **ret_scopes)
{
        CLEANUP(scopes_free_p) Scopes *scopes = calloc(1, sizeof *scopes);
        if (!scopes)
                return -ENOMEM;
        int r = id_set_copy(&scopes->tokens, ids->token_ids, ids->token_id_count);
        if (r == 0)
                r = id_set_copy(&scopes->dns_views, ids->dns_view_ids, ids->dns_view_id_count);
        if (r == 0)
                r = id_set_copy(&scopes->resolvers, ids->resolver_ids, ids->resolver_id_count);
        if (r < 0)
                return r;
        *ret_scopes = TAKE(scopes);
        return 0;
}

Scopes *scopes_free(Scopes *scopes)
{
        if (!scopes)
                return NULL;
        id_set_deinit(&scopes->tokens);
        id_set_deinit(&scopes->dns_views);
        id_set_deinit(&scopes->resolvers);
        free(scopes);
        return NULL;
}

bool scopes_are_open(const Scopes *scopes)
{
        return scopes->tokens.count + scopes->dns_views.count + scopes->resolvers.count == 0;
}

bool scopes_are_tokens(const Scopes *scopes)
{
        return scopes->tokens.count > 0 && scopes->dns_views.count + scopes->resolvers.count == 0;
}

ScopeIds scopes_ids(const Scopes *scopes)
{
        return (ScopeIds){
                .token_ids = (const char *const *)scopes->tokens.ids,
                .token_id_count = scopes->tokens.count,
                .dns_view_ids = (const char *const *)scopes->dns_views.ids,
                .dns_view_id_count = scopes->dns_views.count,
                .resolver_ids = (const char *const *)scopes->resolvers.ids,
                .resolver_id_count = scopes->resolvers.count,
        };
}

bool scopes_admit_id(const Scopes *scopes, const char *id)
{
        return scopes_are_open(scopes) || id_set_has(&scopes->tokens, id);
}

bool scopes_admit_item(const Scopes *scopes, const TokenItem *item)
{
        return scopes_admit_id(scopes, item->id) || id_set_has(&scopes->dns_views, item->dns_view_id) ||
               id_set_has(&scopes->resolvers, item->global_resolver_id);
}

bool scopes_admit_doc(const Scopes *scopes, const TokenDoc *doc)
{
        TokenItem item;
        token_item_from_doc(doc, &item);
        return scopes_admit_item(scopes, &item);
}
