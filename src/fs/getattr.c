/* Attributes of nodes.
 *
 * The kernel asks for them for stat(2), for an opening, and on behalf of a read before it uses its page cache: then they
 * decide whether the pages are still right. So the content is brought up to date first, which may wait for the API. */

#include "fs-private.h"

#include <errno.h>

static int reply_attributes(Request *request, const struct stat *stat, uint64_t keep_ns)
{
        (void)fuse_reply_attr(request->fuse, stat, timeout_s(keep_ns));
        return 0;
}

/* From the cache and the listing, without waiting. */
static int getattr_directory(Request *request)
{
        Fs *fs = request->fs;
        uint32_t index = request->node.slot;
        const Slot *slot = nodes_get(fs->settings.slots, index);
        const char *id = slot->key;
        uint64_t keep_ns = FS_DIRECTORY_KEEP_NS;
        int64_t mtime_ns = fs->shared->changed_wall_ns;
        NameAnswer chosen = {0};
        if (slot->kind == SLOT_NAME) {
                bool is_known =
                        names_get(fs->settings.cache->names, slot->key, 0, true, NULL, &chosen) == 0 &&
                        chosen.error == API_OK;
                id = is_known ? chosen.id : "";
        }
        if (slot->kind != SLOT_FIXED) {
                TokenItem item;
                keep_ns = 0;
                bool is_known = *id && content_peek_item(fs, id, &item, &keep_ns) != CONTENT_UNKNOWN;
                if (is_known && slot->kind == SLOT_NAME && chosen.keep_ns < keep_ns)
                        keep_ns = chosen.keep_ns;
                mtime_ns = directory_mtime_ns(fs, index, is_known ? &item : NULL);
        }
        struct stat stat;
        attributes_of_directory(fs, index, mtime_ns, &stat);
        return reply_attributes(request, &stat, keep_ns);
}

static int getattr_file(Request *request)
{
        Version *version;
        uint64_t keep_ns;
        int r = content_show(request, true, &version, &keep_ns);
        if (r != 0)
                return r;
        struct stat stat;
        attributes_of_file(request->fs, request->node, version, &stat);
        return reply_attributes(request, &stat, keep_ns);
}

int step_getattr(Request *request)
{
        if (!nodes_get(request->fs->settings.slots, request->node.slot))
                return ESTALE;
        if (request->node.field == NODE_DIRECTORY)
                return getattr_directory(request);
        return node_is_file(request->node) ? getattr_file(request) : ESTALE;
}
