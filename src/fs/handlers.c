/* The handlers of the kernel's requests.
 *
 * The kernel is the first cache: open answers ENOSYS, after which the kernel opens by itself and keeps pages across
 * opens; entries and attributes are good for as long as the answer is fresh. So a warm read never comes here.
 * With `audit` the kernel caches nothing: it asks at each open, and reads bypass the page cache.
 *
 * These may wait for the API: LOOKUP, GETATTR, READ, READDIR and, with `audit`, OPEN. STATFS never does. */

#include "fs-private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "tokenfs/base/clock.h"

/* Opcodes of the kernel's protocol, for the counters. */
enum {
        OP_LOOKUP = 1,
        OP_FORGET = 2,
        OP_GETATTR = 3,
        OP_OPEN = 14,
        OP_READ = 15,
        OP_STATFS = 17,
        OP_RELEASE = 18,
        OP_OPENDIR = 27,
        OP_READDIR = 28,
        OP_OTHER = 0
};

static void count(fuse_req_t fuse, unsigned opcode)
{
        const Session *session = fuse_req_userdata(fuse);
        Fs *fs = session_userdata(session);
        if (fs)
                fs->counters.requests[opcode]++;
}

static void handle_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
        count(fuse, OP_LOOKUP);
        if (strlen(name) > NAME_MAX) {
                (void)fuse_reply_err(fuse, ENAMETOOLONG);
                return;
        }
        Request *request = request_new(fuse, parent, step_lookup);
        if (!request)
                return;
        /* No file here has a longer name, and a truncated one could be the name of another file. */
        size_t len = strlen(name);
        if (len < sizeof request->name)
                memcpy(request->name, name, len + 1);
        request_run(request);
}

static void handle_getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *file)
{
        (void)file;
        count(fuse, OP_GETATTR);
        Request *request = request_new(fuse, ino, step_getattr);
        if (!request)
                return;
        request_join_access(request);
        request_run(request);
}

static int reply_bytes(Request *request, const Version *version)
{
        Fs *fs = request->fs;
        size_t len;
        bool newline;
        const char *data = version_bytes(&fs->versions, version, request->node.field, &len, &newline);
        size_t offset = (size_t)request->offset;
        char last[] = "\n";
        struct iovec parts[2] = {
                {.iov_base = (void *)(data + (offset < len ? offset : len)),
                        .iov_len = offset < len ? len - offset : 0},
                {.iov_base = last, .iov_len = newline && offset <= len},
        };
        if (parts[0].iov_len > request->size)
                parts[0].iov_len = request->size;
        if (parts[0].iov_len == request->size)
                parts[1].iov_len = 0;
        (void)fuse_reply_iov(request->fuse, parts, 2);
        fs->counters.reads[0]++;
        return 0;
}

static int step_read(Request *request)
{
        Version *version;
        uint64_t keep_ns;
        if (!node_is_file(request->node))
                return EISDIR;
        int r = content_show(request, false, &version, &keep_ns);
        if (r == 0 && version->is_hollow &&
                (uint64_t)request->offset < version_size(version, request->node.field))
                r = ESTALE;
        return r != 0 ? r : reply_bytes(request, version);
}

static void handle_read(
        fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *file)
{
        (void)file;
        count(fuse, OP_READ);
        Request *request = request_new(fuse, ino, step_read);
        if (!request)
                return;
        request->size = size;
        request->offset = offset;
        request_join_access(request);
        request_run(request);
}

static void handle_readdir(
        fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *file)
{
        (void)file;
        count(fuse, OP_READDIR);
        Request *request = request_new(fuse, ino, step_readdir);
        if (!request)
                return;
        request->size = size;
        request->offset = offset;
        request_run(request);
}

/* With `audit` every open comes here. */
static int step_open(Request *request)
{
        Version *version;
        uint64_t keep_ns;
        if (!node_is_file(request->node))
                return EISDIR;
        int r = content_show(request, true, &version, &keep_ns);
        if (r != 0)
                return r;
        if (field_is_secret(request->node.field))
                r = audit_open(request, nodes_get(request->fs->settings.slots, request->node.slot));
        if (r != 0)
                return r;
        (void)fuse_reply_open(request->fuse, &(struct fuse_file_info){.direct_io = 1});
        return 0;
}

static void handle_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *file)
{
        count(fuse, OP_OPEN);
        const Session *session = fuse_req_userdata(fuse);
        const Fs *fs = session_userdata(session);
        if ((file->flags & O_ACCMODE) != O_RDONLY) {
                (void)fuse_reply_err(fuse, EROFS);
        } else if (fs && fs->settings.audit) {
                Request *request = request_new(fuse, ino, step_open);
                if (!request)
                        return;
                request_join_access(request);
                request_run(request);
        } else if (session_may_skip_open(session)) {
                (void)fuse_reply_err(fuse, ENOSYS);
        } else {
                file->keep_cache = 1;
                (void)fuse_reply_open(fuse, file);
        }
}

