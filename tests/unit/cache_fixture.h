#pragma once
/* What the tests of the cache share: a cache, its source, and readers who ask. */

#include "fake_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/log.h"
#include "tokenfs/cache/tokens.h"

#define TTL_NS (100 * NS_PER_S)
#define STALE_NS (1000 * NS_PER_S)
#define NEGATIVE_TTL_NS (5 * NS_PER_S)
#define TIMEOUT_NS (10 * NS_PER_S)

static Loop *loop;
static FakeSource fake;
static Tokens *tokens;
static char last_change[TOKEN_ID_MAX + 1];
static unsigned changes, ends;

static inline void on_change(const char *id, TokenDoc *doc, void *userdata)
{
        assert_ptr_equal(userdata, &fake);
        (void)snprintf(last_change, sizeof last_change, "%s", id);
        changes += doc != NULL;
        ends += doc == NULL;
}

static inline void make_cache(TokensSettings settings)
{
        settings.loop = loop;
        settings.policy.source = fake_source(&fake);
        settings.policy.timeout_ns = TIMEOUT_NS;
        if (settings.max_tokens == 0)
                settings.max_tokens = 1000;
        assert_int_equal(tokens_new(&settings, &tokens), 0);
        tokens_on_change(tokens, on_change, &fake);
}

static const TokensSettings usual = {
        .policy = {.ttl_ns = TTL_NS, .negative_ttl_ns = NEGATIVE_TTL_NS, .stale_ns = STALE_NS}};

static inline int set_up(void **state)
{
        (void)state;
        fake_source_init(&fake);
        changes = ends = 0;
        log_open(LOG_LEVEL_ERROR, false);
        assert_int_equal(loop_new(&loop), 0);
        make_cache(usual);
        return 0;
}

static inline int tear_down(void **state)
{
        (void)state;
        tokens = tokens_free(tokens);
        loop = loop_free(loop);
        fake_source_deinit(&fake);
        return 0;
}

static inline void remake_cache(TokensSettings settings)
{
        tokens = tokens_free(tokens);
        make_cache(settings);
}

static inline void pass(uint64_t ns)
{
        clock_advance_fake(ns);
        assert_int_equal(loop_turn(loop, 0), 0);
}

static const FakeToken token = {.id = "at-1", .value = "first"};

/* Asks as a reader who comes now and doesn't wait for what isn't at hand. */
static inline int ask(const char *id, TokenAnswer *ret_answer)
{
        FakeReader reader;
        fake_reader_init(&reader);
        *ret_answer = (TokenAnswer){0};
        int r = tokens_get(tokens, id, clock_now_ns(), false, &reader.wait, ret_answer);
        cache_wait_cancel(&reader.wait);
        return r;
}

static inline void fetch(const FakeToken *what)
{
        TokenAnswer answer;
        assert_int_equal(ask(what->id, &answer), -EINPROGRESS);
        fake_answer_token(&fake, what);
}

static inline void assert_value(const TokenAnswer *answer, const char *value)
{
        size_t len = 0;
        assert_int_equal(answer->error, API_OK);
        const char *bytes = token_doc_field(answer->doc, TOKEN_VALUE, &len);
        assert_int_equal(len, strlen(value));
        assert_memory_equal(bytes, value, len);
}

static inline void assert_served(const char *id, const char *value, CacheHit hit)
{
        TokenAnswer answer;
        assert_int_equal(ask(id, &answer), 0);
        assert_value(&answer, value);
        assert_int_equal(answer.hit, hit);
}

static inline void assert_waits(const char *id)
{
        TokenAnswer answer;
        assert_int_equal(ask(id, &answer), -EINPROGRESS);
}

static inline void assert_fails(const char *id, ApiError error)
{
        TokenAnswer answer;
        assert_int_equal(ask(id, &answer), 0);
        assert_int_equal(answer.error, error);
        assert_null(answer.doc);
}

typedef struct Rewaiter {
        FakeReader reader;
        const char *id;
        unsigned woken;
} Rewaiter;

static inline void wait_again(CacheWait *wait)
{
        Rewaiter *rewaiter = CONTAINER_OF(wait, Rewaiter, reader.wait);
        TokenAnswer answer;
        rewaiter->woken++;
        (void)tokens_get(tokens, rewaiter->id, clock_now_ns() + 1, false, wait, &answer);
}
