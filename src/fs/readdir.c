/* Directory entries.
 *
 * An entry's offset is its slot's index, which stays while the token stays. So a reader that goes on after the set has
 * changed sees no entry twice and misses none that stays. Readers don't disturb each other, seekdir works, and a new
 * worker goes on where the old one was. None of that needs a directory handle. Nodes are given out in the order of ids
 * when a listing is first seen, so entries come about in listing order. */

#include "fs-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/fs/errno.h"

#define READDIR_SIZE_MAX ((size_t)1024 * 1024)
/* Offsets: "." is 1, ".." 2, control entries 3 and up; slots or fields follow from here. */
#define OFFSET_BASE 16
#define MARKS_MAX 1000 /* in one go */

typedef struct Entries {
        fuse_req_t fuse;
        char *data;
        size_t len, size;
        off_t after; /* only entries behind this offset */
        bool is_full;
} Entries;

/* Adds an entry if it lies behind where the reader is. False once the buffer is full. */
static bool entries_add(Entries *entries, off_t offset, const char *name, uint64_t ino, mode_t type)
{
        if (offset <= entries->after || entries->is_full)
                return !entries->is_full;
        struct stat stat = {.st_ino = ino, .st_mode = type};
        size_t len = fuse_add_direntry(entries->fuse, entries->data + entries->len,
                entries->size - entries->len, name, &stat, offset);
        if (len > entries->size - entries->len)
                entries->is_full = true;
        else
                entries->len += len;
        return !entries->is_full;
}

static void add_dots(Entries *entries, uint32_t slot, uint32_t parent)
{
        (void)entries_add(entries, 1, ".", node_directory(slot), S_IFDIR);
        (void)entries_add(entries, 2, "..", node_directory(parent), S_IFDIR);
}

/* Where to look for entries behind the reader's offset. */
static uint32_t first_slot(const Entries *entries)
{
        return entries->after > OFFSET_BASE + SLOT_FIXED_COUNT && entries->after < UINT32_MAX
                       ? (uint32_t)(entries->after - OFFSET_BASE)
                       : SLOT_FIXED_COUNT;
}

static uint32_t next_mark(Fs *fs)
{
        return ++fs->last_mark;
}

/* Marks a key, each once. 0, or an errno: the table of directories is full. */
static int mark_slot(Fs *fs, SlotKind kind, const char *key, Marking *marking)
{
        uint32_t slot;
        int r = content_take_slot(fs, kind, key, &slot);
        if (r < 0)
                return r == -ENOSPC ? EFBIG : -r;
        fs->marks[slot] = marking->mark;
        marking->count++;
        return 0;
}

/* Has each slot that was marked still its mark? The table is full otherwise: the last ones took the place of the
 * first. */
static bool marks_are_whole(const Fs *fs, const Marking *marking)
{
        uint32_t count = 0;
        for (uint32_t i = SLOT_FIXED_COUNT; i < nodes_end(fs->settings.slots); i++)
                count += fs->marks[i] == marking->mark;
        return count == marking->count;
}

