/* The TTL cache of token documents.
 *
 * Why: a reader must get a value that was current within the last `ttl`, one call must serve all who ask for the same
 * token (single flight), and an API that fails must not be felt while the last good copy may still be served
 * (stale-if-error). How: an Entry a token holds at most one document, one call and the readers who wait for it. There
 * is no state variable: what an entry is (fresh, ageing, due, stale, negative) follows from its times and its last
 * failure, and every access computes it anew in tokens_get, the one path. Whatever happens to an entry wakes its
 * readers, who ask again.
 *
 * Two lists in the order of use bound the memory: entries with a document (`max_tokens`), and those without (errors
 * that are remembered). A document that can't be served any more, fresh or stale, is dropped by a timer, which wipes
 * it. */

#include "tokenfs/cache/tokens.h"

#include <errno.h>
#include <search.h>
#include <string.h>

#include "freshness.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define TOKENS_NEGATIVES_MAX 1024
/* Failures other than "no such token" are remembered this long, so that a loop of readers is no storm of calls. */
#define TOKENS_ERROR_HOLD_NS NS_PER_S
/* A call that fails goes on this long (at least) for a token that nobody reads any more: it is the probe that finds
 * out when the API is back. */
#define TOKENS_PROBE_LINGER_NS (10 * NS_PER_S)
/* A copy is an answer to those who came before it, even with ttl 0; one who needs several copies has them all at hand
 * if they stay this long. */
#define TOKENS_HOLD_NS NS_PER_S
/* Entries in use that are passed over in one trim: what is left over is trimmed with the next result. */
#define TOKENS_TRIM_BUSY_MAX 16
/* Lines in the log about tokens, in a minute. */
#define TOKENS_LOG_LINES_MAX 20
#define TOKENS_LOG_PERIOD_NS (60 * NS_PER_S)

typedef struct Entry {
        char id[TOKEN_ID_MAX + 1]; /* first: the tree's key */
        Tokens *tokens;
        ListLink link; /* in tokens->held or tokens->others, most recently used last */
        ListLink
                failing; /* in tokens->failing, most recently used last; in none while the last call was good */
        ListLink waits;
        uint64_t used_ns;

        TokenDoc *doc;
        Freshness freshness; /* of doc */
        LoopTimer wipe;
        int64_t success_wall_ns;
        bool is_prefetched; /* nobody has read doc yet */
        bool expiry_is_logged;

        ApiCall *call;
        bool call_is_prefetch;
        uint64_t retry_at_ns; /* the call waits for its next attempt; 0: an attempt is under way */
        ApiError error; /* of the last attempt; API_OK after a good one */
        uint64_t error_ns, error_held_ns;
        int64_t error_wall_ns; /* of the first failure in a row */
} Entry;

struct Tokens {
        TokensSettings settings;
        void *entries; /* tsearch tree of Entry, by id */
        ListLink held, others;
        ListLink failing; /* those that were good once, and whose last call failed */
        TokensChangeHandler *on_change;
        void *on_change_userdata;
        TokensCounters counters;
        ApiError
                logged_error; /* the endpoint's failure that was logged last; API_OK once all is well again */
        uint64_t log_until_ns; /* in the minute that ends then, log_lines were logged */
        unsigned log_lines;
};

static int entry_compare(const void *a, const void *b)
{
        return strcmp(a, b);
}

int tokens_new(const TokensSettings *settings, Tokens **ret_cache)
{
        Tokens *tokens = calloc(1, sizeof *tokens);
        if (!tokens)
                return -ENOMEM;
        tokens->settings = *settings;
        list_init(&tokens->held);
        list_init(&tokens->others);
        list_init(&tokens->failing);
        *ret_cache = tokens;
        return 0;
}

/* Keeps the list of failing entries: a snapshot of the status must find them without a look at all entries. */
static void entry_relink_failing(Entry *entry)
{
        list_unlink(&entry->failing);
        if (entry->error != API_OK && entry->success_wall_ns != 0)
                list_append(&entry->tokens->failing, &entry->failing);
}

