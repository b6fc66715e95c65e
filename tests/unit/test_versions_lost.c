/* Versions whose bytes are lost: another worker serves, or the API refused them. */

#include "versions_fixture.h"

/* The node shows the attributes that it had, without bytes. */
static void assert_hollow(Node node, uint32_t size, int64_t mtime_ns)
{
        Version *version;
        assert_int_equal(versions_show(&versions, node, &version), 0);
        assert_true(version->is_hollow && version->is_superseded);
        assert_int_equal(version->generation, node.generation);
        assert_true(version_has_field(version, NODE_FIELD + TOKEN_VALUE));
        assert_int_equal(version_size(version, NODE_FIELD + TOKEN_VALUE), size);
        assert_int_equal(version->content.mtime_ns, mtime_ns);
        assert_false(version_has_field(version, NODE_FIELD + TOKEN_CLIENT_TOKEN));
}

/* The bytes went with a worker: no others fit the attributes that the kernel has. */
static void test_lost_bytes(void **state)
{
        (void)state;
        Version *version = set("one");
        Node lost = node_of(version), older = {slot, version->generation - 1, NODE_JSON};
        int64_t mtime_ns = version->content.mtime_ns;
        versions_extend(&versions, version, NS_PER_S);
        replace_worker();
        assert_fails_to_show(lost, -EAGAIN); /* they may be the same again */
        Version *next = set("the second");
        assert_hollow(lost, 3, mtime_ns);
        /* Older ones follow already, in a new worker as well. */
        assert_shows(older, next);
        assert_shows(node_of(next), next);
        pass(NS_PER_S + GRACE_NS - 1);
        assert_hollow(lost, 3, mtime_ns);
        pass(1);
        assert_shows(lost, next);
        assert_int_equal(versions.superseded_count, 0);
}

/* The API refused the content, under this worker or the one before: the kernel must not use pages of it again. */
static void test_dropped_bytes(void **state)
{
        (void)state;
        for (int replaced = 0; replaced < 3; replaced++) {
                Version *version = set(replaced ? "three" : "one");
                Node lost = node_of(version);
                versions_extend(&versions, version, NS_PER_S);
                if (replaced == 1)
                        replace_worker();
                versions_drop_current(&versions, slot);
                if (replaced == 2)
                        replace_worker();
                assert_fails_to_show(lost, -EAGAIN);
                Version *next = set(replaced ? "four" : "two");
                assert_fails_to_show(lost, -ESTALE);
                pass(NS_PER_S + GRACE_NS);
                assert_shows(lost, next);
        }
        /* Unless it is the same when it comes back. */
        Version *version = set("five");
        Node node = node_of(version);
        int64_t mtime_ns = version->content.mtime_ns;
        versions_extend(&versions, version, NS_PER_S);
        versions_drop_current(&versions, slot);
        assert_shows(node, set("five"));
        replace_worker();
        (void)set("six");
        assert_hollow(node, 4, mtime_ns);
}

/* A worker that comes during the grace of a version that another one held. */
static void test_lost_grace(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        int64_t mtime_ns = first->content.mtime_ns;
        versions_extend(&versions, first, NS_PER_S);
        (void)set("the second");
        replace_worker();
        assert_hollow(node, 3, mtime_ns); /* whether the next bytes are there or not */
        Version *second = set("the second");
        assert_hollow(node, 3, mtime_ns);
        pass(NS_PER_S + GRACE_NS);
        assert_shows(node, second);
        /* It follows from now on, whatever worker serves and however often the content changes. */
        versions_extend(&versions, second, 60 * NS_PER_S);
        Node superseded = node_of(second);
        mtime_ns = second->content.mtime_ns;
        Version *third = set("three");
        assert_shows(node, third);
        replace_worker();
        assert_fails_to_show(node, -EAGAIN);
        third = set("three");
        assert_shows(node, third);
        assert_hollow(superseded, 10, mtime_ns);
        assert_shows(node, set("four"));
        /* Of generations before the last two nothing is known. */
        replace_worker();
        assert_fails_to_show(superseded, -ESTALE);
        pass(60 * NS_PER_S + GRACE_NS);
        third = set("four");
        assert_shows(superseded, third);
}

/* Content that changes faster than the grace ends, as that of service files does: an old node doesn't wait for ever. */
static void test_follows_among_fast_changes(void **state)
{
        (void)state;
        char value[32];
        Node node = {0};
        for (int second = 0; second < 100; second++) {
                (void)snprintf(value, sizeof value, "value-%d", second);
                Version *version = set(value);
                versions_extend(&versions, version, 15 * NS_PER_S);
                if (second == 20)
                        node = node_of(version);
                if (second == 25) /* its bytes are lost */
                        replace_worker();
                if (second > 60) {
                        replace_worker();
                        version = set(value);
                        assert_shows(node, version);
                }
                pass(NS_PER_S);
        }
}

/* On kernels without RESEND a leaving worker answers its last requests while the next one serves already. */
static void test_two_workers_at_once(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        versions_extend(&versions, first, NS_PER_S);
        TokenDoc *doc = fake_doc(&(FakeToken){.id = "at-1", .value = "the second"});
        const SlotContent content = {.fingerprint = token_doc_fingerprint(doc), .mtime_ns = 7, .ctime_ns = 7};
        uint32_t generation = nodes_begin_generation(nodes, slot, &content); /* by the next one */
        token_doc_unref(doc);
        Version *second = set("the second");
        assert_int_equal(second->generation, generation);
        assert_int_equal(second->content.mtime_ns, 7);
        assert_shows(node, first);
        assert_true(first->is_superseded);
        assert_shows(node_of(second), second);
        pass(NS_PER_S + GRACE_NS);
        assert_shows(node, second);
}

/* A worker with newline= shows other bytes than one without. */
static void test_newline_changes_the_bytes(void **state)
{
        (void)state;
        Node node = node_of(set("one"));
        versions.newline = true;
        Version *with = set("one");
        assert_true(with->generation != node.generation);
        assert_int_equal(version_size(with, NODE_FIELD + TOKEN_VALUE), 4);
        assert_ptr_equal(set("one"), with);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_lost_bytes),
                TEST(test_dropped_bytes),
                TEST(test_lost_grace),
                TEST(test_follows_among_fast_changes),
                TEST(test_two_workers_at_once),
                TEST(test_newline_changes_the_bytes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
