/* From binary to binary: what is passed on, to whom, and what happens when it isn't. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/handover.h"
#include "tokenfs/base/cleanup.h"

static char *self;
static char receive_mode[] = "receive", steal_mode[] = "steal", leave_mode[] = "leave";
static char secret[] = "AWS_SECRET_ACCESS_KEY=not for the loader", plain[] = "LD_PLAIN=1", empty[] = "EMPTY=";
static char odd[] = "no equals sign";
static char *environment[] = {secret, plain, odd, empty, NULL};

/* A descriptor that says which it is. */
static int memory(const char *text)
{
        int fd = memfd_create(text, MFD_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
        return fd;
}

static bool says(int fd, const char *text)
{
        char found[32] = "";
        return pread(fd, found, sizeof found - 1, 0) == (ssize_t)strlen(text) && strcmp(found, text) == 0;
}

static Handover sample(bool has_worker)
{
        return (Handover){.is_probe = has_worker,
                .fuse_fd = memory("fuse"),
                .slots_fd = memory("slots"),
                .state_fd = memory("state"),
                .control_fd = has_worker ? memory("control") : -1,
                .reload_fd = has_worker ? -1 : memory("reload")};
}

/* --- In the program that is executed -------------------------------------------------------------------------- */

static bool variable_is(const char *name, const char *value)
{
        const char *found = secure_getenv(name);
        return found && strcmp(found, value) == 0;
}

/* execve passed nothing of the mount, and no secret. */
static bool is_clean(void)
{
        if (secure_getenv("AWS_SECRET_ACCESS_KEY") || secure_getenv("EMPTY") || !variable_is("LD_PLAIN", "1"))
                return false;
        for (int fd = 3; fd < 64; fd++) {
                struct stat status;
                if (fstat(fd, &status) == 0 && !S_ISSOCK(status.st_mode) && fcntl(fd, F_GETFL) != -1 &&
                        S_ISREG(status.st_mode) && status.st_nlink == 0)
                        return false; /* a memfd */
        }
        return true;
}

static int receive_in_child(void)
{
        Handover handover = HANDOVER_INIT;
        if (!handover_is_offered() || !is_clean())
                return 2;
        if (handover_receive(&handover) < 0)
                return 3;
        bool has_worker = handover.control_fd >= 0;
        bool is_right =
                says(handover.fuse_fd, "fuse") && says(handover.slots_fd, "slots") &&
                says(handover.state_fd, "state") && (!has_worker || says(handover.control_fd, "control")) &&
                (has_worker || says(handover.reload_fd, "reload")) && handover.is_probe == has_worker &&
                (fcntl(handover.fuse_fd, F_GETFD) & FD_CLOEXEC) &&
                variable_is("AWS_SECRET_ACCESS_KEY", "not for the loader") && variable_is("EMPTY", "") &&
                !secure_getenv("TOKENFS_HANDOVER") && !handover_is_offered();
        handover_deinit(&handover);
        return is_right ? has_worker : 4;
}

/* Another process has taken the inherited socket, and asks before the program does: nothing comes. The program's own
 * question is answered. */
static int steal_in_child(void)
{
        int ends[2], wait_status;
        const char *offer = secure_getenv("TOKENFS_HANDOVER");
        int asked_fd = (int)strtol(offer ? strchr(offer, ' ') : "", NULL, 10);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        pid_t thief = fork();
        if (thief == 0) {
                char byte = '?';
                union {
                        struct cmsghdr header;
                        char space[CMSG_SPACE(sizeof(int))];
                } control = {.space = {0}};
                struct iovec part = {&byte, 1};
                struct msghdr message = {.msg_iov = &part,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof control};
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(&control.header), &ends[1], sizeof(int));
                if (sendmsg(asked_fd, &message, 0) != 1)
                        _exit(2);
                (void)close(ends[1]);
                _exit(recv(ends[0], &byte, 1, 0) == 0 ? 0 : 3); /* the courier closes it, and sends nothing */
        }
        (void)close(ends[1]);
        if (waitpid(thief, &wait_status, 0) != thief || !WIFEXITED(wait_status) ||
                WEXITSTATUS(wait_status) != 0)
                return 5;
        return receive_in_child();
}

