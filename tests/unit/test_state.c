/* The supervisor's state in its memfd: whole, cut off, damaged, of another version. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/state.h"
#include "tokenfs/base/cleanup.h"

static const char init[] = "INIT\0with a NUL";
static const char mountpoint[] = "/mnt/with a\nnewline";
static int fd = -1;

static State sample(const char *changes)
{
        return (State){.is_background = true,
                .is_kept = true,
                .newline = true,
                .worker = 123,
                .leaving = {0, 77, 0, 88},
                .command = 45,
                .mountpoint = mountpoint,
                .init = init,
                .init_len = sizeof init,
                .changes = changes};
}

static int set_up(void **state)
{
        (void)state;
        const State written = sample("at-1 at-2 web\n");
        assert_int_equal(state_new(&fd), 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(state_write(fd, &written), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        cleanup_close(&fd);
        return 0;
}

static void expect(const char *changes)
{
        State found = {0};
        assert_int_equal(state_read(fd, &found), 0);
        assert_true(found.is_background && found.is_kept && found.newline);
        assert_false(found.is_reloading || found.audit);
        assert_int_equal(found.worker, 123);
        assert_int_equal(found.command, 45);
        assert_int_equal(found.leaving[1], 77);
        assert_int_equal(found.leaving[3], 88);
        assert_string_equal(found.mountpoint, mountpoint);
        assert_int_equal(found.init_len, sizeof init);
        assert_memory_equal(found.init, init, sizeof init);
        assert_string_equal(found.changes, changes);
        state_deinit(&found);
        assert_null(found.memory);
}

static void test_round_trip(void **state)
{
        (void)state;
        expect("at-1 at-2 web\n");
        expect("at-1 at-2 web\n"); /* a probe has read it before */
        const State shorter = sample(""), longer = sample("at-1 at-2 web\nat-3 at-4 office\n");
        assert_int_equal(state_write(fd, &longer), 0);
        expect("at-1 at-2 web\nat-3 at-4 office\n");
        assert_int_equal(state_write(fd, &shorter), 0);
        expect("");
}

static void test_cut_off(void **state)
{
        (void)state;
        off_t whole = lseek(fd, 0, SEEK_END);
        off_t fixed = whole - (off_t)sizeof "at-1 at-2 web\n";
        for (off_t len = whole - 1; len >= 0; len--) {
                State found = {0};
                assert_int_equal(ftruncate(fd, len), 0);
                if (len >= fixed) {
                        expect(""); /* the mount's part is whole */
                        continue;
                }
                assert_int_equal(state_read(fd, &found), -EINVAL);
                assert_null(found.memory);
        }
}

static void test_damaged(void **state)
{
        (void)state;
        State found = {0};
        char first[8];
        assert_int_equal(pread(fd, first, sizeof first, 0), sizeof first);
        assert_int_equal(pwrite(fd, "x", 1, 0), 1);
        assert_int_equal(state_read(fd, &found), -EINVAL);
        assert_int_equal(pwrite(fd, first, sizeof first, 0), sizeof first);
        const uint32_t version = 7;
        assert_int_equal(pwrite(fd, &version, sizeof version, sizeof first), sizeof version);
        assert_int_equal(state_read(fd, &found), -EPROTONOSUPPORT);
        assert_int_equal(ftruncate(fd, (16 << 20) + 1), 0);
        assert_int_equal(state_read(fd, &found), -EINVAL);
        assert_null(found.memory);
}

/* Lengths that point beyond the file, whatever they are. */
static void test_lengths(void **state)
{
        (void)state;
        static const uint32_t lengths[] = {0, 1, 1000, UINT32_MAX / 2, UINT32_MAX};
        enum { AFTER_PIDS = 8 + 6 * 4 + (2 + STATE_LEAVING_MAX) * 4 };
        for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
                for (off_t at = AFTER_PIDS; at <= AFTER_PIDS + 4; at += 4) {
                        State found = {0};
                        uint32_t kept;
                        assert_int_equal(pread(fd, &kept, sizeof kept, at), sizeof kept);
                        assert_int_equal(pwrite(fd, &lengths[i], sizeof kept, at), sizeof kept);
                        int r = state_read(fd, &found);
                        assert_true(r == -EINVAL || (r == 0 && lengths[i] == 1 && at > AFTER_PIDS));
                        state_deinit(&found);
                        assert_int_equal(pwrite(fd, &kept, sizeof kept, at), sizeof kept);
                }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cut_off, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_damaged, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_lengths, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