/* The root's mtime changes when the set of its entries does, and not when another worker shows the same. */
static void note_shown(Fs *fs, uint32_t mark)
{
        uint64_t shown = 1;
        for (uint32_t i = SLOT_FIXED_COUNT; i < nodes_end(fs->settings.slots); i++)
                if (fs->marks[i] == mark)
                        shown += (i + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ i;
        if (fs->shared->shown != 0 && shown != fs->shared->shown)
                fs->shared->changed_wall_ns = clock_wall_ns();
        fs->shared->shown = shown;
}

/* Marks the slots of all tokens that the listing shows, some a turn: no request waits longer for that. 0,
 * -EINPROGRESS, or an errno. */
static int mark_root(Request *request, const ListingAnswer *answer)
{
        Fs *fs = request->fs;
        Marking *marking = &fs->marking;
        fs->root_is_whole = answer->complete && answer->error == API_OK;
        if (fs->root_mark && fs->root_listing_version == answer->version)
                return 0;
        if (items_count(answer->items) > nodes_capacity(fs->settings.slots) - SLOT_FIXED_COUNT)
                return EFBIG;
        if (marking->mark == 0) {
                *marking = (Marking){.mark = next_mark(fs), .version = answer->version};
        } else if (marking->version != answer->version) {
                marking->version = answer->version;
                marking->position = 0;
                marking->is_mixed = true;
        }
        size_t count = items_count(answer->items);
        int r = 0;
        for (size_t left = MARKS_MAX; marking->position < count && left > 0 && r == 0; left--)
                r = mark_slot(fs, SLOT_TOKEN, items_id(answer->items, marking->position++), marking);
        if (r == 0 && marking->position < count)
                return request_wait_until(request, clock_now_ns());
        const ScopeIds scopes = scopes_ids(fs->settings.cache->scopes);
        for (size_t i = 0; i < scopes.token_id_count && r == 0; i++) {
                size_t ignored;
                bool is_repeated = i > 0 && strcmp(scopes.token_ids[i], scopes.token_ids[i - 1]) == 0;
                if (!is_repeated && items_find(answer->items, scopes.token_ids[i], &ignored) < 0)
                        r = mark_slot(fs, SLOT_TOKEN, scopes.token_ids[i], marking);
        }
        if (r == 0 && !marks_are_whole(fs, marking))
                r = EFBIG;
        uint32_t mark = marking->mark;
        marking->mark = 0;
        if (r != 0) {
                fs->root_mark = 0;
                return r;
        }
        fs->root_mark = mark;
        /* Marks of two listings: the next reader begins again. */
        fs->root_listing_version = marking->is_mixed ? 0 : answer->version;
        note_shown(fs, mark);
        return 0;
}

/* The root shows the tokens of the listing, and those that a program has read by their ids. A due copy of a token that a
 * complete listing lacks is not shown: the token was deleted. */
static bool root_shows(Fs *fs, uint32_t index, const Slot *slot)
{
        if (slot->kind != SLOT_TOKEN)
                return false;
        TokenAnswer answer;
        if (tokens_peek(fs->settings.cache->tokens, slot->key, &answer) == 0) {
                if (!scopes_admit_doc(fs->settings.cache->scopes, answer.doc))
                        return false;
                if (answer.hit == CACHE_HIT_FRESH || !fs->root_is_whole)
                        return true;
        }
        uint32_t mark = fs->marks[index]; /* 0: none */
        return mark != 0 && (mark == fs->root_mark || mark == fs->marking.mark);
}

/* Where list calls fail, ls shows the known tokens, and the log says why. A listing that takes too long, or is too
 * long, is an error. */
static int check_listing(ApiError error)
{
        return error == API_E_TIMEOUT || error == API_E_TOO_MANY ? fs_errno(error) : 0;
}

/* Why there is nothing to show: an empty directory would be taken for an empty account. A denied listing is no error:
 * tokens are reached by their ids, and shown from then on. 0: there was a listing. */
static int error_of_nothing(Fs *fs)
{
        ListingAnswer answer;
        listing_peek(fs->settings.cache->listing, &answer);
        return answer.items || answer.error == API_E_ACCESS_DENIED ? 0 : fs_errno(answer.error);
}

/* A reader goes on with the listing of its beginning, or one that others have asked for since: the end of a long directory
 * must not wait for more list calls. */
static int fill_root(Request *request, Entries *entries)
{
        Fs *fs = request->fs;
        if (entries->after == 0 || fs->root_mark == 0) {
                ListingAnswer answer;
                int r = listing_get(fs->settings.cache->listing, request->came_ns, request->give_up,
                        &request->wait, &answer);
                if (r < 0)
                        return r;
                r = check_listing(answer.items ? API_OK : answer.error);
                if (r == 0)
                        r = mark_root(request, &answer);
                if (r != 0)
                        return r;
        }
        add_dots(entries, SLOT_ROOT, SLOT_ROOT);
        (void)entries_add(entries, 3, ".by_name", node_directory(SLOT_BY_NAME), S_IFDIR);
        (void)entries_add(entries, 4, ".service_status", node_directory(SLOT_STATUS), S_IFREG);
        (void)entries_add(entries, 5, ".service_metrics", node_directory(SLOT_METRICS), S_IFREG);
        bool is_empty = true;
        for (uint32_t i = first_slot(entries); i < nodes_end(fs->settings.slots); i++) {
                const Slot *slot = nodes_get(fs->settings.slots, i);
                if (!slot || !root_shows(fs, i, slot))
                        continue;
                is_empty = false;
                if (!entries_add(entries, (off_t)i + OFFSET_BASE, slot->key, node_directory(i), S_IFDIR))
                        break;
        }
        return is_empty && entries->after == 0 ? error_of_nothing(fs) : 0;
}

typedef struct NameMarks {
        Fs *fs;
        int error; /* an errno */
} NameMarks;

static void mark_name(const char *name, void *userdata)
{
        NameMarks *marks = userdata;
        Marking *marking = &marks->fs->names_marking;
        if (!name && marking->mark != 0)
                marking->is_mixed = true;
        else if (!name)
                *marking = (Marking){.mark = next_mark(marks->fs)};
        else if (marks->error == 0)
                marks->error = mark_slot(marks->fs, SLOT_NAME, name, marking);
}

/* As mark_root, for names. */
static int mark_names(Request *request)
{
        Fs *fs = request->fs;
        const NamesReader reader = {request->came_ns, request->give_up, &request->wait};
        NameMarks marks = {.fs = fs};
        Marking *marking = &fs->names_marking;
        ApiError error;
        int r = names_visit(fs->settings.cache->names, &reader, &fs->names_cursor, mark_name, &marks, &error);
        if (r == -EAGAIN && marks.error == 0)
                return request_wait_until(request, clock_now_ns());
        if (r < 0 && r != -EAGAIN)
                return r;
        if (marks.error == 0)
                marks.error = check_listing(error);
        if (marks.error == 0 && marking->mark != 0 && !marks_are_whole(fs, marking))
                marks.error = EFBIG;
        if (marks.error != 0 || marking->is_mixed)
                fs->names_cursor = (NamesCursor){0}; /* the next reader begins again */
        if (marks.error != 0)
                fs->names_mark = 0;
        else if (marking->mark != 0)
                fs->names_mark = marking->mark;
        *marking = (Marking){0};
        return marks.error;
}

static bool names_show(const Fs *fs, uint32_t index)
{
        uint32_t mark = fs->marks[index]; /* 0: none */
        return mark != 0 && (mark == fs->names_mark || mark == fs->names_marking.mark);
}

static int fill_by_name(Request *request, Entries *entries)
{
        Fs *fs = request->fs;
        if (entries->after == 0 || fs->names_mark == 0) {
                int r = mark_names(request);
                if (r != 0)
                        return r;
        }
        add_dots(entries, SLOT_BY_NAME, SLOT_ROOT);
        bool is_empty = true;
        for (uint32_t i = first_slot(entries); i < nodes_end(fs->settings.slots); i++) {
                const Slot *slot = nodes_get(fs->settings.slots, i);
                char encoded[FS_NAME_MAX + 1];
                if (!slot || slot->kind != SLOT_NAME || !names_show(fs, i) ||
                        name_encode(slot->key, encoded) < 0)
                        continue;
                is_empty = false;
                if (!entries_add(entries, (off_t)i + OFFSET_BASE, encoded, node_directory(i), S_IFDIR))
                        break;
        }
        return is_empty && entries->after == 0 ? error_of_nothing(fs) : 0;
}

/* The id that a directory means; for a name, the one that it is given to now. */
static int id_of_directory(Request *request, uint32_t index, char ret_id[static TOKEN_ID_MAX + 1])
{
        const Slot *slot = nodes_get(request->fs->settings.slots, index);
        if (slot->kind == SLOT_TOKEN) {
                memcpy(ret_id, slot->key, TOKEN_ID_MAX + 1);
                return 0;
        }
        NameAnswer chosen;
        int r = content_choose(request, slot->key, &chosen);
        if (r == 0)
                memcpy(ret_id, chosen.id, sizeof chosen.id);
        return r;
}

/* .doh_url can be reached by its path at any time. It is shown while its resolver's name is known: a program that copies or
 * searches the whole directory must not need one permission more than for the other files. */
static void add_url(Request *request, Entries *entries, const TokenItem *item)
{
        Fs *fs = request->fs;
        uint32_t slot;
        if (!resolvers_peek(fs->settings.cache->resolvers, item->global_resolver_id) ||
                content_take_url_slot(fs, request->node.slot, &slot) < 0)
                return;
        Node node = {slot, nodes_get(fs->settings.slots, slot)->generation, NODE_DOH_URL};
        (void)entries_add(
                entries, NODE_DOH_URL + OFFSET_BASE, node_file_name(NODE_DOH_URL), node_id(node), S_IFREG);
}

/* The files of a token: exactly those of its document, if it is held; else those that follow from the listing. The listing
 * doesn't contain clientToken, so that this file shows once the document is known. */
static int fill_token(Request *request, Entries *entries)
{
        Fs *fs = request->fs;
        uint32_t slot = request->node.slot;
        char id[TOKEN_ID_MAX + 1];
        int r = id_of_directory(request, slot, id);
        if (r != 0)
                return r;
        uint64_t keep_ns;
        TokenItem item;
        TokenAnswer answer;
        TokenDoc *doc = tokens_peek(fs->settings.cache->tokens, id, &answer) == 0 ? answer.doc : NULL;
        if (!doc && content_peek_item(fs, id, &item, &keep_ns) == CONTENT_UNKNOWN) {
                Version *version;
                r = content_get(request, slot, &version, &keep_ns);
                if (r != 0)
                        return r;
                doc = version->doc;
        }
        const Slot *entry = nodes_get(fs->settings.slots, slot);
        add_dots(entries, slot, entry->kind == SLOT_NAME ? SLOT_BY_NAME : SLOT_ROOT);
        for (unsigned number = NODE_FIELD; number <= NODE_JSON; number++) {
                uint8_t field = (uint8_t)number;
                size_t len;
                bool has = true;
                if (field < NODE_JSON && doc)
                        has = token_doc_field(doc, (TokenField)(field - NODE_FIELD), &len);
                else if (field == NODE_FIELD + TOKEN_NAME)
                        has = item.name[0];
                else if (field == NODE_FIELD + TOKEN_CLIENT_TOKEN)
                        has = false;
                uint64_t ino = node_id((Node){slot, entry->generation, field});
                if (has && !entries_add(
                                   entries, (off_t)field + OFFSET_BASE, node_file_name(field), ino, S_IFREG))
                        break;
        }
        if (doc)
                token_item_from_doc(doc, &item);
        add_url(request, entries, &item);
        return 0;
}

int step_readdir(Request *request)
{
        const Slot *slot = nodes_get(request->fs->settings.slots, request->node.slot);
        if (!slot)
                return ESTALE;
        if (request->node.field != NODE_DIRECTORY)
                return ENOTDIR;
        size_t size = request->size < READDIR_SIZE_MAX ? request->size : READDIR_SIZE_MAX;
        Entries entries = {
                .fuse = request->fuse, .data = malloc(size), .size = size, .after = request->offset};
        if (!entries.data)
                return ENOMEM;
        int r = request->node.slot == SLOT_ROOT      ? fill_root(request, &entries)
                : request->node.slot == SLOT_BY_NAME ? fill_by_name(request, &entries)
                                                     : fill_token(request, &entries);
        if (r == 0)
                (void)fuse_reply_buf(request->fuse, entries.data, entries.len);
        free(entries.data);
        return r;
}
