/* Files of sign-ins.
 *
 * The AWS tools read and renew the same files. So a file is read at each use, and a renewed sign-in is renamed over
 * it, with the owner and mode of the old file. A refresh token is valid for one use: if the file can't be written
 * (read-only home, another owner), the sign-in is kept in memory. It counts until the file changes.
 *
 * A worker that is killed during a renewal leaves its temporary file, with secrets. A later renewal in that directory
 * removes it: a regular file of this user, with a name of ours, that is too old for a write in progress. */

#include "sign-in-file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/list.h"
#include "tokenfs/base/log.h"

#define TEMPORARY_INFIX ".tokenfs-"
#define TEMPORARY_END "XXXXXX" /* mkostemp(3) */
#define LEFTOVER_AGE_S 3600
#define ENTRIES_MAX 1000 /* of a directory; leftovers beyond them stay */

/* A sign-in that couldn't be written. */
typedef struct Kept {
        ListLink link;
        char *path;
        struct stat file; /* as it was then */
        Buf text;
} Kept;

/* The process's, like the files: it outlives a chain. */
static ListLink all_kept = {&all_kept, &all_kept};

static void kept_free(Kept *kept)
{
        list_unlink(&kept->link);
        buf_deinit(&kept->text);
        free(kept->path);
        free(kept);
}

static Kept *find_kept(const char *path)
{
        for (ListLink *link = all_kept.next; link != &all_kept; link = link->next) {
                Kept *kept = list_entry(link, Kept, link);
                if (strcmp(kept->path, path) == 0)
                        return kept;
        }
        return NULL;
}

/* If this fails too, a restart needs a new sign-in. */
static void keep(const char *path, const Buf *text)
{
        struct stat file;
        Kept *kept = stat(path, &file) == 0 ? calloc(1, sizeof *kept) : NULL;
        if (!kept)
                return;
        list_append(&all_kept, &kept->link);
        kept->path = strdup(path);
        kept->file = file;
        kept->text = BUF_INIT(text->max);
        if (!kept->path || buf_append(&kept->text, text->data, text->len) < 0)
                kept_free(kept);
}

static bool is_unchanged(const char *path, const struct stat *then)
{
        struct stat now;
        return stat(path, &now) == 0 && now.st_dev == then->st_dev && now.st_ino == then->st_ino &&
               now.st_size == then->st_size && now.st_mtim.tv_sec == then->st_mtim.tv_sec &&
               now.st_mtim.tv_nsec == then->st_mtim.tv_nsec;
}

int sign_in_file_load(const char *path, Buf *text)
{
        Kept *kept = find_kept(path);
        if (kept && is_unchanged(path, &kept->file))
                return buf_append(text, kept->text.data, kept->text.len);
        if (kept)
                kept_free(kept);
        return provider_read_file(path, text);
}

static int write_all(int fd, const Buf *text)
{
        for (size_t done = 0; done < text->len;) {
                ssize_t len = write(fd, text->data + done, text->len - done);
                if (len < 0 && errno == EINTR)
                        continue;
                if (len <= 0)
                        return len < 0 ? -errno : -EIO;
                done += (size_t)len;
        }
        return fsync(fd) < 0 ? -errno : 0;
}

/* A new file of root would take the user's sign-in away. */
static int keep_owner_and_mode(int fd, const struct stat *old)
{
        struct stat new;
        if (fstat(fd, &new) < 0)
                return -errno;
        if ((new.st_uid != old->st_uid || new.st_gid != old->st_gid) &&
                fchown(fd, old->st_uid, old->st_gid) < 0)
                return -errno;
        if ((new.st_mode & 07777) != (old->st_mode & 07777) && fchmod(fd, old->st_mode & 07777) < 0)
                return -errno;
        return 0;
}

static bool is_temporary_name(const char *name)
{
        const size_t tail_len = sizeof TEMPORARY_INFIX TEMPORARY_END - 1;
        size_t len = strlen(name);
        return len > tail_len &&
               strncmp(name + len - tail_len, TEMPORARY_INFIX, sizeof TEMPORARY_INFIX - 1) == 0;
}

static void remove_leftover(int directory, const char *name)
{
        struct stat status;
        if (is_temporary_name(name) && fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
                status.st_mtim.tv_sec < clock_wall_ns() / (int64_t)NS_PER_S - LEFTOVER_AGE_S)
                (void)unlinkat(directory, name, 0);
}

/* After a rename: the directory survives a power failure, and has no leftovers. Failures change nothing: the new sign-in
 * is in its place. */
static void settle_directory(const char *path)
{
        CLEANUP(cleanup_free) char *copy = strdup(path);
        DIR *entries = copy ? opendir(dirname(copy)) : NULL;
        const struct dirent *entry;
        if (!entries)
                return;
        for (int i = 0; i < ENTRIES_MAX && (entry = readdir(entries)); i++)
                remove_leftover(dirfd(entries), entry->d_name);
        (void)fsync(dirfd(entries));
        (void)closedir(entries);
}

static int replace(const char *path, const struct stat *old, const Buf *text)
{
        CLEANUP(buf_deinit) Buf temporary = BUF_INIT(text->max);
        if (!S_ISREG(old->st_mode))
                return -ELOOP;
        int r = buf_appendf(&temporary, "%s" TEMPORARY_INFIX TEMPORARY_END, path);
        if (r < 0)
                return r;
        CLEANUP(cleanup_close) int fd = mkostemp(temporary.data, O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = keep_owner_and_mode(fd, old);
        if (r == 0)
                r = write_all(fd, text);
        if (r == 0 && rename(temporary.data, path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlink(temporary.data);
        else
                settle_directory(path);
        return r;
}

void sign_in_file_log_failure(const char *path, int r, const char *command)
{
        if (r == -ENOENT)
                log_info("credentials: %s is gone: the user signed out during the renewal; its sign-in "
                         "isn't kept",
                        path);
        else
                log_warning("credentials: the renewed sign-in can't be written to %s (%s): it is kept in "
                            "memory, and a restart needs `%s`",
                        path, strerrordesc_np(-r), command);
}

int sign_in_file_save(const char *path, const Buf *text)
{
        struct stat old;
        Kept *kept = find_kept(path);
        if (kept)
                kept_free(kept);
        if (lstat(path, &old) < 0)
                return -errno; /* the user has signed out */
        int r = replace(path, &old, text);
        if (r < 0)
                keep(path, text);
        return r;
}
