/* Mount points, dead ones included.
 *
 * Why mountinfo: stat, mountpoint(1) and realpath all fail on a mount whose daemon is gone (ENOTCONN), which is when
 * one needs to know what it was; and asking a mount that is alive would wait for its daemon. */

#include "tokenfs/fuse/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/base/pidfd.h"

#define LIFE_MS 1000
#define FUSE_DEVICE makedev(10, 229) /* Documentation/admin-guide/devices.txt */

static void close_file(FILE **file)
{
        if (*file)
                (void)fclose(*file);
}

/* mountinfo writes blanks, tabs, line feeds and backslashes as \040 and so on. Works in place. */
static void unescape(char *text)
{
        char *to = text;
        while (*text) {
                if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
                        *to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
                        text += 4;
                } else {
                        *to++ = *text++;
                }
        }
        *to = '\0';
}

/* " source options": the end of a line. */
static void read_source(char *rest, MountInfo *ret_info)
{
        char *options = strrchr(rest, ' ');
        rest += *rest == ' ';
        ret_info->allow_other = options && strstr(options, ",allow_other");
        rest[strcspn(rest, " ")] = '\0';
        unescape(rest);
        (void)snprintf(ret_info->source, sizeof ret_info->source, "%s", rest);
}

/* id, parent, major:minor, root, mount point, options, tags…, "-", type, source, options. */
static bool read_line(char *line, const char *path, MountInfo *ret_info)
{
        char *rest = line, *device = NULL, *point = NULL;
        for (int field = 0; field < 5; field++) {
                char *word = strsep(&rest, " ");
                if (!word)
                        return false;
                if (field == 2)
                        device = word;
                if (field == 4)
                        point = word;
        }
        unescape(point);
        if (!rest || strcmp(point, path) != 0)
                return false;
        char *type = strstr(rest, " - ");
        char *minor = strchr(device, ':');
        uint64_t number;
        if (!type || !minor || parse_uint(minor + 1, UINT_MAX, &number) < 0)
                return false;
        type += 3;
        size_t len = strcspn(type, " ");
        if (len >= sizeof ret_info->type)
                len = sizeof ret_info->type - 1;
        memcpy(ret_info->type, type, len);
        ret_info->type[len] = '\0';
        ret_info->minor = (unsigned)number;
        read_source(type + strcspn(type, " "), ret_info);
        return true;
}

int mounts_find_in(const char *file, const char *path, MountInfo *ret_info)
{
        CLEANUP(close_file) FILE *mounts = fopen(file, "re");
        if (!mounts)
                return -errno;
        CLEANUP(cleanup_free) char *line = NULL;
        size_t size = 0;
        MountInfo info = {.type = ""};
        while (getline(&line, &size, mounts) > 0) /* what was mounted last stands last */
                (void)read_line(line, path, &info);
        if (ferror(mounts))
                return -EIO;
        *ret_info = info;
        return 0;
}

int mounts_find(const char *path, MountInfo *ret_info)
{
        int r = mounts_find_in("/proc/self/mountinfo", path, ret_info);
        return r == -ENOENT ? -ENOSYS : r;
}

bool mounts_is_ours(const MountInfo *info)
{
        return strcmp(info->type, "fuse.tokenfs") == 0;
}

static bool is_dead(int error)
{
        return error == ENOTCONN || error == ECONNABORTED;
}

/* The directory that the mount point lies in can be resolved, whatever is mounted on the point itself. */
int mounts_resolve_parent(const char *mountpoint, char **ret_path)
{
        CLEANUP(cleanup_free) char *for_directory = strdup(mountpoint);
        CLEANUP(cleanup_free) char *for_name = strdup(mountpoint);
        if (!for_directory || !for_name)
                return -ENOMEM;
        CLEANUP(cleanup_free) char *directory = realpath(dirname(for_directory), NULL);
        if (!directory)
                return -errno;
        char *path = NULL;
        if (asprintf(&path, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, basename(for_name)) < 0)
                return -ENOMEM;
        *ret_path = path;
        return 0;
}

int mounts_descriptor(const char *mountpoint)
{
        static const char directory[] = "/dev/fd/";
        size_t len = sizeof directory - 1;
        uint64_t fd;
        return strncmp(mountpoint, directory, len) == 0 && parse_uint(mountpoint + len, INT_MAX, &fd) == 0
                       ? (int)fd
                       : -1;
}

int mounts_resolve(const char *mountpoint, char **ret_path)
{
        if (mounts_descriptor(mountpoint) >= 0) {
                *ret_path = strdup(mountpoint);
                return *ret_path ? 0 : -ENOMEM;
        }
        char *path = realpath(mountpoint, NULL);
        if (!path)
                return is_dead(errno) ? mounts_resolve_parent(mountpoint, ret_path) : -errno;
        *ret_path = path;
        return 0;
}

