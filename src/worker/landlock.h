#pragma once
/* Which files a worker may reach, through the kernel's Landlock. */

#include <stdbool.h>

typedef struct Landlock {
        int fd;
        int abi;
} Landlock;

/* Starts a set of rules: nothing may be reached but what they allow. 0, -EOPNOTSUPP (the kernel has no Landlock, or it
 * is turned off), or another negative errno. */
int landlock_begin(Landlock *ret_landlock);
/* Lets files below `path` (or the file) be read; with `write` also be made, replaced and removed. What doesn't exist
 * is no error. 0 or a negative errno. */
int landlock_allow(Landlock *landlock, const char *path, bool write);
/* Puts the rules into force, for good, for this thread and those it starts; needs no_new_privs. Closes the set. */
int landlock_enforce(Landlock *landlock);
/* Closes the set without. */
void landlock_discard(Landlock *landlock);
