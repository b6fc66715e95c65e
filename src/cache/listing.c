/* The listing of tokens within the scopes.
 *
 * Why: `ls`, names and scopes need to know which tokens there are, without a call a token. How: a Walk goes down from
 * what the scopes name (or from ListGlobalResolvers) over views to tokens, page by page, a few calls at a time so that
 * reads of tokens aren't held up. What it gathers replaces the listing only when it is whole, so that a reader sees
 * one listing or the next. A denied or vanished branch leaves the rest standing and makes the listing incomplete; any
 * other failure keeps the old one, as with tokens (freshness.h). */

#include "tokenfs/cache/listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "items.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define LISTING_CALLS_MAX 4
#define LISTING_PAGES_MAX 4096 /* of one list call: a next_token that never ends is an error */
#define LISTING_ITEMS_MAX 200000 /* in all */
#define LISTING_BRANCHES_MAX 20000 /* resolvers and views, in all */
#define LISTING_ERROR_HOLD_NS NS_PER_S

/* One list call, with all its pages. */
typedef struct Branch {
        ListLink link; /* in walk.todo or walk.running */
        Listing *listing;
        ApiOperation operation;
        char id[TOKEN_ID_MAX + 1];
        ApiCall *call;
        unsigned pages;
        char *next_token;
} Branch;

/* What one walk over the API gathers. */
typedef struct Walk {
        uint64_t started_ns;
        ListLink todo, running;
        TokenItem *items;
        size_t item_count, item_capacity;
        size_t branch_count; /* so far, those that have ended included */
        size_t skipped, resolvers, dns_views;
        ApiError denied; /* a branch was refused */
        char detail[256]; /* of that */
} Walk;

struct Listing {
        ListingSettings settings;
        Copy copy; /* of a walk's outcome: the members down to `version` */
        TokenItem *items; /* by id */
        size_t item_count;
        const TokenItem *const *by_name; /* by name, then the newest first */
        bool complete;
        ApiError denied;
        size_t resolvers, dns_views;
        uint64_t version;

        Walk walk;
        ApiError logged_error;
};

static void walk_advance(Listing *listing);
static CopyFetch listing_fetch;

int listing_new(const ListingSettings *settings, Listing **ret_listing)
{
        Listing *listing = calloc(1, sizeof *listing);
        if (!listing)
                return -ENOMEM;
        listing->settings = *settings;
        copy_init(&listing->copy, &listing->settings.policy, listing_fetch);
        list_init(&listing->walk.todo);
        list_init(&listing->walk.running);
        listing->version = 1;
        *ret_listing = listing;
        return 0;
}

static void branch_free(Branch *branch)
{
        branch->listing->settings.policy.source.cancel(branch->call);
        list_unlink(&branch->link);
        free(branch->next_token);
        free(branch);
}

/* Ends the walk's calls, and frees what it has gathered. */
static void walk_clear(Walk *walk)
{
        Branch *branch;
        while ((branch = list_first(&walk->todo, Branch, link)) ||
                (branch = list_first(&walk->running, Branch, link)))
                branch_free(branch);
        free(walk->items);
        walk->items = NULL;
        walk->item_count = walk->item_capacity = walk->branch_count = 0;
}

Listing *listing_free(Listing *listing)
{
        if (!listing)
                return NULL;
        walk_clear(&listing->walk);
        free(listing->items);
        free((void *)listing->by_name);
        free(listing);
        return NULL;
}

static int walk_add(Listing *listing, ApiOperation operation, const char *id)
{
        size_t len = id ? strnlen(id, TOKEN_ID_MAX + 1) : 0;
        if (len > TOKEN_ID_MAX)
                return -EINVAL;
        if (listing->walk.branch_count == LISTING_BRANCHES_MAX)
                return -E2BIG;
        Branch *branch = calloc(1, sizeof *branch);
        if (!branch)
                return -ENOMEM;
        branch->listing = listing;
        branch->operation = operation;
        if (id)
                memcpy(branch->id, id, len);
        listing->walk.branch_count++;
        list_append(&listing->walk.todo, &branch->link);
        return 0;
}