/* By statfs: what stat tells of a dead mount may come out of the kernel's cache. In a process of its own, as it waits
 * for the process that serves. */
MountLife mounts_look_for_life(const char *path)
{
        pid_t pid = fork();
        if (pid < 0)
                return MOUNT_SERVED;
        if (pid == 0) {
                struct statfs status;
                /* It may stay for long: no process must wait for the end of its output. */
                (void)close_range(0, ~0U, 0);
                _exit(statfs(path, &status) == 0 || !is_dead(errno) ? MOUNT_SERVED : MOUNT_DEAD);
        }
        int fd CLEANUP(cleanup_close) = pidfd_get(pid);
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        bool is_answered = poll(&ended, 1, LIFE_MS) > 0;
        if (!is_answered) { /* nor is its end waited for: it may not come before the answer */
                (void)kill(pid, SIGKILL);
                return MOUNT_SILENT;
        }
        int wait_status = 0;
        while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
                ;
        return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == MOUNT_DEAD ? MOUNT_DEAD : MOUNT_SERVED;
}

static bool is_fuse(int fd)
{
        struct stat status;
        return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == FUSE_DEVICE;
}

int mounts_prepare(const char *path)
{
        int fd = mounts_descriptor(path);
        if (fd >= 0)
                return is_fuse(fd) ? 0 : -EBADF;
        struct stat status;
        for (int tries = 0; tries < 8; tries++) { /* dead ones may lie on each other */
                MountInfo info;
                int r = mounts_find(path, &info);
                if (r < 0)
                        return r;
                if (!mounts_is_ours(&info)) {
                        if (stat(path, &status) < 0)
                                return -errno;
                        return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
                }
                if (mounts_look_for_life(path) != MOUNT_DEAD)
                        return -EBUSY;
                log_warning("%s is a dead mount of tokenfs: unmounting it first", path);
                mounts_unmount(path);
        }
        return -ENOTCONN;
}

void mounts_pinned_path(int fd, char ret_path[static MOUNTS_PINNED_PATH])
{
        (void)snprintf(ret_path, MOUNTS_PINNED_PATH, "/proc/self/fd/%d", fd);
}

int mounts_find_pinned(int fd, char ret_path[static PATH_MAX])
{
        char link[MOUNTS_PINNED_PATH];
        mounts_pinned_path(fd, link);
        ssize_t len = readlink(link, ret_path, PATH_MAX - 1);
        if (len < 0)
                return errno == ENOENT ? -ENOSYS : -errno;
        ret_path[len] = '\0';
        return 0;
}

/* Not openat2() with RESOLVE_NO_SYMLINKS: system call filters of containers may not know it. */
int mounts_pin(const char *path, int *ret_fd)
{
        char opened[PATH_MAX];
        int fd CLEANUP(cleanup_close) = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ELOOP || errno == ENOTDIR ? -ESTALE : -errno;
        int r = mounts_find_pinned(fd, opened);
        if (r == 0 && strcmp(opened, path) != 0)
                r = -ESTALE;
        if (r < 0)
                return r;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

/* Found as libfuse finds it for mounting: where it is installed, whatever PATH is; then by PATH. */
static void unmount_by_helper(const char *path)
{
        const char *const command[] = {"fusermount3", "-u", "-z", "-q", "--", path, NULL};
        pid_t pid = fork();
        if (pid == 0) {
                (void)execv(TOKENFS_FUSERMOUNT, (char *const *)command);
                (void)execvp(command[0], (char *const *)command);
                _exit(127);
        }
        if (pid > 0)
                while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                        ;
}

void mounts_unmount(const char *path)
{
        int fd CLEANUP(cleanup_close) = -1;
        char pinned[MOUNTS_PINNED_PATH];
        if (mounts_pin(path, &fd) == -ESTALE) {
                log_warning("%s isn't unmounted: a part of its path is a link now", path);
                return;
        }
        mounts_pinned_path(fd, pinned);
        int r = fd >= 0 ? umount2(pinned, MNT_DETACH) : umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
        if (r < 0 && errno == EPERM)
                unmount_by_helper(path);
}

int mounts_waiting(unsigned minor)
{
        char path[64], text[24];
        (void)snprintf(path, sizeof path, "/sys/fs/fuse/connections/%u/waiting", minor);
        int fd CLEANUP(cleanup_close) = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        ssize_t len = read(fd, text, sizeof text - 1);
        if (len < 0)
                return -errno;
        text[len] = '\0';
        text[strcspn(text, "\n")] = '\0';
        uint64_t waiting;
        int r = parse_uint(text, INT_MAX, &waiting);
        return r < 0 ? r : (int)waiting;
}
