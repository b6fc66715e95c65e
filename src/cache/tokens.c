/* The cache of token documents.
 *
 * Why: a read needs a whole document that the API gave within the last `ttl`. How: each token has an Entry: a cached copy
 * (copy.h), its document and its call.
 *
 * Two lists in order of use bound the memory: entries with a document (`max_tokens`), and entries without (remembered
 * errors). A timer wipes a document that is neither fresh nor stale any more. */

#include "tokenfs/cache/tokens.h"

#include <errno.h>
#include <search.h>
#include <string.h>

#include "copy.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define TOKENS_NEGATIVES_MAX 1024
/* With ttl 0 a copy still answers the readers that came before it. A reader of several copies asks for them in turn, so
 * each stays this long. */
#define TOKENS_HOLD_NS NS_PER_S
/* One trim passes over so many entries in use; the next result trims the rest. */
#define TOKENS_TRIM_BUSY_MAX 16
/* Log lines about tokens, per minute. */
#define TOKENS_LOG_LINES_MAX 20
#define TOKENS_LOG_PERIOD_NS (60 * NS_PER_S)

typedef struct Entry {
        char id[TOKEN_ID_MAX + 1]; /* first: the tree's key */
        Tokens *tokens;
        ListLink link; /* in tokens->held or tokens->others, most recently used last */
        ListLink failing; /* in tokens->failing, most recently used last; in no list after a good call */
        ApiError counted_error; /* the copy's error, as the counters have it */
        Copy copy;

        TokenDoc *doc; /* NULL: the copy holds none */
        LoopTimer wipe;
        bool is_prefetched; /* no reader has asked for `doc` yet */
        bool expiry_is_logged, restored_is_logged;

        ApiCall *call;
        bool call_is_prefetch;
        bool is_guessed; /* the last reader's id is in no listing */
} Entry;

struct Tokens {
        TokensSettings settings;
        void *entries; /* tsearch tree of Entry, by id */
        ListLink held, others;
        ListLink failing; /* entries that had a document, and whose last call failed */
        TokensChangeHandler *on_change;
        void *on_change_userdata;
        TokensCounters counters;
        ApiError logged_error; /* of the endpoint, as the log has it; API_OK after a good call */
        uint64_t log_until_ns; /* the end of the minute that `log_lines` counts */
        unsigned log_lines;
};

static CopyFetch entry_fetch;

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

/* The status lists failing entries first; this list spares it a look at all entries. */
static void entry_relink_failing(Entry *entry)
{
        list_unlink(&entry->failing);
        if (entry->copy.error != API_OK && entry->copy.success_wall_ns != 0)
                list_append(&entry->tokens->failing, &entry->failing);
}

static void entry_count_error(Entry *entry, ApiError error)
{
        uint32_t *failing = entry->tokens->counters.failing;
        failing[entry->counted_error] -= entry->counted_error != API_OK;
        failing[error] += error != API_OK;
        entry->counted_error = error;
}

/* Moves the entry to the end of the lists that it now belongs to. */
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
        copy_drop(&entry->copy);
        entry_relink(entry, true);
        if (entry->tokens->on_change)
                entry->tokens->on_change(entry->id, NULL, entry->tokens->on_change_userdata);
}

static void entry_end_call(Entry *entry)
{
        entry->call = entry->tokens->settings.policy.source.cancel(entry->call);
        copy_cancel(&entry->copy);
}

static bool entry_is_idle(const Entry *entry)
{
        return !entry->call && list_is_empty(&entry->copy.waits);
}

