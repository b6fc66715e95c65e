/* Versions and what nodes are told of them: nobody mixes two versions, and everybody follows. */

#include "fake_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/versions.h"

#define GRACE_NS NS_PER_S
#define SLACK_NS (5 * NS_PER_S)

static Loop *loop;
static Nodes *slots;
static Tree tree;
static uint32_t slot;

static int set_up_with(bool newline)
{
        clock_set_fake(FAKE_NOW_NS, FAKE_WALL_NS);
        assert_int_equal(loop_new(&loop), 0);
        assert_int_equal(nodes_new(&slots), 0);
        (void)nodes_repair(slots);
        assert_int_equal(tree_init(&tree, loop, slots, newline), 0);
        assert_int_equal(tree_take_slot(&tree, SLOT_TOKEN, "at-1", &slot), 0);
        return 0;
}

static int set_up(void **state)
{
        (void)state;
        return set_up_with(false);
}

static int set_up_newline(void **state)
{
        (void)state;
        return set_up_with(true);
}

static int tear_down(void **state)
{
        (void)state;
        tree_deinit(&tree);
        slots = nodes_free(slots);
        loop = loop_free(loop);
        clock_unset_fake();
        return 0;
}

static void pass(uint64_t ns)
{
        clock_advance_fake(ns);
        assert_int_equal(loop_turn(loop, 0), 0);
}

/* The slot's content becomes a document with that value, promised for ten seconds. */
static Version *set_in(uint32_t index, const char *id, const char *value)
{
        TokenDoc *doc = fake_doc(&(FakeToken){.id = id, .value = value});
        Version *version = NULL;
        assert_int_equal(tree_set_doc(&tree, index, doc, clock_now_ns() + 10 * NS_PER_S, &version), 0);
        token_doc_unref(doc);
        assert_ptr_equal(tree_current(&tree, index), version);
        return version;
}

static Version *set(const char *value)
{
        return set_in(slot, "at-1", value);
}

static Node node_of(const Version *version)
{
        return (Node){slot, version->generation, NODE_FIELD + TOKEN_VALUE};
}

static void assert_tells(Node node, const Version *expected)
{
        Version *version = NULL;
        uint64_t until_ns = 0;
        assert_int_equal(tree_tell(&tree, node, &version, &until_ns), TREE_TELL);
        assert_ptr_equal(version, expected);
}

/* It has to wait; without time to wait, `meanwhile` is to be told. */
static void assert_waits(Node node, uint64_t expected_ns, const Version *meanwhile)
{
        Version *version = NULL;
        uint64_t until_ns = 0;
        assert_int_equal(tree_tell(&tree, node, &version, &until_ns), TREE_WAIT);
        assert_int_equal(until_ns, expected_ns);
        assert_ptr_equal(version, meanwhile);
}

static void assert_value(const Version *version, const char *value)
{
        size_t len;
        bool newline;
        const char *bytes = version_bytes(&tree, version, NODE_FIELD + TOKEN_VALUE, &len, &newline);
        assert_int_equal(len, strlen(value));
        assert_memory_equal(bytes, value, len);
}

static void test_same_bytes_same_node(void **state)
{
        (void)state;
        Version *version = set("one");
        uint32_t generation = version->generation;
        assert_true(generation != 0);
        assert_ptr_equal(set("one"), version);
        assert_int_equal(version->generation, generation);
        /* Dropped and fetched again, or by another worker: still the same. */
        tree_drop_current(&tree, slot);
        assert_null(tree_current(&tree, slot));
        assert_int_equal(set("one")->generation, generation);
        tree_deinit(&tree);
        assert_int_equal(tree_init(&tree, loop, slots, false), 0);
        assert_int_equal(set("one")->generation, generation);
        assert_int_equal(set("two")->generation, generation + 1);
        assert_int_equal(set("one")->generation, generation + 2); /* never back to an older id */
}

