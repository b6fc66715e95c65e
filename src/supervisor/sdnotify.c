/* The service manager's side of things.
 *
 * A datagram with lines of KEY=value to the socket that NOTIFY_SOCKET names (an absolute path, or '@' for an abstract
 * one). Source: sd_notify(3), section "Notes", which allows for implementations without the library.
 *
 * Descriptors go there as SCM_RIGHTS beside FDSTORE=1, and come back as those from 3 on (sd_listen_fds(3)). */

#include "sdnotify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/parse.h"

#define KEPT_FIRST 3
#define KEPT_MAX 64
#define MESSAGE_MAX 4096 /* what systemd takes: NOTIFY_BUFFER_MAX */

bool sdnotify_is_listening(void)
{
        const char *path = secure_getenv("NOTIFY_SOCKET");
        return path && (path[0] == '/' || path[0] == '@') && path[1];
}

/* `descriptor` -1: none goes with it. */
static int send_message(const char *message, size_t len, int descriptor)
{
        if (!sdnotify_is_listening())
                return -ENOENT;
        const char *path = secure_getenv("NOTIFY_SOCKET");
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t path_len = strlen(path);
        if (path_len >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, path_len);
        if (path[0] == '@')
                address.sun_path[0] = '\0';

        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {.space = {0}};
        struct iovec text = {.iov_base = (void *)message, .iov_len = len};
        struct msghdr datagram = {
                .msg_name = &address,
                .msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_len),
                .msg_iov = &text,
                .msg_iovlen = 1,
        };
        if (descriptor >= 0) {
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof descriptor);
                memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
                datagram.msg_control = &control;
                datagram.msg_controllen = sizeof control.space;
        }
        int fd CLEANUP(cleanup_close) = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return fd >= 0 && sendmsg(fd, &datagram, MSG_NOSIGNAL) >= 0 ? 0 : -errno;
}

void sdnotify_notify(const char *format, ...)
{
        char message[MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        int len = vsnprintf(message, sizeof message, format, args);
        va_end(args);
        if (len > 0) /* of one that is too long, what matters comes first */
                (void)send_message(message, strnlen(message, sizeof message), -1);
}

int sdnotify_keep(const char *name, int fd)
{
        char message[128];
        int len = snprintf(message, sizeof message, "FDSTORE=1\nFDNAME=%s", name);
        if (len < 0 || (size_t)len >= sizeof message)
                return -ENAMETOOLONG;
        return send_message(message, (size_t)len, fd);
}

void sdnotify_drop(const char *name)
{
        sdnotify_notify("FDSTOREREMOVE=1\nFDNAME=%s", name);
}

int sdnotify_kept_end(void)
{
        const char *pid_text = secure_getenv("LISTEN_PID"), *count_text = secure_getenv("LISTEN_FDS");
        uint64_t pid = 0, count = 0;
        if (!pid_text || !count_text || parse_uint(pid_text, INT32_MAX, &pid) < 0 || (pid_t)pid != getpid() ||
                parse_uint(count_text, KEPT_MAX, &count) < 0)
                return KEPT_FIRST;
        return KEPT_FIRST + (int)count;
}

int sdnotify_kept(const char *name)
{
        const char *names = secure_getenv("LISTEN_FDNAMES");
        int end = names ? sdnotify_kept_end() : KEPT_FIRST;
        for (int fd = KEPT_FIRST; fd < end; fd++) {
                size_t len = strcspn(names, ":");
                if (len == strlen(name) && strncmp(names, name, len) == 0)
                        return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -1 : fd;
                names += names[len] ? len + 1 : len;
        }
        return -1;
}

void sdnotify_notify_reloading(void)
{
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        sdnotify_notify("RELOADING=1\nMONOTONIC_USEC=%lld",
                (long long)now.tv_sec * 1000000 + (long long)now.tv_nsec / 1000);
}

uint64_t sdnotify_watchdog_ns(void)
{
        const char *usec_text = secure_getenv("WATCHDOG_USEC"), *pid_text = secure_getenv("WATCHDOG_PID");
        uint64_t usec = 0, pid = 0;
        if (!sdnotify_is_listening() || !usec_text || parse_uint(usec_text, UINT64_MAX / 1000, &usec) < 0)
                return 0;
        if (pid_text && (parse_uint(pid_text, INT32_MAX, &pid) < 0 || (pid_t)pid != getpid()))
                return 0;
        return usec * 1000;
}
