/* Versions: which bytes a file shows.
 *
 * The kernel asks for a file's attributes and for its bytes separately, and keeps both. If a file's length changed under
 * a stable node, a reader would get new bytes with the old length. So a node id names one version: changed bytes get a
 * new generation, and with it new node ids, as rename(2) over the files would give. A look-up by path finds the new node.
 *
 * A node whose version was superseded shows
 *
 *   1. its own version, while the kernel may use attributes that it was given as those of the current version, and
 *      NODES_GRACE_NS longer, so that a read that has begun ends with the bytes that it began with;
 *   2. from then on the current version. Its attributes have a time-out of 0 for ever: the kernel asks at each read.
 *
 * So a path, or a bind mount of a directory, gives one whole version. A bind mount of a single file stays on its node: it
 * follows, and at that instant it behaves like a file that is overwritten in place. The kernel ignores attributes if
 * others of the same node came in after it had asked; the next read corrects that, since it asks again.
 *
 * The list of a directory holds its current version, and superseded ones exactly as long as rule 1 lasts. The table of
 * nodes outlives a worker. It has no secrets, but it has what rule 1 needs besides the bytes: until when the kernel may use
 * attributes, which nodes follow already, and the attributes of the two newest generations. So under the next worker a
 * superseded version is hollow: the kernel learns its attributes, finds its end, and goes on using pages that it has. A
 * read of bytes that are lost gives ESTALE, and so does all of a version that the API refused meanwhile. No reader goes on
 * inside another version.
 *
 * Times: mtime is the token's updatedAt when the mount sees it first. When the mount sees bytes change, it is the later of
 * updatedAt and that moment, so that "newer than" holds for a name that falls back to an older token as well. ctime is
 * when the mount first held the bytes. Both are in the table of nodes, and stay with the bytes. */

#include "versions.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/fs/fs.h"

/* Service files are made again and again, and each is held for seconds. */
#define TEXT_HELD_MAX ((size_t)8 * 1024 * 1024)
#define URL_MAX 4096
/* After a change look-ups don't wait for this long, so that a token that changes all the time can be read. */
#define LOUD_NS (150 * NS_PER_MS)

/* The names whose content is one token's. */
typedef struct TokenNames {
        char id[TOKEN_ID_MAX + 1]; /* first: the tree is searched by an id */
        ListLink directories;
} TokenNames;

struct Directory {
        Versions *versions;
        uint32_t slot;
        uint32_t known_from; /* the bytes of older generations were never here, or are lost */
        uint32_t quiet_fields; /* bit per field - NODE_FIELD */
        uint64_t quiet_until_ns, loud_until_ns;
        ListLink list;
        TokenNames *names; /* NULL: it isn't a name's, or has no content */
        ListLink names_link;
};

