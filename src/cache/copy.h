#pragma once
/* A cached copy of what the API says of one thing: its times, the fetch that renews it, and the readers that wait. The
 * content is the owner's. */

#include <stdbool.h>
#include <stdint.h>

#include "freshness.h"
#include "tokenfs/cache/policy.h"
#include "tokenfs/cache/wait.h"

typedef struct Copy Copy;

typedef enum CopyReason {
        COPY_FOR_READER, /* a reader waits, or would wait */
        COPY_AHEAD, /* nobody has asked yet */
        COPY_REFRESH, /* the copy is ageing */
} CopyReason;
/* Begins a fetch for a user (API_UID_NONE: the program itself), which ends with copy_learn, copy_fail or copy_cancel. Never
 * called while one is under way. 0 or -ENOMEM. */
typedef int CopyFetch(Copy *copy, CopyReason reason, uint32_t uid);

struct Copy {
        const CachePolicy *policy; /* borrowed */
        CopyFetch *fetch;
        ListLink waits;
        uint64_t used_ns; /* when a reader last asked */

        bool is_held; /* there is content; the members down to `not_before_ns` are about it */
        Freshness freshness;
        bool is_restored; /* the content is of an earlier process */
        int64_t success_wall_ns; /* of the last good answer; kept when the content is dropped; 0: none */
        uint64_t not_before_ns; /* content that was sent for before this isn't valid */

        bool is_fetching;
        uint64_t
                retry_at_ns; /* the fetch waits for its next attempt; 0: an attempt is under way, or no fetch */
        ApiError error; /* of the last attempt; API_OK after a good one */
        uint64_t error_ns; /* when the last attempt failed */
        uint64_t error_held_ns; /* until then a final error answers */
        int64_t error_wall_ns; /* of the first failure in a row */
};

typedef struct CopyAnswer {
        CacheHit hit; /* FRESH, AGEING or STALE: the content is the answer; NEGATIVE: the error is */
        ApiError error; /* NEGATIVE: the answer; STALE: why there is nothing newer; else API_OK */
        uint64_t keep_ns; /* how long, from now on, the kernel may keep this answer; 0: ask again each time */
        uint64_t due_ns; /* when this answer stops being valid (now, if stale) */
} CopyAnswer;

void copy_init(Copy *copy, const CachePolicy *policy, CopyFetch *fetch);

/* Decides what a reader gets. Returns 0 with an answer, -ENOMEM, or -EINPROGRESS: then `wait` is linked, and its
 * handler called when something happened to the copy.
 * `since_ns`: when the reader came; what was fetched or refused after that answers it, even with ttl 0.
 * `give_up`: the reader's deadline has passed; the answer is a stale copy or an error, never -EINPROGRESS.
 * `wait` NULL: fetch ahead; -EINPROGRESS then links nothing. */
int copy_get(Copy *copy, uint64_t since_ns, bool give_up, CacheWait *wait, CopyAnswer *ret_answer);
/* What is held now, however old (within stale); fetches nothing. 0, or -ENOENT when nothing is held. */
int copy_peek(const Copy *copy, CopyAnswer *ret_answer);

/* The fetch succeeded: an attempt sent at `sent_ns` gave content that is true until `expires_wall_ns` (INT64_MAX: no
 * such time). */
void copy_learn(Copy *copy, uint64_t sent_ns, int64_t expires_wall_ns);
/* Begins with content of an earlier process, which was fetched at `fetched_wall_ns`: stale from the start, for as long
 * as it would have been. `now_wall_ns` is the time as far as is known; it may be later than the wall clock says. False:
 * it can't be served any more, and nothing is held. */
bool copy_restore(Copy *copy, int64_t fetched_wall_ns, int64_t expires_wall_ns, int64_t now_wall_ns);
/* An attempt failed; the fetch goes on and tries again at `retry_at_ns`. */
void copy_note_retry(Copy *copy, ApiError error, uint64_t retry_at_ns);
/* The fetch failed for good; the error answers for `hold_ns`. True: the error ends the copy, and the owner drops its
 * content (copy_drop). */
bool copy_fail(Copy *copy, ApiError error, uint64_t hold_ns);
/* How long a final error of one thing is held: negative_ttl for "not found", at most a second for others, so that a
 * loop of readers is no storm of calls. */
uint64_t copy_error_hold_ns(const Copy *copy, ApiError error);
/* The fetch is cancelled. */
void copy_cancel(Copy *copy);
/* The content is gone. */
void copy_drop(Copy *copy);

/* May the content be served to a reader that came at `since_ns` without asking the API? */
bool copy_is_valid(const Copy *copy, uint64_t since_ns);
/* A fetch that fails goes on while readers wait, and as a probe for a while after the last one asked; but not one that is
 * throttled while there is a copy to be served. */
bool copy_is_wanted(const Copy *copy);
/* Does a reader get the content now, fresh or stale, or an answer of the API as far as is known? */
bool copy_is_readable(const Copy *copy);
/* "fresh", "ageing", "due", "stale"; without content "fetching", "not_found", "failing", "empty". */
const char *copy_state(const Copy *copy);
void copy_wake(Copy *copy);
