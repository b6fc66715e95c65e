/* Attributes: of files from the version that is shown, of directories from what is known without the network. */

#include "fs-private.h"

#include "tokenfs/base/clock.h"

static struct timespec to_timespec(int64_t wall_ns)
{
        const int64_t second = (int64_t)NS_PER_S;
        return (struct timespec){.tv_sec = wall_ns / second, .tv_nsec = wall_ns % second};
}

static void set_common(const Fs *fs, uint64_t ino, int64_t mtime_ns, int64_t ctime_ns, struct stat *stat)
{
        *stat = (struct stat){0};
        stat->st_ino = ino;
        stat->st_uid = fs->settings.uid;
        stat->st_gid = fs->settings.gid;
        stat->st_blksize = 4096;
        stat->st_mtim = stat->st_atim = to_timespec(mtime_ns);
        stat->st_ctim = to_timespec(ctime_ns);
}

void attributes_of_directory(const Fs *fs, uint32_t slot, int64_t mtime_ns, struct stat *ret_stat)
{
        set_common(fs, node_directory(slot), mtime_ns, mtime_ns, ret_stat);
        mode_t readable = fs->settings.mode & 0444;
        ret_stat->st_mode = S_IFDIR | readable | readable >> 2;
        ret_stat->st_nlink = 2;
}

bool field_is_secret(uint8_t field)
{
        return field == NODE_JSON || field == NODE_DOH_URL ||
               (field < NODE_JSON && token_field_is_secret((TokenField)(field - NODE_FIELD)));
}

void attributes_of_file(const Fs *fs, Node node, const Version *version, struct stat *ret_stat)
{
        /* cp and install say "replaced while being copied" of a file whose inode number changes before they open it. A
         * service file is another snapshot then, which is as good. */
        uint64_t ino = node.field == NODE_TEXT ? node_directory(node.slot) : node_id(node);
        set_common(fs, ino, version->content.mtime_ns, version->content.ctime_ns, ret_stat);
        mode_t mode = node.field == NODE_TEXT       ? 0444
                      : field_is_secret(node.field) ? fs->settings.secret_mode
                                                    : fs->settings.mode;
        ret_stat->st_mode = S_IFREG | mode;
        /* As of a file that rename(2) replaced. The kernel sends inotify's event only if it is 0 when the last
         * descriptor is closed. */
        ret_stat->st_nlink = version->is_superseded ? 0 : 1;
        ret_stat->st_size = (off_t)version_size(version, node.field);
        ret_stat->st_blocks = (ret_stat->st_size + 511) / 512;
}

/* In whole seconds, whether the document or the listing gives updatedAt: tar and rsync compare the times before and
 * after they read. */
int64_t directory_mtime_ns(const Fs *fs, uint32_t index, const TokenItem *item)
{
        const int64_t second = (int64_t)NS_PER_S;
        const Slot *slot = nodes_get(fs->settings.slots, index);
        int64_t ns = item                          ? item->updated_wall_ns
                     : slot->content.ctime_ns != 0 ? slot->content.mtime_ns
                                                   : fs->shared->started_wall_ns;
        if (slot->content.ctime_ns != 0 && slot->content.mtime_ns > ns)
                ns = slot->content.mtime_ns;
        return ns - ns % second;
}

double timeout_s(uint64_t keep_ns)
{
        return (double)(keep_ns < NODES_VALID_MAX_NS ? keep_ns : NODES_VALID_MAX_NS) / (double)NS_PER_S;
}
