#pragma once
/* pidfd_open(2) by its number: the wrapper in <sys/pidfd.h> needs glibc 2.36. */

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* A descriptor (close-on-exec) that polls as readable once the process has ended; -1 with errno. */
static inline int pidfd_get(pid_t pid)
{
        return (int)syscall(SYS_pidfd_open, pid, 0);
}
