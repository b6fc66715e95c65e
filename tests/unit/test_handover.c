/* What one binary hands to the next: its text, the descriptors, and the execution itself. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/handover.h"
#include "tokenfs/base/cleanup.h"

static char *self; /* this program, which one test executes */

static void test_text_round_trip(void **state)
{
        (void)state;
        char mountpoint[] = "/mnt/with blank = and ü";
        const Handover handover = {
                .is_probe = true,
                .fuse_fd = 5,
                .init_fd = 6,
                .slots_fd = 700,
                .worker_pid = 123456,
                .worker_control = -1,
                .mountpoint = mountpoint,
        };
        Buf text = BUF_INIT(1024);
        assert_int_equal(handover_write(&handover, &text), 0);
        Handover read = HANDOVER_INIT;
        assert_int_equal(handover_read(buf_str(&text), &read), 0);
        assert_true(read.is_probe);
        assert_false(read.is_background);
        assert_int_equal(read.fuse_fd, 5);
        assert_int_equal(read.init_fd, 6);
        assert_int_equal(read.slots_fd, 700);
        assert_int_equal(read.worker_pid, 123456);
        assert_int_equal(read.worker_control, -1);
        assert_string_equal(read.mountpoint, mountpoint);
        free(read.mountpoint);
        buf_deinit(&text);
}

static void test_refuses_other_texts(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                int error;
        } cases[] = {
                {"", -EPROTONOSUPPORT},
                {"2 probe=0 background=0 fuse=5 init=6 slots=7 worker=0 control=-1 mountpoint=/m",
                        -EPROTONOSUPPORT},
                {"11 probe=0 background=0 fuse=5 init=6 slots=7 worker=0 control=-1 mountpoint=/m",
                        -EPROTONOSUPPORT},
                {"1", -EINVAL},
                {"1 probe=0 background=0 fuse=5 init=6 slots=7 worker=0 control=-1", -EINVAL},
                {"1 probe=0 background=0 fuse=5 init=6 slots=7 worker=0 control=-1 mountpoint=", -EINVAL},
                {"1 probe=0 background=0 fuse=-1 init=6 slots=7 worker=0 control=-1 mountpoint=/m", -EINVAL},
                {"1 probe=0 background=0 fuse=5 init=-1 slots=7 worker=0 control=-1 mountpoint=/m", -EINVAL},
                {"1 probe=0 background=0 fuse=5x init=6 slots=7 worker=0 control=-1 mountpoint=/m", -EINVAL},
                {"1 probe=0 background=0 fuse=99999999999 init=6 slots=7 worker=0 control=-1 mountpoint=/m",
                        -EINVAL},
                {"1 probe=0 background=0 init=6 fuse=5 slots=7 worker=0 control=-1 mountpoint=/m", -EINVAL},
                {"1 probe= background=0 fuse=5 init=6 slots=7 worker=0 control=-1 mountpoint=/m", -EINVAL},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Handover handover = HANDOVER_INIT;
                assert_int_equal(handover_read(cases[i].text, &handover), cases[i].error);
                assert_int_equal(handover.fuse_fd, -1);
        }
}

static void test_receive(void **state)
{
        (void)state;
        Handover handover = HANDOVER_INIT;
        assert_false(handover_is_offered());
        assert_int_equal(handover_receive(&handover), -ENOENT);

        assert_int_equal(setenv("TOKENFS_HANDOVER", "7 something else", 1), 0);
        assert_true(handover_is_offered());
        assert_int_equal(handover_receive(&handover), -EPROTONOSUPPORT);
        assert_null(secure_getenv("TOKENFS_HANDOVER")); /* no child inherits it */

        /* Descriptors that aren't there. */
        assert_int_equal(setenv("TOKENFS_HANDOVER",
                                 "1 probe=0 background=0 fuse=990 init=991 slots=992 worker=0 control=-1 "
                                 "mountpoint=/m",
                                 1),
                0);
        assert_int_equal(handover_receive(&handover), -EBADF);
        assert_null(secure_getenv("TOKENFS_HANDOVER"));
}

static void test_store(void **state)
{
        (void)state;
        static const char message[] = "INIT\0with a NUL";
        int fd = -1;
        assert_int_equal(handover_store(message, sizeof message, &fd), 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        for (int i = 0; i < 2; i++) { /* a probe has read it before: it can be read again */
                void *data = NULL;
                size_t len = 0;
                assert_int_equal(handover_load(fd, &data, &len), 0);
                assert_int_equal(len, sizeof message);
                assert_memory_equal(data, message, len);
                free(data);
        }
        void *data = NULL;
        size_t len = 0;
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(handover_load(fd, &data, &len), -EINVAL);
        assert_int_equal(ftruncate(fd, (16 << 20) + 1), 0);
        assert_int_equal(handover_load(fd, &data, &len), -EINVAL);
        assert_null(data);
        (void)close(fd);
}

static void test_exec_fails_and_changes_nothing(void **state)
{
        (void)state;
        char mountpoint[] = "/m";
        int fd = -1;
        assert_int_equal(handover_store("x", 1, &fd), 0);
        const Handover handover = {
                .fuse_fd = fd, .init_fd = fd, .slots_fd = fd, .worker_control = -1, .mountpoint = mountpoint};
        int before = dup(fd);
        assert_int_equal(
                handover_exec(&handover, "/nonexistent/program", (char *[]){mountpoint, NULL}), -ENOENT);
        assert_null(secure_getenv("TOKENFS_HANDOVER"));
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        int after = dup(fd);
        assert_int_equal(after, before + 1); /* no descriptor was left open */
        (void)close(before);
        (void)close(after);
        (void)close(fd);
}

/* The other side of test_exec, in the program that is executed. */
static int receive_in_child(void)
{
        Handover handover = HANDOVER_INIT;
        void *data = NULL;
        size_t len = 0;
        if (handover_receive(&handover) < 0 || handover_load(handover.init_fd, &data, &len) < 0)
                return 2;
        bool is_right = len == 5 && memcmp(data, "hello", 5) == 0 && handover.is_background &&
                        handover.worker_pid == 42 && strcmp(handover.mountpoint, "/mnt/x") == 0 &&
                        (fcntl(handover.fuse_fd, F_GETFD) & FD_CLOEXEC);
        free(data);
        handover_deinit(&handover);
        return is_right ? 0 : 3;
}

static void test_exec(void **state)
{
        (void)state;
        char mountpoint[] = "/mnt/x", mode[] = "receive";
        int fd = -1, wait_status = -1;
        assert_int_equal(handover_store("hello", 5, &fd), 0);
        const Handover handover = {.is_background = true,
                .fuse_fd = fd,
                .init_fd = fd,
                .slots_fd = fd,
                .worker_pid = 42,
                .worker_control = -1,
                .mountpoint = mountpoint};
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(handover_exec(&handover, self, (char *[]){self, mode, NULL}) < 0 ? 4 : 5);
        assert_int_equal(waitpid(pid, &wait_status, 0), pid);
        assert_true(WIFEXITED(wait_status));
        assert_int_equal(WEXITSTATUS(wait_status), 0);
        (void)close(fd);
}

int main(int argc, char **argv)
{
        self = argv[0];
        if (argc > 1)
                return receive_in_child();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_text_round_trip),
                cmocka_unit_test(test_refuses_other_texts),
                cmocka_unit_test(test_receive),
                cmocka_unit_test(test_store),
                cmocka_unit_test(test_exec_fails_and_changes_nothing),
                cmocka_unit_test(test_exec),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
