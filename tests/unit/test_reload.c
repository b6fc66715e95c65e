/* What a client of --reload may send: a request, or anything else; and where. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/fdpass.h"
#include "supervisor/reload.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/log.h"

static int listening = -1;
static char directory[40];
static struct sockaddr_un address;

static int set_up(void **state)
{
        (void)state;
        log_silence();
        (void)snprintf(directory, sizeof directory, "/tmp/tokenfs-reload-XXXXXX");
        assert_non_null(mkdtemp(directory));
        address = (struct sockaddr_un){.sun_family = AF_UNIX};
        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/tokenfs-reload", directory);
        char list[100];
        (void)snprintf(list, sizeof list, "%s:/run/of-another-drop-in", directory);
        assert_int_equal(setenv("RUNTIME_DIRECTORY", list, 1), 0);
        return reload_listen(&listening);
}

static int tear_down(void **state)
{
        (void)state;
        cleanup_close(&listening);
        (void)unlink(address.sun_path);
        return rmdir(directory);
}

static int connect_client(void)
{
        int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
        return client;
}

/* Sends these bytes as a client does, with the directory opened like this; what comes of it. */
static int send_from(const char *place, int flags, const void *data, size_t len, ReloadRequest *ret_request)
{
        int client CLEANUP(cleanup_close) = connect_client();
        int memory CLEANUP(cleanup_close) = memfd_create("request", MFD_CLOEXEC);
        int opened CLEANUP(cleanup_close) = open(place, flags | O_CLOEXEC);
        assert_true(opened >= 0);
        assert_int_equal(pwrite(memory, data, len, 0), len);
        assert_int_equal(fdpass_send(client, "r", 1, (int[]){memory, opened}, 2), 0);
        return reload_receive(listening, ret_request);
}

static int send_request(const void *data, size_t len, ReloadRequest *ret_request)
{
        return send_from(directory, O_RDONLY, data, len, ret_request);
}

#define WORDS "/dir\0tokenfs\0-f\0/mnt\0NEW=1\0NOTIFY_SOCKET=theirs\0"
typedef struct Sent {
        uint32_t argc, variables;
        char words[sizeof WORDS];
} Sent;
static const Sent whole = {3, 2, WORDS};
#define WHOLE_LEN (2 * sizeof(uint32_t) + sizeof WORDS - 1)

static void test_request(void **state)
{
        (void)state;
        ReloadRequest request;
        assert_int_equal(setenv("NOTIFY_SOCKET", "ours", 1), 0);
        assert_int_equal(send_request(&whole, WHOLE_LEN, &request), 0);
        assert_string_equal(request.directory, "/dir");
        assert_int_equal(request.argc, 3);
        assert_string_equal(request.argv[1], "-f");
        assert_null(request.argv[3]);
        /* The client's variables, but for what the service manager said to us. */
        assert_string_equal(request.environment[0], "NEW=1");
        bool has_ours = false;
        for (size_t i = 0; request.environment[i]; i++) {
                has_ours |= strcmp(request.environment[i], "NOTIFY_SOCKET=ours") == 0;
                assert_string_not_equal(request.environment[i], "NOTIFY_SOCKET=theirs");
        }
        assert_true(has_ours);
        reload_end(&request);
        assert_int_equal(request.client_fd, -1);
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
}

static void test_no_request(void **state)
{
        (void)state;
        ReloadRequest request = RELOAD_REQUEST_INIT;
        assert_int_equal(reload_receive(listening, &request), -EAGAIN); /* no client is there */
        for (size_t len = 0; len < WHOLE_LEN; len++)
                assert_int_equal(send_request(&whole, len, &request), -EPROTO);
        static const uint32_t counts[] = {0, 4, 1000, 200000, UINT32_MAX};
        for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
                Sent odd = whole;
                odd.argc = counts[i];
                assert_int_equal(send_request(&odd, WHOLE_LEN, &request), -EPROTO);
        }
        assert_int_equal(request.client_fd, -1);
}

/* A descriptor of the directory that only a process outside of the worker's sandbox can have. */
static void test_no_worker(void **state)
{
        (void)state;
        ReloadRequest request = RELOAD_REQUEST_INIT;
        assert_int_equal(send_from(directory, O_PATH, &whole, WHOLE_LEN, &request), -EPERM);
        assert_int_equal(send_from("/tmp", O_RDONLY, &whole, WHOLE_LEN, &request), -EPERM);
        int client CLEANUP(cleanup_close) = connect_client();
        int memory CLEANUP(cleanup_close) = memfd_create("request", MFD_CLOEXEC);
        assert_int_equal(pwrite(memory, &whole, WHOLE_LEN, 0), WHOLE_LEN);
        assert_int_equal(fdpass_send(client, "r", 1, &memory, 1), 0);
        assert_int_equal(reload_receive(listening, &request), -EPROTO);
}

/* Another user can neither take the socket's name nor connect; a killed supervisor's socket is replaced. */
static void test_place(void **state)
{
        (void)state;
        struct stat status;
        assert_int_equal(stat(address.sun_path, &status), 0);
        assert_true(S_ISSOCK(status.st_mode));
        assert_int_equal(status.st_mode & 07777, 0600);

        int squatter CLEANUP(cleanup_close) = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        struct sockaddr_un abstract = {.sun_family = AF_UNIX};
        int len = snprintf(
                abstract.sun_path + 1, sizeof abstract.sun_path - 1, "tokenfs-reload-%ld", (long)getpid());
        socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
        cleanup_close(&listening);
        assert_int_equal(bind(squatter, (struct sockaddr *)&abstract, size), 0);
        assert_int_equal(reload_listen(&listening), 0);
        ReloadRequest request;
        assert_int_equal(send_request(&whole, WHOLE_LEN, &request), 0);
        reload_end(&request);
}

static void test_no_place(void **state)
{
        (void)state;
        char path[200];
        memset(path, 'x', sizeof path);
        path[0] = '/';
        path[sizeof path - 1] = '\0';
        int fd = -1;
        assert_int_equal(setenv("RUNTIME_DIRECTORY", path, 1), 0);
        assert_int_equal(reload_listen(&fd), -ENAMETOOLONG);
        assert_int_equal(unsetenv("RUNTIME_DIRECTORY"), 0);
        assert_int_equal(reload_listen(&fd), -ENXIO);
        assert_int_equal(fd, -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_request, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_request, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_worker, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_place, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_place, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
