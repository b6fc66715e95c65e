/* Versions, and what each file node was told of them.
 *
 * Why: the kernel asks for attributes and for bytes separately, and several tasks do so at once. If a file's length
 * changed under a stable node, one task would copy new bytes with the old size. How: changed bytes get a new
 * generation, so new node ids, as a rename over the files would give; a node of an old generation goes on showing its
 * own version for a second, and from then on the current one. Whoever opened just before a change reads the old file
 * whole; a file bound into a container follows the change. What a node of an old generation was last told is noted in
 * its directory, so that the bytes of a read are those of the attributes before it.
 *
 * A read that comes with an old node whose version isn't promised any more waits for the end of that second, rather
 * than be given an old value: see tree_tell.
 *
 * The kernel ignores an answer about attributes if it took in another about the same node after it had asked. So
 * whoever asked before the node was last told something is told the same, nobody is told the old version while
 * somebody waits for the new one, and when a node is told another version, one task alone is told at first: should the
 * kernel ignore it, that task reads the old file whole, while nobody changes it under its hands. */

#include "versions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/fs/fs.h"

#define TREE_GRACE_NS FS_GRACE_NS
/* At the end of the grace nobody is told the old version for this long, so that no task still
 * copies it then: one that was preempted in the middle may be late. With 100 ms, and ten tasks a processor, 1 read
 * in 40,000 was torn. */
#define TREE_QUIET_NS (NS_PER_S / 2)
/* After a node was told another version, others wait this long, or until the first has asked for bytes. */
#define TREE_SETTLE_NS (NS_PER_S / 10)
/* An answer that was given this short a time before may not have been taken in by the kernel yet. That matters while
 * nobody has asked for bytes: there may be none in the page cache then. */
#define TREE_RACE_NS (NS_PER_S / 50)
/* A version is kept for a while after its attributes have run out: a task that was given them may still have to
 * wait for a processor before it reads. */
#define TREE_SLACK_NS (5 * NS_PER_S)
/* Each look at a service file makes a version, and each is held for seconds: whoever looks all the time may not fill the
 * memory with them. */
#define TREE_TEXT_HELD_MAX ((size_t)8 * 1024 * 1024)
#define TREE_URL_MAX 4096

/* A node of an old generation that was told a later version. */
typedef struct OldNode {
        uint32_t generation, told;
        uint32_t before; /* what it was told before that */
        uint64_t told_ns; /* when it was told that last */
        uint64_t switched_ns; /* when it was told that first */
        uint8_t field;
        bool is_read; /* bytes were asked for since: the kernel has taken it in */
} OldNode;

struct Dir {
        ListLink link; /* in tree->name_dirs, if it is a name's */
        Tree *tree;
        uint32_t slot;
        ListLink versions;
        OldNode *old_nodes;
        size_t old_count, old_capacity;
};

int tree_init(Tree *tree, Loop *loop, Nodes *slots, bool newline)
{
        *tree = (Tree){.loop = loop, .slots = slots, .newline = newline};
        list_init(&tree->name_dirs);
        tree->dirs = calloc(nodes_capacity(slots), sizeof(Dir *));
        return tree->dirs ? 0 : -ENOMEM;
}

static void version_free(Version *version)
{
        if (version->superseded_ns) {
                version->dir->tree->superseded_count--;
                version->dir->tree->text_held -= version->text.len;
        }
        loop_timer_cancel(&version->drop);
        list_unlink(&version->link);
        token_doc_unref(version->doc);
        buf_deinit(&version->text);
        free(version);
}

static void dir_free(Dir *dir)
{
        Version *version;
        while ((version = list_first(&dir->versions, Version, link)))
                version_free(version);
        list_unlink(&dir->link);
        dir->tree->dirs[dir->slot] = NULL;
        free(dir->old_nodes);
        free(dir);
}

static void dir_free_if_empty(Dir *dir)
{
        if (list_is_empty(&dir->versions) && dir->old_count == 0)
                dir_free(dir);
}

void tree_deinit(Tree *tree)
{
        for (uint32_t i = 0; tree->dirs && i < nodes_end(tree->slots); i++)
                if (tree->dirs[i])
                        dir_free(tree->dirs[i]);
        free(tree->dirs);
        *tree = (Tree){0};
}

static Dir *tree_take_dir(Tree *tree, uint32_t slot)
{
        Dir *dir = tree->dirs[slot];
        if (dir)
                return dir;
        dir = calloc(1, sizeof *dir);
        if (!dir)
                return NULL;
        dir->tree = tree;
        dir->slot = slot;
        list_init(&dir->versions);
        list_init(&dir->link);
        if (slot_kind_is_name((SlotKind)nodes_get(tree->slots, slot)->kind))
                list_append(&tree->name_dirs, &dir->link);
        tree->dirs[slot] = dir;
        return dir;
}

