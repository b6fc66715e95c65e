#pragma once
/* The versions of what directories contain, and which version each file node was last told. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/fuse/nodes.h"
#include "tokenfs/api/token.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/list.h"
#include "tokenfs/net/loop.h"

typedef struct Dir Dir;

/* One content of a directory: all its files come from it. */
typedef struct Version {
        ListLink link; /* in its directory, newest first */
        Dir *dir;
        uint32_t generation;
        TokenDoc *doc; /* of a token or a name; NULL for a service file */
        Buf text; /* of a service file, or the address that is made of `doc`; else empty */
        uint64_t fingerprint;
        int64_t text_wall_ns;
        uint64_t superseded_ns; /* 0: current */
        uint64_t told_until_ns; /* the kernel may hold attributes of it until then */
        uint64_t due_ns; /* until then it is promised */
        uint32_t opens; /* audit: open files that read this version */
        bool is_dropped; /* it goes with the last of them */
        LoopTimer drop;
} Version;

typedef struct Tree {
        Loop *loop;
        Nodes *slots;
        Dir **dirs; /* by slot; NULL where nothing is held */
        ListLink name_dirs; /* those of names */
        bool newline;
        uint32_t superseded_count;
        size_t text_held; /* bytes of superseded service files */
} Tree;

int tree_init(Tree *tree, Loop *loop, Nodes *slots, bool newline);
void tree_deinit(Tree *tree);

/* Finds or adds the slot of a token or a name. Errors as nodes_take. */
int tree_take_slot(Tree *tree, SlotKind kind, const char *key, uint32_t *ret_slot);
/* The slot's content is `doc` (a reference is taken), promised until `due_ns`: it becomes the current version, with a
 * new generation if its bytes differ from the one before. 0 or -ENOMEM. */
int tree_set_doc(Tree *tree, uint32_t slot, TokenDoc *doc, uint64_t due_ns, Version **ret_version);
/* As tree_set_doc, for the address under which the token is used at the resolver of that name. */
int tree_set_url(Tree *tree, uint32_t slot, TokenDoc *doc, const char *dns_name, uint64_t due_ns,
        Version **ret_version);
/* As tree_set_doc, for the text of a service file (copied). While too much is held of older ones, it stays as it was. */
int tree_set_text(Tree *tree, uint32_t slot, const Buf *text, Version **ret_version);
/* NULL if none is held. */
Version *tree_current(const Tree *tree, uint32_t slot);
/* The current content is no more (the cache dropped it): wiped now. What was superseded stays until it may go. */
void tree_drop_current(Tree *tree, uint32_t slot);
/* As tree_drop_current, for all names whose content is that token's. */
void tree_drop_names_of(Tree *tree, const char *id);
/* All content is forgotten; what is told from now on is what is current then (SIGHUP). */
void tree_forget(Tree *tree);

/* What a file node may be told now. */
typedef enum TreeTell {
        TREE_TELL, /* *ret_version */
        TREE_WAIT, /* in a moment the current version: not before *ret_until_ns */
        TREE_LEARN, /* the current content must be had first */
} TreeTell;
/* What must be told because of what others were told of the node, to a question that came at `came_ns`: TREE_LEARN if
 * nothing. Asked before the content is brought up to date. */
TreeTell tree_tell_known(
        Tree *tree, Node node, uint64_t came_ns, Version **ret_version, uint64_t *ret_until_ns);
/* What is to be told else, with the content up to date. Where it says TREE_WAIT, *ret_version is what to tell if there
 * is no time to wait. */
TreeTell tree_tell(Tree *tree, Node node, Version **ret_version, uint64_t *ret_until_ns);
/* The version whose attributes the node was last told, as a read is about to use it; NULL if it isn't held. */
Version *tree_told(Tree *tree, Node node);
/* True if `generation`, which has been current for a while, is what the node was last told (by this worker, or by one
 * before it). */
bool tree_was_told(Tree *tree, Node node, uint32_t generation);
/* What a task goes on with that began with the generation `begun`; 0: it must begin anew, since the node has been told
 * another meanwhile. If nobody has asked for bytes since the node was told `begun`, the kernel has ignored that answer:
 * then the task reads what was told before. */
uint32_t tree_followed_generation(const Tree *tree, Node node, uint32_t begun);
/* Notes that attributes of `version` were told for `node`, valid for `keep_ns`; returns how long they may be valid. */
uint64_t tree_note_told(Tree *tree, Node node, Version *version, uint64_t keep_ns);
/* The generation that the node was told last; its own at first. */
uint32_t tree_told_generation(const Tree *tree, Node node);
/* The kernel has forgotten the node. */
void tree_forget_node(Tree *tree, Node node);

/* Audit: an open file keeps its version. */
void version_open(Version *version);
void version_close(Version *version);
Version *tree_find_version(const Tree *tree, uint32_t slot, uint32_t generation);

/* True if the version has that file. */
bool version_has_field(const Version *version, uint8_t field);
/* The bytes of a file: `data` with `len` bytes, and a newline behind it if `*ret_newline`. Borrowed. */
const char *version_bytes(
        const Tree *tree, const Version *version, uint8_t field, size_t *ret_len, bool *ret_newline);
/* The size of the file. */
uint64_t version_size(const Tree *tree, const Version *version, uint8_t field);
/* mtime: updatedAt, with nanoseconds that differ when the bytes do. */
int64_t version_mtime_ns(const Version *version);
