/* Telling the service manager: what arrives at the socket. */

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

#include "daemon/systemd.h"
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
        assert_false(systemd_is_listening());
        systemd_notify("READY=1");
        assert_int_equal(setenv("NOTIFY_SOCKET", "vsock:1:2", 1), 0);
        assert_false(systemd_is_listening());
        assert_int_equal(setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1), 0);
        assert_true(systemd_is_listening());
        systemd_notify("READY=1"); /* must not fail or block */
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
                assert_true(systemd_is_listening());
                systemd_notify("READY=1\nSTATUS=Serving %s", "/mnt");
                receive(fd, text);
                assert_string_equal(text, "READY=1\nSTATUS=Serving /mnt");

                unsigned long long usec = 0;
                systemd_notify_reloading();
                receive(fd, text);
                assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%llu", &usec), 1);
                assert_true(usec > 0);

                /* Too long: nothing, rather than half of it. */
                char longer[600];
                memset(longer, 'x', sizeof longer);
                longer[sizeof longer - 1] = '\0';
                systemd_notify("STATUS=%s", longer);
                receive(fd, text);
                assert_string_equal(text, "");
                (void)close(fd);
        }
        (void)unlink(path);
        assert_int_equal(rmdir(directory), 0);
}

static void test_watchdog(void **state)
{
        (void)state;
        char pid[24];
        assert_int_equal(setenv("NOTIFY_SOCKET", "@x", 1), 0);
        (void)unsetenv("WATCHDOG_USEC");
        (void)unsetenv("WATCHDOG_PID");
        assert_int_equal(systemd_watchdog_ns(), 0);
        assert_int_equal(setenv("WATCHDOG_USEC", "30000000", 1), 0);
        assert_int_equal(systemd_watchdog_ns(), 30 * NS_PER_S);
        (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
        assert_int_equal(setenv("WATCHDOG_PID", pid, 1), 0);
        assert_int_equal(systemd_watchdog_ns(), 30 * NS_PER_S);
        assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0); /* meant for another process */
        assert_int_equal(systemd_watchdog_ns(), 0);
        (void)unsetenv("WATCHDOG_PID");
        assert_int_equal(setenv("WATCHDOG_USEC", "soon", 1), 0);
        assert_int_equal(systemd_watchdog_ns(), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nobody_listens),
                cmocka_unit_test(test_messages),
                cmocka_unit_test(test_watchdog),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