Version *tree_current(const Tree *tree, uint32_t slot)
{
        const Dir *dir = tree->dirs[slot];
        Version *version = dir ? list_first(&dir->versions, Version, link) : NULL;
        return version && !version->superseded_ns ? version : NULL;
}

Version *tree_find_version(const Tree *tree, uint32_t slot, uint32_t generation)
{
        const Dir *dir = tree->dirs[slot];
        if (!dir)
                return NULL;
        for (ListLink *link = dir->versions.next; link != &dir->versions; link = link->next) {
                Version *version = list_entry(link, Version, link);
                if (version->generation == generation)
                        return version;
        }
        return NULL;
}

/* A superseded version goes when its grace and the kernel's attributes of it are over, and nobody has it open. */
static void version_plan_drop(Version *version)
{
        uint64_t at = version->superseded_ns + TREE_GRACE_NS;
        if (version->told_until_ns > at)
                at = version->told_until_ns;
        if (version->opens == 0 && loop_timer_set(&version->drop, clock_add_ns(at, TREE_SLACK_NS)) < 0)
                version_free(version);
}

static void version_on_drop(LoopTimer *timer, void *userdata)
{
        (void)timer;
        Version *version = userdata;
        Dir *dir = version->dir;
        version_free(version);
        dir_free_if_empty(dir);
}

/* A new current version, without content, in front of the others. */
static Version *dir_add_version(Dir *dir, uint64_t fingerprint)
{
        Tree *tree = dir->tree;
        Version *version = calloc(1, sizeof *version);
        if (!version)
                return NULL;
        Version *before = tree_current(tree, dir->slot);
        const Slot *slot = nodes_get(tree->slots, dir->slot);
        version->dir = dir;
        version->fingerprint = fingerprint;
        version->text = BUF_INIT(SIZE_MAX / 2);
        /* The same bytes as the kernel may still know (another worker, or this one before it dropped them) keep
         * their nodes. */
        if (slot->generation == 0 || slot->fingerprint != fingerprint)
                version->generation = nodes_next_generation(tree->slots, dir->slot, fingerprint);
        else
                version->generation = slot->generation;
        loop_timer_init(&version->drop, tree->loop, version_on_drop, version);
        list_append(dir->versions.next, &version->link); /* before the first */
        if (before) {
                before->superseded_ns = clock_now_ns();
                tree->superseded_count++;
                tree->text_held += before->text.len;
                version_plan_drop(before);
        }
        return version;
}

int tree_take_slot(Tree *tree, SlotKind kind, const char *key, uint32_t *ret_slot)
{
        if (nodes_find(tree->slots, kind, key, ret_slot) == 0)
                return 0;
        int r = nodes_take(tree->slots, kind, key, ret_slot);
        /* A slot that was taken over from another key holds nothing of the old one's. */
        if (r == 0 && tree->dirs[*ret_slot])
                dir_free(tree->dirs[*ret_slot]);
        return r;
}

static int set_doc(Tree *tree, uint32_t slot, TokenDoc *doc, uint64_t fingerprint, uint64_t due_ns,
        Version **ret_version)
{
        Dir *dir = tree_take_dir(tree, slot);
        if (!dir)
                return -ENOMEM;
        Version *version = tree_current(tree, slot);
        if (!version || nodes_get(tree->slots, slot)->fingerprint != fingerprint) {
                version = dir_add_version(dir, fingerprint);
                if (!version) {
                        dir_free_if_empty(dir);
                        return -ENOMEM;
                }
        }
        if (version->doc != doc) {
                token_doc_unref(version->doc);
                version->doc = token_doc_ref(doc);
        }
        version->due_ns = due_ns;
        version->is_dropped = false;
        *ret_version = version;
        return 0;
}

int tree_set_doc(Tree *tree, uint32_t slot, TokenDoc *doc, uint64_t due_ns, Version **ret_version)
{
        return set_doc(tree, slot, doc, token_doc_fingerprint(doc), due_ns, ret_version);
}

