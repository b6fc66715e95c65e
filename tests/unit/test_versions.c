/* Versions: which one a node shows, at any time. */

#include "versions_fixture.h"

static int set_up_newline(void **state)
{
        (void)state;
        return set_up_with(true);
}

static void assert_value(const Version *version, const char *value)
{
        size_t len;
        bool newline;
        const char *bytes = version_bytes(&versions, version, NODE_FIELD + TOKEN_VALUE, &len, &newline);
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
        versions_drop_current(&versions, slot);
        assert_null(versions_current(&versions, slot));
        assert_int_equal(set("one")->generation, generation);
        versions_deinit(&versions);
        assert_int_equal(versions_init(&versions, loop, nodes, false), 0);
        assert_int_equal(set("one")->generation, generation);
        assert_int_equal(set("two")->generation, generation + 1);
        assert_int_equal(set("one")->generation, generation + 2); /* never back to an older id */
}

static void test_grace(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        assert_shows(node, first);
        versions_extend(&versions, first, 3 * NS_PER_S);
        pass(NS_PER_S);
        Version *second = set("two");
        uint64_t end_ns = clock_now_ns() + 2 * NS_PER_S + GRACE_NS;
        assert_shows(node_of(second), second);
        /* The kernel may use the first one's attributes for two seconds, and a read may have begun at their end. */
        assert_int_equal(slot_settled_ns(nodes_get(nodes, slot)), end_ns);
        assert_shows(node, first);
        pass(end_ns - clock_now_ns() - 1);
        assert_shows(node, first);
        pass(1);
        assert_shows(node, second);
        assert_int_equal(versions.superseded_count, 0);
        /* From then on it shows what is current, at once. */
        versions_extend(&versions, second, 60 * NS_PER_S);
        Version *third = set("three");
        assert_shows(node, third);
        assert_shows(node_of(second), second);
}

/* Nobody can be reading: a file that is bound by itself, and read once an hour, isn't given an hour-old value. */
static void test_no_grace_without_readers(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        versions_extend(&versions, first, 60 * NS_PER_S);
        pass(60 * NS_PER_S + GRACE_NS);
        Version *second = set("two");
        assert_shows(node, second);
        assert_int_equal(versions.superseded_count, 0);
        Version *third = set("three"); /* of which the kernel was never given anything */
        assert_shows(node_of(third), third);
        assert_shows(node, third);
}

/* The longest that was given counts, and nothing that is given of a later one. */
static void test_extend(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        versions_extend(&versions, first, 10 * NS_PER_S);
        versions_extend(&versions, first, NS_PER_S);
        Version *second = set("two");
        versions_extend(&versions, second, 60 * NS_PER_S);
        pass(10 * NS_PER_S + GRACE_NS - 1);
        assert_shows(node, first);
        pass(1);
        assert_shows(node, second);
}

/* Several changes within the grace: each node shows its own. */
static void test_fast_changes(void **state)
{
        (void)state;
        Version *held[8];
        char value[32];
        for (int i = 0; i < 8; i++) {
                (void)snprintf(value, sizeof value, "value-%d", i);
                held[i] = set(value);
                versions_extend(&versions, held[i], 0);
                pass(NS_PER_MS);
        }
        for (int i = 0; i < 8; i++) {
                (void)snprintf(value, sizeof value, "value-%d", i);
                assert_shows(node_of(held[i]), held[i]);
                assert_value(held[i], value);
        }
        assert_int_equal(versions.superseded_count, 7);
        Node oldest = node_of(held[0]), newest = node_of(held[7]);
        pass(GRACE_NS);
        assert_shows(oldest, held[7]);
        assert_shows(newest, held[7]);
        assert_int_equal(versions.superseded_count, 0);
}

/* A node that follows goes on doing so, however often the content changes. */
static void test_follows_for_ever(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        versions_extend(&versions, first, 0);
        (void)set("two");
        pass(GRACE_NS);
        char value[32];
        for (int i = 0; i < 100; i++) {
                (void)snprintf(value, sizeof value, "value-%d", i);
                Version *current = set(value);
                versions_extend(&versions, current, NS_PER_S);
                assert_shows(node, current);
                pass(NS_PER_MS);
        }
}