static void entry_free(Entry *entry)
{
        Tokens *tokens = entry->tokens;
        entry_end_call(entry);
        entry_drop_doc(entry);
        entry_count_error(entry, API_OK);
        list_unlink(&entry->failing);
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

/* Frees the least recently used entries of a list down to `max`. An entry with waiting readers stays. */
static void tokens_trim(Tokens *tokens, ListLink *list, const uint32_t *count, uint32_t max)
{
        unsigned busy = 0;
        Entry *entry;
        while (*count > max && busy < TOKENS_TRIM_BUSY_MAX && (entry = list_first(list, Entry, link))) {
                if (entry->doc ? !list_is_empty(&entry->copy.waits) : !entry_is_idle(entry)) {
                        entry_relink(entry, entry->doc);
                        busy++;
                        continue;
                }
                tokens->counters.evictions += entry->doc ? 1 : 0;
                entry_free(entry);
        }
}

/* True if the log may have another line about a token. Thousands of failing tokens, or an API that fails now and then, must
 * not fill the log. */
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
        store_note(entry->tokens->settings.policy.store, STORE_EXPIRED);
        /* An expired token keeps its entry: else the log would report the expiry at each fetch. */
        if (list_is_empty(&entry->copy.waits) && !entry->expiry_is_logged)
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
        copy_init(&entry->copy, &tokens->settings.policy, entry_fetch);
        list_init(&entry->link);
        list_init(&entry->failing);
        loop_timer_init(&entry->wipe, tokens->settings.loop, entry_on_wipe, entry);
        list_append(&tokens->others, &entry->link);
        tokens->counters.negatives++;
        return entry;
}

/* Logs once that a token has expired. */
static void entry_note_expiry(Entry *entry, bool has_expired)
{
        if (has_expired && !entry->expiry_is_logged && tokens_may_log(entry->tokens))
                log_warning("token %s has expired; its files stay readable as the API gives them", entry->id);
        entry->expiry_is_logged = has_expired;
}

static void entry_plan_wipe(Entry *entry)
{
        uint64_t held_ns = clock_add_ns(clock_now_ns(), TOKENS_HOLD_NS),
                 stale_ns = entry->copy.freshness.stale_ns;
        if (loop_timer_set(&entry->wipe, clock_add_ns(stale_ns > held_ns ? stale_ns : held_ns, NS_PER_MS)) <
                0)
                log_debug("token %s: no memory for its timer; it is wiped when it is replaced", entry->id);
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
        entry->is_prefetched = entry->call_is_prefetch && list_is_empty(&entry->copy.waits);
        copy_learn(&entry->copy, result->sent_ns, expires);
        entry_plan_wipe(entry);
        entry_note_expiry(entry, expires <= entry->copy.success_wall_ns);
        if (tokens->logged_error != API_OK && tokens_may_log(tokens))
                log_info("token %s: answered; the API works again", entry->id);
        tokens->logged_error = API_OK;
        entry_relink(entry, was_held);
        store_note(tokens->settings.policy.store, changed ? STORE_CHANGED : STORE_RENEWED);
        if (changed && tokens->on_change)
                tokens->on_change(entry->id, entry->doc, tokens->on_change_userdata);
}

/* True for a failure of one token; false for a failure of the endpoint. */
static bool error_is_of_token(ApiError error)
{
        return error == API_E_NOT_FOUND || error == API_E_ACCESS_DENIED || error == API_E_MALFORMED;
}

/* Logs a failure once: the endpoint's when its error changes, a token's when that token's error changes. */
static void entry_log_failure(Entry *entry, const ApiResult *result)
{
        Tokens *tokens = entry->tokens;
        bool is_news = result->error !=
                       (error_is_of_token(result->error) ? entry->copy.error : tokens->logged_error);
        if (!error_is_of_token(result->error))
                tokens->logged_error = result->error;
        if (is_news && result->error != API_E_NOT_FOUND && tokens_may_log(tokens))
                log_warning("token %s: %s%s%s%s", entry->id, api_error_name(result->error),
                        *result->detail ? ": " : "", result->detail,
                        entry->doc && !api_error_ends_copy(result->error)
                                ? "; its last good copy is served meanwhile"
                                : "");
        else if (result->error != entry->copy.error)
                log_debug("token %s: %s: %s", entry->id, api_error_name(result->error), result->detail);
}

