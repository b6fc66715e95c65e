/* Refusing.
 *
 * Only the header of each request is read, and the kernel wrote it: the supervisor parses no data from outside. Readers
 * may repeat their requests as fast as they are refused, so that each call refuses a limited number. */

#include "tokenfs/fuse/refuse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

#define REQUESTS_A_CALL 256

static bool wants_no_answer(uint32_t opcode)
{
        return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT ||
               opcode == FUSE_NOTIFY_REPLY;
}

unsigned refuse_waiting(Session *session)
{
        int fd = session_fd(session);
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return 0;
        (void)session_resend(session);
        unsigned refused = 0;
        for (int i = 0; i < REQUESTS_A_CALL; i++) {
                const void *request;
                struct fuse_in_header in;
                if (session_read(session, &request) <= 0)
                        break;
                memcpy(&in, request, sizeof in);
                if (wants_no_answer(in.opcode))
                        continue;
                const struct fuse_out_header out = {.len = sizeof out, .error = -EIO, .unique = in.unique};
                refused += write(fd, &out, sizeof out) == (ssize_t)sizeof out;
        }
        return refused;
}