static void test_grace(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        assert_tells(node, first);
        assert_int_equal(tree_note_told(&tree, node, first, 3 * NS_PER_S), 3 * NS_PER_S);
        pass(NS_PER_S);
        Version *second = set("two");
        uint64_t changed_ns = clock_now_ns();
        assert_tells(node_of(second), second);
        /* Who opened just before the change reads the old file whole. */
        assert_tells(node, first);
        assert_ptr_equal(tree_told(&tree, node), first);
        assert_int_equal(tree_note_told(&tree, node, first, 5 * NS_PER_S), 0); /* not kept by the kernel */
        pass(GRACE_NS / 2 - 1);
        assert_tells(node, first);
        /* In the quiet before the end nobody is told the old one: it comes to be what is told last. */
        pass(1);
        assert_waits(node, changed_ns + GRACE_NS, first);
        pass(GRACE_NS / 2 - 1);
        assert_waits(node, changed_ns + GRACE_NS, first);
        pass(1);
        /* The single file follows. */
        assert_tells(node, second);
        assert_ptr_equal(tree_told(&tree, node), first); /* until it is told */
        assert_int_equal(tree_note_told(&tree, node, second, 5 * NS_PER_S), 5 * NS_PER_S);
        assert_ptr_equal(tree_told(&tree, node), second);
        assert_true(tree_was_told(&tree, node, second->generation));
        assert_false(tree_was_told(&tree, node, first->generation));
}

/* An old value that is not valid any more is told to nobody who can wait. */
static void test_waits_when_not_promised(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        (void)tree_note_told(&tree, node, first, 0);
        pass(10 * NS_PER_S);
        Version *second = set("two");
        assert_waits(node, clock_now_ns() + GRACE_NS, first);
        assert_tells(node_of(second), second);
}

static void assert_known(Node node, uint64_t came_ns, TreeTell expected, const Version *expected_version)
{
        Version *version = NULL;
        uint64_t until_ns = 0;
        assert_int_equal(tree_tell_known(&tree, node, came_ns, &version, &until_ns), expected);
        if (expected != TREE_LEARN)
                assert_ptr_equal(version, expected_version);
        if (expected == TREE_WAIT)
                assert_true(until_ns > clock_now_ns());
}

/* What was told last is what the kernel believes. */
static void test_told_to_others(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        (void)tree_note_told(&tree, node, first, 0);
        assert_known(node, 0, TREE_LEARN, NULL); /* it is its own: nothing was told */
        Version *second = set("two");
        pass(GRACE_NS);
        uint64_t before_ns = clock_now_ns() - 1;
        (void)tree_note_told(&tree, node, second, 0);
        assert_int_equal(tree_told_generation(&tree, node), second->generation);
        /* One task alone at first: the others wait until it has read, or for a moment. */
        assert_known(node, before_ns, TREE_WAIT, second);
        assert_known(node, clock_now_ns() + 1, TREE_WAIT, second);
        assert_ptr_equal(tree_told(&tree, node), second);
        assert_known(node, before_ns, TREE_TELL, second);
        assert_known(node, clock_now_ns(), TREE_TELL, second);
        assert_known(node, clock_now_ns() + 1, TREE_LEARN, NULL);
        /* The same again isn't another. */
        pass(NS_PER_MS);
        (void)tree_note_told(&tree, node, second, 0);
        assert_known(node, before_ns, TREE_TELL, second);
        /* What was told is told on, although another one is current. */
        pass(NS_PER_S);
        Version *third = set("three");
        assert_known(node, before_ns, TREE_TELL, second);
        assert_tells(node, second);
        pass(GRACE_NS);
        assert_tells(node, third);
        (void)tree_note_told(&tree, node, third, 0);
        assert_known(node, before_ns, TREE_WAIT, third);
        pass(NS_PER_S); /* the first never read */
        assert_known(node, before_ns, TREE_TELL, third);
}