static void entry_set_error(Entry *entry, ApiError error)
{
        uint32_t *failing = entry->tokens->counters.failing;
        failing[entry->error] -= entry->error != API_OK;
        failing[error] += error != API_OK;
        entry->error = error;
        entry_relink_failing(entry);
}

/* Moves the entry to the lists where it belongs now, as the one used last. */
static void entry_relink(Entry *entry, bool was_held)
{
        Tokens *tokens = entry->tokens;
        list_unlink(&entry->link);
        list_append(entry->doc ? &tokens->held : &tokens->others, &entry->link);
        entry_relink_failing(entry);
        if (was_held && !entry->doc) {
                tokens->counters.tokens--;
                tokens->counters.negatives++;
        } else if (!was_held && entry->doc) {
                tokens->counters.tokens++;
                tokens->counters.negatives--;
        }
}

static void entry_drop_doc(Entry *entry)
{
        if (!entry->doc)
                return;
        if (entry->is_prefetched)
                entry->tokens->counters.prefetches_wasted++;
        entry->is_prefetched = false;
        loop_timer_cancel(&entry->wipe);
        entry->doc = token_doc_unref(entry->doc);
        entry->freshness = (Freshness){0};
        entry_relink(entry, true);
        if (entry->tokens->on_change)
                entry->tokens->on_change(entry->id, NULL, entry->tokens->on_change_userdata);
}

static void entry_end_call(Entry *entry)
{
        entry->call = entry->tokens->settings.source.cancel(entry->call);
        entry->retry_at_ns = 0;
}

static bool entry_is_idle(const Entry *entry)
{
        return !entry->call && list_is_empty(&entry->waits);
}

static void entry_free(Entry *entry)
{
        Tokens *tokens = entry->tokens;
        entry_end_call(entry);
        entry_drop_doc(entry);
        entry_set_error(entry, API_OK);
        list_unlink(&entry->link);
        tokens->counters.negatives--;
        tdelete(entry, &tokens->entries, entry_compare);
        free(entry);
}

Tokens *tokens_free(Tokens *tokens)
{
        if (!tokens)
                return NULL;
        tokens->on_change = NULL;
        Entry *entry;
        while ((entry = list_first(&tokens->held, Entry, link)) ||
                (entry = list_first(&tokens->others, Entry, link)))
                entry_free(entry);
        free(tokens);
        return NULL;
}

/* Frees the least recently used entries of a list until it is within its bound, but none that somebody waits for. */
static void tokens_trim(Tokens *tokens, ListLink *list, const uint32_t *count, uint32_t max)
{
        unsigned busy = 0;
        Entry *entry;
        while (*count > max && busy < TOKENS_TRIM_BUSY_MAX && (entry = list_first(list, Entry, link))) {
                if (entry->doc ? !list_is_empty(&entry->waits) : !entry_is_idle(entry)) {
                        entry_relink(entry, entry->doc);
                        busy++;
                        continue;
                }
                tokens->counters.evictions += entry->doc ? 1 : 0;
                entry_free(entry);
        }
}

/* True if another line about a token may be logged: thousands of tokens that fail, or an API that fails now and then,
 * must not fill the log. */
static bool tokens_may_log(Tokens *tokens)
{
        uint64_t now = clock_now_ns();
        if (now >= tokens->log_until_ns) {
                tokens->log_until_ns = clock_add_ns(now, TOKENS_LOG_PERIOD_NS);
                tokens->log_lines = 0;
        }
        if (tokens->log_lines == TOKENS_LOG_LINES_MAX)
                log_warning("more happens to tokens than is logged; .service_status shows how they fare");
        tokens->log_lines += tokens->log_lines <= TOKENS_LOG_LINES_MAX;
        return tokens->log_lines <= TOKENS_LOG_LINES_MAX;
}

static void entry_on_wipe(LoopTimer *timer, void *userdata)
{
        (void)timer;
        Entry *entry = userdata;
        log_debug("token %s: its last copy can't be served any more, wiped", entry->id);
        entry_drop_doc(entry);
        /* One that has expired is remembered among those without a document, lest each fetch of it be news. */
        if (list_is_empty(&entry->waits) && !entry->expiry_is_logged)
                entry_free(entry);
}

