/* What the kernel, or a worker that was taken over, may say: names, node ids, the table of slots; and the state that
 * one binary hands to the next. The first byte says which. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "supervisor/state.h"
#include "fs/fs-private.h"
#include "tokenfs/fuse/nodes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where the slots begin, or a little behind it: with a damaged header the whole table is looked through, which is slow. */
#define HEADER_BYTES (24 + sizeof(NodesShared))

static void require(bool condition)
{
        if (!condition)
                abort();
}

/* A name has one form as a directory, and a directory one name. */
static void check_name(const char *text)
{
        char name[TOKEN_NAME_MAX + 1], encoded[FS_NAME_MAX + 1];
        if (name_decode(text, name) == 0) {
                require(name_encode(name, encoded) == 0 && strcmp(encoded, text) == 0);
                require(strchr(encoded, '/') == NULL && strcmp(encoded, ".") != 0 &&
                        strcmp(encoded, "..") != 0);
        }
        if (name_encode(text, encoded) == 0)
                require(name_decode(encoded, name) == 0 && strcmp(name, text) == 0);
        uint8_t field = node_field_of(text);
        require(field == 0 || strcmp(node_file_name(field), text) == 0);
        if (token_id_is_valid(text))
                require(strlen(text) <= TOKEN_ID_MAX && !strchr(text, '/') && !strchr(text, '_') &&
                        strcmp(text, ".") != 0 && strcmp(text, "..") != 0);
}

static void check_node(uint64_t id)
{
        Node node = node_from_id(id);
        require(node_id(node) == id);
        (void)node_file_name(node.field);
        (void)field_is_secret(node.field);
}

/* The table lives on from run to run, as the mapping is the dear part. */
static Nodes *table(uint8_t **ret_bytes)
{
        static Nodes *slots;
        static uint8_t *bytes, pristine[65536];
        if (!slots) {
                require(nodes_new(&slots) == 0);
                bytes = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, nodes_fd(slots), 0);
                require(bytes != MAP_FAILED);
                memcpy(pristine, bytes, sizeof pristine);
        }
        memcpy(bytes, pristine, sizeof pristine);
        *ret_bytes = bytes;
        return slots;
}

static void visit(Node node, uint32_t directory, void *userdata)
{
        require(node.slot < nodes_capacity(userdata) && directory < nodes_capacity(userdata));
}

/* Noise over a table in use: a look-up finds what it was asked for, and no key stands twice. */
static void check_table(const uint8_t *noise, size_t size, bool with_header)
{
        uint8_t *bytes;
        Nodes *slots = table(&bytes);
        uint32_t index = 0;
        (void)nodes_repair(slots);
        static const char *const keys[] = {"at-1", "at-2", "at-3", "at-4"};
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
                require(nodes_take(slots, i % 2 ? SLOT_NAME : SLOT_TOKEN, keys[i], &index) == 0);
                nodes_add_lookup(slots, index, NODE_FIELD + 1);
                (void)nodes_begin_generation(
                        slots, index, &(SlotContent){.fingerprint = i + 1, .ctime_ns = 1});
        }
        for (size_t i = 0; i + 3 <= size; i += 3) /* where (2 bytes), and what */
                bytes[(size_t)(noise[i] | noise[i + 1] << 8) % 2048 + (with_header ? 0 : HEADER_BYTES)] ^=
                        noise[i + 2];
        (void)nodes_repair(slots);
        require(nodes_repair(slots) == 0);
        for (uint32_t i = SLOT_FIXED_COUNT; i < nodes_end(slots) && i < 64; i++) {
                const Slot *slot = nodes_get(slots, i);
                uint32_t found = 0;
                if (!slot)
                        continue;
                require(slot->kind > SLOT_FIXED && slot->kind < SLOT_KIND_COUNT);
                require(memchr(slot->key, '\0', sizeof slot->key));
                require(nodes_find(slots, slot->kind, slot->key, &found) == 0 && found == i);
        }
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
                int r = nodes_take(slots, i % 2 ? SLOT_NAME : SLOT_TOKEN, keys[i], &index);
                require(r == 0 ? strcmp(nodes_get(slots, index)->key, keys[i]) == 0 : r < 0);
        }
        nodes_invalidate(slots, visit, slots);
}

/* Noise over a state: what is read of it lies within it, and comes back from the next one. */
static void check_state(const uint8_t *noise, size_t size)
{
        static int fd = -1;
        const State whole = {.worker = 12,
                .leaving = {13},
                .mountpoint = "/mnt/x",
                .init = "init",
                .init_len = 4,
                .changes = "at-1 at-2 web\n"};
        if (fd < 0)
                require(state_new(&fd) == 0);
        require(state_write(fd, &whole) == 0);
        for (size_t i = 0; i + 3 <= size; i += 3) { /* where (2 bytes), and what */
                off_t at = (noise[i] | noise[i + 1] << 8) % 512;
                uint8_t byte = 0;
                require(pread(fd, &byte, 1, at) >= 0);
                byte ^= noise[i + 2];
                require(pwrite(fd, &byte, 1, at) == 1);
        }
        State first, second;
        if (state_read(fd, &first) < 0)
                return;
        require(state_write(fd, &first) == 0 && state_read(fd, &second) == 0);
        require(strcmp(first.mountpoint, second.mountpoint) == 0 && first.init_len == second.init_len &&
                memcmp(first.init, second.init, first.init_len) == 0 &&
                strcmp(first.changes, second.changes) == 0 && first.worker == second.worker);
        state_deinit(&first);
        state_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        char *text = malloc(size);
        require(text);
        memcpy(text, data + 1, size - 1);
        text[size - 1] = '\0';
        uint64_t id = 0;
        switch (data[0]) {
        case 'n': check_name(text); break;
        case 'i':
                memcpy(&id, text, size - 1 < sizeof id ? size - 1 : sizeof id);
                check_node(id);
                break;
        case 't': check_table((const uint8_t *)text, size - 1, false); break;
        case 'T': check_table((const uint8_t *)text, size - 1, true); break;
        case 's': check_state((const uint8_t *)text, size - 1); break;
        default: break;
        }
        free(text);
        return 0;
}
