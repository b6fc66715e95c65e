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
#include <unistd.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/log.h"

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
                int r = -errno;
                (void)close(ends[0]);
                (void)close(ends[1]);
                return r;
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

int daemonize_fix_environment(void)
{
        static const char *const names[] = {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE",
                "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "SSL_CERT_FILE",
                "SSL_CERT_DIR"};
        CLEANUP(cleanup_free) char *directory = getcwd(NULL, 0);
        if (!directory)
                return errno == ENOMEM ? -ENOMEM : 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                const char *name = secure_getenv(names[i]);
                if (!name || !*name || *name == '/' || *name == '~' || *name == '$')
                        continue;
                CLEANUP(cleanup_free) char *path = NULL;
                if (asprintf(&path, "%s/%s", directory, name) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                if (setenv(names[i], path, 1) < 0)
                        return -ENOMEM;
        }
        return 0;
}
