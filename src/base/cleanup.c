/* The cleanup function that is too long for the header. */

#include "tokenfs/base/cleanup.h"

#include <errno.h>

void cleanup_close(int *fd)
{
        int saved_errno = errno;
        if (*fd >= 0)
                (void)close(*fd);
        *fd = -1;
        errno = saved_errno;
}
