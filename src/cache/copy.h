#pragma once
/* A cached copy of one answer of the API: its times, its fetch, and the waiting readers. The owner keeps the content. */

#include <stdbool.h>
#include <stdint.h>

#include "freshness.h"
#include "tokenfs/cache/policy.h"
#include "tokenfs/cache/wait.h"

typedef struct Copy Copy;

typedef enum CopyReason {
        COPY_FOR_READER, /* a reader asks */
        COPY_AHEAD, /* a prefetch */
        COPY_REFRESH, /* the copy is ageing */
} CopyReason;
/* Begins a fetch for a user (API_UID_NONE: the program itself); copy_learn, copy_fail or copy_cancel ends it. Never called
 * during a fetch. 0 or -ENOMEM. */
typedef int CopyFetch(Copy *copy, CopyReason reason, uint32_t uid);

struct Copy {
        const CachePolicy *policy; /* borrowed */
        CopyFetch *fetch;
        ListLink waits;
        uint64_t used_ns; /* when a reader last asked */

        bool is_held; /* there is content; the members down to `not_before_ns` describe it */
        Freshness freshness;
        bool is_restored; /* the content is of an earlier process */
        bool is_served_stale; /* a reader got it as a stale copy */
        int64_t success_wall_ns; /* of the last good answer; kept when the content is dropped; 0: none */
        uint64_t not_before_ns; /* content of an earlier call is not valid */

        bool is_fetching;
        uint64_t
                retry_at_ns; /* the next attempt of the fetch; 0: an attempt is in progress, or there is no fetch */
        ApiError error; /* of the last attempt; API_OK after a good one */
        uint64_t error_ns; /* when the last attempt failed */
        uint64_t error_held_ns; /* until then a final error is the answer */
        int64_t error_wall_ns; /* of the first failure in a row */
};

typedef struct CopyAnswer {
        CacheHit hit; /* FRESH, AGEING or STALE: the content is the answer; NEGATIVE: the error is */
        ApiError error; /* NEGATIVE: the answer; STALE: why there is nothing newer; else API_OK */
        uint64_t keep_ns; /* how long the kernel may keep this answer; 0: it asks each time */
        uint64_t due_ns; /* when this answer stops being valid (now, if stale) */
} CopyAnswer;

void copy_init(Copy *copy, const CachePolicy *policy, CopyFetch *fetch);

/* Decides a reader's answer. Parameters and results are those of tokens_get. */
int copy_get(Copy *copy, uint64_t since_ns, bool give_up, CacheWait *wait, CopyAnswer *ret_answer);
/* The held copy, fresh or stale; makes no call. 0, or -ENOENT: none is held. */
int copy_peek(const Copy *copy, CopyAnswer *ret_answer);

/* Ends a fetch that succeeded: an attempt sent at `sent_ns` gave content that is true until `expires_wall_ns` (INT64_MAX:
 * no such time). */
void copy_learn(Copy *copy, uint64_t sent_ns, int64_t expires_wall_ns);
/* Holds content of an earlier process, fetched at `fetched_wall_ns`, as a stale copy. `now_wall_ns` is the latest known
 * time; it may be later than the wall clock. False: the content is too old, and is not held. */
bool copy_restore(Copy *copy, int64_t fetched_wall_ns, int64_t expires_wall_ns, int64_t now_wall_ns);
/* Notes a failed attempt; the fetch goes on with another at `retry_at_ns`. */
void copy_note_retry(Copy *copy, ApiError error, uint64_t retry_at_ns);
/* Ends a fetch that failed; the error is the answer for `hold_ns`. True: the error ends the copy, and the owner drops its
 * content (copy_drop). */
bool copy_fail(Copy *copy, ApiError error, uint64_t hold_ns);
/* How long a final error is held: negative_ttl for "not found", at most a second for others. Without it, a loop of readers
 * would be a loop of calls. */
uint64_t copy_error_hold_ns(const Copy *copy, ApiError error);
/* Ends a fetch without an outcome. */
void copy_cancel(Copy *copy);
/* Notes that the owner has dropped the content. */
void copy_drop(Copy *copy);

/* May the content be served, without a call, to a reader that came at `since_ns`? */
bool copy_is_valid(const Copy *copy, uint64_t since_ns);
/* Should a failing fetch go on? Yes while readers wait, and for a while after the last one asked, as a probe; not while the
 * API throttles and the copy is servable. */
bool copy_is_wanted(const Copy *copy);
/* Does a reader get the content now, or very likely an answer of the API? */
bool copy_is_readable(const Copy *copy);
/* "fresh", "ageing", "due", "stale"; without content "fetching", "not_found", "failing", "empty". */
const char *copy_state(const Copy *copy);
void copy_wake(Copy *copy);
