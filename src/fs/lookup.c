/* Look-ups: from a name in a directory to a node, with its attributes.
 *
 * A directory is there if the listing or a document says so; a file only with its document, since its size must be
 * true. The API is asked for anything unknown, and the look-up waits. The kernel may keep the answer while the copy is
 * fresh. */

#include "fs-private.h"

#include <errno.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/fs/errno.h"

#define QUIET_LOOK_NS (2 * NS_PER_MS)

/* Answers a look-up, and counts the reference that the kernel then holds. */
static int reply_entry(Request *request, Node node, const struct stat *stat, uint64_t keep_ns)
{
        Fs *fs = request->fs;
        struct fuse_entry_param entry = {
                .ino = node_id(node),
                .generation = 1,
                .attr = *stat,
                .attr_timeout = timeout_s(keep_ns),
                .entry_timeout = node.field == NODE_TEXT
                                         ? 0
                                         : timeout_s(keep_ns), /* each opening gets a new snapshot */
        };
        nodes_add_lookup(fs->settings.slots, node.slot, node.field);
        if (fuse_reply_entry(request->fuse, &entry) < 0)
                nodes_drop_lookups(fs->settings.slots, node.slot, 1);
        return 0;
}

static int reply_directory(Request *request, uint32_t slot, int64_t mtime_ns, uint64_t keep_ns)
{
        struct stat stat;
        attributes_of_directory(request->fs, slot, mtime_ns, &stat);
        return reply_entry(request, (Node){slot, 0, NODE_DIRECTORY}, &stat, keep_ns);
}

/* A file of a directory whose content is at hand. */
static int reply_file(Request *request, uint32_t slot, uint8_t field, Version *version, uint64_t keep_ns)
{
        Fs *fs = request->fs;
        if (!version_has_field(version, field))
                return ENOENT;
        if (versions_are_quiet(&fs->versions, slot, field) && !request->give_up)
                return request_wait_until(request, clock_now_ns() + QUIET_LOOK_NS);
        Node node = {slot, version->generation, field};
        struct stat stat;
        attributes_of_file(fs, node, version, &stat);
        versions_extend(&fs->versions, version, keep_ns);
        return reply_entry(request, node, &stat, keep_ns);
}

/* MNT/<id>: there if its document is held or the listing has it; else the API is asked. */
static int lookup_token(Request *request, const char *id)
{
        Fs *fs = request->fs;
        if (!token_id_is_valid(id))
                return ENOENT;
        int r = content_admit(request, id);
        if (r != 0)
                return r;
        TokenItem item;
        uint64_t keep_ns;
        uint32_t slot;
        if (content_peek_item(fs, id, &item, &keep_ns) != CONTENT_KNOWN) {
                TokenAnswer answer;
                request->wait.is_guess = !resolve_is_known(fs->settings.cache, id);
                r = tokens_get(fs->settings.cache->tokens, id, request->since_ns, request->give_up,
                        &request->wait, &answer);
                if (r < 0)
                        return r;
                if (answer.error != API_OK)
                        return fs_errno(answer.error);
                if (!scopes_admit_doc(fs->settings.cache->scopes, answer.doc))
                        return ENOENT;
                token_item_from_doc(answer.doc, &item);
                keep_ns = fs->settings.audit ? 0 : answer.keep_ns;
        }
        r = content_take_slot(fs, SLOT_TOKEN, id, &slot);
        return r < 0 ? r : reply_directory(request, slot, directory_mtime_ns(fs, slot, &item), keep_ns);
}

/* MNT/.by_name/<name>: there if the listing gives the name to a token. */
static int lookup_name(Request *request, const char *encoded)
{
        Fs *fs = request->fs;
        char name[TOKEN_NAME_MAX + 1];
        if (name_decode(encoded, name) < 0 || !token_name_is_valid(name))
                return ENOENT;
        NameAnswer chosen;
        int r = content_choose(request, name, &chosen);
        if (r != 0)
                return r;
        uint32_t slot;
        TokenItem item;
        uint64_t ignored_ns;
        bool is_known = content_peek_item(fs, chosen.id, &item, &ignored_ns) != CONTENT_UNKNOWN;
        r = content_take_slot(fs, SLOT_NAME, name, &slot);
        uint64_t keep_ns = fs->settings.audit ? 0 : chosen.keep_ns;
        return r < 0 ? r
                     : reply_directory(
                               request, slot, directory_mtime_ns(fs, slot, is_known ? &item : NULL), keep_ns);
}

static int lookup_in_root(Request *request)
{
        Fs *fs = request->fs;
        const char *name = request->name;
        uint64_t keep_ns;
        if (strcmp(name, ".by_name") == 0)
                return reply_directory(
                        request, SLOT_BY_NAME, fs->shared->changed_wall_ns, FS_DIRECTORY_KEEP_NS);
        uint32_t slot = strcmp(name, ".service_status") == 0    ? SLOT_STATUS
                        : strcmp(name, ".service_metrics") == 0 ? SLOT_METRICS
                                                                : 0;
        if (slot == 0)
                return lookup_token(request, name);
        Version *version;
        int r = content_get(request, slot, &version, &keep_ns);
        return r != 0 ? r : reply_file(request, slot, NODE_TEXT, version, keep_ns);
}

int step_lookup(Request *request)
{
        Fs *fs = request->fs;
        Node parent = request->node;
        int error = request->is_parked ? 0 : request_late_error(request);
        if (error != 0)
                return error;
        if (parent.field != NODE_DIRECTORY)
                return ENOTDIR;
        if (parent.slot == SLOT_ROOT)
                return lookup_in_root(request);
        if (parent.slot == SLOT_BY_NAME)
                return lookup_name(request, request->name);
        uint8_t field = node_field_of(request->name);
        if (field == 0)
                return ENOENT;
        request_join_access(request);
        Version *version;
        uint64_t keep_ns;
        uint32_t slot = parent.slot;
        int r = field == NODE_DOH_URL ? content_take_url_slot(fs, parent.slot, &slot) : 0;
        if (r == 0)
                r = content_get(request, slot, &version, &keep_ns);
        return r != 0 ? r : reply_file(request, slot, field, version, keep_ns);
}
