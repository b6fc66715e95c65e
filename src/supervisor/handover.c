/* From binary to binary.
 *
 * Why: an upgrade that unmounts breaks every container that binds the mount. So the supervisor executes the new binary
 * in its own process, and passes it the descriptors that matter.
 *
 * While the new binary is loaded, the kernel lets any process of the same user look into it (execve(2) makes a process
 * dumpable again): by /proc/PID/environ and pidfd_getfd(2). So execve passes neither secrets nor descriptors of the mount.
 * A child of the old image, the courier, has them. The new binary makes itself undumpable in its first line, and
 * sends the courier one end of a socket pair that no other process can have seen. The courier believes only the pid
 * that the kernel attests (SCM_CREDENTIALS): the inherited socket, over which it is asked, may have been stolen. */

#include "handover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/base/secret.h"

#define VARIABLE "TOKENFS_HANDOVER"
#define VERSION "2 "
#define FDS_MAX 4
#define ENVIRONMENT_MAX ((size_t)8 * 1024 * 1024) /* execve(2) takes 6 MiB at most */

/* What the courier sends first, beside the descriptors; the environment follows. */
typedef struct Parcel {
        uint32_t is_probe;
        uint32_t has_control;
        uint64_t environment_len; /* of all strings, each with its NUL */
} Parcel;

/* Variables that act before main: the loader's, the allocator's, the sanitizers'. They are no secrets. */
static bool is_for_the_loader(const char *variable)
{
        static const char *const prefixes[] = {
                "LD_", "GLIBC_", "MALLOC_", "ASAN_", "UBSAN_", "LSAN_", "TSAN_", "MSAN_"};
        for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
                if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
                        return true;
        return false;
}

void handover_deinit(Handover *handover)
{
        cleanup_close(&handover->fuse_fd);
        cleanup_close(&handover->slots_fd);
        cleanup_close(&handover->state_fd);
        cleanup_close(&handover->control_fd);
}

/* --- Messages with descriptors ------------------------------------------------------------------------------ */

