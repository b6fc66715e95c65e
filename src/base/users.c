/* Users and groups, copied from the C library's results. */

#include "tokenfs/base/users.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>

#define STRINGS_BYTES 16384

static int copy_user(int error, const struct passwd *found, User *ret_user)
{
        if (!found)
                return error ? -error : -ENOENT;
        User user = {.uid = found->pw_uid, .gid = found->pw_gid};
        if (snprintf(user.name, sizeof user.name, "%s", found->pw_name) >= (int)sizeof user.name ||
                snprintf(user.home, sizeof user.home, "%s", found->pw_dir) >= (int)sizeof user.home)
                return -ENAMETOOLONG;
        *ret_user = user;
        return 0;
}

int users_find(const char *name, User *ret_user)
{
        struct passwd entry, *found = NULL;
        char strings[STRINGS_BYTES];
        int error = getpwnam_r(name, &entry, strings, sizeof strings, &found);
        return copy_user(error, found, ret_user);
}

int users_find_by_uid(uid_t uid, User *ret_user)
{
        struct passwd entry, *found = NULL;
        char strings[STRINGS_BYTES];
        int error = getpwuid_r(uid, &entry, strings, sizeof strings, &found);
        return copy_user(error, found, ret_user);
}

int users_find_group(const char *name, gid_t *ret_gid)
{
        struct group entry, *found = NULL;
        char strings[STRINGS_BYTES];
        int error = getgrnam_r(name, &entry, strings, sizeof strings, &found);
        if (!found)
                return error ? -error : -ENOENT;
        *ret_gid = found->gr_gid;
        return 0;
}