/* --- Here ----------------------------------------------------------------------------------------------------- */

static int execute(const Handover *handover, char *mode)
{
        int wait_status = -1;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(handover_exec(handover, self, (char *[]){self, mode, NULL}, environment) < 0 ? 40 : 41);
        assert_int_equal(waitpid(pid, &wait_status, 0), pid);
        assert_true(WIFEXITED(wait_status));
        return WEXITSTATUS(wait_status);
}

static void test_exec(void **state)
{
        (void)state;
        for (int has_worker = 0; has_worker < 2; has_worker++) {
                Handover handover = sample(has_worker);
                assert_int_equal(execute(&handover, receive_mode), has_worker);
                assert_int_equal(execute(&handover, steal_mode), has_worker);
                handover_deinit(&handover);
                assert_int_equal(handover.fuse_fd, -1);
        }
}

/* A program that asks for nothing: its courier ends with it, and holds the connection no longer. */
static void test_program_that_does_not_ask(void **state)
{
        (void)state;
        int ends[2];
        char byte;
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        Handover handover = sample(false);
        (void)close(handover.fuse_fd);
        handover.fuse_fd = ends[1];
        assert_int_equal(execute(&handover, leave_mode), 0);
        handover_deinit(&handover);
        assert_int_equal(read(ends[0], &byte, 1), 0); /* the end: nobody has the other side */
        (void)close(ends[0]);
}

static void test_exec_fails_and_changes_nothing(void **state)
{
        (void)state;
        Handover handover = sample(true);
        int before = dup(handover.fuse_fd);
        assert_int_equal(
                handover_exec(&handover, "/nonexistent/program", (char *[]){self, NULL}, environment),
                -ENOENT);
        assert_null(secure_getenv("TOKENFS_HANDOVER"));
        assert_true(fcntl(handover.fuse_fd, F_GETFD) & FD_CLOEXEC);
        int after = dup(handover.fuse_fd);
        assert_int_equal(after, before + 1); /* no descriptor was left open */
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no process neither */
        (void)close(before);
        (void)close(after);
        handover_deinit(&handover);
}

static void test_offers_that_are_none(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                int error;
        } cases[] = {{"1 probe=0", -EPROTONOSUPPORT}, {"", -EPROTONOSUPPORT}, {"2", -EPROTONOSUPPORT},
                {"7 5", -EPROTONOSUPPORT}, {"2 ", -EINVAL}, {"2 x", -EINVAL}, {"2 -1", -EINVAL},
                {"2 5 6", -EINVAL}, {"2 990", -EBADF}};
        Handover handover = HANDOVER_INIT;
        assert_false(handover_is_offered());
        assert_int_equal(handover_receive(&handover), -ENOENT);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                assert_int_equal(setenv("TOKENFS_HANDOVER", cases[i].text, 1), 0);
                assert_true(handover_is_offered());
                assert_int_equal(handover_receive(&handover), cases[i].error);
                assert_null(secure_getenv("TOKENFS_HANDOVER")); /* no child inherits it */
                assert_int_equal(handover.fuse_fd, -1);
        }
}

/* A socket whose other end is gone, or answers nonsense. */
static void test_courier_that_is_gone(void **state)
{
        (void)state;
        char text[16];
        int ends[2];
        Handover handover = HANDOVER_INIT;
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        (void)close(ends[1]);
        (void)snprintf(text, sizeof text, "2 %d", ends[0]);
        assert_int_equal(setenv("TOKENFS_HANDOVER", text, 1), 0);
        assert_true(handover_receive(&handover) < 0);
        assert_int_equal(fcntl(ends[0], F_GETFD), -1); /* it was taken */
        assert_int_equal(handover.fuse_fd, -1);
}

int main(int argc, char **argv)
{
        self = argv[0];
        if (argc > 1 && strcmp(argv[1], leave_mode) == 0)
                return 0;
        if (argc > 1)
                return strcmp(argv[1], steal_mode) == 0 ? steal_in_child() : receive_in_child();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_exec),
                cmocka_unit_test(test_program_that_does_not_ask),
                cmocka_unit_test(test_exec_fails_and_changes_nothing),
                cmocka_unit_test(test_offers_that_are_none),
                cmocka_unit_test(test_courier_that_is_gone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