static void entry_note_failure(Entry *entry, const ApiResult *result)
{
        Copy *copy = &entry->copy;
        entry_log_failure(entry, result);
        if (result->retry_at_ns)
                copy_note_retry(copy, result->error, result->retry_at_ns);
        else if (copy_fail(copy, result->error, copy_error_hold_ns(copy, result->error)) && entry->doc) {
                entry_drop_doc(entry);
                store_note(copy->policy->store, STORE_REFUSED);
        }
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
        entry_count_error(entry, entry->copy.error);
        entry_relink_failing(entry);
        if (entry->call && !copy_is_wanted(&entry->copy))
                entry_end_call(entry);
        copy_wake(&entry->copy);
        tokens_trim(tokens, &tokens->held, &tokens->counters.tokens, tokens->settings.max_tokens);
        tokens_trim(tokens, &tokens->others, &tokens->counters.negatives, TOKENS_NEGATIVES_MAX);
}

static int entry_fetch(Copy *copy, CopyReason reason, uint32_t uid)
{
        Entry *entry = CONTAINER_OF(copy, Entry, copy);
        const CacheSource *source = &copy->policy->source;
        TokensCounters *counters = &entry->tokens->counters;
        const ApiQuery query = {
                .operation = API_GET_ACCESS_TOKEN,
                .id = entry->id,
                .purpose = entry->doc          ? API_FOR_REFRESH
                           : entry->is_guessed ? API_FOR_GUESS
                                               : API_FOR_READ,
                .uid = uid,
        };
        int r = source->start(source->userdata, &query, entry_on_result, entry, &entry->call);
        if (r < 0)
                return r;
        entry->call_is_prefetch = reason == COPY_AHEAD;
        counters->prefetches += reason == COPY_AHEAD;
        counters->refreshes += reason == COPY_REFRESH;
        return 0;
}

static TokenAnswer token_answer(const Entry *entry, const CopyAnswer *copy)
{
        bool has_doc = copy->hit != CACHE_HIT_NEGATIVE;
        return (TokenAnswer){
                .error = has_doc ? API_OK : copy->error,
                .doc = has_doc ? entry->doc : NULL,
                .keep_ns = copy->keep_ns,
                .due_ns = copy->due_ns,
                .hit = copy->hit,
        };
}

/* Logs once a token that a copy from disk serves. */
static void entry_note_restored(Entry *entry, ApiError error)
{
        if (!entry->restored_is_logged && tokens_may_log(entry->tokens))
                log_warning("token %s: served from the copy on disk, fetched %lld s ago, since the API fails "
                            "(%s)",
                        entry->id,
                        (long long)((clock_wall_ns() - entry->copy.success_wall_ns) / (int64_t)NS_PER_S),
                        api_error_name(error));
        entry->restored_is_logged = true;
        entry->tokens->counters.restored_hits++;
}

static void count_hit(Tokens *tokens, const Entry *entry, CacheHit hit)
{
        uint64_t now_ns = clock_now_ns(), due_ns = entry->copy.freshness.due_ns;
        tokens->counters.hits[hit]++;
        if (hit == CACHE_HIT_STALE && now_ns > due_ns)
                tokens->counters.stale_age_sum_s += (double)(now_ns - due_ns) / (double)NS_PER_S;
}

int tokens_get(Tokens *tokens, const char *id, uint64_t since_ns, bool give_up, CacheWait *wait,
        TokenAnswer *ret_answer)
{
        Entry *entry = tokens_find_or_add(tokens, id);
        if (!entry)
                return -ENOMEM;
        entry->is_guessed = wait && wait->is_guess;
        entry_relink(entry, entry->doc);
        CopyAnswer copy;
        int r = copy_get(&entry->copy, since_ns, give_up, wait, &copy);
        if (r == -EINPROGRESS && wait)
                tokens->counters.hits[CACHE_MISS]++;
        if (r < 0)
                return r;
        *ret_answer = token_answer(entry, &copy);
        if (!wait) /* a prefetch */
                return 0;
        if (entry->is_prefetched && copy.error == API_OK)
                ret_answer->hit = CACHE_HIT_PREFETCHED;
        entry->is_prefetched = false;
        if (entry->copy.is_restored && copy.hit == CACHE_HIT_STALE)
                entry_note_restored(entry, copy.error);
        count_hit(tokens, entry, ret_answer->hit);
        return 0;
}