static void test_drop_current(void **state)
{
        (void)state;
        Version *first = set("one");
        Node node = node_of(first);
        versions_extend(&versions, first, 0);
        Node second = node_of(set("two"));
        versions_drop_current(&versions, slot);
        assert_null(versions_current(&versions, slot));
        assert_fails_to_show(second, -EAGAIN);
        assert_shows(node, first); /* what was superseded goes in its time */
        pass(GRACE_NS);
        assert_fails_to_show(node, -EAGAIN);
        assert_null(versions.directories[slot]);
        versions_drop_current(&versions, slot); /* twice is no harm */
        assert_fails_to_show(node, -EAGAIN);
        assert_fails_to_show((Node){slot + 1, 1, NODE_JSON}, -ESTALE); /* no such slot */
}

static void test_names_of(void **state)
{
        (void)state;
        uint32_t web, mail, dns;
        assert_int_equal(nodes_take(nodes, SLOT_NAME, "web", &web), 0);
        assert_int_equal(nodes_take(nodes, SLOT_NAME, "mail", &mail), 0);
        assert_int_equal(nodes_take(nodes, SLOT_NAME, "dns", &dns), 0);
        (void)set_in(web, "at-1", "one");
        (void)set_in(mail, "at-1", "one");
        (void)set_in(dns, "at-11", "one");
        (void)set("one");
        versions_drop_token(&versions, "at-1");
        assert_null(versions_current(&versions, web));
        assert_null(versions_current(&versions, mail));
        assert_non_null(versions_current(&versions, dns));
        assert_non_null(versions_current(&versions, slot)); /* the token's own directory is another matter */
        versions_drop_token(&versions, "at-1");
        versions_drop_token(&versions, "at-11");
        assert_null(versions.by_token);
}

/* A name follows a rotation, as a token follows a change. */
static void test_name_rotates(void **state)
{
        (void)state;
        uint32_t web;
        assert_int_equal(nodes_take(nodes, SLOT_NAME, "web", &web), 0);
        Version *before = set_in(web, "at-1", "one");
        versions_extend(&versions, before, 0);
        Version *after = set_in(web, "at-2", "two");
        assert_true(after->generation != before->generation);
        Node node = {web, before->generation, NODE_FIELD + TOKEN_ID};
        assert_shows(node, before);
        versions_drop_token(&versions, "at-1");
        assert_ptr_equal(versions_current(&versions, web), after); /* it is another token's now */
        pass(GRACE_NS);
        assert_shows(node, after);
}

static Version *set_text(const char *text)
{
        Version *version;
        Buf buf = BUF_INIT(1 << 20);
        assert_int_equal(buf_append_str(&buf, text), 0);
        assert_int_equal(versions_set_text(&versions, SLOT_STATUS, &buf, &version), 0);
        buf_deinit(&buf);
        return version;
}

static void test_text(void **state)
{
        (void)state;
        Version *first = set_text("one\n");
        versions_extend(&versions, first, NS_PER_S);
        assert_ptr_equal(set_text("one\n"), first);
        assert_int_equal(first->content.mtime_ns, FAKE_WALL_NS);
        assert_true(version_has_field(first, NODE_TEXT));
        assert_false(version_has_field(first, NODE_JSON));
        assert_false(version_has_field(first, NODE_FIELD));
        pass(NS_PER_S);
        Version *second = set_text("");
        assert_true(first != second);
        assert_int_equal(version_size(second, NODE_TEXT), 0);
        assert_int_equal(version_size(first, NODE_TEXT), 4);
        assert_int_equal(second->content.mtime_ns, FAKE_WALL_NS + (int64_t)NS_PER_S);
        assert_int_equal(second->content.ctime_ns, second->content.mtime_ns);
}

/* A reader that opened one reads it whole, though its worker is replaced meanwhile. */
static void test_text_outlives_a_worker(void **state)
{
        (void)state;
        Version *version = set_text("one\n"), *shown;
        Node node = {SLOT_STATUS, version->generation, NODE_TEXT};
        int64_t ctime_ns = version->content.ctime_ns;
        versions_extend(&versions, version, NS_PER_S);
        pass(NS_PER_MS);
        replace_worker();
        assert_int_equal(versions_show(&versions, node, &shown), 0);
        assert_string_equal(buf_str(&shown->text), "one\n");
        assert_int_equal(shown->content.ctime_ns, ctime_ns);
        (void)set_text("two\n");
        assert_shows(node, shown);
        /* What a worker that was taken over left there. */
        node.generation = versions_current(&versions, SLOT_STATUS)->generation;
        NodesText *kept = nodes_text(nodes, SLOT_STATUS);
        kept->data[0]++;
        replace_worker();
        assert_fails_to_show(node, -EAGAIN);
        kept->data[0]--;
        kept->len = UINT32_MAX;
        replace_worker();
        assert_fails_to_show(node, -EAGAIN);
}

