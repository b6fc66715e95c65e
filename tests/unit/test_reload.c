/* What a client of --reload may send: a request, or anything else. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/fdpass.h"
#include "supervisor/reload.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/log.h"

static int listening = -1;

static int set_up(void **state)
{
        (void)state;
        log_silence();
        return reload_listen(&listening);
}

static int tear_down(void **state)
{
        (void)state;
        cleanup_close(&listening);
        return 0;
}

/* Sends these bytes as a client does; what comes of it. */
static int send_request(const void *data, size_t len, ReloadRequest *ret_request)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int name_len = snprintf(
                address.sun_path + 1, sizeof address.sun_path - 1, "tokenfs-reload-%ld", (long)getpid());
        socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)name_len);
        int client CLEANUP(cleanup_close) = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        int memory CLEANUP(cleanup_close) = memfd_create("request", MFD_CLOEXEC);
        assert_int_equal(connect(client, (struct sockaddr *)&address, address_len), 0);
        assert_int_equal(pwrite(memory, data, len, 0), len);
        assert_int_equal(fdpass_send(client, "r", 1, &memory, 1), 0);
        return reload_receive(listening, ret_request);
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
        assert_string_equal(request.environment[1], "NOTIFY_SOCKET=ours");
        for (size_t i = 0; request.environment[i]; i++)
                assert_string_not_equal(request.environment[i], "NOTIFY_SOCKET=theirs");
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_request, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_request, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
