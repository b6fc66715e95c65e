/* The scopes `token=`, `dns_view=` and `resolver=`: which tokens exist for this mount. They hold for reads as for the
 * listing. A token that the listing doesn't settle (since it is denied, or fails) is settled by its document, which
 * names its view and its resolver. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "listing-private.h"

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
        *set = (IdSet){0};
}

static bool id_set_has(const IdSet *set, const char *id, size_t len)
{
        char text[TOKEN_ID_MAX + 1];
        const char *key = text;
        if (len >= sizeof text)
                return false;
        memcpy(text, id, len);
        text[len] = '\0';
        return set->count && bsearch(&key, set->ids, set->count, sizeof *set->ids, compare_ids);
}

int listing_scopes_copy(ListingScopes *scopes, const ListingSettings *settings)
{
        int r = id_set_copy(&scopes->tokens, settings->token_ids, settings->token_id_count);
        if (r == 0)
                r = id_set_copy(&scopes->dns_views, settings->dns_view_ids, settings->dns_view_id_count);
        if (r == 0)
                r = id_set_copy(&scopes->resolvers, settings->resolver_ids, settings->resolver_id_count);
        return r;
}

void listing_scopes_deinit(ListingScopes *scopes)
{
        id_set_deinit(&scopes->tokens);
        id_set_deinit(&scopes->dns_views);
        id_set_deinit(&scopes->resolvers);
}

bool listing_has_scopes(const Listing *listing)
{
        const ListingScopes *scopes = &listing->scopes;
        return scopes->tokens.count || scopes->dns_views.count || scopes->resolvers.count;
}

bool listing_has_only_token_scopes(const Listing *listing)
{
        const ListingScopes *scopes = &listing->scopes;
        return scopes->tokens.count && !scopes->dns_views.count && !scopes->resolvers.count;
}

const char *const *listing_token_ids(const Listing *listing, size_t *ret_count)
{
        *ret_count = listing->scopes.tokens.count;
        return (const char *const *)listing->scopes.tokens.ids;
}

int listing_admits(Listing *listing, const char *id, uint64_t since_ns, bool give_up, CacheWait *wait,
        ApiError *ret_error)
{
        if (!listing_has_scopes(listing) || id_set_has(&listing->scopes.tokens, id, strlen(id))) {
                *ret_error = API_OK;
                return 0;
        }
        /* A copy that is held names its view and its resolver; where list calls fail, the next one will. */
        TokenAnswer held;
        bool is_held = tokens_peek(listing->settings.tokens, id, &held) == 0 &&
                       listing_admits_doc(listing, held.doc);
        ListingAnswer answer;
        int r = listing_get(listing, since_ns, give_up, is_held ? NULL : wait, &answer);
        if (r == -EINPROGRESS && (is_held || listing->copy.retry_at_ns)) {
                if (wait)
                        cache_wait_cancel(wait);
                *ret_error = API_OK;
                return 0;
        }
        if (r < 0)
                return r;
        *ret_error = answer.complete && !listing_find(&answer, id) ? API_E_NOT_FOUND : API_OK;
        return 0;
}

bool listing_admits_doc(const Listing *listing, const TokenDoc *doc)
{
        const ListingScopes *scopes = &listing->scopes;
        const struct {
                const IdSet *set;
                TokenField field;
        } rules[] = {
                {&scopes->tokens, TOKEN_ID},
                {&scopes->dns_views, TOKEN_DNS_VIEW_ID},
                {&scopes->resolvers, TOKEN_GLOBAL_RESOLVER_ID},
        };
        if (!listing_has_scopes(listing))
                return true;
        for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
                size_t len;
                const char *value = token_doc_field(doc, rules[i].field, &len);
                if (value && id_set_has(rules[i].set, value, len))
                        return true;
        }
        return false;
}
