/* From a directory's slot to its content.
 *
 * A token's slot means an id; a name's means the id that the listing chooses now. Both end in one document of the
 * cache, so that all files of a directory come from one fetch. The exception is .doh_url, which needs the resolver's
 * name as well: it has a slot of its own, with versions and generations of its own, so that a resolver that is renamed,
 * or may not be asked for, changes nothing about the files beside it. Each function looks everything up anew, and says
 * -EINPROGRESS where something has to be waited for: the request comes here again when it may be there. */

#include "fs-private.h"

#include <errno.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fs/errno.h"

#define CONTENT_SERVICE_MAX ((size_t)16 * 1024 * 1024)

/* When a request waits no longer for the listing: an access is several requests, and list calls that hang leave most of
 * the time to GetAccessToken. */
static uint64_t listing_deadline_ns(const Request *request)
{
        return clock_add_ns(request->came_ns, request->fs->settings.timeout_ns / 4);
}

static ResolveReader reader_of(Request *request)
{
        return (ResolveReader){
                .since_ns = request->came_ns,
                .gives_up = request->give_up,
                .is_late = clock_now_ns() >= listing_deadline_ns(request),
                .wait = &request->wait,
                .prefetch = &request->fs->prefetch,
        };
}

/* The outcome of a resolve: 0, -EINPROGRESS, another negative errno, or an errno (> 0). */
static int outcome_of(Request *request, const ResolveReader *reader, int r, ApiError error)
{
        if (r == -EINPROGRESS && !reader->is_late)
                return request_wait_until(request, listing_deadline_ns(request));
        return r == 0 && error != API_OK ? fs_errno(error) : r;
}

int content_admit(Request *request, const char *id)
{
        const ResolveReader reader = reader_of(request);
        ApiError error = API_OK;
        int r = resolve_admits(request->fs->settings.cache, id, &reader, &error);
        return outcome_of(request, &reader, r, error);
}

int content_choose(Request *request, const char *name, NameAnswer *ret_chosen)
{
        const ResolveReader reader = reader_of(request);
        int r = resolve_name_id(request->fs->settings.cache, name, &reader, ret_chosen);
        return outcome_of(request, &reader, r, r == 0 ? ret_chosen->error : API_OK);
}

/* The document that a directory of tokens, or of names, shows. */
static int get_doc(Request *request, const Slot *slot, TokenAnswer *ret_answer)
{
        const Cache *cache = request->fs->settings.cache;
        const ResolveReader reader = reader_of(request);
        int r = slot_kind_is_name((SlotKind)slot->kind) ? resolve_name(cache, slot->key, &reader, ret_answer)
                                                        : resolve_id(cache, slot->key, &reader, ret_answer);
        return outcome_of(request, &reader, r, r == 0 ? ret_answer->error : API_OK);
}

/* The address that is made of a token's document and its resolver's name. */
static int get_url(Request *request, uint32_t index, const TokenAnswer *token, Version **ret_version,
        uint64_t *ret_keep_ns)
{
        Fs *fs = request->fs;
        TokenItem item;
        ResolverAnswer resolver;
        token_item_from_doc(token->doc, &item);
        int r = resolvers_get(fs->settings.cache->resolvers, item.global_resolver_id, request->came_ns,
                request->give_up, &request->wait, &resolver);
        if (r < 0)
                return r;
        if (resolver.error != API_OK)
                return fs_errno(resolver.error);
        if (resolver.keep_ns < *ret_keep_ns)
                *ret_keep_ns = resolver.keep_ns;
        uint64_t due_ns = token->due_ns < resolver.due_ns ? token->due_ns : resolver.due_ns;
        return tree_set_url(&fs->tree, index, token->doc, resolver.dns_name, due_ns, ret_version);
}

static int get_service(Fs *fs, uint32_t slot, Version **ret_version)
{
        Buf text = BUF_INIT(CONTENT_SERVICE_MAX);
        fs->counters.nodes_used = nodes_used(fs->settings.slots);
        fs->counters.versions = fs->tree.superseded_count;
        FsServiceWriter *writer =
                slot == SLOT_STATUS ? fs->settings.write_status : fs->settings.write_metrics;
        writer(&text, fs->settings.writer_userdata);
        int r = text.error ? text.error : tree_set_text(&fs->tree, slot, &text, ret_version);
        buf_deinit(&text);
        return r;
}