static Entry *tokens_find(Tokens *tokens, const char *id)
{
        void *node = tfind(id, &tokens->entries, entry_compare);
        return node ? *(Entry **)node : NULL;
}

static Entry *tokens_find_or_add(Tokens *tokens, const char *id)
{
        Entry *entry = tokens_find(tokens, id);
        if (entry)
                return entry;
        tokens_trim(tokens, &tokens->others, &tokens->counters.negatives, TOKENS_NEGATIVES_MAX - 1);
        entry = calloc(1, sizeof *entry);
        size_t len = strnlen(id, sizeof entry->id);
        if (!entry || len == sizeof entry->id) {
                free(entry);
                return NULL;
        }
        memcpy(entry->id, id, len);
        if (!tsearch(entry, &tokens->entries, entry_compare)) {
                free(entry);
                return NULL;
        }
        entry->tokens = tokens;
        list_init(&entry->waits);
        list_init(&entry->link);
        list_init(&entry->failing);
        loop_timer_init(&entry->wipe, tokens->settings.loop, entry_on_wipe, entry);
        list_append(&tokens->others, &entry->link);
        tokens->counters.negatives++;
        return entry;
}

/* Says once that a token has expired. */
static void entry_note_expiry(Entry *entry, bool has_expired)
{
        if (has_expired && !entry->expiry_is_logged && tokens_may_log(entry->tokens))
                log_warning("token %s has expired; its files stay readable as the API gives them", entry->id);
        entry->expiry_is_logged = has_expired;
}

static void entry_learn(Entry *entry, const ApiResult *result)
{
        Tokens *tokens = entry->tokens;
        bool changed = !entry->doc || token_doc_fingerprint(entry->doc) != token_doc_fingerprint(result->doc);
        bool was_held = entry->doc;
        int64_t expires = token_doc_expires_wall_ns(result->doc);
        if (entry->is_prefetched)
                tokens->counters.prefetches_wasted++;
        token_doc_unref(entry->doc);
        entry->doc = token_doc_ref(result->doc);
        entry->is_prefetched = entry->call_is_prefetch && list_is_empty(&entry->waits);
        freshness_set(&entry->freshness, result->sent_ns, tokens->settings.ttl_ns, tokens->settings.stale_ns,
                expires);
        uint64_t held_ns = clock_add_ns(clock_now_ns(), TOKENS_HOLD_NS);
        uint64_t wipe_ns = entry->freshness.stale_ns > held_ns ? entry->freshness.stale_ns : held_ns;
        if (loop_timer_set(&entry->wipe, clock_add_ns(wipe_ns, NS_PER_MS)) < 0)
                log_debug("token %s: no memory for its timer; it is wiped when it is replaced", entry->id);
        entry->success_wall_ns = clock_wall_ns();
        entry_note_expiry(entry, expires <= entry->success_wall_ns);
        if (tokens->logged_error != API_OK && tokens_may_log(tokens))
                log_info("token %s: answered; the API works again", entry->id);
        tokens->logged_error = API_OK;
        entry_set_error(entry, API_OK);
        entry->error_held_ns = 0;
        entry_relink(entry, was_held);
        if (changed && tokens->on_change)
                tokens->on_change(entry->id, entry->doc, tokens->on_change_userdata);
}

/* A failure of one token, rather than of all that is behind the API. */
static bool error_is_of_token(ApiError error)
{
        return error == API_E_NOT_FOUND || error == API_E_ACCESS_DENIED || error == API_E_MALFORMED;
}

/* News are logged, once: of the endpoint when it begins to fail in another way, of a token when this one does. */
static void entry_log_failure(Entry *entry, const ApiResult *result)
{
        Tokens *tokens = entry->tokens;
        bool is_news =
                result->error != (error_is_of_token(result->error) ? entry->error : tokens->logged_error);
        if (!error_is_of_token(result->error))
                tokens->logged_error = result->error;
        if (is_news && result->error != API_E_NOT_FOUND && tokens_may_log(tokens))
                log_warning("token %s: %s%s%s%s", entry->id, api_error_name(result->error),
                        *result->detail ? ": " : "", result->detail,
                        entry->doc && !api_error_ends_copy(result->error)
                                ? "; its last good copy is served meanwhile"
                                : "");
        else if (result->error != entry->error)
                log_debug("token %s: %s: %s", entry->id, api_error_name(result->error), result->detail);
}

