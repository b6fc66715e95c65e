/* The table of slots: what it keeps, and what damage does to it. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tokenfs/fuse/nodes.h"

/* Not random, and the same everywhere. */
static unsigned next_number(void)
{
        static uint32_t number = 2463534242u;
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        return number >> 1;
}

static Nodes *nodes;
static unsigned char *memory;
static size_t memory_bytes;
static Slot *table;

static void map_table(void)
{
        struct stat status;
        assert_int_equal(fstat(nodes_fd(nodes), &status), 0);
        memory_bytes = (size_t)status.st_size;
        memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, nodes_fd(nodes), 0);
        assert_true(memory != MAP_FAILED);
        table = (Slot *)(void *)(memory + memory_bytes - 2 * sizeof(NodesText) -
                                 (size_t)nodes_capacity(nodes) * sizeof(Slot));
}

static int set_up(void **state)
{
        (void)state;
        assert_int_equal(nodes_new(&nodes), 0);
        map_table();
        assert_int_equal(nodes_repair(nodes), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        (void)munmap(memory, memory_bytes);
        nodes = nodes_free(nodes);
        return 0;
}

static uint32_t take(SlotKind kind, const char *key)
{
        uint32_t index = 0;
        assert_int_equal(nodes_take(nodes, kind, key, &index), 0);
        return index;
}

static void assert_absent(SlotKind kind, const char *key)
{
        uint32_t index;
        assert_int_equal(nodes_find(nodes, kind, key, &index), -ENOENT);
}

static void assert_at(SlotKind kind, const char *key, uint32_t expected)
{
        uint32_t index = 0;
        assert_int_equal(nodes_find(nodes, kind, key, &index), 0);
        assert_int_equal(index, expected);
}

static void test_take_and_find(void **state)
{
        (void)state;
        for (uint32_t i = 0; i < SLOT_FIXED_COUNT; i++)
                assert_int_equal(nodes_get(nodes, i)->kind, SLOT_FIXED);
        assert_null(nodes_get(nodes, SLOT_FIXED_COUNT));
        assert_null(nodes_get(nodes, UINT32_MAX));
        uint32_t a = take(SLOT_TOKEN, "at-1"), b = take(SLOT_NAME, "at-1"), c = take(SLOT_TOKEN, "at-2");
        assert_true(a != b && b != c && a != c && a >= SLOT_FIXED_COUNT);
        assert_int_equal(take(SLOT_TOKEN, "at-1"), a);
        assert_at(SLOT_TOKEN, "at-1", a);
        assert_at(SLOT_NAME, "at-1", b);
        assert_absent(SLOT_NAME, "at-2");
        assert_absent(SLOT_TOKEN, "at-");
        assert_int_equal(nodes_used(nodes), 3);
        assert_string_equal(nodes_get(nodes, c)->key, "at-2");
        char longest[TOKEN_ID_MAX + 2];
        memset(longest, 'x', sizeof longest);
        longest[TOKEN_ID_MAX + 1] = '\0';
        uint32_t index;
        assert_int_equal(nodes_take(nodes, SLOT_TOKEN, longest, &index), -ENAMETOOLONG);
        assert_absent(SLOT_TOKEN, longest);
        longest[TOKEN_ID_MAX] = '\0';
        assert_at(SLOT_TOKEN, longest, take(SLOT_TOKEN, longest));
}

static void test_generations(void **state)
{
        (void)state;
        uint32_t index = take(SLOT_TOKEN, "at-1");
        assert_int_equal(nodes_get(nodes, index)->generation, 0);
        assert_int_equal(
                nodes_begin_generation(nodes, index, &(SlotContent){.fingerprint = 7, .ctime_ns = 1}), 1);
        assert_int_equal(
                nodes_begin_generation(nodes, index, &(SlotContent){.fingerprint = 8, .ctime_ns = 1}), 2);
        assert_int_equal(nodes_get(nodes, index)->content.fingerprint, 8);
        table[index].generation = UINT32_MAX;
        assert_int_equal(
                nodes_begin_generation(nodes, index, &(SlotContent){.fingerprint = 9, .ctime_ns = 1}),
                1); /* 0 is a directory's */
}

/* Until when the kernel may use what it was given: of the current generation, and of all before it. */
static void test_validity(void **state)
{
        (void)state;
        uint32_t index = take(SLOT_TOKEN, "at-1");
        const Slot *slot = nodes_get(nodes, index);
        uint64_t now = clock_now_ns();
        (void)nodes_begin_generation(nodes, index, &(SlotContent){.fingerprint = 1, .ctime_ns = 1});
        nodes_extend(nodes, index, now + 7);
        nodes_extend(nodes, index, now + 5);
        assert_int_equal(slot->valid_until_ns, now + 7);
        (void)nodes_begin_generation(nodes, index, &(SlotContent){.fingerprint = 2, .ctime_ns = 1});
        assert_int_equal(slot->valid_until_ns, 0);
        assert_int_equal(slot->old_valid_until_ns, now + 7);
        nodes_extend(nodes, index, now + 3);
        (void)nodes_begin_generation(nodes, index, &(SlotContent){.fingerprint = 3, .ctime_ns = 1});
        assert_int_equal(slot->old_valid_until_ns, now + 7);
        /* Whatever another worker left there. */
        table[index].valid_until_ns = table[index].old_valid_until_ns = UINT64_MAX;
        assert_int_equal(nodes_repair(nodes), 0);
        assert_in_range(slot->valid_until_ns, now, clock_now_ns() + NODES_VALID_MAX_NS);
        assert_in_range(slot->old_valid_until_ns, now, clock_now_ns() + NODES_VALID_MAX_NS);
}

/* A process that takes no nodes finds those that are sound. */
static void test_index(void **state)
{
        (void)state;
        uint32_t index = take(SLOT_TOKEN, "at-1"), damaged = take(SLOT_TOKEN, "at-2");
        table[damaged].generation++;
        Nodes *other;
        int fd = dup(nodes_fd(nodes));
        assert_int_equal(nodes_adopt(fd, &other), 0);
        nodes_index(other);
        uint32_t found;
        assert_int_equal(nodes_find(other, SLOT_TOKEN, "at-1", &found), 0);
        assert_int_equal(found, index);
        assert_int_equal(nodes_find(other, SLOT_TOKEN, "at-2", &found), -ENOENT);
        nodes_free(other);
}

static void test_lookups(void **state)
{
        (void)state;
        uint32_t index = take(SLOT_TOKEN, "at-1");
        nodes_add_lookup(nodes, index, NODE_DIRECTORY);
        nodes_add_lookup(nodes, index, NODE_JSON);
        nodes_add_lookup(nodes, index, NODE_JSON);
        nodes_drop_lookups(nodes, index, 2);
        assert_int_equal(nodes_get(nodes, index)->lookups, 1);
        assert_true(nodes_get(nodes, index)->fields_looked_up != 0);
        nodes_drop_lookups(nodes, index, UINT64_MAX);
        assert_int_equal(nodes_get(nodes, index)->lookups, 0);
        assert_int_equal(nodes_get(nodes, index)->fields_looked_up, 0);
        /* One more than can be counted is never counted down to nothing. */
        table[index].lookups = UINT32_MAX - 1;
        nodes_add_lookup(nodes, index, NODE_JSON);
        nodes_add_lookup(nodes, index, NODE_JSON);
        nodes_drop_lookups(nodes, index, UINT32_MAX);
        assert_int_equal(nodes_get(nodes, index)->lookups, UINT32_MAX);
}

static unsigned visited_directories, visited_files;
static Node last_file;
static uint32_t last_directory;

static void count_node(Node node, uint32_t directory, void *userdata)
{
        assert_ptr_equal(userdata, &nodes);
        if (node.field == NODE_DIRECTORY) {
                assert_int_equal(directory, node.slot);
                visited_directories++;
        } else {
                assert_true(node_is_file(node));
                visited_files++;
                last_file = node;
                last_directory = directory;
        }
}

static void visit(void)
{
        visited_directories = visited_files = 0;
        nodes_invalidate(nodes, count_node, &nodes);
}

static void test_invalidate(void **state)
{
        (void)state;
        visit();
        assert_int_equal(visited_directories, 2); /* the root and .by_name */
        assert_int_equal(visited_files, 0);
        uint32_t index = take(SLOT_TOKEN, "at-1");
        (void)take(SLOT_TOKEN, "at-2");
        (void)nodes_begin_generation(nodes, index, &(SlotContent){.fingerprint = 1, .ctime_ns = 1});
        nodes_add_lookup(nodes, index, NODE_DIRECTORY);
        visit();
        assert_int_equal(visited_directories, 3);
        nodes_add_lookup(nodes, index, NODE_JSON);
        nodes_add_lookup(nodes, SLOT_STATUS, NODE_TEXT);
        visit();
        assert_int_equal(visited_files, 2);
        assert_int_equal(node_id(last_file), node_id((Node){index, 1, NODE_JSON}));
        assert_int_equal(last_directory, index);
        /* Older files, as long as the kernel may use their attributes; that ends with the visit. */
        nodes_extend(nodes, index, clock_now_ns() + 60 * NS_PER_S);
        (void)nodes_begin_generation(nodes, index, &(SlotContent){.fingerprint = 2, .ctime_ns = 1});
        nodes_extend(nodes, index, clock_now_ns() + 60 * NS_PER_S);
        visit();
        assert_int_equal(visited_files, 3);
        visit();
        assert_int_equal(visited_files, 2);
        const Slot *slot = nodes_get(nodes, index);
        assert_in_range(slot->valid_until_ns, 1, clock_now_ns());
        assert_in_range(slot->old_valid_until_ns, 1, clock_now_ns());
}

static void extend_in_visit(Node node, uint32_t directory, void *userdata)
{
        (void)directory, (void)userdata;
        if (node_is_file(node))
                nodes_extend(nodes, node.slot, clock_now_ns() + 100 * NS_PER_S);
}

/* What a worker gives meanwhile stays valid. */
static void test_given_meanwhile(void **state)
{
        (void)state;
        uint32_t index = take(SLOT_TOKEN, "at-1");
        (void)nodes_begin_generation(nodes, index, &(SlotContent){.fingerprint = 1, .ctime_ns = 1});
        nodes_add_lookup(nodes, index, NODE_JSON);
        nodes_extend(nodes, index, clock_now_ns() + 50 * NS_PER_S);
        nodes_invalidate(nodes, extend_in_visit, NULL);
        assert_true(nodes_get(nodes, index)->valid_until_ns > clock_now_ns() + 60 * NS_PER_S);
}

static void visit_name(const char *name)
{
        visited_directories = visited_files = 0;
        nodes_invalidate_name(nodes, name, count_node, &nodes);
}

/* The files of a name and of its address, of now and of lately; of no token and no other name. */
static void test_invalidate_name(void **state)
{
        (void)state;
        uint32_t name = take(SLOT_NAME, "web"), url = take(SLOT_NAME_URL, "web");
        const uint32_t others[] = {
                take(SLOT_NAME, "webs"), take(SLOT_TOKEN, "web"), take(SLOT_TOKEN_URL, "web")};
        for (size_t i = 0; i < ARRAY_LEN(others); i++) {
                (void)nodes_begin_generation(
                        nodes, others[i], &(SlotContent){.fingerprint = 1, .ctime_ns = 1});
                nodes_add_lookup(nodes, others[i], NODE_JSON);
        }
        visit_name("web");
        assert_int_equal(visited_files, 0);
        (void)nodes_begin_generation(nodes, name, &(SlotContent){.fingerprint = 1, .ctime_ns = 1});
        nodes_add_lookup(nodes, name, NODE_JSON);
        nodes_add_lookup(nodes, name, NODE_FIELD + TOKEN_VALUE);
        visit_name("web");
        assert_int_equal(visited_files, 2);
        (void)nodes_begin_generation(nodes, url, &(SlotContent){.fingerprint = 1, .ctime_ns = 1});
        nodes_add_lookup(nodes, url, NODE_DOH_URL);
        visit_name("web");
        assert_int_equal(visited_files, 3);
        assert_int_equal(last_file.slot, url);
        assert_int_equal(last_directory, name);
        for (uint64_t i = 0; i < 100; i++) {
                nodes_extend(nodes, name, clock_now_ns() + 60 * NS_PER_S);
                (void)nodes_begin_generation(
                        nodes, name, &(SlotContent){.fingerprint = 3 + i, .ctime_ns = 1});
        }
        visit_name("web");
        assert_int_equal(visited_files, 8 * 2 + 1);
        assert_int_equal(visited_directories, 0);
}

static void test_root_is_the_kernels(void **state)
{
        (void)state;
        assert_int_equal(node_directory(SLOT_ROOT), 1);
        Node node = {0xffffff, UINT32_MAX, 0xff};
        assert_int_equal(node_id(node_from_id(node_id(node))), UINT64_MAX);
        assert_int_equal(node_from_id(UINT64_MAX).slot, 0xffffff);
        assert_null(nodes_get(nodes, 0xffffff));
}

/* Another worker maps the table that this one has filled. */
static void test_adopt(void **state)
{
        (void)state;
        uint32_t a = take(SLOT_TOKEN, "at-1"), b = take(SLOT_NAME, "web");
        (void)nodes_begin_generation(nodes, a, &(SlotContent){.fingerprint = 5, .ctime_ns = 1});
        nodes_shared(nodes)->restarts = 3;
        int fd = fcntl(nodes_fd(nodes), F_DUPFD_CLOEXEC, 3);
        Nodes *adopted = NULL;
        assert_int_equal(nodes_adopt(fd, &adopted), 0);
        assert_int_equal(nodes_fd(adopted), fd);
        assert_int_equal(nodes_repair(adopted), 0);
        uint32_t index;
        assert_int_equal(nodes_find(adopted, SLOT_TOKEN, "at-1", &index), 0);
        assert_int_equal(index, a);
        assert_int_equal(nodes_find(adopted, SLOT_NAME, "web", &index), 0);
        assert_int_equal(index, b);
        assert_int_equal(nodes_begin_generation(adopted, a, &(SlotContent){.fingerprint = 6, .ctime_ns = 1}),
                2); /* goes on counting */
        assert_int_equal(nodes_shared(adopted)->restarts, 3);
        adopted = nodes_free(adopted);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void assert_refused(int fd)
{
        Nodes *adopted = NULL;
        assert_int_equal(nodes_adopt(fd, &adopted), -EINVAL);
        assert_null(adopted);
        assert_true(fcntl(fd, F_GETFD) >= 0); /* still the caller's */
}

static void test_adopt_what_is_none(void **state)
{
        (void)state;
        Nodes *adopted = NULL;
        assert_int_equal(nodes_adopt(-1, &adopted), -EBADF);
        int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_refused(fd);
        assert_int_equal(ftruncate(fd, (off_t)memory_bytes - 1), 0);
        assert_refused(fd);
        assert_int_equal(ftruncate(fd, (off_t)memory_bytes), 0);
        assert_int_equal(pwrite(fd, memory, 16, 0), 16);
        assert_refused(fd); /* it could be cut */
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
        assert_int_equal(nodes_adopt(fd, &adopted), 0);
        adopted = nodes_free(adopted);
        fd = fcntl(nodes_fd(nodes), F_DUPFD_CLOEXEC, 3);
        for (size_t i = 0; i < 16; i++) { /* magic, size of a slot, capacity */
                memory[i] ^= 0x10;
                assert_refused(fd);
                memory[i] ^= 0x10;
        }
        assert_int_equal(nodes_adopt(fd, &adopted), 0);
        adopted = nodes_free(adopted);
}

/* Who has the table can't take it away from under the others. */
static void test_size_stays(void **state)
{
        (void)state;
        assert_int_equal(ftruncate(nodes_fd(nodes), 0), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(nodes_fd(nodes), (off_t)memory_bytes + 1), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(take(SLOT_TOKEN, "at-1"), SLOT_FIXED_COUNT);
}

/* Every byte of a slot, damaged in turn: the slot is dropped, or only its look-ups and times are other; the rest stays. */
static void test_damage_of_each_byte(void **state)
{
        (void)state;
        uint32_t index = take(SLOT_TOKEN, "at-1"), other = take(SLOT_TOKEN, "at-2");
        (void)nodes_begin_generation(
                nodes, index, &(SlotContent){.fingerprint = UINT64_C(0x1122334455667788), .ctime_ns = 1});
        nodes_add_lookup(nodes, index, NODE_JSON);
        unsigned unnoticed = 0;
        Slot good = table[index];
        for (size_t i = 0; i < sizeof(Slot); i++) {
                for (unsigned bit = 0; bit < 8; bit++) {
                        table[index] = good;
                        ((unsigned char *)&table[index])[i] ^= (unsigned char)(1u << bit);
                        unsigned dropped = nodes_repair(nodes);
                        bool is_lookups =
                                i >= offsetof(Slot, lookups) && i < offsetof(Slot, content.fingerprint);
                        bool is_validity = i >= offsetof(Slot, follow_next_ns) && i < offsetof(Slot, check);
                        bool is_padding = i >= offsetof(Slot, check) + 4;
                        assert_at(SLOT_TOKEN, "at-2", other);
                        if (is_lookups || is_validity || is_padding) {
                                assert_int_equal(dropped, 0);
                                unnoticed++;
                                continue;
                        }
                        if (i == offsetof(Slot, kind) && table[index].kind == SLOT_FREE)
                                continue;
                        assert_int_equal(dropped, 1);
                        assert_absent(SLOT_TOKEN, "at-1");
                        assert_null(nodes_get(nodes, index));
                        assert_int_equal(nodes_used(nodes), 1);
                }
        }
        assert_in_range(unnoticed, 8 * (4 + 24), 8 * (4 + 24 + 8));
        table[index] = good;
        assert_int_equal(nodes_repair(nodes), 0);
        assert_at(SLOT_TOKEN, "at-1", index);
}

/* Well sealed, and yet not true: what a worker that was taken over could write. */
static void test_forged_slots(void **state)
{
        (void)state;
        uint32_t a = take(SLOT_TOKEN, "at-1"), b = take(SLOT_TOKEN, "at-2");
        /* The same key twice: one of them goes. */
        table[b] = table[a];
        assert_int_equal(nodes_repair(nodes), 1);
        assert_int_equal(nodes_used(nodes), 1);
        assert_at(SLOT_TOKEN, "at-1", a);
        /* Keys that are none, sealed by taking them. */
        static const char *const bad_ids[] = {"", ".", "..", "a/b", "a_b"};
        for (size_t i = 0; i < sizeof bad_ids / sizeof bad_ids[0]; i++) {
                (void)take(SLOT_TOKEN, bad_ids[i]);
                assert_int_equal(nodes_repair(nodes), 1);
                assert_absent(SLOT_TOKEN, bad_ids[i]);
        }
        static const char *const bad_names[] = {"", "123", ".", "a%b", "abcdefghijklmnopqrstuvwxyzabcdefg"};
        for (size_t i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
                (void)take(SLOT_NAME, bad_names[i]);
                assert_int_equal(nodes_repair(nodes), 1);
        }
        /* A fixed slot among the others, and another kind among the fixed. */
        table[b] = table[SLOT_ROOT];
        assert_int_equal(nodes_repair(nodes), 1);
        table[SLOT_BY_NAME] = table[a];
        assert_int_equal(nodes_repair(nodes), 1);
        assert_int_equal(nodes_get(nodes, SLOT_BY_NAME)->kind, SLOT_FIXED);
        assert_at(SLOT_TOKEN, "at-1", a);
}

/* A node id that the kernel may hold never comes to mean another token, though its slot was damaged, or the end of
 * the table. */
static void test_damage_gives_no_id_away(void **state)
{
        (void)state;
        uint32_t a = take(SLOT_TOKEN, "at-1"), b = take(SLOT_TOKEN, "at-2");
        nodes_add_lookup(nodes, a, NODE_DIRECTORY);
        nodes_add_lookup(nodes, b, NODE_DIRECTORY);
        table[a].key[0] = 'b';
        assert_int_equal(nodes_repair(nodes), 1);
        assert_true(take(SLOT_TOKEN, "at-3") != a);
        uint32_t *end = NULL;
        for (size_t i = 0; i < (size_t)((unsigned char *)table - memory) && !end; i += 4)
                if (*(uint32_t *)(void *)(memory + i) == nodes_end(nodes))
                        end = (uint32_t *)(void *)(memory + i);
        assert_non_null(end);
        *end = a; /* too small */
        assert_int_equal(nodes_repair(nodes), 0);
        assert_at(SLOT_TOKEN, "at-2", b);
        uint32_t index = take(SLOT_TOKEN, "at-4");
        assert_true(index != a && index != b);
        *end = UINT32_MAX;
        assert_null(nodes_get(nodes, nodes_capacity(nodes)));
        assert_null(nodes_get(nodes, UINT32_MAX));
        visit();
        assert_int_equal(nodes_repair(nodes), 0);
        assert_at(SLOT_TOKEN, "at-2", b);
        *end = 0;
        assert_int_equal(nodes_repair(nodes), 0);
        assert_at(SLOT_TOKEN, "at-2", b);
}

static void test_random_damage(void **state)
{
        (void)state;
        for (int round = 0; round < 300; round++) {
                for (int i = 0; i < 30; i++) {
                        char key[32];
                        (void)snprintf(key, sizeof key, "at-%d", next_number() % 100);
                        uint32_t index = take(i % 3 ? SLOT_TOKEN : SLOT_NAME, key);
                        nodes_add_lookup(
                                nodes, index, (uint8_t)(NODE_DIRECTORY + next_number() % (NODE_TEXT)));
                        if (i % 4 == 0)
                                (void)nodes_begin_generation(nodes, index,
                                        &(SlotContent){
                                                .fingerprint = (uint64_t)next_number(), .ctime_ns = 1});
                        if (i % 5 == 0)
                                nodes_extend(nodes, index, (uint64_t)next_number());
                        if (i % 7 == 0)
                                nodes_drop_lookups(nodes, index, (uint64_t)(next_number() % 10));
                }
                size_t used = (size_t)((unsigned char *)&table[nodes_end(nodes)] - memory);
                size_t from = (size_t)next_number() % used;
                size_t len = 1 + (size_t)next_number() % (round % 10 ? 16 : 4096);
                for (size_t i = from < 16 ? 16 : from; i < from + len && i < used; i++)
                        memory[i] = (unsigned char)next_number();
                (void)nodes_repair(nodes);
                assert_int_equal(nodes_repair(nodes), 0); /* once is enough */
                visit();
                uint32_t live = 0;
                for (uint32_t i = SLOT_FIXED_COUNT; i < nodes_end(nodes) && i < 2000; i++) {
                        const Slot *slot = nodes_get(nodes, i);
                        if (!slot)
                                continue;
                        live++;
                        assert_at(slot->kind, slot->key, i);
                }
                assert_int_equal(live, nodes_used(nodes));
                for (uint32_t i = 0; i < SLOT_FIXED_COUNT; i++)
                        assert_int_equal(nodes_get(nodes, i)->kind, SLOT_FIXED);
                if (nodes_end(nodes) ==
                        nodes_capacity(nodes)) { /* begin anew: a table that long takes time */
                        (void)tear_down(NULL);
                        (void)set_up(NULL);
                }
        }
}

static void test_full_table(void **state)
{
        (void)state;
        uint32_t capacity = nodes_capacity(nodes), index;
        char key[32];
        for (uint32_t i = SLOT_FIXED_COUNT; i < capacity; i++) {
                (void)snprintf(key, sizeof key, "at-%u", i);
                assert_int_equal(take(SLOT_TOKEN, key), i);
                nodes_add_lookup(nodes, i, NODE_DIRECTORY);
        }
        assert_int_equal(nodes_used(nodes), capacity - SLOT_FIXED_COUNT);
        /* The kernel knows all of them: none may be taken, and finding that out again costs nothing. */
        for (int i = 0; i < 100000; i++)
                assert_int_equal(nodes_take(nodes, SLOT_TOKEN, "new", &index), -ENOSPC);
        assert_int_equal(take(SLOT_TOKEN, "at-4"), 4);
        nodes_begin_generation(nodes, 1000, &(SlotContent){.fingerprint = 1, .ctime_ns = 1});
        nodes_drop_lookups(nodes, 1000, 1);
        nodes_drop_lookups(nodes, 2000, 1);
        uint32_t generation = nodes_get(nodes, 1000)->generation;
        assert_int_equal(take(SLOT_NAME, "new"), 1000);
        assert_int_equal(nodes_get(nodes, 1000)->kind, SLOT_NAME);
        assert_true(nodes_get(nodes, 1000)->generation > generation);
        assert_int_equal(nodes_get(nodes, 1000)->content.fingerprint, 0);
        assert_absent(SLOT_TOKEN, "at-1000");
        nodes_add_lookup(nodes, 1000, NODE_DIRECTORY);
        assert_int_equal(take(SLOT_TOKEN, "at-1000"), 2000);
        nodes_add_lookup(nodes, 2000, NODE_DIRECTORY);
        assert_int_equal(nodes_take(nodes, SLOT_TOKEN, "newer", &index), -ENOSPC);
        /* With nothing else left, one that was damaged. */
        table[3000].key[0] ^= 1;
        assert_int_equal(nodes_repair(nodes), 1);
        assert_int_equal(take(SLOT_TOKEN, "newer"), 3000);
        assert_int_equal(nodes_repair(nodes), 0);
        assert_at(SLOT_TOKEN, "newer", 3000);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(test_take_and_find),
                TEST(test_generations),
                TEST(test_validity),
                TEST(test_index),
                TEST(test_lookups),
                TEST(test_invalidate),
                TEST(test_given_meanwhile),
                TEST(test_invalidate_name),
                TEST(test_root_is_the_kernels),
                TEST(test_adopt),
                TEST(test_adopt_what_is_none),
                TEST(test_size_stays),
                TEST(test_damage_of_each_byte),
                TEST(test_forged_slots),
                TEST(test_damage_gives_no_id_away),
                TEST(test_random_damage),
                TEST(test_full_table),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