/* Several changes within the grace: each old node tells its own. */
static void test_fast_changes(void **state)
{
        (void)state;
        Version *versions[8];
        char value[32];
        for (int i = 0; i < 8; i++) {
                (void)snprintf(value, sizeof value, "value-%d", i);
                versions[i] = set(value);
                pass(NS_PER_MS);
        }
        for (int i = 0; i < 8; i++) {
                (void)snprintf(value, sizeof value, "value-%d", i);
                assert_tells(node_of(versions[i]), versions[i]);
                assert_value(versions[i], value);
        }
        assert_int_equal(tree.superseded_count, 7);
        Node oldest = node_of(versions[0]), newest = node_of(versions[7]);
        pass(GRACE_NS);
        assert_tells(oldest, versions[7]);
        pass(SLACK_NS);
        assert_int_equal(tree.superseded_count, 0);
        assert_tells(newest, versions[7]);
}

static void test_drop(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        (void)tree_note_told(&tree, node, first, 60 * NS_PER_S);
        pass(NS_PER_S);
        (void)set("two");
        /* As long as the kernel may have its attributes, and a little longer. */
        pass(59 * NS_PER_S + SLACK_NS - 1);
        assert_ptr_equal(tree_told(&tree, node), first);
        assert_int_equal(tree.superseded_count, 1);
        pass(1);
        assert_int_equal(tree.superseded_count, 0);
        assert_null(tree_told(&tree, node));
        assert_tells(node, tree_current(&tree, slot));
}

static void test_drop_current(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        (void)set("two");
        tree_drop_current(&tree, slot);
        assert_null(tree_current(&tree, slot));
        assert_ptr_equal(tree_told(&tree, node), first); /* what was superseded goes in its time */
        Version *version;
        uint64_t until_ns;
        pass(GRACE_NS);
        assert_int_equal(tree_tell(&tree, node, &version, &until_ns), TREE_LEARN);
        tree_drop_current(&tree, slot); /* twice is no harm, nor is a slot of which nothing is held */
        pass(SLACK_NS);
        assert_int_equal(tree.superseded_count, 0);
        assert_null(tree.dirs[slot]);
        tree_drop_current(&tree, slot);
        assert_int_equal(tree_tell(&tree, node, &version, &until_ns), TREE_LEARN);
}

static void test_forget(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        (void)tree_note_told(&tree, node, first, 60 * NS_PER_S);
        Buf text = BUF_INIT(100);
        Version *status;
        (void)buf_append_str(&text, "status");
        assert_int_equal(tree_set_text(&tree, SLOT_STATUS, &text, &status), 0);
        Version *second = set("two");
        (void)tree_note_told(&tree, node, second, 0);
        tree_forget(&tree);
        assert_null(tree.dirs[slot]);
        assert_int_equal(tree.superseded_count, 0);
        assert_ptr_equal(tree_current(&tree, SLOT_STATUS), status); /* no secret, and asked for each time */
        buf_deinit(&text);
        Version *third = set("three");
        assert_tells(node, third); /* at once */
        pass(100 * NS_PER_S); /* no timer is left over */
}

static void test_old_nodes(void **state)
{
        (void)state;
        Version *first = set("one");
        Node value = node_of(first), json = {slot, first->generation, NODE_JSON};
        Version *second = set("two");
        pass(GRACE_NS);
        (void)tree_note_told(&tree, value, second, NS_PER_S);
        assert_ptr_equal(tree_told(&tree, value), second);
        assert_ptr_equal(tree_told(&tree, json), first); /* each node for itself */
        assert_true(slot_is_old(nodes_get(slots, slot), first->generation));
        tree_forget_node(&tree, value);
        tree_forget_node(&tree, value);
        tree_forget_node(&tree, (Node){slot, 77, NODE_JSON});
        assert_ptr_equal(tree_told(&tree, value), first);
        /* Another worker knows from the table that the node was told something newer. */
        tree_deinit(&tree);
        assert_int_equal(tree_init(&tree, loop, slots, false), 0);
        Version *again = set("two");
        assert_true(tree_was_told(&tree, value, again->generation));
        assert_false(tree_was_told(&tree, (Node){slot, again->generation + 7, NODE_JSON}, again->generation));
}

