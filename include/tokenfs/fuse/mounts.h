#pragma once
/* What is mounted where, from /proc/self/mountinfo: it can be asked about a dead mount too. */

#include <limits.h>
#include <stdbool.h>

typedef struct MountInfo {
        char type[64]; /* "fuse.tokenfs"; "" if nothing is mounted right there */
        unsigned minor; /* of the device: FUSE's connection number */
        char source[256]; /* cut if it is longer */
        bool allow_other;
} MountInfo;

/* The topmost mount on exactly this path (absolute, without links). 0, -ENOSYS (/proc isn't mounted), or another
 * negative errno of reading. */
int mounts_find(const char *path, MountInfo *ret_info);
/* The same in a file of that format. */
int mounts_find_in(const char *file, const char *path, MountInfo *ret_info);
bool mounts_is_ours(const MountInfo *info);

/* Is a mount of ours served? */
typedef enum MountLife {
        MOUNT_SERVED,
        MOUNT_SILENT, /* its connection lives, but no answer came for a second */
        MOUNT_DEAD,
} MountLife;
MountLife mounts_look_for_life(const char *path);

/* N of /dev/fd/N, by which a connection of another process is given; -1 for any other path. */
int mounts_descriptor(const char *mountpoint);
/* The mount point as an absolute path without links; works if the last part is a dead mount. A path of /dev/fd/ stays
 * as it is. Caller frees. 0 or a negative errno. */
int mounts_resolve(const char *mountpoint, char **ret_path);
/* The same for one whose last part needn't be there. */
int mounts_resolve_parent(const char *mountpoint, char **ret_path);
/* Makes the (resolved) path fit to be mounted on: a dead mount of ours is unmounted. Returns 0, -ENOTDIR, -EBUSY (a
 * live one of ours is there), -EBADF (/dev/fd/N is no connection to FUSE) or the errno of looking. */
int mounts_prepare(const char *path);

/* Opens (O_PATH) the directory at a resolved path. So renamed directories on the way can't make tokenfs
 * mount on or unmount another one than was resolved. 0, -ESTALE (a part of the path is a link now), -ENOSYS (/proc isn't mounted),
 * or another negative errno. */
int mounts_pin(const char *path, int *ret_fd);
/* The path of such a descriptor for system calls of this process; needs /proc. */
#define MOUNTS_PINNED_PATH 32
void mounts_pinned_path(int fd, char ret_path[static MOUNTS_PINNED_PATH]);
/* Where that directory is now: it may have been moved. 0, -ENOSYS (/proc isn't mounted), or another negative errno. */
int mounts_find_pinned(int fd, char ret_path[static PATH_MAX]);

/* Lazily unmounts what is mounted at this resolved path; by fusermount3 where this process may not. */
void mounts_unmount(const char *path);

/* How many requests the kernel holds for this connection, those being worked on included; negative errno: it isn't
 * known (fusectl isn't mounted, or this process may not read it). */
int mounts_waiting(unsigned minor);
