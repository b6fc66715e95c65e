/* The service manager's side of things.
 *
 * A datagram with lines of KEY=value to the socket that NOTIFY_SOCKET names (an absolute path, or '@' for an abstract
 * one). Source: sd_notify(3), section "Notes", which allows for implementations without the library. */

#include "systemd.h"

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

bool systemd_is_listening(void)
{
        const char *path = secure_getenv("NOTIFY_SOCKET");
        return path && (path[0] == '/' || path[0] == '@') && path[1];
}

void systemd_notify(const char *format, ...)
{
        if (!systemd_is_listening())
                return;
        const char *path = secure_getenv("NOTIFY_SOCKET");
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t path_len = strlen(path);
        if (path_len >= sizeof address.sun_path)
                return;
        memcpy(address.sun_path, path, path_len);
        if (path[0] == '@')
                address.sun_path[0] = '\0';

        char message[512];
        va_list args;
        va_start(args, format);
        int len = vsnprintf(message, sizeof message, format, args);
        va_end(args);
        if (len < 0 || (size_t)len >= sizeof message)
                return;
        int fd CLEANUP(cleanup_close) = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0)
                (void)sendto(fd, message, (size_t)len, MSG_NOSIGNAL, (struct sockaddr *)&address,
                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path_len));
}

void systemd_notify_reloading(void)
{
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        systemd_notify("RELOADING=1\nMONOTONIC_USEC=%lld",
                (long long)now.tv_sec * 1000000 + (long long)now.tv_nsec / 1000);
}

uint64_t systemd_watchdog_ns(void)
{
        const char *usec_text = secure_getenv("WATCHDOG_USEC"), *pid_text = secure_getenv("WATCHDOG_PID");
        uint64_t usec = 0, pid = 0;
        if (!systemd_is_listening() || !usec_text || parse_uint(usec_text, UINT64_MAX / 1000, &usec) < 0)
                return 0;
        if (pid_text && (parse_uint(pid_text, INT32_MAX, &pid) < 0 || (pid_t)pid != getpid()))
                return 0;
        return usec * 1000;
}
