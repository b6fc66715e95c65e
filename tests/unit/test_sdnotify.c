/* Telling the service manager: what arrives at the socket. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/sdnotify.h"
#include "tokenfs/base/clock.h"

/* A socket to listen at, whose name goes into the environment. '@' in front: an abstract one. */
static int listen_at(const char *name)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t len = strlen(name);
        assert_true(len < sizeof address.sun_path);
        memcpy(address.sun_path, name, len);
        if (name[0] == '@')
                address.sun_path[0] = '\0';
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address,
                                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                0);
        assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
        return fd;
}

static void receive(int fd, char text[static 600])
{
        ssize_t len = recv(fd, text, 599, MSG_DONTWAIT);
        text[len > 0 ? len : 0] = '\0';
}

static void test_nobody_listens(void **state)
{
        (void)state;
        (void)unsetenv("NOTIFY_SOCKET");
        assert_false(sdnotify_is_listening());
        sdnotify_notify("READY=1");
        assert_int_equal(setenv("NOTIFY_SOCKET", "vsock:1:2", 1), 0);
        assert_false(sdnotify_is_listening());
        assert_int_equal(setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1), 0);
        assert_true(sdnotify_is_listening());
        sdnotify_notify("READY=1"); /* must not fail or block */
}

static void test_messages(void **state)
{
        (void)state;
        char directory[] = "/tmp/tokenfs-systemd-XXXXXX", path[64], abstract[64], text[600];
        assert_non_null(mkdtemp(directory));
        (void)snprintf(path, sizeof path, "%s/notify", directory);
        (void)snprintf(abstract, sizeof abstract, "@tokenfs-test-%ld", (long)getpid());
        const char *const names[] = {path, abstract};
        for (size_t i = 0; i < 2; i++) {
                int fd = listen_at(names[i]);
                assert_true(sdnotify_is_listening());
                sdnotify_notify("READY=1\nSTATUS=Serving %s", "/mnt");
                receive(fd, text);
                assert_string_equal(text, "READY=1\nSTATUS=Serving /mnt");

                unsigned long long usec = 0;
                sdnotify_notify_reloading();
                receive(fd, text);
                assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%llu", &usec), 1);
                assert_true(usec > 0);

                /* A mount point as long as it may be: what matters arrives. */
                char longest[PATH_MAX];
                memset(longest, 'x', sizeof longest);
                longest[sizeof longest - 1] = '\0';
                sdnotify_notify("READY=1\nSTATUS=Serving %s", longest);
                receive(fd, text);
                assert_memory_equal(text, "READY=1\nSTATUS=Serving xxx", 26);
                (void)close(fd);
        }
        (void)unlink(path);
        assert_int_equal(rmdir(directory), 0);
}

/* Takes one message with at most one descriptor; -1: none came. */
static int receive_descriptor(int fd, char text[static 600])
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec data = {.iov_base = text, .iov_len = 599};
        struct msghdr message = {.msg_iov = &data,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control.space};
        ssize_t len = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        text[len > 0 ? len : 0] = '\0';
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        int found = -1;
        if (header && header->cmsg_type == SCM_RIGHTS)
                memcpy(&found, CMSG_DATA(header), sizeof found);
        return found;
}

static void test_keeping(void **state)
{
        (void)state;
        char name[64], text[600], letter = 0;
        (void)snprintf(name, sizeof name, "@tokenfs-keep-%ld", (long)getpid());
        int fd = listen_at(name), ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(sdnotify_keep("some-name", ends[1]), 0);
        int kept = receive_descriptor(fd, text);
        assert_string_equal(text, "FDSTORE=1\nFDNAME=some-name");
        assert_true(kept >= 0);
        assert_int_equal(write(kept, "x", 1), 1);
        assert_int_equal(read(ends[0], &letter, 1), 1);
        assert_int_equal(letter, 'x');

        sdnotify_drop("some-name");
        assert_int_equal(receive_descriptor(fd, text), -1);
        assert_string_equal(text, "FDSTOREREMOVE=1\nFDNAME=some-name");

        (void)close(fd);
        assert_true(sdnotify_keep("some-name", ends[1]) < 0); /* nobody is there any more */
        (void)unsetenv("NOTIFY_SOCKET");
        assert_int_equal(sdnotify_keep("some-name", ends[1]), -ENOENT);
        (void)close(kept);
        (void)close(ends[0]);
        (void)close(ends[1]);
}