/* More old generations than the table can note: the kernel has to ask about them each time. */
static void test_many_old_nodes(void **state)
{
        (void)state;
        Node nodes[SLOT_OLD_MAX + 2];
        char value[32];
        for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
                (void)snprintf(value, sizeof value, "v%zu", i);
                nodes[i] = node_of(set(value));
        }
        Version *current = set("current");
        pass(GRACE_NS);
        for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
                assert_int_equal(
                        tree_note_told(&tree, nodes[i], current, NS_PER_S), i < SLOT_OLD_MAX ? NS_PER_S : 0);
        for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
                assert_ptr_equal(tree_told(&tree, nodes[i]), current);
        for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
                tree_forget_node(&tree, nodes[i]);
        tree_drop_current(&tree, slot);
        pass(60 * NS_PER_S);
        assert_null(tree.dirs[slot]); /* nothing is left of it */
}

static void test_audit_keeps_what_is_open(void **state)
{
        (void)state;
        Version *first = set("one");
        uint32_t generation = first->generation;
        version_open(first);
        version_open(first);
        (void)set("two");
        pass(3600 * NS_PER_S);
        assert_ptr_equal(tree_find_version(&tree, slot, generation), first);
        version_close(first);
        pass(3600 * NS_PER_S);
        assert_ptr_equal(tree_find_version(&tree, slot, generation), first);
        version_close(first);
        pass(3600 * NS_PER_S);
        assert_null(tree_find_version(&tree, slot, generation));
}

/* Dropped by the cache while it is open: it goes with the last open file, and not later. */
static void test_audit_drop_while_open(void **state)
{
        (void)state;
        Version *version = set("one");
        uint32_t generation = version->generation;
        version_open(version);
        tree_drop_current(&tree, slot);
        assert_ptr_equal(tree_find_version(&tree, slot, generation), version);
        version_close(version);
        assert_null(tree_find_version(&tree, slot, generation));
        assert_null(tree.dirs[slot]);
        /* Unless it was fetched again meanwhile. */
        version = set("one");
        version_open(version);
        tree_drop_current(&tree, slot);
        assert_ptr_equal(set("one"), version);
        version_close(version);
        assert_ptr_equal(tree_current(&tree, slot), version);
}

static void test_names_of(void **state)
{
        (void)state;
        uint32_t web, mail, dns;
        assert_int_equal(tree_take_slot(&tree, SLOT_NAME, "web", &web), 0);
        assert_int_equal(tree_take_slot(&tree, SLOT_NAME, "mail", &mail), 0);
        assert_int_equal(tree_take_slot(&tree, SLOT_NAME, "dns", &dns), 0);
        (void)set_in(web, "at-1", "one");
        (void)set_in(mail, "at-1", "one");
        (void)set_in(dns, "at-11", "one");
        (void)set("one");
        tree_drop_names_of(&tree, "at-1");
        assert_null(tree_current(&tree, web));
        assert_null(tree_current(&tree, mail));
        assert_non_null(tree_current(&tree, dns));
        assert_non_null(tree_current(&tree, slot)); /* the token's own directory is another matter */
        tree_drop_names_of(&tree, "at-1");
        tree_drop_names_of(&tree, "at-11");
        assert_true(list_is_empty(&tree.name_dirs));
}

