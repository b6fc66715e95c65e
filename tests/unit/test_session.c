/* A session on a real mount, with a libfuse that refuses I/O of our own, as it does from 3.18.3 on. */

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/inflight.h"
#include "tokenfs/fuse/session.h"

static unsigned refusals;

/* The linker takes this one for libfuse's. From libfuse 3.17 on the old name is an inline function in the header. */
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
int fuse_session_custom_io_317(
        struct fuse_session *session, const struct fuse_custom_io *io, size_t size, int fd)
{
        (void)session, (void)io, (void)size, (void)fd;
#else
int fuse_session_custom_io(struct fuse_session *session, const struct fuse_custom_io *io, int fd)
{
        (void)session, (void)io, (void)fd;
#endif
        refusals++;
        return -ENOTSUP;
}

#define MODE_AT_ONCE 0511
#define MODE_LATER 0555

static Session *session;
static Nodes *nodes;
static fuse_req_t waiting[2];
static uint64_t waiting_uniques[2];
static size_t waiting_count;

/* Attributes of the root are answered at once, those of a look-up when the next request comes. */
static void answer_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file)
{
        (void)file;
        assert_ptr_equal(session_userdata(fuse_req_userdata(request)), nodes);
        const struct stat status = {.st_ino = node, .st_mode = S_IFDIR | MODE_AT_ONCE, .st_nlink = 2};
        assert_int_equal(fuse_reply_attr(request, &status, 0), 0);
}

static void keep_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
        (void)parent, (void)name;
        assert_in_range(waiting_count, 0, 1);
        waiting[waiting_count] = request;
        waiting_uniques[waiting_count++] = session_keep_noted(session);
}

static const struct fuse_lowlevel_ops operations = {.getattr = answer_getattr, .lookup = keep_lookup};

/* A process that looks at a path, and ends with the mode or, negative, the errno. */
static pid_t look(const char *path)
{
        pid_t pid = fork();
        if (pid != 0)
                return pid;
        struct stat status;
        (void)alarm(20);
        (void)close(session_fd(session)); /* the connection ends with the test */
        _exit(stat(path, &status) < 0 ? 1 : (status.st_mode & 0777) == MODE_AT_ONCE ? 2 : 3);
}

static int result_of(pid_t pid)
{
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_without_custom_io(void **state)
{
        (void)state;
        if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
                print_message("SKIPPED: NO RIGHT TO MOUNT HERE\n");
                skip();
        }
        /* Before 3.17, libfuse without custom io doesn't ask for look-ups at the same time in one directory. */
        const size_t lookups = fuse_version() >= 317 ? 2 : 1;
        char directory[] = "/tmp/tokenfs-session-XXXXXX", path[64];
        assert_non_null(mkdtemp(directory));
        assert_int_equal(nodes_new(&nodes), 0);
        assert_int_equal(nodes_repair(nodes), 0);
        const SessionSettings settings = {.source = "session", .operations = &operations};
        assert_int_equal(session_new(&settings, &session), 0);
        assert_int_equal(session_mount(session, directory), 0);
        assert_int_equal(session_handshake(session), 0);
        assert_int_equal(refusals, fuse_version() >= 317 ? 0 : 1);

        NodesShared *shared = nodes_shared(nodes);
        session_serve(session, nodes, shared);
        pid_t reader = look(directory);
        assert_int_equal(session_take(session), 1);
        assert_int_equal(result_of(reader), 2);
        assert_int_equal(inflight_take(shared, NULL, 0), 0); /* answered */

        pid_t readers[2];
        for (size_t i = 0; i < lookups; i++) {
                (void)snprintf(path, sizeof path, "%s/child%zu", directory, i);
                readers[i] = look(path);
        }
        while (waiting_count < lookups) {
                struct pollfd ready = {.fd = session_fd(session), .events = POLLIN};
                assert_int_equal(poll(&ready, 1, 20 * 1000), 1);
                assert_int_equal(session_take(session), 1);
        }
        for (size_t i = 0; i < lookups; i++) {
                uint64_t unique = inflight_take(shared, NULL, 0); /* none is answered */
                assert_true(unique == waiting_uniques[0] || unique == waiting_uniques[1]);
        }
        assert_int_equal(inflight_take(shared, NULL, 0), 0);
        for (size_t i = 0; i < lookups; i++) {
                const struct fuse_entry_param entry = {.ino = 2 + i,
                        .generation = 1,
                        .attr = {.st_ino = 2 + i, .st_mode = S_IFDIR | MODE_LATER},
                        .attr_timeout = 60};
                inflight_note(shared, waiting_uniques[i], 1);
                assert_int_equal(fuse_reply_entry(waiting[i], &entry), 0);
                session_note_answered(session, waiting_uniques[i]);
        }
        for (size_t i = 0; i < lookups; i++)
                assert_int_equal(result_of(readers[i]), 3);
        assert_int_equal(inflight_take(shared, NULL, 0), 0);

        session_unmount(session);
        session_free(session);
        nodes_free(nodes);
        (void)rmdir(directory);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_without_custom_io),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