/* FNV-1a. Not of secrets: the table of nodes, which holds the result, is shared. */
static uint64_t fingerprint_of(uint64_t start, const char *data, size_t len)
{
        uint64_t hash = start ^ UINT64_C(0xcbf29ce484222325);
        for (size_t i = 0; i < len; i++)
                hash = (hash ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
        return hash;
}

static int compare_ids(const void *a, const void *b)
{
        return strcmp(a, b);
}

static void directory_unlink_names(Directory *directory)
{
        TokenNames *names = directory->names;
        list_unlink(&directory->names_link);
        directory->names = NULL;
        if (!names || !list_is_empty(&names->directories))
                return;
        (void)tdelete(names, &directory->versions->by_token, compare_ids);
        free(names);
}

/* A name's content is the token of `doc`. */
static int directory_link_names(Directory *directory, const TokenDoc *doc)
{
        Versions *versions = directory->versions;
        TokenItem item;
        token_item_from_doc(doc, &item);
        if (directory->names && strcmp(directory->names->id, item.id) == 0)
                return 0;
        directory_unlink_names(directory);
        TokenNames **found = tfind(item.id, &versions->by_token, compare_ids);
        TokenNames *names = found ? *found : calloc(1, sizeof *names);
        if (!names)
                return -ENOMEM;
        if (!found) {
                memcpy(names->id, item.id, sizeof names->id);
                list_init(&names->directories);
                if (!tsearch(names, &versions->by_token, compare_ids)) {
                        free(names);
                        return -ENOMEM;
                }
        }
        directory->names = names;
        list_append(&names->directories, &directory->names_link);
        return 0;
}

static void version_free(Version *version)
{
        if (version->is_superseded) {
                version->directory->versions->superseded_count--;
                version->directory->versions->text_held -= version->text.len;
        }
        loop_timer_cancel(&version->end);
        list_unlink(&version->link);
        token_doc_unref(version->doc);
        buf_deinit(&version->text);
        free(version);
}

static void directory_free(Directory *directory)
{
        Version *version;
        while ((version = list_first(&directory->list, Version, link)))
                version_free(version);
        directory_unlink_names(directory);
        directory->versions->directories[directory->slot] = NULL;
        free(directory);
}

static void directory_free_if_empty(Directory *directory)
{
        if (list_is_empty(&directory->list))
                directory_free(directory);
}

void versions_clear(Versions *versions, uint32_t slot)
{
        if (versions->directories[slot])
                directory_free(versions->directories[slot]);
}

void versions_deinit(Versions *versions)
{
        for (uint32_t i = 0; versions->directories && i < nodes_end(versions->nodes); i++)
                versions_clear(versions, i);
        free(versions->directories);
        *versions = (Versions){0};
}

static Directory *versions_take_directory(Versions *versions, uint32_t slot)
{
        Directory *directory = versions->directories[slot];
        if (directory)
                return directory;
        directory = calloc(1, sizeof *directory);
        if (!directory)
                return NULL;
        directory->versions = versions;
        directory->slot = slot;
        directory->known_from = nodes_get(versions->nodes, slot)->generation;
        list_init(&directory->list);
        list_init(&directory->names_link);
        versions->directories[slot] = directory;
        return directory;
}

static Version *directory_find(const Directory *directory, uint32_t generation)
{
        for (ListLink *link = directory->list.next; link != &directory->list; link = link->next) {
                Version *version = list_entry(link, Version, link);
                if (version->generation == generation)
                        return version;
        }
        return NULL;
}

static Version *directory_current(const Directory *directory)
{
        Version *version = list_first(&directory->list, Version, link);
        return version && !version->is_superseded ? version : NULL;
}

Version *versions_current(const Versions *versions, uint32_t slot)
{
        const Directory *directory = versions->directories[slot];
        return directory ? directory_current(directory) : NULL;
}

static void on_end(LoopTimer *timer, void *userdata)
{
        (void)timer;
        Version *version = userdata;
        Directory *directory = version->directory;
        version_free(version);
        directory_free_if_empty(directory);
}

/* From now on it is shown by its own nodes alone, until `end_ns`. False: that is over, or there is no memory; it is freed. */
static bool version_supersede(Version *version, uint64_t end_ns)
{
        /* A version that lies in a list has a directory; the analyzer takes the head of the list for one. */
        Versions *versions = version->directory->versions; // NOLINT(clang-analyzer-core.NullDereference)
        version->is_superseded = true;
        versions->superseded_count++;
        versions->text_held += version->text.len;
        if (end_ns > clock_now_ns() && loop_timer_set(&version->end, end_ns) == 0)
                return true;
        version_free(version);
        return false;
}

/* The times of new content: `updated_ns`, or `first_ns` where the slot had none before. */
typedef struct Times {
        int64_t first_ns, updated_ns;
} Times;

/* The next generation; the one before ends. */
static void directory_begin_generation(Directory *directory, Version *version, Times times)
{
        Nodes *nodes = directory->versions->nodes;
        const Slot *slot = nodes_get(nodes, directory->slot);
        Version *before = directory_current(directory);
        int64_t now_ns = clock_wall_ns();
        int64_t mtime_ns = times.first_ns <= now_ns ? times.first_ns : times.updated_ns;
        if (slot->content.ctime_ns != 0) {
                mtime_ns = times.updated_ns > now_ns ? times.updated_ns : now_ns;
                if (mtime_ns <= slot->content.mtime_ns)
                        mtime_ns = slot->content.mtime_ns + 1;
        }
        uint64_t end_ns = clock_add_ns(slot->valid_until_ns, NODES_GRACE_NS);
        bool is_over = end_ns <= clock_now_ns();
        bool is_held = before && version_supersede(before, end_ns);
        version->content.mtime_ns = mtime_ns;
        version->content.ctime_ns = now_ns;
        uint32_t generation = nodes_begin_generation(nodes, directory->slot, &version->content);
        if (!is_held && !is_over)
                directory->known_from = generation;
}

static Version *version_new(Directory *directory)
{
        Version *version = calloc(1, sizeof *version);
        if (!version)
                return NULL;
        version->directory = directory;
        version->text = BUF_INIT(SIZE_MAX / 2);
        list_init(&version->link);
        loop_timer_init(&version->end, directory->versions->loop, on_end, version);
        return version;
}

static const char *doc_bytes(const Version *version, uint8_t field, size_t *ret_len)
{
        if (field == NODE_DOH_URL || version->text.len > 0) {
                *ret_len = version->text.len;
                return field == NODE_DOH_URL ? version->text.data : NULL;
        }
        if (field == NODE_JSON)
                return token_doc_json(version->doc, ret_len);
        return token_doc_field(version->doc, (TokenField)(field - NODE_FIELD), ret_len);
}

const char *version_bytes(
        const Versions *versions, const Version *version, uint8_t field, size_t *ret_len, bool *ret_newline)
{
        *ret_newline = false;
        if (!version->doc) {
                *ret_len = version->text.len;
                return buf_str(&version->text);
        }
        const char *data = doc_bytes(version, field, ret_len);
        *ret_newline = data && versions->newline && (*ret_len == 0 || data[*ret_len - 1] != '\n');
        return data;
}

static uint32_t measure(const Versions *versions, const Version *version, uint8_t field)
{
        size_t len;
        bool newline;
        bool is_there = version->doc ? field <= NODE_JSON || field == NODE_DOH_URL : field == NODE_TEXT;
        if (!is_there || !version_bytes(versions, version, field, &len, &newline))
                return SLOT_NO_FILE;
        return (uint32_t)(len + newline);
}

static void version_fill(Version *version, TokenDoc *doc, Buf *text)
{
        if (version->doc == doc && !text)
                return;
        TokenDoc *before = version->doc;
        version->doc = doc ? token_doc_ref(doc) : NULL;
        token_doc_unref(before);
        if (text) {
                buf_deinit(&version->text);
                version->text = *text;
                *text = BUF_INIT(0); /* it is the version's now */
        }
        for (unsigned i = 0; i < NODE_FILE_COUNT; i++)
                version->content.sizes[i] =
                        measure(version->directory->versions, version, (uint8_t)(NODE_FIELD + i));
}

/* Makes the version, which has its content, the current one. */
static void directory_add(Directory *directory, Version *version, uint64_t fingerprint, Times times)
{
        Versions *versions = directory->versions;
        const Slot *slot = nodes_get(versions->nodes, directory->slot);
        bool had_content = slot->content.ctime_ns != 0;
        /* The same bytes as the kernel may still know (another worker held them, or this one before it dropped them) keep
         * their nodes. */
        bool is_same = had_content && slot->content.fingerprint == fingerprint;
        uint32_t old = slot->generation;
        version->content.fingerprint = fingerprint;
        if (is_same) {
                nodes_set_dropped(versions->nodes, directory->slot, false);
                version->content.mtime_ns = slot->content.mtime_ns;
                version->content.ctime_ns = slot->content.ctime_ns;
        } else {
                directory_begin_generation(directory, version, times);
        }
        version->generation = slot->generation;
        list_append(directory->list.next, &version->link); /* before the first */
        if (had_content && !is_same && slot->fields_looked_up != 0 && versions->on_supersede)
                versions->on_supersede(directory->slot, old, versions->on_supersede_userdata);
}

/* The current version with these bytes, to which `doc` and `text` are given: a new one, or the one that is held. */
static int versions_set(Versions *versions, uint32_t index, uint64_t fingerprint, Times times, TokenDoc *doc,
        Buf *text, Version **ret_version)
{
        const Slot *slot = nodes_get(versions->nodes, index);
        Directory *directory = versions_take_directory(versions, index);
        if (!directory)
                return -ENOMEM;
        Version *current = directory_current(directory);
        if (current && current->generation != slot->generation) { /* another worker serves beside this one */
                (void)version_supersede(current, slot_settled_ns(slot));
                current = NULL;
        }
        bool is_held = current && slot->content.fingerprint == fingerprint;
        Version *version = is_held ? current : version_new(directory);
        if (!version) {
                directory_free_if_empty(directory);
                return -ENOMEM;
        }
        version_fill(version, doc, text);
        if (!is_held)
                directory_add(directory, version, fingerprint, times);
        *ret_version = version;
        return 0;
}

static int versions_set_token(Versions *versions, uint32_t slot, uint64_t fingerprint, TokenDoc *doc,
        Buf *text, Version **ret_version)
{
        const int64_t second = (int64_t)NS_PER_S;
        int64_t updated_ns = token_doc_updated_wall_ns(doc);
        if (versions->newline) /* other bytes than under a worker without */
                fingerprint = fingerprint_of(fingerprint, "\n", 1);
        const Times times = {
                /* In its nanoseconds it differs when the bytes do. */
                .first_ns = updated_ns - updated_ns % second + (int64_t)(fingerprint % NS_PER_S),
                .updated_ns = updated_ns,
        };
        Version *version;
        int r = versions_set(versions, slot, fingerprint, times, doc, text, &version);
        if (r < 0)
                return r;
        if (slot_kind_is_name((SlotKind)nodes_get(versions->nodes, slot)->kind))
                r = directory_link_names(version->directory, doc);
        if (r < 0) {
                versions_drop_current(versions, slot);
                return r;
        }
        *ret_version = version;
        return 0;
}

int versions_set_doc(Versions *versions, uint32_t slot, TokenDoc *doc, Version **ret_version)
{
        return versions_set_token(versions, slot, token_doc_fingerprint(doc), doc, NULL, ret_version);
}

static int write_url(const TokenDoc *doc, const char *dns_name, Buf *out)
{
        size_t len;
        const char *value = token_doc_field(doc, TOKEN_VALUE, &len);
        (void)buf_appendf(out, "https://%s/dns-query?token=", dns_name);
        (void)buf_append_uri(out, value, len, "");
        return out->error;
}

int versions_set_url(
        Versions *versions, uint32_t slot, TokenDoc *doc, const char *dns_name, Version **ret_version)
{
        Buf url = BUF_INIT(URL_MAX);
        int r = write_url(doc, dns_name, &url);
        uint64_t fingerprint = fingerprint_of(token_doc_fingerprint(doc), dns_name, strlen(dns_name));
        if (r == 0)
                r = versions_set_token(versions, slot, fingerprint, doc, &url, ret_version);
        buf_deinit(&url);
        return r;
}

static void keep_text(const Versions *versions, uint32_t slot, const Version *version)
{
        NodesText *kept = nodes_text(versions->nodes, slot);
        bool fits = version->text.len <= NODES_TEXT_MAX;
        kept->generation = 0;
        kept->len = fits ? (uint32_t)version->text.len : 0;
        memcpy(kept->data, buf_str(&version->text), kept->len);
        kept->generation = fits ? version->generation : 0;
}

int versions_set_text(Versions *versions, uint32_t slot, Buf *text, Version **ret_version)
{
        *ret_version = versions_current(versions, slot);
        if (*ret_version && versions->text_held > TEXT_HELD_MAX)
                return 0;
        uint64_t fingerprint = fingerprint_of(0, buf_str(text), text->len);
        const Times now = {clock_wall_ns(), clock_wall_ns()};
        int r = versions_set(versions, slot, fingerprint, now, NULL, text, ret_version);
        if (r == 0)
                keep_text(versions, slot, *ret_version);
        return r;
}

/* The text that readers opened under the worker before, if it is whole. */
static void versions_take_text(Versions *versions, uint32_t slot)
{
        const NodesText *kept = nodes_text(versions->nodes, slot);
        const Slot *entry = nodes_get(versions->nodes, slot);
        uint32_t len = kept->len;
        Version *version;
        Buf text = BUF_INIT(NODES_TEXT_MAX);
        if (kept->generation != 0 && kept->generation == entry->generation && len <= NODES_TEXT_MAX &&
                buf_append(&text, kept->data, len) == 0 &&
                fingerprint_of(0, buf_str(&text), len) == entry->content.fingerprint)
                (void)versions_set(
                        versions, slot, entry->content.fingerprint, (Times){0}, NULL, &text, &version);
        buf_deinit(&text);
}

int versions_init(Versions *versions, Loop *loop, Nodes *nodes, bool newline)
{
        *versions = (Versions){.loop = loop, .nodes = nodes, .newline = newline};
        versions->directories = calloc(nodes_capacity(nodes), sizeof(Directory *));
        if (!versions->directories)
                return -ENOMEM;
        versions_take_text(versions, SLOT_STATUS);
        versions_take_text(versions, SLOT_METRICS);
        return 0;
}

/* True if it was superseded, and its bytes aren't here though its nodes must not show others yet. */
static bool is_lost(const Slot *slot, const Directory *directory, uint32_t generation)
{
        bool was_held = directory && !generation_is_before(generation, directory->known_from);
        return generation != slot->generation && !was_held && !slot_follows(slot, generation);
}

/* The generation before the current one, whose bytes are lost. NULL: there is no memory. */
static Version *versions_take_hollow(Versions *versions, uint32_t index)
{
        const Slot *slot = nodes_get(versions->nodes, index);
        Directory *directory = versions_take_directory(versions, index);
        Version *version = directory ? version_new(directory) : NULL;
        if (!version) {
                if (directory)
                        directory_free_if_empty(directory);
                return NULL;
        }
        version->generation = slot->old_generation;
        version->content = slot->old_content;
        version->is_hollow = true;
        list_append(&directory->list, &version->link);
        return version_supersede(version, slot_settled_ns(slot)) ? version : NULL;
}

int versions_show(Versions *versions, Node node, Version **ret_version)
{
        const Slot *slot = nodes_get(versions->nodes, node.slot);
        const Directory *directory = versions->directories[node.slot];
        if (!slot)
                return -ESTALE;
        Version *version = directory ? directory_find(directory, node.generation) : NULL;
        if (!version && is_lost(slot, directory, node.generation)) {
                if (node.generation == slot->old_generation)
                        version = versions_take_hollow(versions, node.slot);
                if (!version)
                        return -ESTALE;
        }
        if (!version && directory)
                version = directory_current(directory);
        if (!version)
                return -EAGAIN;
        *ret_version = version;
        return 0;
}

void versions_extend(Versions *versions, const Version *version, uint64_t keep_ns)
{
        nodes_extend(versions->nodes, version->directory->slot, clock_add_ns(clock_now_ns(), keep_ns));
}

void versions_drop_current(Versions *versions, uint32_t slot)
{
        Version *version = versions_current(versions, slot);
        nodes_set_dropped(versions->nodes, slot, true);
        if (!version)
                return;
        Directory *directory = version->directory;
        version_free(version);
        directory_free_if_empty(directory);
}

void versions_refresh(Versions *versions, uint32_t slot, TokenDoc *doc)
{
        Version *ignored;
        if (versions_current(versions, slot) || nodes_get(versions->nodes, slot)->fields_looked_up != 0)
                (void)versions_set_doc(versions, slot, doc, &ignored);
}

void versions_refresh_names(Versions *versions, const char *id, TokenDoc *doc)
{
        TokenNames **found = tfind(id, &versions->by_token, compare_ids);
        ListLink *directories = found ? &(*found)->directories : NULL;
        for (ListLink *link = found ? directories->next : directories, *next; link != directories;
                link = next) {
                const Directory *directory = list_entry(link, Directory, names_link);
                bool is_last = link->next == directories; /* a failure frees the list with its last one */
                next = link->next;
                if (nodes_get(versions->nodes, directory->slot)->kind == SLOT_NAME)
                        versions_refresh(versions, directory->slot, doc);
                if (is_last)
                        return;
        }
}

void versions_be_quiet(Versions *versions, uint32_t slot, uint32_t fields, uint64_t until_ns)
{
        Directory *directory = versions->directories[slot];
        if (!directory)
                return;
        uint64_t now = clock_now_ns();
        bool is_rapid = now < directory->loud_until_ns;
        directory->quiet_fields = is_rapid ? 0 : fields;
        directory->quiet_until_ns = until_ns;
        if (fields != 0)
                directory->loud_until_ns = clock_add_ns(now, LOUD_NS);
}

bool versions_are_quiet(const Versions *versions, uint32_t slot, uint8_t field)
{
        const Directory *directory = versions->directories[slot];
        return directory && directory->quiet_fields & 1u << (field - NODE_FIELD) &&
               clock_now_ns() < directory->quiet_until_ns;
}

void versions_drop_token(Versions *versions, const char *id)
{
        TokenNames **found = tfind(id, &versions->by_token, compare_ids);
        TokenNames *names = found ? *found : NULL;
        for (bool is_last = !names; !is_last;) { /* the tree's node goes with its last name */
                Directory *directory = list_first(&names->directories, Directory, names_link);
                is_last = directory->names_link.next == &names->directories;
                directory_unlink_names(directory);
                versions_drop_current(versions, directory->slot);
        }
}

bool version_has_field(const Version *version, uint8_t field)
{
        return field >= NODE_FIELD && field < NODE_KIND_COUNT &&
               version->content.sizes[field - NODE_FIELD] != SLOT_NO_FILE;
}

uint32_t version_size(const Version *version, uint8_t field)
{
        return version->content.sizes[field - NODE_FIELD];
}
