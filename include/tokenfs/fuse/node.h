#pragma once
/* Node ids: directory slot, generation and field in 64 bits, so that no table of files is needed and a later worker
 * reads them as well.
 *
 *   63 ─ 40 slot │ 39 ─ 8 generation │ 7 ─ 0 field
 *
 * A directory has field NODE_DIRECTORY and generation 0, which makes the root FUSE_ROOT_ID (1). */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/api/token.h"

/* The slots that are always there. */
enum { SLOT_ROOT, SLOT_BY_NAME, SLOT_STATUS, SLOT_METRICS, SLOT_FIXED_COUNT };

enum {
        NODE_DIRECTORY = 1,
        NODE_FIELD = 2, /* + TokenField */
        NODE_JSON = NODE_FIELD + TOKEN_FIELD_COUNT,
        NODE_TEXT, /* the content of a service file */
        NODE_DOH_URL, /* in a slot of its own: it depends on more than the token's document */
        NODE_KIND_COUNT,
        NODE_FILE_COUNT = NODE_KIND_COUNT - NODE_FIELD,
};

typedef struct Node {
        uint32_t slot;
        uint32_t generation;
        uint8_t field;
} Node;

static inline uint64_t node_id(Node node)
{
        return (uint64_t)node.slot << 40 | (uint64_t)node.generation << 8 | node.field;
}

static inline Node node_from_id(uint64_t id)
{
        return (Node){(uint32_t)(id >> 40), (uint32_t)(id >> 8), (uint8_t)id};
}

static inline uint64_t node_directory(uint32_t slot)
{
        return node_id((Node){slot, 0, NODE_DIRECTORY});
}

static inline bool node_is_file(Node node)
{
        return node.field >= NODE_FIELD && node.field < NODE_KIND_COUNT;
}

/* The name of a file in a token's directory, by its field; NULL: it isn't one. */
const char *node_file_name(uint8_t field);
/* The field of such a name; 0: there is none. */
uint8_t node_field_of(const char *file_name);