int content_get(Request *request, uint32_t index, Version **ret_version, uint64_t *ret_keep_ns)
{
        Fs *fs = request->fs;
        const Slot *slot = nodes_get(fs->settings.slots, index);
        if (!slot)
                return ESTALE;
        if (index == SLOT_STATUS || index == SLOT_METRICS) {
                *ret_keep_ns = 0;
                return get_service(fs, index, ret_version);
        }
        if (slot->kind == SLOT_FIXED)
                return EISDIR;
        bool is_url = slot->kind == SLOT_TOKEN_URL || slot->kind == SLOT_NAME_URL;
        TokenAnswer answer = {0};
        int r = get_doc(request, slot, &answer);
        if (r == 0) {
                *ret_keep_ns = fs->settings.audit ? 0 : answer.keep_ns;
                r = is_url ? get_url(request, index, &answer, ret_version, ret_keep_ns)
                           : tree_set_doc(&fs->tree, index, answer.doc, answer.due_ns, ret_version);
        }
        /* What the API has refused must not live on here. */
        if (r == ENOENT || r == EACCES || r == EKEYREJECTED)
                tree_drop_current(&fs->tree, index);
        return r;
}

int url_slot_of(Tree *tree, uint32_t directory, uint32_t *ret_slot)
{
        const Slot *slot = nodes_get(tree->slots, directory);
        return tree_take_slot(
                tree, slot->kind == SLOT_NAME ? SLOT_NAME_URL : SLOT_TOKEN_URL, slot->key, ret_slot);
}

void fs_set_name(Fs *fs, const char *name, TokenDoc *doc, uint64_t due_ns)
{
        uint32_t slot;
        Version *version;
        TokenItem item;
        token_item_from_doc(doc, &item);
        const char *dns_name = resolvers_peek(fs->settings.cache->resolvers, item.global_resolver_id);
        if (nodes_find(fs->settings.slots, SLOT_NAME, name, &slot) == 0 && tree_current(&fs->tree, slot))
                (void)tree_set_doc(&fs->tree, slot, doc, due_ns, &version);
        if (nodes_find(fs->settings.slots, SLOT_NAME_URL, name, &slot) == 0 &&
                tree_current(&fs->tree, slot) && dns_name)
                (void)tree_set_url(&fs->tree, slot, doc, dns_name, due_ns, &version);
}

Version *content_peek(Fs *fs, uint32_t index, uint64_t *ret_keep_ns)
{
        Version *version = tree_current(&fs->tree, index);
        uint64_t now = clock_now_ns();
        *ret_keep_ns = 0;
        if (!version || !version->doc || fs->settings.audit || now >= version->due_ns)
                return version;
        size_t len;
        TokenAnswer answer;
        const char *id = token_doc_field(version->doc, TOKEN_ID, &len);
        char key[TOKEN_ID_MAX + 1] = {0};
        memcpy(key, id, len < sizeof key ? len : sizeof key - 1);
        if (tokens_peek(fs->settings.cache->tokens, key, &answer) == 0 && answer.doc == version->doc) {
                uint64_t left = version->due_ns - now;
                *ret_keep_ns = answer.keep_ns < left ? answer.keep_ns : left;
        }
        return version;
}

ContentItem content_peek_item(Fs *fs, const char *id, TokenItem *ret_item, uint64_t *ret_keep_ns)
{
        TokenAnswer answer;
        ListingAnswer listing;
        bool is_held = tokens_peek(fs->settings.cache->tokens, id, &answer) == 0 &&
                       scopes_admit_doc(fs->settings.cache->scopes, answer.doc);
        listing_peek(fs->settings.cache->listing, &listing);
        size_t position;
        bool is_there = items_find(listing.items, id, &position) == 0;
        bool is_listed = is_there && listing.due_ns > clock_now_ns();
        if (is_held && (answer.hit == CACHE_HIT_FRESH || !is_listed)) {
                token_item_from_doc(answer.doc, ret_item);
                *ret_keep_ns = fs->settings.audit ? 0 : answer.keep_ns;
                return answer.hit == CACHE_HIT_FRESH ? CONTENT_KNOWN : CONTENT_OLD;
        }
        if (!is_there)
                return CONTENT_UNKNOWN;
        items_get(listing.items, position, ret_item);
        *ret_keep_ns = fs->settings.audit ? 0 : listing.keep_ns;
        return CONTENT_KNOWN;
}

void content_on_change(const char *id, const TokenDoc *doc, void *userdata)
{
        Fs *fs = userdata;
        uint32_t slot;
        bool is_known = nodes_find(fs->settings.slots, SLOT_TOKEN, id, &slot) == 0;
        uint32_t url_slot;
        if (is_known && !doc)
                tree_drop_current(&fs->tree, slot);
        if (!doc && nodes_find(fs->settings.slots, SLOT_TOKEN_URL, id, &url_slot) == 0)
                tree_drop_current(&fs->tree, url_slot);
        /* A token that the listing doesn't show comes to the root, or goes from it. */
        if (!is_known || fs->marks[slot] != fs->root_mark) {
                fs->changed_wall_ns = clock_wall_ns();
        }
        /* Names that meant it hold its document no longer than the cache. */
        if (!doc)
                tree_drop_names_of(&fs->tree, id);
}
