/* The listing of tokens within the scopes.
 *
 * Why: `ls`, names and scopes need the set of tokens without one call for each token. How: a Walk goes down from the
 * scopes, or from ListGlobalResolvers, over views to tokens, page by page. At most four list calls run at a time, so that
 * reads of tokens get their share. A finished walk replaces the listing as a whole; a reader sees one listing or the next.
 * A denied or deleted branch makes the listing incomplete. Any other failure keeps the old listing, as with tokens
 * (copy.h). */

#include "tokenfs/cache/listing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "tokenfs/cache/items-build.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define LISTING_CALLS_MAX 4
/* Bounds of one list call: a nextToken that never ends is an error. */
#define LISTING_PAGES_MAX 20000
#define LISTING_EMPTY_PAGES_MAX 64 /* in a row */
#define LISTING_SLICE_STEPS 20000 /* some 100 ns each: requests come in between */
#define LISTING_BRANCHES_MAX 20000 /* resolvers and views, in all */
#define LISTING_ERROR_HOLD_NS NS_PER_S

/* One list call, with all its pages. */
typedef struct Branch {
        ListLink link; /* in walk.todo or walk.running */
        Listing *listing;
        ApiOperation operation;
        char id[TOKEN_ID_MAX + 1];
        ApiCall *call;
        unsigned pages, empty_pages; /* in all; in a row */
        char *next_token;
        char *marked_token; /* an earlier token, to detect a cycle */
} Branch;

/* One walk over the API. */
typedef struct Walk {
        uint64_t started_ns;
        ListLink todo, running;
        Items *items;
        LoopTimer settle; /* continues the sorting of `items` */
        size_t branch_count; /* so far, ended branches included */
        size_t skipped, resolvers, dns_views;
        ApiError denied; /* the error of a denied branch */
        char detail[256]; /* of `denied` */
} Walk;

struct Listing {
        ListingSettings settings;
        Copy copy; /* of a walk's outcome: the members down to `version` */
        Items *items;
        bool complete;
        ApiError denied;
        size_t skipped, resolvers, dns_views;
        uint64_t version;

        Walk walk;
        ApiError logged_error;
        bool shared_is_logged; /* the log says that shared views can't be listed */
        bool is_slow; /* a walk takes longer than ttl */
};

static void walk_advance(Listing *listing);
static LoopTimerHandler walk_on_settle;
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
        loop_timer_init(&listing->walk.settle, settings->loop, walk_on_settle, listing);
        listing->version = 1;
        *ret_listing = listing;
        return 0;
}

static void branch_free(Branch *branch)
{
        branch->listing->settings.policy.source.cancel(branch->call);
        list_unlink(&branch->link);
        free(branch->next_token);
        free(branch->marked_token);
        free(branch);
}

/* Ends the walk's calls and frees its items. */
static void walk_clear(Walk *walk)
{
        Branch *branch;
        while ((branch = list_first(&walk->todo, Branch, link)) ||
                (branch = list_first(&walk->running, Branch, link)))
                branch_free(branch);
        loop_timer_cancel(&walk->settle);
        walk->items = items_free(walk->items);
        walk->branch_count = 0;
}

Listing *listing_free(Listing *listing)
{
        if (!listing)
                return NULL;
        walk_clear(&listing->walk);
        items_free(listing->items);
        free(listing);
        return NULL;
}

