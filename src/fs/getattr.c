/* Attributes of nodes.
 *
 * The kernel asks for them for `stat` and for an opening, which are answered from what is held as long as it is fresh,
 * and on behalf of a read, before it uses its page cache: then they decide whether the pages are still right, so that
 * such a question waits for the API where a read would. Which version an old node is told is tree.c's. */

#include "fs-private.h"

#include <errno.h>

static int reply_attributes(Request *request, const struct stat *stat, uint64_t keep_ns)
{
        (void)fuse_reply_attr(request->fuse, stat, timeout_s(keep_ns));
        return 0;
}

static int getattr_directory(Request *request)
{
        Fs *fs = request->fs;
        uint32_t index = request->node.slot;
        const Slot *slot = nodes_get(fs->settings.slots, index);
        uint64_t keep_ns = 0, ignored_ns;
        int64_t mtime_ns;
        TokenItem item;
        if (slot->kind == SLOT_FIXED) {
                mtime_ns = fs->changed_wall_ns;
                keep_ns = FS_DIRECTORY_KEEP_NS;
        } else if (slot->kind == SLOT_TOKEN) {
                bool is_told = content_peek_item(fs, slot->key, &item, &keep_ns) != CONTENT_UNKNOWN;
                mtime_ns = item_mtime_ns(fs, index, is_told ? &item : NULL);
        } else {
                NameAnswer chosen;
                (void)content_peek(fs, index, &keep_ns);
                bool is_told = names_get(fs->settings.cache->names, slot->key, 0, true, NULL, &chosen) == 0 &&
                               chosen.error == API_OK &&
                               content_peek_item(fs, chosen.id, &item, &ignored_ns) != CONTENT_UNKNOWN;
                mtime_ns = item_mtime_ns(fs, index, is_told ? &item : NULL);
        }
        struct stat stat;
        attributes_of_directory(fs, index, mtime_ns, &stat);
        return reply_attributes(request, &stat, keep_ns);
}

#define FS_GIVE_WAY_NS (2 * NS_PER_MS)

/* Brings the content up to date. */
static int current_content(Request *request, uint64_t *ret_keep_ns)
{
        const Version *held = request->for_read || request->joins_read
                                      ? NULL
                                      : content_peek(request->fs, request->node.slot, ret_keep_ns);
        /* What is no longer promised is asked for: an opening looks like `stat`, and who reads by sendfile or mmap never
         * asks on behalf of a read. */
        if (held && clock_now_ns() < held->due_ns)
                return 0;
        Version *version;
        return content_get(request, request->node.slot, &version, ret_keep_ns);
}

/* A read waits for news of the same node: what the kernel is told meanwhile would make it ignore those. */
static bool read_waits_for(const Fs *fs, Node node)
{
        for (const ListLink *link = fs->requests.next; link != &fs->requests; link = link->next) {
                const Request *other = list_entry(link, Request, link);
                if (other->for_read && node_id(other->node) == node_id(node))
                        return true;
        }
        return false;
}

/* The node is told another version. Those who asked before are told the same, and soon, whatever they wait for: before
 * the node is told yet another. */
static void run_others(const Request *request)
{
        const Fs *fs = request->fs;
        for (ListLink *link = fs->requests.next; link != &fs->requests; link = link->next) {
                Request *other = list_entry(link, Request, link);
                if (other != request && other->step == request->step &&
                        node_id(other->node) == node_id(request->node))
                        (void)request_wait_until(other, request->came_ns);
        }
}

static int reply_file_attributes(Request *request, Version *version, uint64_t keep_ns)
{
        Fs *fs = request->fs;
        if (!version || !version_has_field(version, request->node.field))
                return ENOENT;
        if (tree_told_generation(&fs->tree, request->node) != version->generation)
                run_others(request);
        struct stat stat;
        attributes_of_file(fs, request->node, version, &stat);
        return reply_attributes(request, &stat, tree_note_told(&fs->tree, request->node, version, keep_ns));
}

/* The question about the same node that came last, if one came after `request`. */
static Request *later_question(const Request *request)
{
        const Fs *fs = request->fs;
        Request *latest = NULL;
        for (ListLink *link = fs->requests.next; link != &fs->requests; link = link->next) {
                Request *other = list_entry(link, Request, link);
                if (other->step == request->step && node_id(other->node) == node_id(request->node) &&
                        other->came_ns > (latest ? latest->came_ns : request->came_ns))
                        latest = other;
        }
        return latest;
}

/* A node's switch to another version is told first to the question that came last: it came after the kernel had taken
 * in whatever was told before, so that the answer is not ignored. The others come again in a moment. */
static bool gives_way(Request *request)
{
        Request *later = request->give_up ? NULL : later_question(request);
        return later && request_wait_until(later, clock_now_ns()) == -EINPROGRESS;
}

/* The version that the task goes on with, since its access to the file is under way; NULL if it begins one, or if the
 * node has been told another version meanwhile. */
static Version *follow(const Request *request)
{
        Fs *fs = request->fs;
        Node node = request->node;
        uint32_t begun = access_follow(&fs->accesses, node_id(node), fuse_req_ctx(request->fuse)->pid);
        uint32_t generation = begun ? tree_followed_generation(&fs->tree, node, begun) : 0;
        return generation ? tree_find_version(&fs->tree, node.slot, generation) : NULL;
}

static int getattr_file(Request *request)
{
        Fs *fs = request->fs;
        Node node = request->node;
        pid_t task = fuse_req_ctx(request->fuse)->pid;
        bool goes_on = request->for_read;
        if (!request->for_read && !request->is_parked) {
                goes_on = access_open(&fs->accesses, node_id(node), task);
                request->joins_read = read_waits_for(fs, node);
        }
        Version *version = goes_on ? follow(request) : NULL;
        if (version)
                return reply_file_attributes(request, version, 0);
        uint64_t keep_ns = 0, until_ns;
        TreeTell tell = tree_tell_known(&fs->tree, node, request->came_ns, &version, &until_ns);
        if (tell == TREE_LEARN) {
                int r = current_content(request, &keep_ns);
                if (r != 0)
                        return r;
                tell = tree_tell(&fs->tree, node, &version, &until_ns);
        }
        if (tell == TREE_WAIT && !request->give_up)
                return request_wait_until(request, until_ns);
        uint32_t cut = request->for_read ? access_cut_generation(&fs->accesses, node_id(node), task) : 0;
        if (!version || (cut && cut != version->generation))
                return ESTALE;
        if (version->generation != tree_told_generation(&fs->tree, node) && gives_way(request))
                return request_wait_until(request, clock_now_ns() + FS_GIVE_WAY_NS);
        if (request->for_read)
                access_begin(&fs->accesses, node_id(node), task, version->generation, false);
        return reply_file_attributes(request, version, keep_ns);
}

int step_getattr(Request *request)
{
        if (!nodes_get(request->fs->settings.slots, request->node.slot))
                return ESTALE;
        if (request->node.field == NODE_DIRECTORY)
                return getattr_directory(request);
        return node_is_file(request->node) ? getattr_file(request) : ESTALE;
}
