#pragma once
/* Users and groups, by name or number. */

#include <limits.h>
#include <sys/types.h>

typedef struct User {
        uid_t uid;
        gid_t gid;
        char name[256];
        char home[PATH_MAX];
} User;

/* 0, -ENOENT (no such user or group), or another negative errno. */
int users_find(const char *name, User *ret_user);
int users_find_by_uid(uid_t uid, User *ret_user);
int users_find_group(const char *name, gid_t *ret_gid);
