/* Resolving ids and names.
 *
 * Why: reads by id, reads by name and watches must decide by the same steps. How: the scopes, the listing or the document
 * admit a token by its id. The listing gives a name's id. List calls lag behind, so that token may be gone: then it is
 * rejected, and the name chooses again. */

#include "tokenfs/cache/resolve.h"

#include <errno.h>

#include "tokenfs/base/clock.h"

/* How often a name chooses in one turn of the loop. */
#define RESOLVE_CHOICES_MAX 64

int resolve_admits(const Cache *cache, const char *id, const ResolveReader *reader, ApiError *ret_error)
{
        if (scopes_admit_id(cache->scopes, id)) {
                *ret_error = API_OK;
                return 0;
        }
        /* A held copy names its view and its resolver; where list calls fail, the fetched document does. */
        TokenAnswer held;
        bool is_held =
                tokens_peek(cache->tokens, id, &held) == 0 && scopes_admit_doc(cache->scopes, held.doc);
        ListingAnswer listing;
        int r = listing_get(cache->listing, reader->since_ns, reader->gives_up || reader->is_late,
                is_held ? NULL : reader->wait, &listing);
        if (r == -EINPROGRESS && (is_held || listing_is_failing(cache->listing))) {
                cache_wait_cancel(reader->wait);
                *ret_error = API_OK;
                return 0;
        }
        if (r < 0)
                return r;
        size_t ignored;
        bool is_missing = listing.complete && items_find(listing.items, id, &ignored) < 0;
        *ret_error = is_missing ? API_E_NOT_FOUND : API_OK;
        return 0;
}

bool resolve_is_known(const Cache *cache, const char *id)
{
        ListingAnswer listing;
        size_t ignored;
        if (!scopes_are_open(cache->scopes) && scopes_admit_id(cache->scopes, id))
                return true;
        listing_peek(cache->listing, &listing);
        return items_find(listing.items, id, &ignored) == 0;
}

/* The document of a token that the listing or a scope names. */
static int get_token(const Cache *cache, const char *id, const ResolveReader *reader, TokenAnswer *ret_token)
{
        int r = tokens_get(cache->tokens, id, reader->since_ns, reader->gives_up, reader->wait, ret_token);
        bool is_cold = r == -EINPROGRESS || (r == 0 && ret_token->hit == CACHE_HIT_PREFETCHED);
        if (is_cold && reader->prefetch)
                prefetch_note(reader->prefetch, cache->tokens, cache->listing, id);
        if (r == 0 && ret_token->error == API_OK && !scopes_admit_doc(cache->scopes, ret_token->doc))
                *ret_token = (TokenAnswer){
                        .error = API_E_NOT_FOUND, .due_ns = clock_now_ns(), .hit = CACHE_HIT_NEGATIVE};
        return r;
}

int resolve_id(const Cache *cache, const char *id, const ResolveReader *reader, TokenAnswer *ret_token)
{
        ApiError error;
        int r = resolve_admits(cache, id, reader, &error);
        if (r < 0)
                return r;
        if (error == API_OK) {
                if (reader->wait)
                        reader->wait->is_guess = !resolve_is_known(cache, id);
                return get_token(cache, id, reader, ret_token);
        }
        *ret_token = (TokenAnswer){.error = error, .due_ns = clock_now_ns(), .hit = CACHE_HIT_NEGATIVE};
        return 0;
}

int resolve_name_id(const Cache *cache, const char *name, const ResolveReader *reader, NameAnswer *ret_name)
{
        /* A late reader takes an old listing, if there is one. */
        NameAnswer old;
        if (reader->is_late && names_get(cache->names, name, reader->since_ns, true, NULL, &old) == 0 &&
                old.error == API_OK) {
                *ret_name = old;
                return 0;
        }
        return names_get(cache->names, name, reader->since_ns, reader->gives_up, reader->wait, ret_name);
}

int resolve_name(const Cache *cache, const char *name, const ResolveReader *reader, TokenAnswer *ret_token)
{
        NameAnswer chosen = {.error = API_E_NOT_FOUND};
        if (reader->wait)
                reader->wait->is_guess = false; /* an id that a name has is listed */
        for (int i = 0; i < RESOLVE_CHOICES_MAX; i++) {
                int r = resolve_name_id(cache, name, reader, &chosen);
                if (r < 0)
                        return r;
                if (chosen.error != API_OK)
                        break;
                r = get_token(cache, chosen.id, reader, ret_token);
                if (r < 0)
                        return r;
                if (ret_token->error != API_E_NOT_FOUND) {
                        if (chosen.keep_ns < ret_token->keep_ns)
                                ret_token->keep_ns = chosen.keep_ns;
                        if (chosen.due_ns < ret_token->due_ns)
                                ret_token->due_ns = chosen.due_ns;
                        return 0;
                }
                names_reject(cache->names, chosen.id);
                chosen.error = API_E_NOT_FOUND;
        }
        *ret_token = (TokenAnswer){.error = chosen.error,
                .keep_ns = chosen.keep_ns,
                .due_ns = chosen.due_ns,
                .hit = CACHE_HIT_NEGATIVE};
        return 0;
}