static int walk_add(Listing *listing, ApiOperation operation, const char *id)
{
        size_t len = id ? strnlen(id, TOKEN_ID_MAX + 1) : 0;
        if (len > TOKEN_ID_MAX)
                return -EINVAL;
        if (listing->walk.branch_count == LISTING_BRANCHES_MAX)
                return -EFBIG;
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

static void listing_log_outcome(Listing *listing, size_t skipped_before)
{
        const Walk *walk = &listing->walk;
        ApiError error = walk->denied;
        if (error != API_OK && listing->logged_error != error)
                log_warning("listing: %s%s%s; what can be listed is shown, and other tokens are reached by "
                            "their ids",
                        api_error_name(error), *walk->detail ? ": " : "", walk->detail);
        else if (error == API_OK && listing->logged_error != API_OK)
                log_info("listing: complete again, %zu tokens", items_count(listing->items));
        listing->logged_error = error;
        if (walk->skipped != skipped_before && walk->skipped != 0)
                log_warning("listing: %zu malformed items are left out", walk->skipped);
}

static void listing_log_failure(Listing *listing, ApiError error, const char *detail)
{
        if (listing->logged_error != error)
                log_warning("listing: %s%s%s", api_error_name(error), *detail ? ": " : "", detail);
        listing->logged_error = error;
}

/* The next walk would get the same answer, and a walk may be thousands of calls: so such an error is held for ttl. */
static uint64_t error_hold_ns(const Listing *listing, ApiError error)
{
        bool is_answer = error == API_E_MALFORMED || error == API_E_REFUSED || error == API_E_TOO_MANY;
        uint64_t ttl_ns = listing->settings.policy.ttl_ns;
        return is_answer && ttl_ns > LISTING_ERROR_HOLD_NS ? ttl_ns : LISTING_ERROR_HOLD_NS;
}

/* Ends a walk that failed. The old listing stays, whatever the error: its items are no secrets. */
static void walk_fail(Listing *listing, ApiError error, const char *detail)
{
        (void)copy_fail(&listing->copy, error, error_hold_ns(listing, error));
        listing_log_failure(listing, error, detail);
        walk_clear(&listing->walk);
}

/* A walk that takes as long as ttl would be due when it arrives, and each reader of a name would wait. So a listing lives
 * at least as long as its walk took, and the next walk begins early enough to end before that. */
static void listing_outlive_walk(Listing *listing)
{
        uint64_t now_ns = clock_now_ns(), walk_ns = now_ns - listing->walk.started_ns;
        uint64_t ttl_ns = listing->settings.policy.ttl_ns;
        if (ttl_ns == 0) /* each reader asks the API */
                return;
        uint64_t next_walk_ns = walk_ns + walk_ns / 4;
        Freshness *freshness = &listing->copy.freshness;
        if (walk_ns > ttl_ns / 2)
                freshness_extend(freshness, clock_add_ns(now_ns, walk_ns + walk_ns / 2));
        freshness_refresh_by(freshness, freshness->due_ns - next_walk_ns);
        if (walk_ns > ttl_ns && !listing->is_slow)
                log_warning(
                        "listing: its calls take %.1f s, longer than ttl=; names follow that late. A longer "
                        "ttl=, or dns_view= or resolver=, makes fewer calls",
                        (double)walk_ns / (double)NS_PER_S);
        listing->is_slow = walk_ns > ttl_ns;
}

/* Makes the walk's items the listing. */
static void walk_finish(Listing *listing)
{
        Walk *walk = &listing->walk;
        bool has_changed = items_have_changed(walk->items);
        size_t skipped_before = listing->skipped;
        items_free(listing->items);
        listing->items = TAKE(walk->items);
        listing->complete = walk->denied == API_OK && walk->skipped == 0;
        listing->denied = walk->denied;
        listing->skipped = walk->skipped;
        listing->resolvers = walk->resolvers;
        listing->dns_views = walk->dns_views;
        if (has_changed)
                listing->version++;
        copy_learn(&listing->copy, walk->started_ns, INT64_MAX);
        listing_outlive_walk(listing);
        listing_log_outcome(listing, skipped_before);
        store_note(listing->settings.policy.store, has_changed ? STORE_CHANGED : STORE_RENEWED);
        walk_clear(walk);
}

/* Sorts the walk's items after its last call, one slice in each turn of the loop: requests come in between. */
static void walk_settle(Listing *listing)
{
        Walk *walk = &listing->walk;
        int r = items_settle(walk->items, listing->items, LISTING_SLICE_STEPS);
        if (r == -EAGAIN)
                r = loop_timer_set(&walk->settle, clock_now_ns());
        else if (r == 0)
                walk_finish(listing);
        if (r < 0)
                walk_fail(listing, API_E_MEMORY, "");
}

static void walk_on_settle(LoopTimer *timer, void *userdata)
{
        (void)timer;
        Listing *listing = userdata;
        walk_settle(listing);
        if (!listing->copy.is_fetching)
                copy_wake(&listing->copy);
}

static int walk_append_items(Walk *walk, const ApiPage *page)
{
        int r = 0;
        for (size_t i = 0; i < page->item_count && r == 0; i++)
                r = items_append(walk->items, &page->items[i]);
        return r;
}

/* Takes a page in: its items, or the branches that it names. */
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

/* True if the pages of a list call never end. */
static bool branch_goes_round(const Branch *branch, const char *next_token)
{
        return branch->pages >= LISTING_PAGES_MAX || branch->empty_pages > LISTING_EMPTY_PAGES_MAX ||
               is_same_string(next_token, branch->next_token) ||
               is_same_string(next_token, branch->marked_token);
}

/* Brent's cycle detection: a token is marked after each power of two of pages; a cycle meets the mark. */
static int branch_set_next(Branch *branch, const char *next_token)
{
        char *next = strdup(next_token);
        if (!next)
                return -ENOMEM;
        free(branch->next_token);
        branch->next_token = next;
        branch->pages++;
        if ((branch->pages & (branch->pages - 1)) != 0)
                return 0;
        free(branch->marked_token);
        branch->marked_token = strdup(next);
        return branch->marked_token ? 0 : -ENOMEM;
}

static ApiError branch_on_page(Branch *branch, const ApiPage *page, const char **ret_detail)
{
        Listing *listing = branch->listing;
        *ret_detail = "";
        int r = walk_take_page(listing, branch, page);
        if (r == -EFBIG)
                *ret_detail = "more tokens than are held at once; narrow it with dns_view= or resolver=";
        if (r < 0)
                return r == -EFBIG ? API_E_TOO_MANY : API_E_MEMORY;
        branch->empty_pages = page->item_count + page->id_count ? 0 : branch->empty_pages + 1;
        if (!page->next_token) {
                branch_free(branch);
                return API_OK;
        }
        if (branch_goes_round(branch, page->next_token)) {
                *ret_detail = "its pages never end: nextToken repeats";
                return API_E_MALFORMED;
        }
        if (branch_set_next(branch, page->next_token) < 0)
                return API_E_MEMORY;
        list_unlink(&branch->link);
        list_append(&listing->walk.todo, &branch->link);
        return API_OK;
}

/* A branch that is denied, or that was deleted during the walk, ends alone. Returns the error of the walk. */
static ApiError branch_on_error(Branch *branch, ApiError error, const char *detail)
{
        Listing *listing = branch->listing;
        Walk *walk = &listing->walk;
        /* The API refuses the token of the next page; the rest of the branch is unknown. */
        if (error == API_E_NOT_FOUND && branch->next_token)
                return API_E_MALFORMED;
        if (error != API_E_ACCESS_DENIED && error != API_E_NOT_FOUND)
                return error;
        bool is_shared = branch->operation == API_LIST_SHARED_DNS_VIEWS;
        if (error == API_E_ACCESS_DENIED && is_shared && !listing->shared_is_logged) {
                /* Most accounts have no shared views, and few policies allow the call. */
                log_info("listing: without the DNS views that other accounts share: %s", detail);
                listing->shared_is_logged = true;
        } else if (error == API_E_ACCESS_DENIED && !is_shared && walk->denied == API_OK) {
                walk->denied = error;
                (void)snprintf(walk->detail, sizeof walk->detail, "%s", detail);
        }
        branch_free(branch);
        return API_OK;
}

static void branch_on_result(const ApiResult *result, void *userdata)
{
        Branch *branch = userdata;
        Listing *listing = branch->listing;
        Walk *walk = &listing->walk;
        if (result->retry_at_ns) {
                copy_note_retry(&listing->copy, result->error, result->retry_at_ns);
                listing_log_failure(listing, result->error, result->detail);
                if (!copy_is_wanted(&listing->copy)) {
                        copy_cancel(&listing->copy);
                        walk_clear(walk);
                }
                copy_wake(&listing->copy);
                return;
        }
        branch->call = NULL;
        listing->copy.retry_at_ns = 0; /* another call of the walk succeeds */
        const char *detail = result->detail;
        ApiError error = result->error == API_OK ? branch_on_page(branch, result->page, &detail)
                                                 : branch_on_error(branch, result->error, detail);
        if (error != API_OK)
                walk_fail(listing, error, detail);
        else
                walk_advance(listing);
        if (!listing->copy.is_fetching)
                copy_wake(&listing->copy);
}

/* Starts calls up to the bound. The walk ends with its last call. */
static void walk_advance(Listing *listing)
{
        Walk *walk = &listing->walk;
        const CacheSource *source = &listing->settings.policy.source;
        unsigned running = 0;
        for (ListLink *link = walk->running.next; link != &walk->running; link = link->next)
                running++;
        Branch *branch;
        while (running < LISTING_CALLS_MAX && (branch = list_first(&walk->todo, Branch, link))) {
                const ApiQuery query = {
                        .operation = branch->operation,
                        .id = api_operation_has_id(branch->operation) ? branch->id : NULL,
                        .next_token = branch->next_token,
                        .purpose = listing->copy.is_held ? API_FOR_REFRESH : API_FOR_READ,
                        .uid = API_UID_NONE,
                };
                if (source->start(source->userdata, &query, branch_on_result, branch, &branch->call) < 0) {
                        walk_fail(listing, API_E_MEMORY, "");
                        return;
                }
                list_unlink(&branch->link);
                list_append(&walk->running, &branch->link);
                running++;
        }
        if (running == 0)
                walk_settle(listing);
}

/* Begins a walk over the scopes, or over everything. */
static int listing_fetch(Copy *copy, CopyReason reason, uint32_t uid)
{
        (void)reason, (void)uid;
        Listing *listing = CONTAINER_OF(copy, Listing, copy);
        Walk *walk = &listing->walk;
        const ScopeIds scopes = scopes_ids(listing->settings.scopes);
        walk->started_ns = clock_now_ns();
        walk->denied = API_OK;
        walk->detail[0] = '\0';
        walk->skipped = 0;
        walk->resolvers = scopes.resolver_id_count;
        walk->dns_views = scopes.dns_view_id_count;
        int r = items_new(&walk->items);
        for (size_t i = 0; i < scopes.resolver_id_count && r == 0; i++)
                r = walk_add(listing, API_LIST_DNS_VIEWS, scopes.resolver_ids[i]);
        for (size_t i = 0; i < scopes.dns_view_id_count && r == 0; i++)
                r = walk_add(listing, API_LIST_ACCESS_TOKENS, scopes.dns_view_ids[i]);
        if (scopes_are_open(listing->settings.scopes))
                r = walk_add(listing, API_LIST_GLOBAL_RESOLVERS, NULL);
        if (scopes_are_open(listing->settings.scopes) && r == 0)
                r = walk_add(listing, API_LIST_SHARED_DNS_VIEWS, NULL);
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

static int copy_admitted(const Items *from, const Scopes *scopes, Items **ret_items)
{
        CLEANUP(items_free_p) Items *items = NULL;
        int r = items_new(&items);
        for (size_t i = 0; i < items_count(from) && r == 0; i++) {
                TokenItem item;
                items_get(from, i, &item);
                if (scopes_admit_item(scopes, &item))
                        r = items_append(items, &item);
        }
        if (r == 0)
                r = items_settle(items, NULL, SIZE_MAX);
        if (r == 0)
                *ret_items = TAKE(items);
        return r;
}

void listing_restore(Listing *listing, Items *items, int64_t fetched_wall_ns, int64_t now_wall_ns)
{
        CLEANUP(items_free_p) Items *taken = items, *admitted = NULL;
        if (listing->items || copy_admitted(taken, listing->settings.scopes, &admitted) < 0 ||
                !copy_restore(&listing->copy, fetched_wall_ns, INT64_MAX, now_wall_ns))
                return;
        listing->items = TAKE(admitted);
        listing->version++;
}

int64_t listing_fetched_wall_ns(const Listing *listing)
{
        return listing->copy.success_wall_ns;
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

void listing_status(const Listing *listing, ListingStatus *ret_status)
{
        const Copy *copy = &listing->copy;
        *ret_status = (ListingStatus){
                .tokens = items_count(listing->items),
                .skipped = listing->skipped,
                .resolvers = listing->resolvers,
                .dns_views = listing->dns_views,
                .complete = copy->is_held && listing->complete,
                .is_walking = copy->is_fetching,
                .error = copy->error != API_OK ? copy->error : listing->denied,
                .age_ns = copy->is_held ? clock_now_ns() - copy->freshness.sent_ns : CLOCK_NEVER,
                .state = copy_state(copy),
        };
}