/* FNV-1a. Not of secrets: the table of slots, which holds the result, is shared. */
static uint64_t fingerprint_of(uint64_t start, const char *data, size_t len)
{
        uint64_t hash = start ^ UINT64_C(0xcbf29ce484222325);
        for (size_t i = 0; i < len; i++)
                hash = (hash ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
        return hash;
}

static int write_url(const TokenDoc *doc, const char *dns_name, Buf *out)
{
        size_t len;
        const char *value = token_doc_field(doc, TOKEN_VALUE, &len);
        (void)buf_appendf(out, "https://%s/dns-query?token=", dns_name);
        (void)buf_append_uri(out, value, len, "");
        return out->error;
}

int tree_set_url(Tree *tree, uint32_t slot, TokenDoc *doc, const char *dns_name, uint64_t due_ns,
        Version **ret_version)
{
        Version *version = NULL;
        Buf url = BUF_INIT(TREE_URL_MAX);
        int r = write_url(doc, dns_name, &url);
        uint64_t fingerprint = fingerprint_of(token_doc_fingerprint(doc), dns_name, strlen(dns_name));
        if (r == 0)
                r = set_doc(tree, slot, doc, fingerprint, due_ns, &version);
        if (r != 0) {
                buf_deinit(&url);
                return r;
        }
        buf_deinit(&version->text);
        version->text = url;
        *ret_version = version;
        return 0;
}

int tree_set_text(Tree *tree, uint32_t slot, const Buf *text, Version **ret_version)
{
        Dir *dir = tree_take_dir(tree, slot);
        if (!dir)
                return -ENOMEM;
        uint64_t fingerprint = fingerprint_of(0, buf_str(text), text->len);
        Version *version = tree_current(tree, slot);
        bool is_new = !version || nodes_get(tree->slots, slot)->fingerprint != fingerprint;
        if (is_new && !(version && tree->text_held > TREE_TEXT_HELD_MAX)) {
                Buf copy = BUF_INIT(SIZE_MAX / 2);
                version = buf_append(&copy, buf_str(text), text->len) == 0 ? dir_add_version(dir, fingerprint)
                                                                           : NULL;
                if (!version) {
                        buf_deinit(&copy);
                        dir_free_if_empty(dir);
                        return -ENOMEM;
                }
                version->text = copy;
                version->text_wall_ns = clock_wall_ns();
                version->due_ns = CLOCK_NEVER;
        }
        *ret_version = version;
        return 0;
}

void tree_drop_current(Tree *tree, uint32_t slot)
{
        Version *version = tree_current(tree, slot);
        if (version && version->opens > 0)
                version->is_dropped = true;
        if (!version || version->opens > 0)
                return;
        Dir *dir = version->dir;
        version_free(version);
        dir_free_if_empty(dir);
}

void tree_drop_names_of(Tree *tree, const char *id)
{
        size_t len = strlen(id);
        for (ListLink *link = tree->name_dirs.next, *next; link != &tree->name_dirs; link = next) {
                next = link->next;
                uint32_t slot = list_entry(link, Dir, link)->slot;
                const Version *version = tree_current(tree, slot);
                size_t version_len;
                const char *version_id =
                        version ? token_doc_field(version->doc, TOKEN_ID, &version_len) : NULL;
                if (version_id && version_len == len && memcmp(version_id, id, len) == 0)
                        tree_drop_current(tree, slot);
        }
}

void tree_forget(Tree *tree)
{
        for (uint32_t i = SLOT_FIXED_COUNT; i < nodes_end(tree->slots); i++)
                if (tree->dirs[i])
                        dir_free(tree->dirs[i]);
}

static OldNode *dir_find_old(Dir *dir, Node node)
{
        for (size_t i = 0; dir && i < dir->old_count; i++)
                if (dir->old_nodes[i].generation == node.generation && dir->old_nodes[i].field == node.field)
                        return &dir->old_nodes[i];
        return NULL;
}

static uint32_t told_generation(Dir *dir, Node node)
{
        const OldNode *old = dir_find_old(dir, node);
        return old ? old->told : node.generation;
}

/* Whether the end of a superseded version's grace is waited for: it isn't promised any more, or the end is near. */
static bool version_is_ending(const Version *version, uint64_t now)
{
        return now >= version->due_ns || now >= version->superseded_ns + TREE_GRACE_NS - TREE_QUIET_NS;
}

uint32_t tree_told_generation(const Tree *tree, Node node)
{
        return told_generation(tree->dirs[node.slot], node);
}

uint32_t tree_followed_generation(const Tree *tree, Node node, uint32_t begun)
{
        const OldNode *old = dir_find_old(tree->dirs[node.slot], node);
        if (!old)
                return begun == node.generation ? begun : 0;
        if (begun != old->told)
                return 0;
        return old->is_read ? begun : old->before;
}

TreeTell tree_tell_known(
        Tree *tree, Node node, uint64_t came_ns, Version **ret_version, uint64_t *ret_until_ns)
{
        const OldNode *old = dir_find_old(tree->dirs[node.slot], node);
        Version *version = old ? tree_find_version(tree, node.slot, old->told) : NULL;
        *ret_version = version;
        if (!version)
                return TREE_LEARN;
        *ret_until_ns = old->switched_ns + TREE_SETTLE_NS;
        if (!old->is_read && clock_now_ns() < *ret_until_ns)
                return TREE_WAIT;
        return came_ns <= old->told_ns + (old->is_read ? 0 : TREE_RACE_NS) ? TREE_TELL : TREE_LEARN;
}

TreeTell tree_tell(Tree *tree, Node node, Version **ret_version, uint64_t *ret_until_ns)
{
        Version *current = tree_current(tree, node.slot);
        Version *version = tree_find_version(tree, node.slot, told_generation(tree->dirs[node.slot], node));
        uint64_t now = clock_now_ns();
        if (version && version->superseded_ns && now < version->superseded_ns + TREE_GRACE_NS) {
                *ret_version = version;
                *ret_until_ns = version->superseded_ns + TREE_GRACE_NS;
                return version_is_ending(version, now) ? TREE_WAIT : TREE_TELL;
        }
        *ret_version = current;
        return current ? TREE_TELL : TREE_LEARN;
}

bool tree_was_told(Tree *tree, Node node, uint32_t generation)
{
        const OldNode *old = dir_find_old(tree->dirs[node.slot], node);
        if (old)
                return old->told == generation;
        return node.generation == generation ||
               slot_is_old(nodes_get(tree->slots, node.slot), node.generation);
}

Version *tree_told(Tree *tree, Node node)
{
        OldNode *old = dir_find_old(tree->dirs[node.slot], node);
        if (old)
                old->is_read = true;
        return tree_find_version(tree, node.slot, told_generation(tree->dirs[node.slot], node));
}

/* Notes in the directory that an old node was told a later version. */
static int dir_note_old(Dir *dir, Node node, uint32_t told)
{
        OldNode *old = dir_find_old(dir, node);
        if (old) {
                if (old->told != told) {
                        old->switched_ns = clock_now_ns();
                        old->is_read = false;
                        old->before = old->told;
                }
                old->told = told;
                old->told_ns = clock_now_ns();
                return 0;
        }
        if (dir->old_count == dir->old_capacity) {
                size_t capacity = dir->old_capacity ? dir->old_capacity * 2 : 4;
                OldNode *nodes = realloc(dir->old_nodes, capacity * sizeof *nodes);
                if (!nodes)
                        return -ENOMEM;
                dir->old_nodes = nodes;
                dir->old_capacity = capacity;
        }
        uint64_t now = clock_now_ns();
        dir->old_nodes[dir->old_count++] = (OldNode){
                .generation = node.generation,
                .told = told,
                .before = node.generation,
                .told_ns = now,
                .switched_ns = now,
                .field = node.field,
        };
        return 0;
}

uint64_t tree_note_told(Tree *tree, Node node, Version *version, uint64_t keep_ns)
{
        if (version->superseded_ns)
                keep_ns = 0;
        if (version->generation != node.generation || dir_find_old(version->dir, node)) {
                if (dir_note_old(version->dir, node, version->generation) < 0 ||
                        !nodes_note_old(tree->slots, node.slot, node.generation))
                        keep_ns = 0;
        }
        uint64_t until = clock_add_ns(clock_now_ns(), keep_ns);
        if (until > version->told_until_ns)
                version->told_until_ns = until;
        return keep_ns;
}

void tree_forget_node(Tree *tree, Node node)
{
        Dir *dir = tree->dirs[node.slot];
        OldNode *old = dir_find_old(dir, node);
        if (!old)
                return;
        *old = dir->old_nodes[--dir->old_count];
        dir_free_if_empty(dir);
}

void version_open(Version *version)
{
        version->opens++;
        loop_timer_cancel(&version->drop);
}

void version_close(Version *version)
{
        if (--version->opens > 0)
                return;
        if (version->superseded_ns)
                version_plan_drop(version);
        else if (version->is_dropped)
                version_on_drop(&version->drop, version);
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

bool version_has_field(const Version *version, uint8_t field)
{
        size_t len;
        if (!version->doc)
                return field == NODE_TEXT;
        return ((field >= NODE_FIELD && field <= NODE_JSON) || field == NODE_DOH_URL) &&
               doc_bytes(version, field, &len);
}

const char *version_bytes(
        const Tree *tree, const Version *version, uint8_t field, size_t *ret_len, bool *ret_newline)
{
        *ret_newline = false;
        if (!version->doc) {
                *ret_len = version->text.len;
                return buf_str(&version->text);
        }
        const char *data = doc_bytes(version, field, ret_len);
        *ret_newline = tree->newline && (*ret_len == 0 || data[*ret_len - 1] != '\n');
        return data;
}

uint64_t version_size(const Tree *tree, const Version *version, uint8_t field)
{
        size_t len;
        bool newline;
        (void)version_bytes(tree, version, field, &len, &newline);
        return len + newline;
}

int64_t version_mtime_ns(const Version *version)
{
        const int64_t second = (int64_t)NS_PER_S;
        if (!version->doc)
                return version->text_wall_ns;
        int64_t updated = token_doc_updated_wall_ns(version->doc);
        return updated - updated % second + (int64_t)(version->fingerprint % NS_PER_S);
}
