#pragma once
/* Versions of the content of directories, and the version that each file node shows. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/api/token.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/list.h"
#include "tokenfs/fuse/nodes.h"
#include "tokenfs/net/loop.h"

typedef struct Directory Directory;

/* One content of a directory: all its files come from it. */
typedef struct Version {
        ListLink link; /* in its directory, newest first */
        Directory *directory;
        uint32_t generation;
        bool is_superseded;
        bool is_hollow; /* superseded, and its bytes are lost: there are its attributes alone */
        TokenDoc *doc; /* of a token or a name; NULL for a service file */
        Buf text; /* of a service file, or the address that is made of `doc`; else empty */
        SlotContent content; /* what the kernel learns of it, and the table keeps */
        LoopTimer end; /* of the grace, once it is superseded */
} Version;

/* Called when a generation of which the kernel may hold files was superseded; the next one is current. */
typedef void VersionsSupersedeHandler(uint32_t slot, uint32_t generation, void *userdata);

typedef struct Versions {
        Loop *loop;
        VersionsSupersedeHandler *on_supersede; /* NULL: none */
        void *on_supersede_userdata;
        Nodes *nodes;
        Directory **directories; /* by slot; NULL where nothing is held */
        void *by_token; /* tsearch tree of TokenNames */
        bool newline;
        uint32_t superseded_count;
        size_t text_held; /* bytes of superseded service files */
} Versions;

int versions_init(Versions *versions, Loop *loop, Nodes *nodes, bool newline);
void versions_deinit(Versions *versions);

/* The slot's content is `doc` (a reference is taken): it becomes the current version, with a new generation if its bytes
 * differ from those before. 0 or -ENOMEM. */
int versions_set_doc(Versions *versions, uint32_t slot, TokenDoc *doc, Version **ret_version);
/* As versions_set_doc, for the address under which the token is used at the resolver of that name. */
int versions_set_url(
        Versions *versions, uint32_t slot, TokenDoc *doc, const char *dns_name, Version **ret_version);
/* As versions_set_doc, for the text of a service file (taken over on success). While too much is held of older ones, the
 * current one stays. */
int versions_set_text(Versions *versions, uint32_t slot, Buf *text, Version **ret_version);
/* NULL if none is held. */
Version *versions_current(const Versions *versions, uint32_t slot);

/* The version that a file node shows now: see versions.c. 0; -EAGAIN: the current one, whose content must be had first;
 * -ESTALE: its own, of which nothing is known any more. */
int versions_show(Versions *versions, Node node, Version **ret_version);
/* Watchers of superseded files get their events, until `until_ns` at most; `fields` has a bit per field - NODE_FIELD. If a
 * look-up of such a file is answered before, the kernel drops the old entry without an event. */
void versions_be_quiet(Versions *versions, uint32_t slot, uint32_t fields, uint64_t until_ns);
bool versions_are_quiet(const Versions *versions, uint32_t slot, uint8_t field);
/* The kernel was given attributes of the current version, and may use them for `keep_ns`. */
void versions_extend(Versions *versions, const Version *version, uint64_t keep_ns);

/* The current content is no more: wiped now. Superseded versions stay until their grace is over. */
void versions_drop_current(Versions *versions, uint32_t slot);
/* As versions_set_doc, if the slot has content or the kernel may hold files of it: so a change is seen before the next
 * reader comes. */
void versions_refresh(Versions *versions, uint32_t slot, TokenDoc *doc);
/* As versions_refresh, for all names whose content is that token's. */
void versions_refresh_names(Versions *versions, const char *id, TokenDoc *doc);
/* As versions_drop_current, for all names whose content is that token's. */
void versions_drop_token(Versions *versions, const char *id);
/* The slot has another key: nothing is held of it any more. */
void versions_clear(Versions *versions, uint32_t slot);
/* True if the version has that file. */
bool version_has_field(const Version *version, uint8_t field);
/* The bytes of a file: `data` with `len` bytes, and a newline behind it if `*ret_newline`. Borrowed. None of a hollow one. */
const char *version_bytes(
        const Versions *versions, const Version *version, uint8_t field, size_t *ret_len, bool *ret_newline);
/* The size of the file. */
uint32_t version_size(const Version *version, uint8_t field);