static void listing_log_outcome(Listing *listing)
{
        ApiError error = listing->walk.denied;
        if (error != API_OK && listing->logged_error != error)
                log_warning("listing: %s%s%s; what can be listed is shown, and other tokens are reached by "
                            "their ids",
                        api_error_name(error), *listing->walk.detail ? ": " : "", listing->walk.detail);
        else if (error == API_OK && listing->logged_error != API_OK)
                log_info("listing: complete again, %zu tokens", listing->item_count);
        listing->logged_error = error;
}

/* The walk failed as a whole: the old listing stays, whatever the error, since its items are no secrets. */
static void walk_fail(Listing *listing, ApiError error, const char *detail)
{
        (void)copy_fail(&listing->copy, error, LISTING_ERROR_HOLD_NS);
        if (listing->logged_error != error)
                log_warning("listing: %s%s%s", api_error_name(error), *detail ? ": " : "", detail);
        listing->logged_error = error;
        walk_clear(&listing->walk);
}

/* The walk has come to its end: what it gathered is the listing now. */
static void walk_finish(Listing *listing)
{
        Walk *walk = &listing->walk;
        walk->item_count = items_sort(walk->items, walk->item_count);
        TokenItem *fitting =
                walk->item_count ? realloc(walk->items, walk->item_count * sizeof *fitting) : NULL;
        walk->items = fitting ? fitting : walk->items;
        const TokenItem *const *by_name = NULL;
        if (items_index_names(walk->items, walk->item_count, &by_name) < 0) {
                walk_fail(listing, API_E_MEMORY, "");
                return;
        }
        bool changed = walk->item_count != listing->item_count ||
                       (walk->item_count && memcmp(walk->items, listing->items,
                                                    walk->item_count * sizeof *walk->items) != 0);
        free(listing->items);
        free((void *)listing->by_name);
        listing->items = TAKE(walk->items);
        listing->item_count = walk->item_count;
        listing->by_name = by_name;
        listing->complete = walk->denied == API_OK && walk->skipped == 0;
        listing->denied = walk->denied;
        listing->resolvers = walk->resolvers;
        listing->dns_views = walk->dns_views;
        if (changed)
                listing->version++;
        copy_learn(&listing->copy, walk->started_ns, INT64_MAX);
        listing_log_outcome(listing);
        walk_clear(walk);
}

static int walk_append_items(Walk *walk, const ApiPage *page)
{
        if (page->item_count > LISTING_ITEMS_MAX - walk->item_count)
                return -E2BIG;
        size_t needed = walk->item_count + page->item_count;
        if (needed > walk->item_capacity) {
                size_t capacity = walk->item_capacity ? walk->item_capacity * 2 : 128;
                while (capacity < needed)
                        capacity *= 2;
                TokenItem *items = realloc(walk->items, capacity * sizeof *items);
                if (!items)
                        return -ENOMEM;
                walk->items = items;
                walk->item_capacity = capacity;
        }
        if (page->item_count)
                memcpy(walk->items + walk->item_count, page->items, page->item_count * sizeof *page->items);
        walk->item_count = needed;
        return 0;
}