/* A name follows a rotation, as a token follows a change. */
static void test_name_rotates(void **state)
{
        (void)state;
        uint32_t web;
        assert_int_equal(tree_take_slot(&tree, SLOT_NAME, "web", &web), 0);
        Version *before = set_in(web, "at-1", "one");
        Version *after = set_in(web, "at-2", "two");
        assert_true(after->generation != before->generation);
        Version *told;
        uint64_t until_ns;
        Node node = {web, before->generation, NODE_FIELD + TOKEN_ID};
        assert_int_equal(tree_tell(&tree, node, &told, &until_ns), TREE_TELL);
        assert_ptr_equal(told, before);
        pass(GRACE_NS);
        assert_int_equal(tree_tell(&tree, node, &told, &until_ns), TREE_TELL);
        assert_ptr_equal(told, after);
}

static void test_text(void **state)
{
        (void)state;
        Buf text = BUF_INIT(100);
        Version *first, *second;
        (void)buf_append_str(&text, "one\n");
        assert_int_equal(tree_set_text(&tree, SLOT_STATUS, &text, &first), 0);
        assert_int_equal(tree_set_text(&tree, SLOT_STATUS, &text, &second), 0);
        assert_ptr_equal(first, second);
        assert_int_equal(version_mtime_ns(first), FAKE_WALL_NS);
        assert_true(version_has_field(first, NODE_TEXT));
        assert_false(version_has_field(first, NODE_JSON));
        assert_false(version_has_field(first, NODE_FIELD));
        pass(NS_PER_S);
        buf_clear(&text);
        assert_int_equal(tree_set_text(&tree, SLOT_STATUS, &text, &second), 0);
        assert_true(first != second);
        assert_int_equal(version_size(&tree, second, NODE_TEXT), 0);
        assert_int_equal(version_size(&tree, first, NODE_TEXT), 4);
        assert_int_equal(version_mtime_ns(second), FAKE_WALL_NS + (int64_t)NS_PER_S);
        buf_deinit(&text);
}

/* The address: another file than the token's, in a slot of its own, with the token's secret in it. */
static void test_url(void **state)
{
        (void)state;
        uint32_t url, name_url;
        Version *version, *other;
        TokenDoc *doc = fake_doc(&(FakeToken){.id = "at-1", .value = "a/b"});
        assert_int_equal(tree_take_slot(&tree, SLOT_TOKEN_URL, "at-1", &url), 0);
        assert_int_equal(tree_take_slot(&tree, SLOT_NAME_URL, "web", &name_url), 0);
        assert_true(url != slot);
        assert_int_equal(tree_set_url(&tree, url, doc, "gr.example", clock_now_ns() + 1, &version), 0);
        size_t len;
        bool newline;
        const char *bytes = version_bytes(&tree, version, NODE_DOH_URL, &len, &newline);
        static const char expected[] = "https://gr.example/dns-query?token=a%2Fb";
        assert_int_equal(len, sizeof expected - 1);
        assert_memory_equal(bytes, expected, len);
        assert_true(version_has_field(version, NODE_DOH_URL));
        assert_false(version_has_field(version, NODE_FIELD + TOKEN_VALUE));
        assert_false(version_has_field(version, NODE_JSON));
        assert_false(version_has_field(set("one"), NODE_DOH_URL));
        uint32_t generation = version->generation;
        int64_t mtime_ns = version_mtime_ns(version);
        assert_int_equal(tree_set_url(&tree, url, doc, "gr.example", clock_now_ns() + 1, &other), 0);
        assert_ptr_equal(other, version);
        assert_int_equal(tree_set_url(&tree, url, doc, "hr.example", clock_now_ns() + 1, &other), 0);
        assert_true(other->generation != generation);
        assert_true(version_mtime_ns(other) != mtime_ns);
        assert_int_equal(tree_set_url(&tree, name_url, doc, "gr.example", clock_now_ns() + 1, &version), 0);
        token_doc_unref(doc);
        tree_drop_names_of(&tree, "at-1");
        assert_null(tree_current(&tree, name_url));
        assert_non_null(tree_current(&tree, url));
}

