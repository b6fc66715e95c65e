/* The part that the CSI driver for FUSE has in a pod's container, for tests: it gets the descriptor of a mount that the
 * driver made, over a unix socket, with SCM_RIGHTS.
 *
 * As "starter --fd-passing-socket-path=SOCKET -- PROGRAM ARGUMENT…" it starts the program with that descriptor as number 3, passes SIGTERM on, and
 * ends as the program does. As fusermount3 (the name that it is called by), with the socket's path in
 * FUSERMOUNT3PROXY_FDPASSING_SOCKPATH, it passes the descriptor on to libfuse, which started it. */

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t child;

static void fail(const char *action)
{
        perror(action);
        exit(1);
}

/* A message of one descriptor, and bytes beside it. */
static struct msghdr message_of(struct iovec *bytes, char *control, size_t size)
{
        return (struct msghdr){
                .msg_iov = bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = size};
}

static int receive_descriptor(const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof address.sun_path) {
                errno = ENAMETOOLONG;
                fail(path);
        }
        memcpy(address.sun_path, path, strlen(path) + 1);
        int socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (socket_fd < 0 || connect(socket_fd, (struct sockaddr *)&address, sizeof address) < 0)
                fail(path);
        char text[500];
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        struct iovec bytes = {text, sizeof text};
        struct msghdr message = message_of(&bytes, control, sizeof control);
        if (recvmsg(socket_fd, &message, 0) <= 0 || !CMSG_FIRSTHDR(&message))
                fail("recvmsg");
        int fd;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
        (void)close(socket_fd);
        (void)unlink(path);
        return fd;
}

static int be_fusermount(void)
{
        const char *path = secure_getenv("FUSERMOUNT3PROXY_FDPASSING_SOCKPATH"),
                   *peer = secure_getenv("_FUSE_COMMFD");
        if (!path || !peer)
                return 0; /* asked to unmount: the driver does that */
        int fd = receive_descriptor(path);
        char zero = 0;
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
        struct iovec bytes = {&zero, 1};
        struct msghdr message = message_of(&bytes, control, sizeof control);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){
                .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
        if (sendmsg((int)strtol(peer, NULL, 10), &message, 0) < 0)
                fail("sendmsg");
        return 0;
}

static void pass_on(int number)
{
        if (child > 0)
                (void)kill(child, number);
}

int main(int argc, char **argv)
{
        if (strstr(argv[0], "fusermount3"))
                return be_fusermount();
        static const char option[] = "--fd-passing-socket-path=";
        if (argc < 4 || strncmp(argv[1], option, strlen(option)) != 0 || strcmp(argv[2], "--") != 0) {
                fprintf(stderr, "usage: starter %sSOCKET -- PROGRAM ARGUMENT…\n", option);
                return 2;
        }
        int fd = receive_descriptor(argv[1] + strlen(option));
        if (fd != 3 && (dup2(fd, 3) < 0 || close(fd) < 0))
                fail("dup2");
        (void)signal(SIGTERM, pass_on);
        child = fork();
        if (child < 0)
                fail("fork");
        if (child == 0) {
                (void)execv(argv[3], argv + 3);
                fail(argv[3]);
        }
        (void)close(3);
        int status;
        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        fail("waitpid");
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
