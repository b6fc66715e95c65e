/* The cached copy.
 *
 * Why: one rule caches tokens, the listing and resolvers' names. While the API answers, an answer is at most `ttl` old, and
 * one fetch serves all readers. While the API fails, the last good copy serves. How: there is no state variable. The state
 * follows from the copy's times and its last failure, and copy_get computes it at each access. An event of a copy wakes its
 * readers, which ask again.
 *
 *   nothing ── fetch ──▶ fresh ──▶ ageing (a fetch in the background) ──▶ due (a fetch; the reader waits)
 *                          ▲                                              │ the API fails
 *                          └────────────── an answer ─────────────────────┴──▶ stale ──▶ nothing, and the error
 *
 * A final error has ended its fetch; it is held for a while. A transient error leaves the fetch in progress: it is the
 * probe that finds the API's recovery. */

#include "copy.h"

#include <errno.h>

#include "tokenfs/base/clock.h"

#define COPY_ERROR_HOLD_NS NS_PER_S
/* Without readers a failing fetch goes on at least this long. */
#define COPY_PROBE_LINGER_NS (10 * NS_PER_S)

void copy_init(Copy *copy, const CachePolicy *policy, CopyFetch *fetch)
{
        *copy = (Copy){.policy = policy, .fetch = fetch};
        list_init(&copy->waits);
}

bool copy_is_valid(const Copy *copy, uint64_t since_ns)
{
        return copy->is_held && freshness_is_valid(&copy->freshness, since_ns) &&
               copy->freshness.sent_ns >= copy->not_before_ns;
}

static bool may_be_stale(const Copy *copy)
{
        return copy->is_held && freshness_may_be_stale(&copy->freshness);
}

/* A final error is the answer while it is held, and for readers that came before it. */
static bool has_final_error(const Copy *copy, uint64_t since_ns)
{
        return !copy->is_fetching && copy->error != API_OK &&
               (clock_now_ns() < copy->error_held_ns || copy->error_ns >= since_ns);
}

/* The known reason why the API gives no new copy. */
static ApiError failing_error(const Copy *copy, const ApiHealth *health, uint64_t since_ns)
{
        bool is_held = clock_now_ns() < copy->error_held_ns || copy->error_ns >= since_ns;
        if (copy->error != API_OK && (copy->retry_at_ns || is_held))
                return copy->error;
        return health->error;
}

static int begin_fetch(Copy *copy, CopyReason reason, const CacheWait *wait)
{
        if (copy->is_fetching)
                return 0;
        copy->is_fetching = true;
        copy->retry_at_ns = 0;
        int r = copy->fetch(copy, reason, wait ? wait->uid : API_UID_NONE);
        if (r < 0)
                copy_cancel(copy);
        return r;
}

static CopyAnswer content_answer(const Copy *copy, CacheHit hit, ApiError error)
{
        bool is_stale = hit == CACHE_HIT_STALE;
        return (CopyAnswer){
                .hit = hit,
                .error = error,
                .keep_ns = is_stale ? 0 : freshness_keep_ns(&copy->freshness),
                .due_ns = is_stale ? clock_now_ns() : copy->freshness.due_ns,
        };
}

static CopyAnswer stale_answer(Copy *copy, ApiError error)
{
        copy->is_served_stale = true;
        return content_answer(copy, CACHE_HIT_STALE, error);
}

static CopyAnswer error_answer(const Copy *copy, ApiError error)
{
        uint64_t now_ns = clock_now_ns();
        bool is_kept = error == API_E_NOT_FOUND && now_ns < copy->error_held_ns;
        return (CopyAnswer){
                .hit = CACHE_HIT_NEGATIVE,
                .error = error,
                .keep_ns = is_kept ? copy->error_held_ns - now_ns : 0,
                .due_ns = now_ns,
        };
}

/* Calls for other things probe a failing endpoint already. With a servable copy one call is enough: more would queue up,
 * and go out all at once when the API recovers. */