/* However often they are made while they are in use, they don't fill the memory. */
static void test_text_is_bounded(void **state)
{
        (void)state;
        static char text[1 << 19];
        memset(text, 'x', sizeof text - 1);
        for (int i = 0; i < 100; i++) {
                text[0] = (char)('!' + i);
                versions_extend(&versions, set_text(text), NS_PER_S);
                assert_in_range(versions.text_held, 0, 9 * 1024 * 1024);
        }
        assert_true(versions.text_held > 0);
        pass(NS_PER_S + GRACE_NS);
        assert_int_equal(versions.text_held, 0);
}

/* The address: another file than the token's, in a slot of its own, with the token's secret in it. */
static void test_url(void **state)
{
        (void)state;
        uint32_t url, name_url;
        Version *version, *other;
        TokenDoc *doc = fake_doc(&(FakeToken){.id = "at-1", .value = "a/b"});
        assert_int_equal(nodes_take(nodes, SLOT_TOKEN_URL, "at-1", &url), 0);
        assert_int_equal(nodes_take(nodes, SLOT_NAME_URL, "web", &name_url), 0);
        assert_true(url != slot);
        assert_int_equal(versions_set_url(&versions, url, doc, "gr.example", &version), 0);
        size_t len;
        bool newline;
        const char *bytes = version_bytes(&versions, version, NODE_DOH_URL, &len, &newline);
        static const char expected[] = "https://gr.example/dns-query?token=a%2Fb";
        assert_int_equal(len, sizeof expected - 1);
        assert_memory_equal(bytes, expected, len);
        assert_true(version_has_field(version, NODE_DOH_URL));
        assert_false(version_has_field(version, NODE_FIELD + TOKEN_VALUE));
        assert_false(version_has_field(version, NODE_JSON));
        assert_false(version_has_field(set("one"), NODE_DOH_URL));
        uint32_t generation = version->generation;
        int64_t mtime_ns = version->content.mtime_ns;
        assert_int_equal(versions_set_url(&versions, url, doc, "gr.example", &other), 0);
        assert_ptr_equal(other, version);
        assert_int_equal(versions_set_url(&versions, url, doc, "hr.example", &other), 0);
        assert_true(other->generation != generation);
        assert_true(other->content.mtime_ns != mtime_ns);
        assert_int_equal(versions_set_url(&versions, name_url, doc, "gr.example", &version), 0);
        token_doc_unref(doc);
        versions_drop_token(&versions, "at-1");
        assert_null(versions_current(&versions, name_url));
        assert_non_null(versions_current(&versions, url));
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
        assert_int_equal(version_size(version, NODE_FIELD + TOKEN_VALUE), 3);
}

static void test_newline(void **state)
{
        (void)state;
        Version *version = set("one");
        size_t len;
        bool newline;
        const char *bytes = version_bytes(&versions, version, NODE_FIELD + TOKEN_VALUE, &len, &newline);
        assert_int_equal(len, 3);
        assert_memory_equal(bytes, "one", 3);
        assert_true(newline);
        assert_int_equal(version_size(version, NODE_FIELD + TOKEN_VALUE), 4);
        bytes = version_bytes(&versions, version, NODE_JSON, &len, &newline);
        assert_int_equal(bytes[len - 1], '\n'); /* it has one */
        assert_false(newline);
        assert_int_equal(version_size(version, NODE_JSON), len);
}