static void handle_release(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *file)
{
        (void)ino, (void)file;
        count(fuse, OP_RELEASE);
        (void)fuse_reply_err(fuse, 0);
}

/* Not ENOSYS: the kernel would then keep the entries, and look only at the directory's mtime to see whether they are
 * still right. That would have to be asked for on each way to a file. */
static void handle_opendir(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *file)
{
        (void)ino;
        count(fuse, OP_OPENDIR);
        (void)fuse_reply_open(fuse, file);
}

static void forget_one(Fs *fs, uint64_t ino, uint64_t lookups)
{
        uint32_t slot = node_from_id(ino).slot;
        if (nodes_get(fs->settings.slots, slot))
                nodes_drop_lookups(fs->settings.slots, slot, lookups);
}

static void handle_forget(fuse_req_t fuse, fuse_ino_t ino, uint64_t lookups)
{
        count(fuse, OP_FORGET);
        const Session *session = fuse_req_userdata(fuse);
        if (session_userdata(session))
                forget_one(session_userdata(session), ino, lookups);
        fuse_reply_none(fuse);
}

static void handle_forget_multi(fuse_req_t fuse, size_t forget_count, struct fuse_forget_data *forgets)
{
        count(fuse, OP_FORGET);
        const Session *session = fuse_req_userdata(fuse);
        for (size_t i = 0; i < forget_count && session_userdata(session); i++)
                forget_one(session_userdata(session), forgets[i].ino, forgets[i].nlookup);
        fuse_reply_none(fuse);
}

/* Blocks would make `df` show a full disk; zeros keep it quiet. */
static void handle_statfs(fuse_req_t fuse, fuse_ino_t ino)
{
        (void)ino;
        count(fuse, OP_STATFS);
        struct statvfs status = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = NAME_MAX};
        (void)fuse_reply_statfs(fuse, &status);
}

static void refuse(fuse_req_t fuse)
{
        count(fuse, OP_OTHER);
        (void)fuse_reply_err(fuse, EROFS);
}

/* The mount is read-only, so the kernel refuses these itself; after a `remount,rw` this process does. */
static void refuse_setattr(
        fuse_req_t fuse, fuse_ino_t ino, struct stat *stat, int set, struct fuse_file_info *file)
{
        (void)ino, (void)stat, (void)set, (void)file;
        refuse(fuse);
}

static void refuse_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
        (void)parent, (void)name, (void)mode, (void)device;
        refuse(fuse);
}

static void refuse_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
        (void)parent, (void)name, (void)mode;
        refuse(fuse);
}

static void refuse_remove(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
        (void)parent, (void)name;
        refuse(fuse);
}

static void refuse_symlink(fuse_req_t fuse, const char *target, fuse_ino_t parent, const char *name)
{
        (void)target, (void)parent, (void)name;
        refuse(fuse);
}

static void refuse_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
        const char *new_name, unsigned flags)
{
        (void)parent, (void)name, (void)new_parent, (void)new_name, (void)flags;
        refuse(fuse);
}

static void refuse_link(fuse_req_t fuse, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
        (void)ino, (void)new_parent, (void)new_name;
        refuse(fuse);
}

static void refuse_write(fuse_req_t fuse, fuse_ino_t ino, const char *data, size_t size, off_t offset,
        struct fuse_file_info *file)
{
        (void)ino, (void)data, (void)size, (void)offset, (void)file;
        refuse(fuse);
}

static void refuse_create(
        fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *file)
{
        (void)parent, (void)name, (void)mode, (void)file;
        refuse(fuse);
}

const struct fuse_lowlevel_ops fs_operations = {
        .lookup = handle_lookup,
        .forget = handle_forget,
        .forget_multi = handle_forget_multi,
        .getattr = handle_getattr,
        .open = handle_open,
        .read = handle_read,
        .release = handle_release,
        .opendir = handle_opendir,
        .readdir = handle_readdir,
        .statfs = handle_statfs,
        .setattr = refuse_setattr,
        .mknod = refuse_mknod,
        .mkdir = refuse_mkdir,
        .unlink = refuse_remove,
        .rmdir = refuse_remove,
        .symlink = refuse_symlink,
        .rename = refuse_rename,
        .link = refuse_link,
        .write = refuse_write,
        .create = refuse_create,
};
