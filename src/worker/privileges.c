/* Giving up privileges.
 *
 * Why: the worker parses data from the network; an attacker who takes it over must gain as little as possible. How: before
 * the first byte from outside it changes its user, empties every capability set, and sets no_new_privs. The bounding set
 * is emptied too, so that execve() can't bring a capability back. Capabilities are set by system calls: five lines
 * instead of a library. A worker that stays root can read root's files, but no files that only their owner may read. */

#include "tokenfs/worker/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tokenfs/base/log.h"
#include "tokenfs/base/users.h"

#define MEMLOCK_BYTES ((rlim_t)64 << 20)

/* A sanitizer's own threads trace the process, which must stay dumpable for them. */
#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

void privileges_hide(void)
{
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        if (!IS_SANITIZED)
                (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void privileges_raise_memlock(void)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
                return;
        if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= MEMLOCK_BYTES)
                return;
        struct rlimit wanted = {
                MEMLOCK_BYTES, limit.rlim_max > MEMLOCK_BYTES ? limit.rlim_max : MEMLOCK_BYTES};
        if (setrlimit(RLIMIT_MEMLOCK, &wanted) == 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_MEMLOCK, &limit);
}

static int change_user(const char *user)
{
        User entry;
        int r = users_find(user, &entry);
        if (r < 0)
                return r;
        uid_t uid = entry.uid;
        gid_t gid = entry.gid;
        if (setenv("HOME", entry.home, 1) < 0 || setenv("USER", entry.name, 1) < 0 ||
                setenv("LOGNAME", entry.name, 1) < 0)
                return -ENOMEM;
        if (initgroups(user, gid) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
                return -errno;
        /* The kernel's view counts. */
        uid_t real, effective, saved;
        if (getresuid(&real, &effective, &saved) < 0 || real != uid || effective != uid || saved != uid)
                return -EPERM;
        return uid != 0 && setresuid(0, 0, 0) == 0 ? -EPERM : 0;
}

static void drop_bounding_set(void)
{
        for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
                (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
        (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static int drop_capabilities(void)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}}, left[_LINUX_CAPABILITY_U32S_3];
        if (syscall(SYS_capset, &header, none) == 0)
                return 0;
        int r = -errno;
        /* A service manager's sandbox may refuse the call to a process that has no capabilities. */
        memset(left, 0xff, sizeof left);
        return syscall(SYS_capget, &header, left) == 0 && memcmp(left, none, sizeof none) == 0 ? 0 : r;
}

int privileges_drop(const char *user)
{
        drop_bounding_set(); /* needs CAP_SETPCAP, which the change of user takes */
        int r = user ? change_user(user) : 0;
        if (r == 0)
                r = drop_capabilities();
        if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                r = -errno;
        if (r < 0) {
                log_error("can't give up privileges%s%s: %s", user ? " for user " : "", user ? user : "",
                        strerror(-r));
                return r;
        }
        privileges_hide(); /* again: a change of user sets the flag to fs.suid_dumpable (proc(5)) */
        return 0;
}
