/* The table of slots under two workers at once, as when a leaving one answers its last requests. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenfs/fuse/nodes.h"

#define KEYS 3000

static Nodes *nodes;

static int set_up(void **state)
{
        (void)state;
        assert_int_equal(nodes_new(&nodes), 0);
        assert_int_equal(nodes_repair(nodes), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        nodes = nodes_free(nodes);
        return 0;
}

/* Takes keys that begin with that letter, and keys that both processes take. Returns how often that failed. */
static unsigned take_keys(char letter)
{
        unsigned failed = 0;
        char key[32];
        for (unsigned i = 0; i < KEYS; i++) {
                uint32_t own = 0, common = 0;
                nodes_lock(nodes);
                (void)snprintf(key, sizeof key, "%c-%u", letter, i);
                failed += nodes_take(nodes, SLOT_TOKEN, key, &own) < 0;
                (void)snprintf(key, sizeof key, "common-%u", i);
                failed += nodes_take(nodes, SLOT_TOKEN, key, &common) < 0;
                if (own != 0)
                        (void)nodes_begin_generation(
                                nodes, own, &(SlotContent){.fingerprint = i, .ctime_ns = 1});
                nodes_unlock(nodes);
        }
        return failed;
}

static void assert_taken(const char *prefix, unsigned number, uint64_t fingerprint)
{
        char key[32];
        uint32_t index;
        (void)snprintf(key, sizeof key, "%s-%u", prefix, number);
        assert_int_equal(nodes_find(nodes, SLOT_TOKEN, key, &index), 0);
        assert_string_equal(nodes_get(nodes, index)->key, key);
        assert_int_equal(nodes_get(nodes, index)->content.fingerprint, fingerprint);
}

static void test_two_workers(void **state)
{
        (void)state;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(take_keys('a') == 0 ? 0 : 1);
        assert_int_equal(take_keys('b'), 0);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        nodes_lock(nodes);
        assert_int_equal(nodes_used(nodes), 3 * KEYS);
        for (unsigned i = 0; i < KEYS; i++) {
                assert_taken("a", i, i);
                assert_taken("b", i, i);
                assert_taken("common", i, 0);
        }
        nodes_unlock(nodes);
        /* And nothing of it is damaged. */
        assert_int_equal(nodes_repair(nodes), 0);
        assert_int_equal(nodes_used(nodes), 3 * KEYS);
}

/* The lock goes with its owner. */
static void test_a_worker_dies_with_the_lock(void **state)
{
        (void)state;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                nodes_lock(nodes);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        nodes_lock(nodes);
        nodes_unlock(nodes);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_two_workers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_worker_dies_with_the_lock, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
