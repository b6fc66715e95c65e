/* Landlock, by its system calls: it has no library, and Debian 12's header is older than current kernels.
 *
 * The rule set handles every kind of access that the kernel's version knows, execution included; without a rule, access is
 * denied. From version 4 on the worker can bind no port. From version 6 on it can signal no process outside, and connect
 * to no abstract UNIX socket of one. Landlock doesn't restrict UNIX sockets that have a path. Source: the kernel's
 * Documentation/userspace-api/landlock.rst. */

#include "landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tokenfs/base/cleanup.h"

/* The newest kernel's structure; an older version takes a shorter one. */
typedef struct RulesetAttributes {
        uint64_t handled_access_fs;
        uint64_t handled_access_net; /* version 4 */
        uint64_t scoped; /* version 6 */
} RulesetAttributes;

#define FS_BITS_V1 13
#define FS_BITS_V2 14 /* REFER */
#define FS_BITS_V3 15 /* TRUNCATE */
#define FS_BITS_V5 16 /* IOCTL_DEV */
#define ACCESS_TRUNCATE (UINT64_C(1) << 14)
#define NET_BIND_TCP (UINT64_C(1) << 0)
#define SCOPE_ABSTRACT_UNIX_SOCKET (UINT64_C(1) << 0)
#define SCOPE_SIGNAL (UINT64_C(1) << 1)

static uint64_t handled_access(int abi)
{
        int bits = abi >= 5 ? FS_BITS_V5 : abi >= 3 ? FS_BITS_V3 : abi == 2 ? FS_BITS_V2 : FS_BITS_V1;
        return (UINT64_C(1) << bits) - 1;
}

int landlock_begin(Landlock *ret_landlock)
{
        int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        if (abi < 0)
                return errno == ENOSYS ? -EOPNOTSUPP : -errno;
        const RulesetAttributes attributes = {
                .handled_access_fs = handled_access(abi),
                .handled_access_net = abi >= 4 ? NET_BIND_TCP : 0,
                .scoped = abi >= 6 ? SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL : 0,
        };
        size_t size = abi >= 6   ? sizeof attributes
                      : abi >= 4 ? offsetof(RulesetAttributes, scoped)
                                 : offsetof(RulesetAttributes, handled_access_net);
        int fd = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
        if (fd < 0)
                return -errno;
        *ret_landlock = (Landlock){.fd = fd, .abi = abi};
        return 0;
}

int landlock_allow(Landlock *landlock, const char *path, bool write)
{
        const uint64_t for_files =
                LANDLOCK_ACCESS_FS_READ_FILE | (write ? LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE : 0);
        const uint64_t for_directories =
                LANDLOCK_ACCESS_FS_READ_DIR |
                (write ? LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE : 0);
        int fd CLEANUP(cleanup_close) = open(path, O_PATH | O_CLOEXEC);
        struct stat status;
        if (fd < 0)
                return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
        if (fstat(fd, &status) < 0)
                return -errno;
        const struct landlock_path_beneath_attr rule = {
                .allowed_access = (for_files | (S_ISDIR(status.st_mode) ? for_directories : 0)) &
                                  handled_access(landlock->abi),
                .parent_fd = fd,
        };
        return syscall(SYS_landlock_add_rule, landlock->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno
                                                                                                      : 0;
}

int landlock_enforce(Landlock *landlock)
{
        int r = syscall(SYS_landlock_restrict_self, landlock->fd, 0) < 0 ? -errno : 0;
        landlock_discard(landlock);
        return r;
}

void landlock_discard(Landlock *landlock)
{
        cleanup_close(&landlock->fd);
}
