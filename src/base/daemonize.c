/* Going into the background.
 *
 * Why: the caller (a person, mount(8), a boot script) reads from the mount in its next line. So the parent waits until
 * the daemon reports that it serves, and exits with the daemon's status if it fails. Until then the daemon keeps standard
 * error for its error messages. */

#include "tokenfs/base/daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/log.h"

#define VARIABLE_MAX ((size_t)64 * 1024)

static void wait_for_report(int fd)
{
        unsigned char status;
        ssize_t len;
        do
                len = read(fd, &status, 1);
        while (len < 0 && errno == EINTR);
        _exit(len == 1 ? status : EXIT_MOUNT);
}

int daemonize_start(int *ret_report_fd)
{
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        pid_t pid = fork();
        if (pid < 0) {
                cleanup_close(&ends[0]);
                cleanup_close(&ends[1]);
                return -errno;
        }
        if (pid > 0) {
                (void)close(ends[1]);
                wait_for_report(ends[0]);
        }
        (void)close(ends[0]);
        *ret_report_fd = ends[1];
        return 0;
}

int daemonize_report(int *fd, int status)
{
        unsigned char byte = (unsigned char)status;
        int r = write(*fd, &byte, 1) == 1 ? 0 : -EPIPE;
        cleanup_close(fd);
        return r;
}

void daemonize_detach(LogLevel level)
{
        log_open(level, true);
        int fd CLEANUP(cleanup_close) = open("/dev/null", O_RDWR | O_CLOEXEC);
        for (int stream = 0; fd >= 0 && stream <= 2; stream++)
                (void)dup2(fd, stream);
        if (fd <= 2)
                fd = -1; /* open() gave it the number of a closed stream */
}

/* The AWS tools expand ~ and variables themselves. */
static bool is_relative(const char *path)
{
        return *path && !strchr("/~$", *path);
}

/* Makes the paths of a variable absolute: one path, or with `separators` ":" a list. 0 or -ENOMEM. */
static int fix_variable(const char *name, const char *directory, const char *separators)
{
        const char *value = secure_getenv(name);
        CLEANUP(buf_deinit) Buf fixed = BUF_INIT(VARIABLE_MAX);
        if (!value)
                return 0;
        for (const char *path = value;; path++) {
                size_t len = *separators ? strcspn(path, separators) : strlen(path);
                if (len > 0 && is_relative(path))
                        (void)buf_appendf(&fixed, "%s/", directory);
                (void)buf_append(&fixed, path, len);
                path += len;
                if (!*path)
                        break;
                (void)buf_append_char(&fixed, *path);
        }
        if (fixed.error == -EMSGSIZE) /* no path that a system call takes */
                return 0;
        return fixed.error < 0 || setenv(name, buf_str(&fixed), 1) < 0 ? -ENOMEM : 0;
}

int daemonize_fix_environment(void)
{
        static const char *const names[] = {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE",
                "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "SSL_CERT_FILE"};
        CLEANUP(cleanup_free) char *directory = getcwd(NULL, 0);
        if (!directory)
                return errno == ENOMEM ? -ENOMEM : 0;
        int r = fix_variable("SSL_CERT_DIR", directory, ":");
        for (size_t i = 0; i < ARRAY_LEN(names) && r == 0; i++)
                r = fix_variable(names[i], directory, "");
        return r;
}