/* First sight: updatedAt; a change: the later of updatedAt and now, and never back. The same bytes keep their times. */
static void test_times(void **state)
{
        (void)state;
        const int64_t second = (int64_t)NS_PER_S;
        Version *version = set("one");
        int64_t first_mtime_ns = version->content.mtime_ns;
        assert_int_equal(first_mtime_ns / second, FAKE_WALL_S - 3600); /* updatedAt */
        assert_int_equal(version->content.ctime_ns, FAKE_WALL_NS);
        pass(NS_PER_S);
        replace_worker();
        version = set("one");
        assert_int_equal(version->content.mtime_ns, first_mtime_ns);
        assert_int_equal(version->content.ctime_ns, FAKE_WALL_NS);
        version = set("two");
        assert_int_equal(version->content.mtime_ns, FAKE_WALL_NS + second);
        assert_int_equal(version->content.ctime_ns, FAKE_WALL_NS + second);
        int64_t before_ns = version->content.mtime_ns;
        version = set("three"); /* in the same nanosecond */
        assert_true(version->content.mtime_ns > before_ns);
        before_ns = version->content.mtime_ns;
        clock_set_fake(clock_now_ns(), FAKE_WALL_NS - 60 * second);
        version = set("one"); /* back, and the clock too */
        assert_true(version->content.mtime_ns > before_ns);
        before_ns = version->content.mtime_ns;
        clock_set_fake(clock_now_ns(), FAKE_WALL_NS - 7200 * second);
        versions_drop_current(&versions, slot);
        assert_int_equal(set("one")->content.mtime_ns, before_ns);
        uint32_t web;
        assert_int_equal(nodes_take(nodes, SLOT_NAME, "web", &web), 0);
        (void)set_in(web, "at-1", "one");
        version = set_in(web, "at-2", "two");
        assert_int_equal(
                version->content.mtime_ns / second, FAKE_WALL_S - 3600); /* updatedAt is later than now */
}

/* A slot that is taken over for another key brings nothing of the old one along, and the directory that showed the old key
 * looks again what it shows. */
static void test_slot_taken_over(void **state)
{
        (void)state;
        uint32_t index;
        char key[32];
        (void)set("one");
        for (uint32_t i = nodes_end(nodes); i < nodes_capacity(nodes); i++) {
                (void)snprintf(key, sizeof key, "x-%u", i);
                assert_int_equal(nodes_take(nodes, SLOT_TOKEN, key, &index), 0);
                nodes_add_lookup(nodes, index, NODE_DIRECTORY);
        }
        Fs *fs = calloc(1, sizeof *fs);
        assert_non_null(fs);
        fs->settings.slots = nodes;
        fs->versions = versions;
        fs->marks = calloc(nodes_capacity(nodes), sizeof *fs->marks);
        fs->root_mark = fs->marks[slot] = 7;
        fs->names_mark = 8;
        fs->root_listing_version = 1;
        fs->names_cursor.version = 1;
        assert_int_equal(content_take_slot(fs, SLOT_NAME, "web", &index), 0);
        assert_int_equal(index, slot); /* the kernel had never heard of it */
        assert_null(versions_current(&versions, slot));
        assert_int_equal(fs->root_listing_version, 0);
        assert_int_equal(fs->names_cursor.version, 1);
        assert_int_equal(fs->marks[slot], 0);
        fs->marks[slot] = fs->names_mark;
        assert_int_equal(content_take_slot(fs, SLOT_NAME, "web", &index), 0); /* it is its own */
        assert_int_equal(fs->names_cursor.version, 1);
        assert_int_equal(content_take_slot(fs, SLOT_TOKEN, "at-2", &index), 0);
        assert_int_equal(fs->names_cursor.version, 0);
        assert_int_equal(fs->marks[slot], 0);
        nodes_add_lookup(nodes, index, NODE_DIRECTORY);
        assert_int_equal(content_take_slot(fs, SLOT_TOKEN, "at-3", &index), -ENOSPC);
        free(fs->marks);
        free(fs);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_same_bytes_same_node),
                TEST(test_grace),
                TEST(test_no_grace_without_readers),
                TEST(test_extend),
                TEST(test_fast_changes),
                TEST(test_follows_for_ever),
                TEST(test_drop_current),
                TEST(test_names_of),
                TEST(test_name_rotates),
                TEST(test_text),
                TEST(test_text_outlives_a_worker),
                TEST(test_text_is_bounded),
                TEST(test_url),
                TEST(test_fields),
                cmocka_unit_test_setup_teardown(test_newline, set_up_newline, tear_down),
                TEST(test_times),
                TEST(test_slot_taken_over),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
