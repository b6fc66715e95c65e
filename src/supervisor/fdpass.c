/* Messages with descriptors, over a unix socket (SCM_RIGHTS, unix(7)). */

#include "fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tokenfs/base/cleanup.h"

typedef union FdControl {
        struct cmsghdr header;
        char space[CMSG_SPACE(FDPASS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
} FdControl;

int fdpass_send(int socket_fd, const void *data, size_t len, const int *fds, size_t count)
{
        FdControl control = {.space = {0}};
        struct iovec part = {.iov_base = (void *)data, .iov_len = len};
        struct msghdr message = {.msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = CMSG_SPACE(count * sizeof *fds)};
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof *fds);
        memcpy(CMSG_DATA(&control.header), fds, count * sizeof *fds);
        ssize_t sent = sendmsg(socket_fd, &message, MSG_NOSIGNAL);
        return sent < 0 ? -errno : (size_t)sent == len ? 0 : -EPROTO;
}

ssize_t fdpass_receive(int socket_fd, void *data, size_t size, int fds[static FDPASS_MAX], size_t *ret_count,
        pid_t *ret_sender)
{
        FdControl control = {.space = {0}};
        struct iovec part = {.iov_base = data, .iov_len = size};
        struct msghdr message = {
                .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        *ret_count = 0;
        *ret_sender = 0;
        ssize_t len;
        do
                len = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC);
        while (len < 0 && errno == EINTR);
        if (len < 0)
                return -errno;
        for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
                header = CMSG_NXTHDR(&message, header)) {
                size_t content_len = header->cmsg_len - CMSG_LEN(0);
                if (header->cmsg_level != SOL_SOCKET)
                        continue;
                for (size_t at = 0; header->cmsg_type == SCM_RIGHTS && at < content_len; at += sizeof(int)) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
                        if (*ret_count < FDPASS_MAX)
                                fds[(*ret_count)++] = fd;
                        else
                                (void)close(fd);
                }
                if (header->cmsg_type == SCM_CREDENTIALS && content_len == sizeof(struct ucred)) {
                        struct ucred sender;
                        memcpy(&sender, CMSG_DATA(header), sizeof sender);
                        *ret_sender = sender.pid;
                }
        }
        return len;
}

void fdpass_close(int *fds, size_t count)
{
        for (size_t i = 0; i < count; i++)
                cleanup_close(&fds[i]);
}
