#pragma once
/* The cache of token documents: single flight, negative cache, LRU bound, refresh-ahead and stale-if-error. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/api/errors.h"
#include "tokenfs/api/token.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/cache/policy.h"
#include "tokenfs/cache/wait.h"
#include "tokenfs/net/loop.h"

typedef struct Tokens Tokens;

typedef struct TokensSettings {
        Loop *loop;
        CachePolicy policy;
        uint32_t max_tokens;
} TokensSettings;
int tokens_new(const TokensSettings *settings, Tokens **ret_cache);
/* The caller ends all waits before. Wipes all documents. Returns NULL. */
Tokens *tokens_free(Tokens *tokens);
CLEANUP_DEFINE(Tokens *, tokens_free);

typedef struct TokenAnswer {
        ApiError error; /* API_OK: `doc` is the answer */
        TokenDoc *doc; /* borrowed until the loop's next turn; take a reference to keep it */
        uint64_t keep_ns; /* how long the kernel may keep this answer; 0: it asks each time */
        uint64_t due_ns; /* when this answer stops being valid (fetched + ttl; now, if stale) */
        CacheHit hit;
} TokenAnswer;

/* The token's document. Returns 0 with an answer, -ENOMEM, or -EINPROGRESS: then `wait` is linked, and its handler called
 * when asking again may give an answer.
 * `since_ns`: when the reader came. A later answer of the API is valid for it, even with ttl 0.
 * `give_up`: the reader's deadline has passed. The answer is a stale copy or an error, never -EINPROGRESS.
 * `wait` NULL: a prefetch; -EINPROGRESS then links nothing. */
int tokens_get(Tokens *tokens, const char *id, uint64_t since_ns, bool give_up, CacheWait *wait,
        TokenAnswer *ret_answer);
/* The held document, fresh or stale; makes no call. 0, or -ENOENT: none is held. */
int tokens_peek(Tokens *tokens, const char *id, TokenAnswer *ret_answer);

/* Holds a document of an earlier process, as a stale copy. 0, -ENOENT (it is too old), -ENOSPC (max_tokens are held), or
 * -ENOMEM. */
int tokens_restore(Tokens *tokens, TokenDoc *doc, int64_t fetched_wall_ns, int64_t now_wall_ns);

/* Called when a token's document changes or is dropped (doc NULL). One handler a cache. */
typedef void TokensChangeHandler(const char *id, TokenDoc *doc, void *userdata);
void tokens_on_change(Tokens *tokens, TokensChangeHandler *handler, void *userdata);

/* For the status, the metrics and `ls`. */
typedef struct TokensEntryStatus {
        const char *id;
        const char *state; /* "fresh", "ageing", "due", "stale", "fetching", "not_found", "failing" */
        bool has_doc;
        bool is_unread; /* prefetched, and not read yet */
        bool is_restored; /* the copy is of an earlier process */
        bool is_readable; /* a reader gets a copy now, or very likely an answer of the API */
        uint64_t age_ns; /* of the copy */
        uint64_t
                unused_ns; /* since a reader last asked; the kernel answers repeated reads within ttl by itself */
        int64_t success_wall_ns; /* of the last good answer; 0: none */
        ApiError error; /* of the last failure since then; API_OK: none */
        int64_t error_wall_ns; /* since when it fails */
        uint64_t retry_in_ns; /* next try; 0: none planned */
        const TokenDoc *doc; /* NULL if none */
} TokensEntryStatus;
typedef void TokensEntryVisitor(const TokensEntryStatus *status, void *userdata);
/* Visits at most `max` entries, of each kind the most recently used first: failing entries that had a document, failing
 * entries that never had one, entries with a document, ids that were not found. The cost is at most twice `max` steps, and
 * one for each remembered error. */
void tokens_visit(const Tokens *tokens, size_t max, TokensEntryVisitor *visitor, void *userdata);

typedef struct TokensCounters {
        uint64_t hits[CACHE_HIT_COUNT];
        uint64_t evictions;
        uint64_t refreshes; /* refresh-ahead calls */
        uint64_t prefetches; /* calls ahead of a scan */
        uint64_t prefetches_wasted; /* prefetched documents that were not read before they were due */
        uint64_t restored_hits; /* stale answers from copies of an earlier process */
        double stale_age_sum_s; /* ages past ttl of the stale answers served, summed */
        uint32_t tokens, negatives; /* entries with a document, and without */
        uint32_t failing[API_ERROR_COUNT]; /* entries whose last call failed, by how; [API_OK] is 0 */
} TokensCounters;
const TokensCounters *tokens_counters(const Tokens *tokens);
/* How many calls may be in flight now. */
uint32_t tokens_in_flight_max(const Tokens *tokens);
uint32_t tokens_max_tokens(const Tokens *tokens);