static bool has_probes(const ApiHealth *health, bool is_servable)
{
        unsigned enough = is_servable ? 1 : API_IN_FLIGHT_FIRST;
        return health->error != API_OK && health->queued + health->in_flight >= enough;
}

/* True: the API throttles, or has just recovered, so the copy serves a while longer. Never true for a copy of an earlier
 * process: its age is that of a reboot, and no measure of the pace. */
static bool is_paced(const Copy *copy, const ApiHealth *health)
{
        return !copy->is_restored && clock_now_ns() < freshness_paced_ns(&copy->freshness, health->stretch,
                                                              health->recovered_ns, health->failed_ns);
}

int copy_get(Copy *copy, uint64_t since_ns, bool give_up, CacheWait *wait, CopyAnswer *ret_answer)
{
        uint64_t now_ns = clock_now_ns();
        copy->used_ns = now_ns;
        ApiHealth health = {.stretch = 1};
        copy->policy->source.health(copy->policy->source.userdata, &health);
        if (copy_is_valid(copy, since_ns)) {
                bool is_ageing = freshness_is_ageing(&copy->freshness);
                if (is_ageing && !has_final_error(copy, UINT64_MAX) && !is_paced(copy, &health))
                        (void)begin_fetch(copy, COPY_REFRESH, wait);
                *ret_answer = content_answer(copy, is_ageing ? CACHE_HIT_AGEING : CACHE_HIT_FRESH, API_OK);
                return 0;
        }

        bool is_servable = may_be_stale(copy);
        if (has_final_error(copy, since_ns)) {
                *ret_answer = is_servable ? stale_answer(copy, copy->error) : error_answer(copy, copy->error);
                return 0;
        }

        bool is_served_meanwhile = is_servable && !copy->is_fetching &&
                                   copy->freshness.sent_ns >= copy->not_before_ns && is_paced(copy, &health);
        if (is_served_meanwhile) {
                *ret_answer = stale_answer(copy, API_E_THROTTLED);
                return 0;
        }
        /* A throttling endpoint answers some calls: readers wait for it. */
        bool fails_for_long = health.error != API_OK && health.error != API_E_THROTTLED &&
                              now_ns > clock_add_ns(health.since_ns, copy->policy->timeout_ns);
        /* A waiting reader needs a fetch that wakes it. */
        bool must_wait = wait && !give_up && !is_servable && !fails_for_long;
        int r = 0;
        if (must_wait || !has_probes(&health, is_servable))
                r = begin_fetch(copy, wait || give_up ? COPY_FOR_READER : COPY_AHEAD, wait);
        if (r < 0 && !is_servable)
                return r;
        ApiError error = r < 0 ? API_E_MEMORY : failing_error(copy, &health, since_ns);
        if (is_servable && (give_up || error != API_OK)) {
                *ret_answer = stale_answer(copy, error != API_OK ? error : API_E_TIMEOUT);
                return 0;
        }
        if (give_up || fails_for_long) {
                *ret_answer = error_answer(copy, error != API_OK ? error : API_E_TIMEOUT);
                return 0;
        }
        if (wait) {
                list_unlink(&wait->link);
                list_append(&copy->waits, &wait->link);
        }
        return -EINPROGRESS;
}

int copy_peek(const Copy *copy, CopyAnswer *ret_answer)
{
        bool is_valid = copy_is_valid(copy, UINT64_MAX);
        if (!is_valid && !may_be_stale(copy))
                return -ENOENT;
        *ret_answer = content_answer(copy, is_valid ? CACHE_HIT_FRESH : CACHE_HIT_STALE, API_OK);
        return 0;
}

void copy_learn(Copy *copy, uint64_t sent_ns, int64_t expires_wall_ns)
{
        freshness_set(
                &copy->freshness, sent_ns, copy->policy->ttl_ns, copy->policy->stale_ns, expires_wall_ns);
        copy->is_held = true;
        copy->is_restored = copy->is_served_stale = false;
        copy->success_wall_ns = clock_wall_ns();
        copy->error = API_OK;
        copy->error_held_ns = 0;
        copy_cancel(copy);
}

