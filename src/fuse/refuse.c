/* Refusing.
 *
 * Only the header of each request is looked at, and the kernel wrote it: the supervisor stays a process that parses
 * nothing from outside. Readers that try again at once may ask as fast as they are refused: so many a call, and what else
 * the supervisor has to do has its turn. */

#include "tokenfs/fuse/refuse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tokenfs/base/cleanup.h"

/* The kernel wants room for the largest request that could be, whatever comes: libfuse's own size. */
#define REQUEST_MAX ((size_t)256 * 4096 + 4096)
#define REQUESTS_A_CALL 256

static bool wants_no_answer(uint32_t opcode)
{
        return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT ||
               opcode == FUSE_NOTIFY_REPLY;
}

unsigned refuse_waiting(FsSession *session)
{
        int fd = fs_session_fd(session);
        CLEANUP(cleanup_free) void *request = malloc(REQUEST_MAX);
        int flags = fcntl(fd, F_GETFL);
        if (!request || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return 0;
        (void)fs_session_resend(session);
        unsigned refused = 0;
        for (int i = 0; i < REQUESTS_A_CALL; i++) {
                ssize_t len = read(fd, request, REQUEST_MAX);
                if (len < 0 && (errno == EINTR || errno == ENOENT)) /* ENOENT: its reader has just gone */
                        continue;
                struct fuse_in_header in;
                if (len < (ssize_t)sizeof in)
                        break;
                memcpy(&in, request, sizeof in);
                if (wants_no_answer(in.opcode))
                        continue;
                const struct fuse_out_header out = {.len = sizeof out, .error = -EIO, .unique = in.unique};
                refused += write(fd, &out, sizeof out) == (ssize_t)sizeof out;
        }
        return refused;
}