static void entry_note_failure(Entry *entry, const ApiResult *result)
{
        Tokens *tokens = entry->tokens;
        if (entry->error == API_OK)
                entry->error_wall_ns = clock_wall_ns();
        entry_log_failure(entry, result);
        entry_set_error(entry, result->error);
        entry->error_ns = clock_now_ns();
        entry->retry_at_ns = result->retry_at_ns;
        if (result->retry_at_ns)
                return;
        uint64_t hold = tokens->settings.negative_ttl_ns;
        if (result->error != API_E_NOT_FOUND && hold > TOKENS_ERROR_HOLD_NS)
                hold = TOKENS_ERROR_HOLD_NS;
        entry->error_held_ns = clock_add_ns(entry->error_ns, hold);
        if (api_error_ends_copy(result->error))
                entry_drop_doc(entry);
}

/* A call that fails goes on for those who wait, and as a probe for a while. */
static bool entry_is_wanted(const Entry *entry)
{
        uint64_t linger = entry->tokens->settings.ttl_ns;
        if (linger < TOKENS_PROBE_LINGER_NS)
                linger = TOKENS_PROBE_LINGER_NS;
        return !list_is_empty(&entry->waits) || clock_now_ns() < clock_add_ns(entry->used_ns, linger);
}

static void entry_on_result(const ApiResult *result, void *userdata)
{
        Entry *entry = userdata;
        Tokens *tokens = entry->tokens;
        if (result->retry_at_ns == 0)
                entry->call = NULL;
        if (result->error == API_OK)
                entry_learn(entry, result);
        else
                entry_note_failure(entry, result);
        if (entry->call && !entry_is_wanted(entry))
                entry_end_call(entry);
        cache_wait_wake_all(&entry->waits);
        tokens_trim(tokens, &tokens->held, &tokens->counters.tokens, tokens->settings.max_tokens);
        tokens_trim(tokens, &tokens->others, &tokens->counters.negatives, TOKENS_NEGATIVES_MAX);
}

static int entry_start(Entry *entry, bool is_prefetch)
{
        if (entry->call)
                return 0;
        const CacheSource *source = &entry->tokens->settings.source;
        entry->call_is_prefetch = is_prefetch;
        entry->retry_at_ns = 0;
        int r = source->start(source->userdata, API_GET_ACCESS_TOKEN, entry->id, NULL, entry_on_result, entry,
                &entry->call);
        if (r == 0 && is_prefetch)
                entry->tokens->counters.prefetches++;
        return r;
}

static TokenAnswer answer_held(const Entry *entry, CacheHit hit)
{
        return (TokenAnswer){
                .doc = entry->doc,
                .keep_ns = hit == CACHE_HIT_STALE ? 0 : freshness_keep_ns(&entry->freshness),
                .due_ns = hit == CACHE_HIT_STALE ? clock_now_ns() : entry->freshness.due_ns,
                .hit = hit,
        };
}

static int answer_doc(Entry *entry, CacheHit hit, TokenAnswer *ret_answer)
{
        uint64_t now = clock_now_ns();
        entry->is_prefetched = false;
        *ret_answer = answer_held(entry, hit);
        entry->tokens->counters.hits[hit]++;
        if (hit == CACHE_HIT_STALE && now > entry->freshness.due_ns)
                entry->tokens->counters.stale_age_sum_s +=
                        (double)(now - entry->freshness.due_ns) / (double)NS_PER_S;
        return 0;
}

static int answer_error(Entry *entry, ApiError error, TokenAnswer *ret_answer)
{
        uint64_t now = clock_now_ns();
        bool held = error == API_E_NOT_FOUND && now < entry->error_held_ns;
        *ret_answer = (TokenAnswer){
                .error = error,
                .keep_ns = held ? entry->error_held_ns - now : 0,
                .due_ns = now,
                .hit = CACHE_HIT_NEGATIVE,
        };
        entry->tokens->counters.hits[CACHE_HIT_NEGATIVE]++;
        return 0;
}

