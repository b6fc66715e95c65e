/* Refusing: a socket plays the kernel's part. */

/* The fortified headers have an inline read() of their own. */
#undef _FORTIFY_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenfs/fuse/refuse.h"

static Session *session;
static int kernel;

/* The kernel refuses to write into a buffer that is smaller than the largest request that was negotiated. */
static size_t negotiated;
static unsigned reads;

ssize_t read(int fd, void *data, size_t size)
{
        reads++;
        if (size >= negotiated)
                return recv(fd, data, size, 0);
        errno = EINVAL;
        return -1;
}

static int set_up(void **state)
{
        (void)state;
        int ends[2], room = 1 << 20;
        char path[32];
        const SessionSettings settings = {0};
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        for (int i = 0; i < 2; i++)
                assert_int_equal(setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
        kernel = ends[0];
        negotiated = reads = 0;
        (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
        assert_int_equal(session_new(&settings, &session), 0);
        assert_int_equal(session_mount(session, path), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        session = session_free(session);
        (void)close(kernel);
        return 0;
}

static void ask(uint32_t opcode, uint64_t unique)
{
        const struct fuse_in_header in = {.len = sizeof in, .opcode = opcode, .unique = unique};
        assert_int_equal(send(kernel, &in, sizeof in, MSG_DONTWAIT), sizeof in);
}

/* The next answer's number, which is a refusal; 0: there is none. */
static uint64_t next_refused(void)
{
        struct fuse_out_header out;
        do
                if (recv(kernel, &out, sizeof out, MSG_DONTWAIT) != (ssize_t)sizeof out)
                        return 0;
        while (out.unique == 0); /* it was asked to send again */
        assert_int_equal(out.error, -EIO);
        return out.unique;
}

static void test_refuses_what_wants_an_answer(void **state)
{
        (void)state;
        ask(FUSE_LOOKUP, 2);
        ask(FUSE_FORGET, 4);
        ask(FUSE_READ, 6);
        ask(FUSE_INTERRUPT, 7);
        assert_int_equal(refuse_waiting(session), 2);
        assert_int_equal(next_refused(), 2);
        assert_int_equal(next_refused(), 6);
        assert_int_equal(next_refused(), 0);
        assert_int_equal(refuse_waiting(session), 0);
}

/* However many ask, a call comes back; the next one goes on. */
static void test_comes_back(void **state)
{
        (void)state;
        uint64_t asked = 300, refused = 0;
        for (uint64_t i = 1; i <= asked; i++)
                ask(FUSE_GETATTR, 2 * i);
        unsigned first = refuse_waiting(session);
        assert_in_range(first, 1, 256);
        assert_int_equal(refuse_waiting(session), asked - first);
        while (next_refused() == 2 * (refused + 1))
                refused++;
        assert_int_equal(refused, asked);
}

/* Pages of 64 KiB, and a libfuse that negotiates more than 256 of them. */
static void test_large_requests(void **state)
{
        (void)state;
        for (uint64_t pages = 256; pages <= 1024; pages *= 4) {
                negotiated = pages * 65536 + 4096;
                ask(FUSE_READ, 2 * pages);
                assert_int_equal(refuse_waiting(session), 1);
                assert_int_equal(next_refused(), 2 * pages);
        }
}

/* A connection that can't be read is given up, rather than tried again and again. */
static void test_unreadable(void **state)
{
        (void)state;
        negotiated = SIZE_MAX;
        ask(FUSE_READ, 2);
        assert_int_equal(refuse_waiting(session), 0);
        assert_int_equal(session_take(session), -EINVAL);
        assert_in_range(reads, 1, 64);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_refuses_what_wants_an_answer, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_comes_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_large_requests, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_unreadable, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