/* Takes a page in: items are gathered, and what it names is walked in turn. */
static int walk_take_page(Listing *listing, const Branch *branch, const ApiPage *page)
{
        Walk *walk = &listing->walk;
        walk->skipped += page->skipped;
        if (branch->operation == API_LIST_ACCESS_TOKENS)
                return walk_append_items(walk, page);
        bool resolvers = branch->operation == API_LIST_GLOBAL_RESOLVERS;
        *(resolvers ? &walk->resolvers : &walk->dns_views) += page->id_count;
        for (size_t i = 0; i < page->id_count; i++) {
                int r = walk_add(
                        listing, resolvers ? API_LIST_DNS_VIEWS : API_LIST_ACCESS_TOKENS, page->ids[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_same_string(const char *a, const char *b)
{
        return a && b && strcmp(a, b) == 0;
}

static ApiError branch_on_page(Branch *branch, const ApiPage *page, const char **ret_detail)
{
        Listing *listing = branch->listing;
        *ret_detail = "";
        int r = walk_take_page(listing, branch, page);
        if (r < 0) {
                *ret_detail = r == -E2BIG
                                      ? "more than is listed at once; narrow it with dns_view= or resolver="
                                      : "";
                return r == -E2BIG ? API_E_MALFORMED : API_E_MEMORY;
        }
        if (!page->next_token) {
                branch_free(branch);
                return API_OK;
        }
        if (is_same_string(page->next_token, branch->next_token) || ++branch->pages >= LISTING_PAGES_MAX) {
                *ret_detail = "its pages never end: nextToken repeats";
                return API_E_MALFORMED;
        }
        free(branch->next_token);
        branch->next_token = strdup(page->next_token);
        if (!branch->next_token)
                return API_E_MEMORY;
        list_unlink(&branch->link);
        list_append(&listing->walk.todo, &branch->link);
        return API_OK;
}

static void branch_on_result(const ApiResult *result, void *userdata)
{
        Branch *branch = userdata;
        Listing *listing = branch->listing;
        Walk *walk = &listing->walk;
        if (result->retry_at_ns) {
                copy_note_retry(&listing->copy, result->error, result->retry_at_ns);
                if (listing->logged_error != result->error)
                        log_warning("listing: %s%s%s", api_error_name(result->error),
                                *result->detail ? ": " : "", result->detail);
                listing->logged_error = result->error;
                if (!copy_is_wanted(&listing->copy)) {
                        copy_cancel(&listing->copy);
                        walk_clear(walk);
                }
                copy_wake(&listing->copy);
                return;
        }
        branch->call = NULL;
        listing->copy.retry_at_ns = 0; /* another call of the walk gets through */
        const char *detail = result->detail;
        ApiError error = result->error;
        if (error == API_OK) {
                error = branch_on_page(branch, result->page, &detail);
        } else if (error == API_E_NOT_FOUND && branch->next_token) {
                /* Its first page was there: what is refused is the page's token, and the rest is not known. */
                error = API_E_MALFORMED;
        } else if (error == API_E_ACCESS_DENIED || error == API_E_NOT_FOUND) {
                /* A branch that is denied, or was deleted meanwhile, leaves the rest standing. */
                if (error == API_E_ACCESS_DENIED && walk->denied == API_OK) {
                        walk->denied = error;
                        (void)snprintf(walk->detail, sizeof walk->detail, "%s", detail);
                }
                branch_free(branch);
                error = API_OK;
        }
        if (error != API_OK)
                walk_fail(listing, error, detail);
        else
                walk_advance(listing);
        if (!listing->copy.is_fetching)
                copy_wake(&listing->copy);
}

/* Starts calls until as many run as may, or none is left to start; then the walk ends with the last that runs. */
static void walk_advance(Listing *listing)
{
        Walk *walk = &listing->walk;
        const CacheSource *source = &listing->settings.policy.source;
        unsigned running = 0;
        for (ListLink *link = walk->running.next; link != &walk->running; link = link->next)
                running++;
        Branch *branch;
        while (running < LISTING_CALLS_MAX && (branch = list_first(&walk->todo, Branch, link))) {
                const char *id = branch->operation == API_LIST_GLOBAL_RESOLVERS ? NULL : branch->id;
                if (source->start(source->userdata, branch->operation, id, branch->next_token,
                            branch_on_result, branch, &branch->call) < 0) {
                        walk_fail(listing, API_E_MEMORY, "");
                        return;
                }
                list_unlink(&branch->link);
                list_append(&walk->running, &branch->link);
                running++;
        }
        if (running == 0)
                walk_finish(listing);
}

/* Begins a walk over the scopes, or over everything. */
static int listing_fetch(Copy *copy, CopyReason reason)
{
        (void)reason;
        Listing *listing = CONTAINER_OF(copy, Listing, copy);
        Walk *walk = &listing->walk;
        const ScopeIds scopes = scopes_ids(listing->settings.scopes);
        walk->started_ns = clock_now_ns();
        walk->denied = API_OK;
        walk->detail[0] = '\0';
        walk->skipped = 0;
        walk->resolvers = scopes.resolver_id_count;
        walk->dns_views = scopes.dns_view_id_count;
        int r = 0;
        for (size_t i = 0; i < scopes.resolver_id_count && r == 0; i++)
                r = walk_add(listing, API_LIST_DNS_VIEWS, scopes.resolver_ids[i]);
        for (size_t i = 0; i < scopes.dns_view_id_count && r == 0; i++)
                r = walk_add(listing, API_LIST_ACCESS_TOKENS, scopes.dns_view_ids[i]);
        if (scopes_are_open(listing->settings.scopes))
                r = walk_add(listing, API_LIST_GLOBAL_RESOLVERS, NULL);
        if (r < 0)
                walk_fail(listing, API_E_MEMORY, "");
        else
                walk_advance(listing);
        return copy->is_fetching ? 0 : -ENOMEM;
}

static ListingAnswer answer_of(const Listing *listing, const CopyAnswer *copy)
{
        if (copy->hit == CACHE_HIT_NEGATIVE)
                return (ListingAnswer){
                        .error = copy->error, .keep_ns = copy->keep_ns, .due_ns = copy->due_ns};
        return (ListingAnswer){
                .error = copy->error != API_OK ? copy->error : listing->denied,
                .items = listing->items,
                .item_count = listing->item_count,
                .by_name = listing->by_name,
                .complete = listing->complete && copy->hit != CACHE_HIT_STALE,
                .version = listing->version,
                .keep_ns = copy->keep_ns,
                .due_ns = copy->due_ns,
        };
}

/* With `token=` scopes alone there is nothing to list. */
static const ListingAnswer no_walk_needed = {.complete = true, .keep_ns = CLOCK_NEVER, .due_ns = CLOCK_NEVER};

int listing_get(Listing *listing, uint64_t since_ns, bool give_up, CacheWait *wait, ListingAnswer *ret_answer)
{
        if (scopes_are_tokens(listing->settings.scopes)) {
                *ret_answer = no_walk_needed;
                return 0;
        }
        CopyAnswer copy;
        int r = copy_get(&listing->copy, since_ns, give_up, wait, &copy);
        if (r == 0)
                *ret_answer = answer_of(listing, &copy);
        return r;
}

void listing_peek(Listing *listing, ListingAnswer *ret_answer)
{
        CopyAnswer copy;
        if (scopes_are_tokens(listing->settings.scopes))
                *ret_answer = no_walk_needed;
        else if (copy_peek(&listing->copy, &copy) == 0)
                *ret_answer = answer_of(listing, &copy);
        else
                *ret_answer = (ListingAnswer){.error = listing->copy.error, .due_ns = clock_now_ns()};
}

const TokenItem *listing_find(const ListingAnswer *answer, const char *id)
{
        return items_find(answer->items, answer->item_count, id);
}

bool listing_is_failing(const Listing *listing)
{
        return listing->copy.retry_at_ns != 0;
}

uint64_t listing_sent_ns(const Listing *listing)
{
        return listing->copy.freshness.sent_ns;
}

void listing_outdate(Listing *listing)
{
        listing->copy.not_before_ns = clock_now_ns();
}

void listing_forget(Listing *listing)
{
        walk_clear(&listing->walk);
        free(listing->items);
        free((void *)listing->by_name);
        listing->items = NULL;
        listing->by_name = NULL;
        listing->item_count = 0;
        copy_reset(&listing->copy);
        listing->denied = API_OK;
        listing->resolvers = listing->dns_views = 0;
        listing->logged_error = API_OK;
        listing->version++;
        copy_wake(&listing->copy);
}

void listing_status(const Listing *listing, ListingStatus *ret_status)
{
        const Copy *copy = &listing->copy;
        *ret_status = (ListingStatus){
                .tokens = listing->item_count,
                .resolvers = listing->resolvers,
                .dns_views = listing->dns_views,
                .complete = copy->is_held && listing->complete,
                .error = copy->error != API_OK ? copy->error : listing->denied,
                .age_ns = copy->is_held ? clock_now_ns() - copy->freshness.sent_ns : CLOCK_NEVER,
                .state = copy_state(copy),
        };
}