/* The entry can't be served from a promised copy: what is known of why the API doesn't give a new one. */
static ApiError entry_failing(const Entry *entry, const ApiHealth *health, uint64_t since_ns)
{
        bool held = clock_now_ns() < entry->error_held_ns || entry->error_ns >= since_ns;
        if (entry->error != API_OK && (entry->retry_at_ns || held))
                return entry->error;
        return health->error;
}

/* While the endpoint is known to fail, its probes are calls like any other; more than these need not queue up. */
static bool endpoint_has_probes(const ApiHealth *health)
{
        return health->error != API_OK && health->queued + health->in_flight >= API_IN_FLIGHT_MAX;
}

static bool endpoint_fails_for_long(const Tokens *tokens, const ApiHealth *health)
{
        return health->error != API_OK &&
               clock_now_ns() > clock_add_ns(health->since_ns, tokens->settings.timeout_ns);
}

/* An error that ended a call, and still answers: remembered, or learnt after the reader came. */
static bool entry_has_verdict(const Entry *entry, uint64_t since_ns)
{
        return !entry->call && entry->error != API_OK &&
               (clock_now_ns() < entry->error_held_ns || entry->error_ns >= since_ns);
}

int tokens_get(Tokens *tokens, const char *id, uint64_t since_ns, bool give_up, CacheWait *wait,
        TokenAnswer *ret_answer)
{
        Entry *entry = tokens_find_or_add(tokens, id);
        if (!entry)
                return -ENOMEM;
        entry->used_ns = clock_now_ns();
        entry_relink(entry, entry->doc);

        if (entry->doc && freshness_is_promised(&entry->freshness, since_ns)) {
                bool ageing = freshness_is_ageing(&entry->freshness);
                if (ageing && !entry->call && !entry_has_verdict(entry, UINT64_MAX))
                        tokens->counters.refreshes += entry_start(entry, false) == 0;
                if (!wait) {
                        *ret_answer = answer_held(entry, CACHE_HIT_FRESH);
                        return 0;
                }
                CacheHit hit = entry->is_prefetched ? CACHE_HIT_PREFETCHED
                               : ageing             ? CACHE_HIT_AGEING
                                                    : CACHE_HIT_FRESH;
                return answer_doc(entry, hit, ret_answer);
        }

        bool may_be_stale = entry->doc && freshness_may_be_stale(&entry->freshness);
        if (entry_has_verdict(entry, since_ns))
                return may_be_stale ? answer_doc(entry, CACHE_HIT_STALE, ret_answer)
                                    : answer_error(entry, entry->error, ret_answer);

        ApiHealth health = {0};
        tokens->settings.source.health(tokens->settings.source.userdata, &health);
        bool fails_for_long = endpoint_fails_for_long(tokens, &health);
        /* Who is to be parked needs a call of his own token that wakes him; else those that probe already will do. */
        bool must_wait = wait && !give_up && !may_be_stale && !fails_for_long;
        int r = must_wait || !endpoint_has_probes(&health) ? entry_start(entry, !wait && !give_up) : 0;
        if (r < 0 && !may_be_stale)
                return r;
        ApiError failing = r < 0 ? API_E_MEMORY : entry_failing(entry, &health, since_ns);
        if (may_be_stale && (give_up || failing != API_OK))
                return answer_doc(entry, CACHE_HIT_STALE, ret_answer);
        if (give_up || fails_for_long)
                return answer_error(entry, failing != API_OK ? failing : API_E_TIMEOUT, ret_answer);
        if (wait) {
                tokens->counters.hits[CACHE_MISS]++;
                list_unlink(&wait->link);
                list_append(&entry->waits, &wait->link);
        }
        return -EINPROGRESS;
}

int tokens_peek(Tokens *tokens, const char *id, TokenAnswer *ret_answer)
{
        Entry *entry = tokens_find(tokens, id);
        if (!entry || !entry->doc)
                return -ENOENT;
        bool promised = freshness_is_promised(&entry->freshness, UINT64_MAX);
        if (!promised && !freshness_may_be_stale(&entry->freshness))
                return -ENOENT;
        *ret_answer = answer_held(entry, promised ? CACHE_HIT_FRESH : CACHE_HIT_STALE);
        return 0;
}

