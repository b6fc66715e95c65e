/* Attributes: of files from the version that is told, of directories from what is known without the network. */

#include "fs-private.h"

#include <string.h>

#include "tokenfs/base/clock.h"

#define JSON_FILE_NAME ".json"
#define DOH_URL_FILE_NAME ".doh_url"

const char *field_file_name(uint8_t field)
{
        if (field == NODE_JSON)
                return JSON_FILE_NAME;
        if (field == NODE_DOH_URL)
                return DOH_URL_FILE_NAME;
        return field >= NODE_FIELD && field < NODE_JSON ? token_field_name((TokenField)(field - NODE_FIELD))
                                                        : NULL;
}

uint8_t field_from_file_name(const char *name)
{
        for (unsigned field = NODE_FIELD; field <= NODE_JSON; field++)
                if (strcmp(field_file_name((uint8_t)field), name) == 0)
                        return (uint8_t)field;
        return strcmp(name, DOH_URL_FILE_NAME) == 0 ? NODE_DOH_URL : 0;
}

static struct timespec to_timespec(int64_t wall_ns)
{
        const int64_t second = (int64_t)NS_PER_S;
        return (struct timespec){.tv_sec = wall_ns / second, .tv_nsec = wall_ns % second};
}

static void set_common(const Fs *fs, uint64_t ino, int64_t mtime_ns, struct stat *stat)
{
        *stat = (struct stat){0};
        stat->st_ino = ino;
        stat->st_uid = fs->settings.uid;
        stat->st_gid = fs->settings.gid;
        stat->st_blksize = 4096;
        stat->st_mtim = stat->st_ctim = stat->st_atim = to_timespec(mtime_ns);
}

void attributes_of_directory(const Fs *fs, uint32_t slot, int64_t mtime_ns, struct stat *ret_stat)
{
        set_common(fs, node_directory(slot), mtime_ns, ret_stat);
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
        set_common(fs, node_id(node), version_mtime_ns(version), ret_stat);
        mode_t mode = node.field == NODE_TEXT       ? 0444
                      : field_is_secret(node.field) ? fs->settings.secret_mode
                                                    : fs->settings.mode;
        ret_stat->st_mode = S_IFREG | mode;
        ret_stat->st_nlink = 1;
        ret_stat->st_size = (off_t)version_size(&fs->tree, version, node.field);
        ret_stat->st_blocks = (ret_stat->st_size + 511) / 512;
}

/* What a directory's mtime is while nothing of its token is known. */
int64_t unknown_mtime_ns(const Fs *fs)
{
        return nodes_shared(fs->settings.slots)->started_wall_ns;
}

/* What a directory's mtime is: updatedAt in whole seconds, whether the document or the listing tells it, so that a tool
 * that looks before and after it reads (tar, rsync) sees the same. `item` NULL: nobody tells it now. */
int64_t item_mtime_ns(Fs *fs, uint32_t slot, const TokenItem *item)
{
        const int64_t second = (int64_t)NS_PER_S;
        const Version *version = tree_current(&fs->tree, slot);
        int64_t ns = item      ? item->updated_wall_ns
                     : version ? version_mtime_ns(version)
                               : unknown_mtime_ns(fs);
        return ns - ns % second;
}

double timeout_s(uint64_t keep_ns)
{
        /* The kernel overflows on huge ones. */
        const uint64_t most = 86400 * NS_PER_S;
        return (double)(keep_ns < most ? keep_ns : most) / (double)NS_PER_S;
}
