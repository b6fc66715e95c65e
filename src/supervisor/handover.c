/* From binary to binary.
 *
 * Why: an upgrade that unmounts breaks every container that binds the mount. So the supervisor executes the new binary
 * in its own process, and passes it the descriptors that matter.
 *
 * While the new binary is loaded, the kernel lets any process of the same user look into it (execve(2) makes a process
 * dumpable again): by /proc/PID/environ and pidfd_getfd(2). So execve passes neither secrets nor descriptors of the
 * mount. A child of the old image, the courier, has them. The new binary first makes itself undumpable. Then it sends
 * the courier one end of a socket pair that no other process can have seen. The courier believes only the pid that the
 * kernel attests (SCM_CREDENTIALS): the inherited socket, over which it is asked, may have been stolen. */

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

#include "fdpass.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/base/secret.h"

#define VARIABLE "TOKENFS_HANDOVER"
#define VERSION "2 "
#define ENVIRONMENT_MAX ((size_t)8 * 1024 * 1024) /* execve(2) takes 6 MiB at most */

/* What the courier sends first, beside the descriptors; the environment follows. */
typedef struct Parcel {
        uint32_t is_probe;
        uint32_t has_control, has_reload;
        uint32_t unused; /* no padding */
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
        cleanup_close(&handover->reload_fd);
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
        int fds[FDPASS_MAX] = {handover->fuse_fd, handover->slots_fd, handover->state_fd};
        size_t count = 3;
        Parcel parcel = {.is_probe = handover->is_probe,
                .has_control = handover->control_fd >= 0,
                .has_reload = handover->reload_fd >= 0};
        if (parcel.has_control)
                fds[count++] = handover->control_fd;
        if (parcel.has_reload)
                fds[count++] = handover->reload_fd;
        for (size_t i = 0; environment[i]; i++)
                parcel.environment_len += strlen(environment[i]) + 1;
        int r = fdpass_send(fd, &parcel, sizeof parcel, fds, count);
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
                int fds[FDPASS_MAX];
                size_t count;
                pid_t sender;
                ssize_t len = fdpass_receive(asked_fd, &byte, 1, fds, &count, &sender);
                if (len <= 0)
                        _exit(EXIT_FAILURE); /* the receiver has ended */
                if (sender == receiver && count == 1)
                        _exit(deliver(fds[0], handover, environment) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
                fdpass_close(fds, count);
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
        int r = fdpass_send(asked_fd, "?", 1, &ends[1], 1);
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
        int fds[FDPASS_MAX];
        size_t count;
        pid_t sender;
        ssize_t len = fdpass_receive(fd, &parcel, sizeof parcel, fds, &count, &sender);
        bool is_whole =
                len == (ssize_t)sizeof parcel && count == 3U + !!parcel.has_control + !!parcel.has_reload;
        if (!is_whole || parcel.environment_len > ENVIRONMENT_MAX) {
                fdpass_close(fds, count);
                return len < 0 ? (int)len : -EPROTO;
        }
        Handover handover = {
                .is_probe = parcel.is_probe != 0,
                .fuse_fd = fds[0],
                .slots_fd = fds[1],
                .state_fd = fds[2],
                .control_fd = parcel.has_control ? fds[3] : -1,
                .reload_fd = parcel.has_reload ? fds[count - 1] : -1,
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