void tokens_forget(Tokens *tokens)
{
        ListLink woken;
        list_init(&woken);
        Entry *entry;
        while ((entry = list_first(&tokens->held, Entry, link)) ||
                (entry = list_first(&tokens->others, Entry, link))) {
                list_splice(&woken, &entry->waits);
                entry_free(entry);
        }
        tokens->logged_error = API_OK;
        cache_wait_wake_all(&woken);
}

void tokens_on_change(Tokens *tokens, TokensChangeHandler *handler, void *userdata)
{
        tokens->on_change = handler;
        tokens->on_change_userdata = userdata;
}

static bool entry_is_readable(const Entry *entry)
{
        return entry->doc && (freshness_is_promised(&entry->freshness, UINT64_MAX) ||
                                     entry->error == API_OK || freshness_may_be_stale(&entry->freshness));
}

static const char *entry_state(const Entry *entry)
{
        if (!entry->doc)
                return entry->call                       ? "fetching"
                       : entry->error == API_OK          ? "empty"
                       : entry->error == API_E_NOT_FOUND ? "not_found"
                                                         : "failing";
        if (freshness_is_promised(&entry->freshness, UINT64_MAX))
                return freshness_is_ageing(&entry->freshness) ? "ageing" : "fresh";
        return entry->error != API_OK && freshness_may_be_stale(&entry->freshness) ? "stale" : "due";
}

static void entry_visit(const Entry *entry, TokensEntryVisitor *visitor, void *userdata)
{
        uint64_t now = clock_now_ns();
        TokensEntryStatus status = {
                .id = entry->id,
                .state = entry_state(entry),
                .has_doc = entry->doc,
                .is_readable = entry_is_readable(entry),
                .age_ns = entry->doc ? now - entry->freshness.sent_ns : 0,
                .unused_ns = now > entry->used_ns ? now - entry->used_ns : 0,
                .success_wall_ns = entry->success_wall_ns,
                .error = entry->error,
                .error_wall_ns = entry->error == API_OK ? 0 : entry->error_wall_ns,
                .retry_in_ns = entry->retry_at_ns > now ? entry->retry_at_ns - now : 0,
                .doc = entry->doc,
        };
        visitor(&status, userdata);
}

/* Failed, never was good, and isn't just an id that was mistyped. */
static bool entry_never_worked(const Entry *entry)
{
        return entry->success_wall_ns == 0 && entry->error != API_OK && entry->error != API_E_NOT_FOUND;
}

void tokens_visit(const Tokens *tokens, size_t max, TokensEntryVisitor *visitor, void *userdata)
{
        const ListLink *link;
        size_t left = max;
        for (link = tokens->failing.prev; link != &tokens->failing && left > 0; link = link->prev, left--)
                entry_visit(list_entry(link, Entry, failing), visitor, userdata);
        for (link = tokens->others.prev; link != &tokens->others && left > 0; link = link->prev) {
                const Entry *entry = list_entry(link, Entry, link);
                if (!entry_never_worked(entry))
                        continue;
                entry_visit(entry, visitor, userdata);
                left--;
        }
        /* Entries with an error are passed over: no more than were visited above, or nothing is left to visit. */
        for (link = tokens->held.prev; link != &tokens->held && left > 0; link = link->prev) {
                const Entry *entry = list_entry(link, Entry, link);
                if (entry->error != API_OK)
                        continue;
                entry_visit(entry, visitor, userdata);
                left--;
        }
        for (link = tokens->others.prev; link != &tokens->others && left > 0; link = link->prev) {
                const Entry *entry = list_entry(link, Entry, link);
                if (entry_never_worked(entry) || list_is_linked(&entry->failing))
                        continue;
                entry_visit(entry, visitor, userdata);
                left--;
        }
}

uint32_t tokens_max_tokens(const Tokens *tokens)
{
        return tokens->settings.max_tokens;
}

const TokensCounters *tokens_counters(const Tokens *tokens)
{
        return &tokens->counters;
}
