/* Requests under way outlive their worker: the table, and a real mount whose server dies with a request in its hands. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/inflight.h"
#include "tokenfs/fuse/session.h"
#include "tokenfs/fuse/nodes.h"

static void test_table(void **state)
{
        (void)state;
        static NodesShared shared;
        for (uint64_t unique = 2; unique <= 2 * 600; unique += 2)
                inflight_note(&shared, unique, 7);
        for (uint64_t unique = 2; unique <= 2 * 600; unique += 4)
                inflight_drop(&shared, unique);
        inflight_drop(&shared, 99999);
        unsigned left = 0;
        uint64_t unique;
        while ((unique = inflight_take(&shared, NULL, 0)) != 0) {
                assert_int_equal(unique % 4, 0);
                left++;
        }
        assert_int_equal(left, 300);
        /* Those of living workers are left alone. */
        static const pid_t alive[] = {7, 9};
        inflight_note(&shared, 1, 7);
        inflight_note(&shared, 2, 8);
        inflight_note(&shared, 3, 9);
        assert_int_equal(inflight_take(&shared, alive, 2), 2);
        assert_int_equal(inflight_take(&shared, alive, 2), 0);
        assert_int_equal(inflight_take(&shared, alive, 1), 3);
        assert_int_equal(inflight_take(&shared, NULL, 0), 1);
        assert_int_equal(inflight_take(&shared, NULL, 0), 0);
        /* More than there is room for: some aren't noted, and none overwrites another. */
        for (unique = 1; unique <= 5000; unique++)
                inflight_note(&shared, unique, 7);
        for (left = 0; inflight_take(&shared, NULL, 0) != 0;)
                left++;
        assert_in_range(left, NODES_TAKEN_MAX / 2, NODES_TAKEN_MAX);
}

static void die(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file)
{
        (void)request, (void)node, (void)file;
        _exit(0);
}

/* The first thing that the kernel asks for. */
static const struct fuse_lowlevel_ops dying = {.getattr = die};

/* Takes one request from the kernel, and dies with it. */
static void take_and_die(Session *session, Nodes *slots)
{
        session_serve(session, slots, nodes_shared(slots));
        while (session_take(session) == 1)
                ;
        _exit(1);
}

static void test_a_server_dies(void **state)
{
        (void)state;
        if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
                print_message("SKIPPED: NO RIGHT TO MOUNT HERE\n");
                skip();
        }
        char directory[] = "/tmp/tokenfs-taken-XXXXXX";
        assert_non_null(mkdtemp(directory));
        Session *session;
        Nodes *slots;
        assert_int_equal(nodes_new(&slots), 0);
        assert_int_equal(nodes_repair(slots), 0);
        assert_int_equal(
                session_new(&(SessionSettings){.source = "taken", .operations = &dying}, &session), 0);
        assert_int_equal(session_mount(session, directory), 0);
        assert_int_equal(session_handshake(session), 0);

        pid_t reader = fork();
        if (reader == 0) {
                char path[64];
                struct stat status;
                (void)snprintf(path, sizeof path, "%s/at-1", directory);
                _exit(stat(path, &status) < 0 ? errno : 0);
        }
        pid_t server = fork();
        if (server == 0)
                take_and_die(session, slots);
        int status;
        assert_int_equal(waitpid(server, &status, 0), server);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_int_equal(waitpid(reader, &status, WNOHANG), 0);
        assert_int_equal(session_refuse_lost(session, slots, &server, 1), 0);
        assert_int_equal(session_refuse_lost(session, slots, NULL, 0), 1);
        assert_int_equal(waitpid(reader, &status, 0), reader);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EIO);
        assert_int_equal(session_refuse_lost(session, slots, NULL, 0), 0);

        session_unmount(session);
        session_free(session);
        nodes_free(slots);
        (void)rmdir(directory);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_a_server_dies),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
