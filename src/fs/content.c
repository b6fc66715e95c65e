/* From a directory's slot to its content.
 *
 * A token's slot means an id; a name's means the id that the listing chooses now. Both end in one document of the
 * cache, so that all files of a directory come from one fetch. The exception is .doh_url, which needs the resolver's
 * name as well. It has a slot of its own, with its own versions and generations. So a resolver that is renamed or
 * denied changes no other file. Each function starts from the beginning, and returns -EINPROGRESS where the request
 * must wait: its step runs again when the answer may be there. */

#include "fs-private.h"

#include <errno.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fs/errno.h"

/* How long the kernel may keep a snapshot's attributes: a slow reader has as long, and the grace, to read it whole. */
#define FS_SERVICE_KEEP_NS (15 * NS_PER_S)

/* When a request waits no longer for the listing: an access is several requests, and list calls that hang leave most of
 * the time to GetAccessToken. */
static uint64_t listing_deadline_ns(const Request *request)
{
        return clock_add_ns(request->came_ns, request->fs->settings.timeout_ns / 4);
}

static ResolveReader reader_of(Request *request)
{
        return (ResolveReader){
                .since_ns = request->since_ns,
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
        int r = resolvers_get(fs->settings.cache->resolvers, item.global_resolver_id, request->since_ns,
                request->give_up, &request->wait, &resolver);
        if (r < 0)
                return r;
        if (resolver.error != API_OK)
                return fs_errno(resolver.error);
        if (resolver.keep_ns < *ret_keep_ns)
                *ret_keep_ns = resolver.keep_ns;
        return versions_set_url(&fs->versions, index, token->doc, resolver.dns_name, ret_version);
}

/* A service file is a snapshot, made once a second at most, for all readers. */
static int get_service(Fs *fs, uint32_t slot, Version **ret_version)
{
        bool is_status = slot == SLOT_STATUS;
        uint64_t *made_ns = &fs->service_made_ns[is_status], now_ns = clock_now_ns();
        *ret_version = versions_current(&fs->versions, slot);
        if (*ret_version && now_ns < *made_ns + FS_SERVICE_NS)
                return 0;
        Buf text = BUF_INIT(FS_SERVICE_MAX);
        fs->counters.nodes_used = nodes_used(fs->settings.slots);
        fs->counters.versions = fs->versions.superseded_count;
        FsServiceWriter *writer = is_status ? fs->settings.write_status : fs->settings.write_metrics;
        writer(&text, fs->settings.writer_userdata);
        int r = text.error ? text.error : versions_set_text(&fs->versions, slot, &text, ret_version);
        buf_deinit(&text);
        *made_ns = now_ns;
        return r;
}

int content_get(Request *request, uint32_t index, Version **ret_version, uint64_t *ret_keep_ns)
{
        Fs *fs = request->fs;
        const Slot *slot = nodes_get(fs->settings.slots, index);
        if (!slot)
                return ESTALE;
        if (index == SLOT_STATUS || index == SLOT_METRICS) {
                *ret_keep_ns = FS_SERVICE_KEEP_NS;
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
                           : versions_set_doc(&fs->versions, index, answer.doc, ret_version);
        }
        /* A token that the API refuses must not be shown from here either. */
        if (r == ENOENT || r == EACCES || r == EKEYREJECTED)
                versions_drop_current(&fs->versions, index);
        return r;
}

int content_show(Request *request, bool is_asked, Version **ret_version, uint64_t *ret_keep_ns)
{
        Versions *versions = &request->fs->versions;
        Node node = request->node;
        uint64_t keep_ns = 0;
        *ret_keep_ns = 0;
        int r = versions_show(versions, node, ret_version);
        if (r == -EAGAIN || (r == 0 && is_asked && !(*ret_version)->is_superseded)) {
                Version *current;
                r = content_get(request, node.slot, &current, &keep_ns);
                if (r == 0)
                        r = versions_show(versions, node, ret_version);
        }
        if (r == 0 && (*ret_version)->generation == node.generation && !(*ret_version)->is_superseded) {
                versions_extend(versions, *ret_version, keep_ns);
                *ret_keep_ns = keep_ns;
        }
        if (r == 0 && !version_has_field(*ret_version, node.field))
                r = ENOENT;
        return r;
}

int content_take_slot(Fs *fs, SlotKind kind, const char *key, uint32_t *ret_slot)
{
        Nodes *nodes = fs->settings.slots;
        if (nodes_find(nodes, kind, key, ret_slot) == 0)
                return 0;
        int r = nodes_take(nodes, kind, key, ret_slot);
        if (r < 0)
                return r;
        /* A slot that is taken over from another key holds nothing of that one's. The directory that showed it is
         * marked again for its next reader. A marking that runs goes on: its own slots replace those of the marking
         * before. */
        uint32_t *mark = &fs->marks[*ret_slot];
        versions_clear(&fs->versions, *ret_slot);
        if (*mark != 0 && *mark == fs->root_mark)
                fs->root_listing_version = 0;
        if (*mark != 0 && *mark == fs->names_mark && fs->names_marking.mark == 0)
                fs->names_cursor = (NamesCursor){0};
        *mark = 0;
        return 0;
}

int content_take_url_slot(Fs *fs, uint32_t directory, uint32_t *ret_slot)
{
        const Slot *slot = nodes_get(fs->settings.slots, directory);
        return content_take_slot(
                fs, slot->kind == SLOT_NAME ? SLOT_NAME_URL : SLOT_TOKEN_URL, slot->key, ret_slot);
}

/* Sets the content of a slot of a name, if the kernel may hold files of it. From when on they are those. */
static uint64_t set_name(Fs *fs, SlotKind kind, const char *name, TokenDoc *doc, const char *dns_name)
{
        uint32_t slot;
        Version *version;
        if (nodes_find(fs->settings.slots, kind, name, &slot) < 0)
                return 0;
        if (kind == SLOT_NAME)
                versions_refresh(&fs->versions, slot, doc);
        else if (dns_name && nodes_get(fs->settings.slots, slot)->fields_looked_up != 0)
                (void)versions_set_url(&fs->versions, slot, doc, dns_name, &version);
        return slot_settled_ns(nodes_get(fs->settings.slots, slot));
}

uint64_t fs_set_name(Fs *fs, const char *name, TokenDoc *doc)
{
        TokenItem item;
        nodes_lock(fs->settings.slots);
        token_item_from_doc(doc, &item);
        const char *dns_name = resolvers_peek(fs->settings.cache->resolvers, item.global_resolver_id);
        uint64_t files_ns = set_name(fs, SLOT_NAME, name, doc, NULL);
        uint64_t url_ns = set_name(fs, SLOT_NAME_URL, name, doc, dns_name);
        return files_ns > url_ns ? files_ns : url_ns;
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

void content_on_change(const char *id, TokenDoc *doc, void *userdata)
{
        Fs *fs = userdata;
        uint32_t slot;
        nodes_lock(fs->settings.slots);
        bool is_known = nodes_find(fs->settings.slots, SLOT_TOKEN, id, &slot) == 0;
        uint32_t url_slot;
        if (is_known && !doc)
                versions_drop_current(&fs->versions, slot);
        if (!doc && nodes_find(fs->settings.slots, SLOT_TOKEN_URL, id, &url_slot) == 0)
                versions_drop_current(&fs->versions, url_slot);
        /* A token that the listing doesn't show comes to the root, or goes from it. */
        if (!is_known || fs->marks[slot] != fs->root_mark)
                fs->shared->changed_wall_ns = clock_wall_ns();
        /* Names that meant it hold its document no longer than the cache. */
        if (!doc)
                versions_drop_token(&fs->versions, id);
        if (!doc || !scopes_admit_doc(fs->settings.cache->scopes, doc))
                return;
        if (is_known)
                versions_refresh(&fs->versions, slot, doc);
        versions_refresh_names(&fs->versions, id, doc);
}
