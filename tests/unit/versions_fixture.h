#pragma once
/* One slot of a token, its versions, and a clock that stands still. */

#include "fake_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs-private.h"
#include "fs/versions.h"

#define GRACE_NS NODES_GRACE_NS

static Loop *loop;
static Nodes *nodes;
static Versions versions;
static uint32_t slot;

static inline int set_up_with(bool newline)
{
        clock_set_fake(FAKE_NOW_NS, FAKE_WALL_NS);
        assert_int_equal(loop_new(&loop), 0);
        assert_int_equal(nodes_new(&nodes), 0);
        (void)nodes_repair(nodes);
        assert_int_equal(versions_init(&versions, loop, nodes, newline), 0);
        assert_int_equal(nodes_take(nodes, SLOT_TOKEN, "at-1", &slot), 0);
        return 0;
}

static inline int set_up(void **state)
{
        (void)state;
        return set_up_with(false);
}

static inline int tear_down(void **state)
{
        (void)state;
        versions_deinit(&versions);
        nodes = nodes_free(nodes);
        loop = loop_free(loop);
        clock_unset_fake();
        return 0;
}

static inline void pass(uint64_t ns)
{
        clock_advance_fake(ns);
        assert_int_equal(loop_turn(loop, 0), 0);
}

/* The slot's content becomes a document with that value. */
static inline Version *set_in(uint32_t index, const char *id, const char *value)
{
        TokenDoc *doc = fake_doc(&(FakeToken){.id = id, .value = value});
        Version *version = NULL;
        assert_int_equal(versions_set_doc(&versions, index, doc, &version), 0);
        token_doc_unref(doc);
        assert_ptr_equal(versions_current(&versions, index), version);
        return version;
}

static inline Version *set(const char *value)
{
        return set_in(slot, "at-1", value);
}

static inline Node node_of(const Version *version)
{
        return (Node){slot, version->generation, NODE_FIELD + TOKEN_VALUE};
}

static inline void assert_shows(Node node, const Version *expected)
{
        Version *version = NULL;
        assert_int_equal(versions_show(&versions, node, &version), 0);
        assert_ptr_equal(version, expected);
}

static inline void assert_fails_to_show(Node node, int expected)
{
        Version *version;
        assert_int_equal(versions_show(&versions, node, &version), expected);
}

/* What another worker has of these versions: none, and the table. */
static inline void replace_worker(void)
{
        versions_deinit(&versions);
        assert_int_equal(nodes_repair(nodes), 0);
        assert_int_equal(versions_init(&versions, loop, nodes, false), 0);
}
