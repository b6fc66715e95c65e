#pragma once
/* A source of tokens and pages that answers when the test says so, and as it says. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/list.h"
#include "tokenfs/cache/source.h"
#include "tokenfs/cache/wait.h"

#define FAKE_NOW_NS (5000 * NS_PER_S)
#define FAKE_WALL_S INT64_C(1767225600) /* 2026-01-01T00:00:00Z */
#define FAKE_WALL_NS (FAKE_WALL_S * (int64_t)NS_PER_S)

typedef struct FakeSource {
        ListLink calls; /* under way, the oldest first */
        size_t running; /* of them */
        size_t started; /* in all */
        size_t cancelled; /* in all */
        ApiHealth health; /* what it says of itself */
        int start_result; /* < 0: no call can be started */
} FakeSource;

/* A call under way: the client's own type is opaque, so this is what it is here. */
struct ApiCall {
        ListLink link;
        FakeSource *source;
        ApiOperation operation;
        char id[TOKEN_ID_MAX + 1]; /* "" for none */
        ApiPurpose purpose;
        uint32_t uid;
        char *next_token;
        uint64_t sent_ns; /* of the attempt under way */
        ApiHandler *handler;
        void *userdata;
        bool is_over;
};

/* Both clocks are the fake ones from here on. */
void fake_source_init(FakeSource *fake);
/* Fails the test if a call is still under way. */
void fake_source_deinit(FakeSource *fake);
CacheSource fake_source(FakeSource *fake);

/* The oldest call under way of that operation, for that id (NULL: any); NULL if there is none. */
ApiCall *fake_call(FakeSource *fake, ApiOperation operation, const char *id);
/* The call for a token; fails the test if there isn't exactly one. */
ApiCall *fake_get_call(FakeSource *fake, const char *id);

void fake_answer_doc(ApiCall *call, TokenDoc *doc);
void fake_answer_page(ApiCall *call, const ApiPage *page);
/* Ends the call. */
void fake_answer_error(ApiCall *call, ApiError error);
/* The attempt failed; the call goes on, unless it is cancelled by what is told. */
void fake_answer_retry(ApiCall *call, ApiError error, uint64_t retry_at_ns);

/* What a test says of a token; what it leaves out is filled in. */
typedef struct FakeToken {
        const char *id, *name, *value, *status; /* name NULL: none */
        const char *dns_view_id, *global_resolver_id;
        int64_t created_s, expires_s; /* after FAKE_WALL_S; 0: an hour before, a hundred days after */
} FakeToken;
TokenDoc *fake_doc(const FakeToken *token);
void fake_item(const FakeToken *token, TokenItem *ret_item);
/* Answers the call for token->id. */
void fake_answer_token(FakeSource *fake, const FakeToken *token);

/* One who waits, and counts how often he is woken. */
typedef struct FakeReader {
        CacheWait wait;
        unsigned woken;
} FakeReader;
void fake_reader_init(FakeReader *reader);

/* Answers the oldest list call of that operation and id (NULL: any) with tokens, or with ids. `next_token` NULL: the
 * last page. */
void fake_answer_tokens(
        FakeSource *fake, const char *id, const FakeToken *tokens, size_t count, const char *next_token);
void fake_answer_ids(FakeSource *fake, ApiOperation operation, const char *id, const char *const *ids,
        size_t count, const char *next_token);