bool copy_restore(Copy *copy, int64_t fetched_wall_ns, int64_t expires_wall_ns, int64_t now_wall_ns)
{
        int64_t served_ns = (int64_t)clock_add_ns(copy->policy->ttl_ns, copy->policy->stale_ns);
        bool is_known = fetched_wall_ns >= 0 && fetched_wall_ns <= now_wall_ns;
        if (!is_known || copy->policy->stale_ns == 0 || now_wall_ns - fetched_wall_ns >= served_ns ||
                expires_wall_ns <= now_wall_ns)
                return false;
        int64_t end_wall_ns =
                fetched_wall_ns > INT64_MAX - served_ns ? INT64_MAX : fetched_wall_ns + served_ns;
        if (expires_wall_ns < end_wall_ns)
                end_wall_ns = expires_wall_ns;
        uint64_t now_ns = clock_now_ns(), age_ns = (uint64_t)(now_wall_ns - fetched_wall_ns);
        copy->freshness = (Freshness){
                .sent_ns = age_ns < now_ns ? now_ns - age_ns : 0,
                .refresh_ns = now_ns,
                .due_ns = now_ns,
                .stale_ns = clock_add_ns(now_ns, (uint64_t)(end_wall_ns - now_wall_ns)),
                .expires_wall_ns = end_wall_ns,
        };
        copy->is_held = copy->is_restored = true;
        copy->success_wall_ns = fetched_wall_ns;
        return true;
}

static void note_error(Copy *copy, ApiError error)
{
        if (copy->error == API_OK)
                copy->error_wall_ns = clock_wall_ns();
        copy->error = error;
        copy->error_ns = clock_now_ns();
}

void copy_note_retry(Copy *copy, ApiError error, uint64_t retry_at_ns)
{
        note_error(copy, error);
        copy->retry_at_ns = retry_at_ns;
}

bool copy_fail(Copy *copy, ApiError error, uint64_t hold_ns)
{
        note_error(copy, error);
        copy->error_held_ns = clock_add_ns(copy->error_ns, hold_ns);
        copy_cancel(copy);
        return api_error_ends_copy(error);
}

uint64_t copy_error_hold_ns(const Copy *copy, ApiError error)
{
        uint64_t negative_ns = copy->policy->negative_ttl_ns;
        return error == API_E_NOT_FOUND || negative_ns < COPY_ERROR_HOLD_NS ? negative_ns
                                                                            : COPY_ERROR_HOLD_NS;
}

void copy_cancel(Copy *copy)
{
        copy->is_fetching = false;
        copy->retry_at_ns = 0;
}

void copy_drop(Copy *copy)
{
        copy->is_held = copy->is_restored = copy->is_served_stale = false;
        copy->freshness = (Freshness){0};
}

bool copy_is_wanted(const Copy *copy)
{
        if (copy->error == API_E_THROTTLED && may_be_stale(copy))
                return false;
        uint64_t linger_ns = copy->policy->ttl_ns;
        if (linger_ns < COPY_PROBE_LINGER_NS)
                linger_ns = COPY_PROBE_LINGER_NS;
        return !list_is_empty(&copy->waits) || clock_now_ns() < clock_add_ns(copy->used_ns, linger_ns);
}

bool copy_is_readable(const Copy *copy)
{
        return copy->is_held &&
               (copy_is_valid(copy, UINT64_MAX) || copy->error == API_OK || may_be_stale(copy));
}

const char *copy_state(const Copy *copy)
{
        if (!copy->is_held)
                return copy->is_fetching                ? "fetching"
                       : copy->error == API_OK          ? "empty"
                       : copy->error == API_E_NOT_FOUND ? "not_found"
                                                        : "failing";
        if (copy_is_valid(copy, UINT64_MAX))
                return freshness_is_ageing(&copy->freshness) ? "ageing" : "fresh";
        bool is_failing = copy->error != API_OK || copy->is_served_stale;
        return is_failing && may_be_stale(copy) ? "stale" : "due";
}

void copy_wake(Copy *copy)
{
        cache_wait_wake_all(&copy->waits);
}