typedef union FdControl {
        struct cmsghdr header;
        char space[CMSG_SPACE(FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
} FdControl;

static int send_fds(int socket_fd, const void *data, size_t len, const int *fds, size_t count)
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

/* Returns the length of the message (0: the end) or a negative errno; `*ret_count` descriptors, the caller's to close,
 * and the sender's pid where the socket passes it on (else 0). */
static ssize_t receive_fds(
        int socket_fd, void *data, size_t size, int fds[static FDS_MAX], size_t *ret_count, pid_t *ret_sender)
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
                        if (*ret_count < FDS_MAX)
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

static void close_all(int *fds, size_t count)
{
        for (size_t i = 0; i < count; i++)
                cleanup_close(&fds[i]);
}

/* --- The old image, and its courier ------------------------------------------------------------------------- */

static int send_all(int fd, const char *data, size_t len)
{
        while (len > 0) {
                ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
                if (sent < 0 && errno != EINTR)
                        return -errno;
                if (sent > 0) {
                        data += sent;
                        len -= (size_t)sent;
                }
        }
        return 0;
}

static int deliver(int fd, const Handover *handover, char *const environment[])
{
        int fds[FDS_MAX] = {handover->fuse_fd, handover->slots_fd, handover->state_fd, handover->control_fd};
        Parcel parcel = {.is_probe = handover->is_probe, .has_control = handover->control_fd >= 0};
        for (size_t i = 0; environment[i]; i++)
                parcel.environment_len += strlen(environment[i]) + 1;
        int r = send_fds(fd, &parcel, sizeof parcel, fds, parcel.has_control ? 4 : 3);
        for (size_t i = 0; environment[i] && r == 0; i++)
                r = send_all(fd, environment[i], strlen(environment[i]) + 1);
        return r;
}

/* Waits until the process that forked it asks, and delivers. Doesn't return. */
static void be_courier(int asked_fd, pid_t receiver, const Handover *handover, char *const environment[])
{
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != receiver)
                _exit(EXIT_FAILURE);
        for (;;) {
                char byte;
                int fds[FDS_MAX];
                size_t count;
                pid_t sender;
                ssize_t len = receive_fds(asked_fd, &byte, 1, fds, &count, &sender);
                if (len <= 0)
                        _exit(EXIT_FAILURE); /* the receiver has ended */
                if (sender == receiver && count == 1)
                        _exit(deliver(fds[0], handover, environment) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
                close_all(fds, count);
        }
}

static int execute(int socket_fd, const char *program, char *const argv[], char *const environment[])
{
        char offer[32];
        size_t count = 0;
        while (environment[count])
                count++;
        CLEANUP(cleanup_free) char **reduced = calloc(count + 2, sizeof *reduced);
        int passed_fd CLEANUP(cleanup_close) = fcntl(socket_fd, F_DUPFD, 3); /* which the next binary keeps */
        if (!reduced || passed_fd < 0)
                return reduced ? -errno : -ENOMEM;
        (void)snprintf(offer, sizeof offer, VARIABLE "=" VERSION "%d", passed_fd);
        size_t kept = 0;
        reduced[kept++] = offer;
        for (size_t i = 0; i < count; i++)
                if (is_for_the_loader(environment[i]))
                        reduced[kept++] = environment[i];
        (void)execve(program, argv, reduced);
        return -errno;
}

int handover_exec(
        const Handover *handover, const char *program, char *const argv[], char *const environment[])
{
        static const int on = 1;
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        /* Before anything is sent: the kernel attests what is sent from then on. */
        int r = setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ? -errno : 0;
        pid_t receiver = getpid(), courier = r == 0 ? fork() : -1;
        if (r == 0 && courier < 0)
                r = -errno;
        if (courier == 0) {
                (void)close(ends[1]);
                be_courier(ends[0], receiver, handover, environment);
        }
        (void)close(ends[0]);
        if (r == 0)
                r = execute(ends[1], program, argv, environment);
        (void)close(ends[1]);
        if (courier > 0) {
                (void)kill(courier, SIGKILL);
                while (waitpid(courier, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        return r;
}

/* --- The new image ------------------------------------------------------------------------------------------ */

bool handover_is_offered(void)
{
        return secure_getenv(VARIABLE) != NULL;
}

/* The inherited socket, close-on-exec. */
static int take_offer(int *ret_fd)
{
        const char *text = secure_getenv(VARIABLE);
        uint64_t number;
        if (!text)
                return -ENOENT;
        bool is_known = strncmp(text, VERSION, strlen(VERSION)) == 0;
        int r = is_known ? parse_uint(text + strlen(VERSION), INT32_MAX, &number) : -EPROTONOSUPPORT;
        (void)unsetenv(VARIABLE);
        if (r < 0)
                return r;
        if (fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
                return -EBADF;
        *ret_fd = (int)number;
        return 0;
}

/* A socket of our own to the courier. */
static int ask_courier(int asked_fd, int *ret_fd)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        int r = send_fds(asked_fd, "?", 1, &ends[1], 1);
        (void)close(ends[1]);
        if (r < 0) {
                (void)close(ends[0]);
                return r;
        }
        *ret_fd = ends[0];
        return 0;
}

static int receive_text(int fd, size_t len, Buf *out)
{
        while (out->len < len) {
                char piece[4096];
                size_t left = len - out->len;
                ssize_t got = recv(fd, piece, left < sizeof piece ? left : sizeof piece, 0);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        return got < 0 ? -errno : -EPROTO;
                int r = buf_append(out, piece, (size_t)got);
                secret_wipe(piece, sizeof piece);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int replace_environment(const Buf *text)
{
        if (text->len > 0 && text->data[text->len - 1] != '\0')
                return -EPROTO;
        if (clearenv() != 0)
                return -ENOMEM;
        for (size_t at = 0; at < text->len; at += strlen(text->data + at) + 1) {
                char *name = text->data + at, *value = strchr(name, '=');
                if (!value)
                        continue;
                *value = '\0';
                int r = setenv(name, value + 1, 1);
                *value = '=';
                if (r < 0)
                        return -errno;
        }
        return 0;
}

static int receive(int fd, Handover *ret_handover)
{
        Parcel parcel;
        int fds[FDS_MAX];
        size_t count;
        pid_t sender;
        ssize_t len = receive_fds(fd, &parcel, sizeof parcel, fds, &count, &sender);
        if (len != (ssize_t)sizeof parcel || count != (parcel.has_control ? 4 : 3) ||
                parcel.environment_len > ENVIRONMENT_MAX) {
                close_all(fds, count);
                return len < 0 ? (int)len : -EPROTO;
        }
        Handover handover = {
                .is_probe = parcel.is_probe != 0,
                .fuse_fd = fds[0],
                .slots_fd = fds[1],
                .state_fd = fds[2],
                .control_fd = parcel.has_control ? fds[3] : -1,
        };
        CLEANUP(buf_deinit) Buf environment = BUF_INIT(ENVIRONMENT_MAX);
        int r = receive_text(fd, (size_t)parcel.environment_len, &environment);
        if (r == 0)
                r = replace_environment(&environment);
        if (r < 0) {
                handover_deinit(&handover);
                return r;
        }
        *ret_handover = handover;
        return 0;
}

int handover_receive(Handover *ret_handover)
{
        int asked_fd CLEANUP(cleanup_close) = -1, own_fd CLEANUP(cleanup_close) = -1;
        int r = take_offer(&asked_fd);
        if (r == 0)
                r = ask_courier(asked_fd, &own_fd);
        return r < 0 ? r : receive(own_fd, ret_handover);
}
