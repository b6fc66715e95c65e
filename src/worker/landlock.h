#pragma once
/* Limits the files that this process can open, by the kernel's Landlock. */

#include <stdbool.h>

typedef struct Landlock {
        int fd;
        int abi;
} Landlock;

/* Starts a set of rules, which denies all files that no rule allows. 0, -EOPNOTSUPP (the kernel has no Landlock, or it is
 * turned off), or another negative errno. */
int landlock_begin(Landlock *ret_landlock);
/* Allows to read the files below `path` (or the file); with `write` also to make, replace and remove them. A path that
 * doesn't exist is no error. 0 or a negative errno. */
int landlock_allow(Landlock *landlock, const char *path, bool write);
/* Puts the rules into force, for good, for this thread and those it starts; needs no_new_privs. Closes the set. */
int landlock_enforce(Landlock *landlock);
/* Closes the set without putting it into force. */
void landlock_discard(Landlock *landlock);