int tokens_restore(Tokens *tokens, TokenDoc *doc, int64_t fetched_wall_ns, int64_t now_wall_ns)
{
        size_t len;
        const char *field = token_doc_field(doc, TOKEN_ID, &len);
        char id[TOKEN_ID_MAX + 1] = {0};
        memcpy(id, field, len < sizeof id ? len : sizeof id - 1);
        if (tokens->counters.tokens >= tokens->settings.max_tokens)
                return -ENOSPC;
        Entry *entry = tokens_find_or_add(tokens, id);
        if (!entry)
                return -ENOMEM;
        if (entry->doc ||
                !copy_restore(&entry->copy, fetched_wall_ns, token_doc_expires_wall_ns(doc), now_wall_ns)) {
                if (!entry->doc && entry_is_idle(entry))
                        entry_free(entry);
                return -ENOENT;
        }
        entry->copy.used_ns = clock_now_ns(); /* the file keeps only tokens that were read lately */
        entry->doc = token_doc_ref(doc);
        entry_plan_wipe(entry);
        entry_relink(entry, false);
        return 0;
}

int tokens_peek(Tokens *tokens, const char *id, TokenAnswer *ret_answer)
{
        Entry *entry = tokens_find(tokens, id);
        if (!entry)
                return -ENOENT;
        CopyAnswer copy;
        int r = copy_peek(&entry->copy, &copy);
        if (r < 0)
                return r;
        *ret_answer = token_answer(entry, &copy);
        return 0;
}

void tokens_on_change(Tokens *tokens, TokensChangeHandler *handler, void *userdata)
{
        tokens->on_change = handler;
        tokens->on_change_userdata = userdata;
}

static void entry_visit(const Entry *entry, TokensEntryVisitor *visitor, void *userdata)
{
        uint64_t now = clock_now_ns();
        const Copy *copy = &entry->copy;
        TokensEntryStatus status = {
                .id = entry->id,
                .state = copy_state(copy),
                .has_doc = entry->doc,
                .is_unread = entry->is_prefetched,
                .is_restored = copy->is_restored,
                .is_readable = copy_is_readable(copy),
                .age_ns = entry->doc ? now - copy->freshness.sent_ns : 0,
                .unused_ns = now > copy->used_ns ? now - copy->used_ns : 0,
                .success_wall_ns = copy->success_wall_ns,
                .error = copy->error,
                .error_wall_ns = copy->error == API_OK ? 0 : copy->error_wall_ns,
                .retry_in_ns = copy->retry_at_ns > now ? copy->retry_at_ns - now : 0,
                .doc = entry->doc,
        };
        visitor(&status, userdata);
}

/* True if the API never gave the document, and the error is not that of a mistyped id. */
static bool entry_never_worked(const Entry *entry)
{
        return entry->copy.success_wall_ns == 0 && entry->copy.error != API_OK &&
               entry->copy.error != API_E_NOT_FOUND;
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
        /* Passes over entries with an error: the first loop has visited them. */
        for (link = tokens->held.prev; link != &tokens->held && left > 0; link = link->prev) {
                const Entry *entry = list_entry(link, Entry, link);
                if (entry->copy.error != API_OK)
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

uint32_t tokens_in_flight_max(const Tokens *tokens)
{
        ApiHealth health = {0};
        const CacheSource *source = &tokens->settings.policy.source;
        source->health(source->userdata, &health);
        return health.in_flight_max;
}

uint32_t tokens_max_tokens(const Tokens *tokens)
{
        return tokens->settings.max_tokens;
}

const TokensCounters *tokens_counters(const Tokens *tokens)
{
        return &tokens->counters;
}