static void set_listening(const char *pid, const char *count, const char *names)
{
        assert_int_equal(setenv("LISTEN_PID", pid, 1), 0);
        assert_int_equal(setenv("LISTEN_FDS", count, 1), 0);
        assert_int_equal(setenv("LISTEN_FDNAMES", names, 1), 0);
}

static void test_what_was_kept(void **state)
{
        (void)state;
        char pid[24];
        (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
        (void)unsetenv("LISTEN_PID");
        assert_int_equal(sdnotify_kept("b"), -1);

        /* 3 to 5 must be open, as they would be. */
        for (int fd = 3; fd <= 5; fd++)
                if (fcntl(fd, F_GETFD) < 0)
                        assert_int_equal(dup2(STDERR_FILENO, fd), fd);
        set_listening(pid, "3", "a:bb:b");
        assert_int_equal(sdnotify_kept("a"), 3);
        assert_int_equal(sdnotify_kept("bb"), 4);
        assert_int_equal(sdnotify_kept("b"), 5);
        assert_int_equal(fcntl(5, F_GETFD), FD_CLOEXEC);
        assert_int_equal(sdnotify_kept("c"), -1);
        assert_int_equal(sdnotify_kept("a:bb"), -1);

        set_listening(pid, "2", "a:bb:b"); /* more names than descriptors, and fewer */
        assert_int_equal(sdnotify_kept("b"), -1);
        set_listening(pid, "3", "a");
        assert_int_equal(sdnotify_kept("b"), -1);
        assert_int_equal(sdnotify_kept("a"), 3);
        set_listening("1", "3", "a:bb:b"); /* meant for another process */
        assert_int_equal(sdnotify_kept("a"), -1);
        set_listening(pid, "-1", "a");
        assert_int_equal(sdnotify_kept("a"), -1);
        set_listening(pid, "1000000", "a");
        assert_int_equal(sdnotify_kept("a"), -1);
        set_listening(pid, "64", ":::::::::::::::::::::::::::::::::::::::::::::::::::::::::a");
        assert_int_equal(sdnotify_kept("a"), -1); /* a descriptor that isn't open */
        (void)unsetenv("LISTEN_PID");
}

static void test_watchdog(void **state)
{
        (void)state;
        char pid[24];
        assert_int_equal(setenv("NOTIFY_SOCKET", "@x", 1), 0);
        (void)unsetenv("WATCHDOG_USEC");
        (void)unsetenv("WATCHDOG_PID");
        assert_int_equal(sdnotify_watchdog_ns(), 0);
        assert_int_equal(setenv("WATCHDOG_USEC", "30000000", 1), 0);
        assert_int_equal(sdnotify_watchdog_ns(), 30 * NS_PER_S);
        (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
        assert_int_equal(setenv("WATCHDOG_PID", pid, 1), 0);
        assert_int_equal(sdnotify_watchdog_ns(), 30 * NS_PER_S);
        assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0); /* meant for another process */
        assert_int_equal(sdnotify_watchdog_ns(), 0);
        (void)unsetenv("WATCHDOG_PID");
        assert_int_equal(setenv("WATCHDOG_USEC", "soon", 1), 0);
        assert_int_equal(sdnotify_watchdog_ns(), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nobody_listens),
                cmocka_unit_test(test_messages),
                cmocka_unit_test(test_keeping),
                cmocka_unit_test(test_what_was_kept),
                cmocka_unit_test(test_watchdog),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