static void test_fields(void **state)
{
        (void)state;
        Version *version = set("one");
        assert_true(version_has_field(version, NODE_FIELD + TOKEN_VALUE));
        assert_true(version_has_field(version, NODE_JSON));
        assert_false(version_has_field(version, NODE_FIELD + TOKEN_NAME));
        assert_false(version_has_field(version, NODE_FIELD + TOKEN_CLIENT_TOKEN));
        assert_false(version_has_field(version, NODE_TEXT));
        assert_false(version_has_field(version, NODE_DIRECTORY));
        assert_false(version_has_field(version, 0));
        assert_false(version_has_field(version, UINT8_MAX));
        assert_int_equal(version_size(&tree, version, NODE_FIELD + TOKEN_VALUE), 3);
}

static void test_newline(void **state)
{
        (void)state;
        Version *version = set("one");
        size_t len;
        bool newline;
        const char *bytes = version_bytes(&tree, version, NODE_FIELD + TOKEN_VALUE, &len, &newline);
        assert_int_equal(len, 3);
        assert_memory_equal(bytes, "one", 3);
        assert_true(newline);
        assert_int_equal(version_size(&tree, version, NODE_FIELD + TOKEN_VALUE), 4);
        bytes = version_bytes(&tree, version, NODE_JSON, &len, &newline);
        assert_int_equal(bytes[len - 1], '\n'); /* it has one */
        assert_false(newline);
        assert_int_equal(version_size(&tree, version, NODE_JSON), len);
}

static void test_mtime(void **state)
{
        (void)state;
        int64_t seen[200];
        char value[32];
        const int64_t second = (int64_t)NS_PER_S;
        for (size_t i = 0; i < ARRAY_LEN(seen); i++) {
                (void)snprintf(value, sizeof value, "value-%zu", i);
                seen[i] = version_mtime_ns(set(value));
                assert_int_equal(seen[i] / second, FAKE_WALL_S - 3600); /* updatedAt */
                for (size_t k = 0; k < i; k++)
                        assert_true(seen[i] != seen[k]);
        }
        tree_forget(&tree);
        assert_int_equal(version_mtime_ns(set("value-7")), seen[7]); /* the same bytes, the same time */
}

/* A slot that is taken over for another key brings nothing of the old one along. */
static void test_slot_taken_over(void **state)
{
        (void)state;
        uint32_t index;
        char key[32];
        (void)set("one");
        for (uint32_t i = nodes_end(slots); i < nodes_capacity(slots); i++) {
                (void)snprintf(key, sizeof key, "x-%u", i);
                assert_int_equal(nodes_take(slots, SLOT_TOKEN, key, &index), 0);
                nodes_add_lookup(slots, index, NODE_DIRECTORY);
        }
        assert_int_equal(tree_take_slot(&tree, SLOT_TOKEN, "at-2", &index), 0);
        assert_int_equal(index, slot); /* the kernel had never heard of it */
        assert_null(tree_current(&tree, slot));
        assert_int_equal(tree_take_slot(&tree, SLOT_TOKEN, "at-2", &index), 0);
        nodes_add_lookup(slots, index, NODE_DIRECTORY);
        assert_int_equal(tree_take_slot(&tree, SLOT_TOKEN, "at-3", &index), -ENOSPC);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_same_bytes_same_node),
                TEST(test_grace),
                TEST(test_waits_when_not_promised),
                TEST(test_told_to_others),
                TEST(test_fast_changes),
                TEST(test_drop),
                TEST(test_drop_current),
                TEST(test_forget),
                TEST(test_old_nodes),
                TEST(test_many_old_nodes),
                TEST(test_audit_keeps_what_is_open),
                TEST(test_audit_drop_while_open),
                TEST(test_names_of),
                TEST(test_name_rotates),
                TEST(test_text),
                TEST(test_url),
                TEST(test_fields),
                cmocka_unit_test_setup_teardown(test_newline, set_up_newline, tear_down),
                TEST(test_mtime),
                TEST(test_slot_taken_over),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
