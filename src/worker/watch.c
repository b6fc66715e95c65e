/* Watching names.
 *
 * Why: on_change's command must run at a rotation although no program reads the files. How: the worker asks for each
 * watched name as a reader does, whenever its answer ages, and sends its present token to the supervisor
 * (supervisor/changes.c). The names are those of `watch=`, else the names in the documents of the tokens of `token=`.
 *
 * The command reads the file, and must not get the old token. So the worker first sets the files to the new token. It
 * reports the change when the files' grace is over (fs/versions.c) and the answer is still the same. The supervisor then
 * has the kernel forget its copies. */

#include "tokenfs/worker/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/cache/resolve.h"

/* Timers of the same time run in any order. */
#define SETTLE_SLACK_NS (10 * NS_PER_MS)
/* Not more often than this, whatever the ttl. */
#define CHECK_MIN_NS NS_PER_S
#define RETRY_NS (5 * NS_PER_S)

typedef struct Item {
        Watch *watch;
        char scope_id[TOKEN_ID_MAX + 1]; /* the token that has the name; "": a name of watch= */
        char name[TOKEN_NAME_MAX + 1]; /* "": not known yet */
        char id[TOKEN_ID_MAX + 1]; /* the token that the name meant last; "": none */
        bool is_known; /* `id` is valid */
        uint64_t since_ns; /* when the check began */
        CacheWait wait;
        LoopTimer timer;
} Item;

struct Watch {
        WatchSettings settings;
        size_t count;
        Item items[];
};

static void item_check(Item *item);

static void item_woken(CacheWait *wait)
{
        item_check(CONTAINER_OF(wait, Item, wait));
}

static void item_due(LoopTimer *timer, void *userdata)
{
        (void)timer;
        Item *item = userdata;
        item->since_ns = clock_now_ns();
        item_check(item);
}

static void item_plan(Item *item, uint64_t in_ns)
{
        if (loop_timer_set(&item->timer, clock_add_ns(clock_now_ns(), in_ns)) < 0)
                log_warning("no memory to watch '%s' any longer", item->name);
}

static ResolveReader reader_of(Item *item)
{
        return (ResolveReader){.since_ns = item->since_ns, .wait = &item->wait};
}

/* Reads the name of the watched token, which may have none. 0, -EINPROGRESS, or an error of the API (> 0). */
static int learn_name(Item *item, uint64_t *ret_keep_ns)
{
        const ResolveReader reader = reader_of(item);
        TokenAnswer answer;
        TokenItem token;
        int r = resolve_id(item->watch->settings.cache, item->scope_id, &reader, &answer);
        if (r != 0)
                return r == -EINPROGRESS ? r : (int)API_E_MEMORY;
        if (answer.error != API_OK)
                return (int)answer.error;
        token_item_from_doc(answer.doc, &token);
        memcpy(item->name, token.name, sizeof item->name);
        *ret_keep_ns = answer.keep_ns;
        return 0;
}

/* The document of the token that the name means now; NULL in it: there is none. As learn_name. */
static int resolve(Item *item, TokenAnswer *ret_token)
{
        const ResolveReader reader = reader_of(item);
        int r = resolve_name(item->watch->settings.cache, item->name, &reader, ret_token);
        if (r != 0)
                return r == -EINPROGRESS ? r : (int)API_E_MEMORY;
        return ret_token->error == API_E_NOT_FOUND ? 0 : (int)ret_token->error;
}

static void item_report(const Item *item)
{
        ChangeReport report = {0};
        memcpy(report.name, item->name, sizeof report.name);
        memcpy(report.id, item->id, sizeof report.id);
        /* If the socket is full, the next check sends the report again. */
        if (item->watch->settings.line >= 0)
                (void)send(item->watch->settings.line, &report, sizeof report, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Notes the name's present token. Returns the time from which on all of its files are that token's. */
static uint64_t item_learn(Item *item, const TokenAnswer *token)
{
        TokenItem now = {0};
        if (token->doc)
                token_item_from_doc(token->doc, &now);
        bool is_change =
                !item->is_known || strcmp(item->id, now.id) != 0; /* or perhaps since the worker before */
        memcpy(item->id, now.id, sizeof item->id);
        item->is_known = true;
        return is_change && token->doc ? fs_set_name(item->watch->settings.fs, item->name, token->doc) : 0;
}

static void item_check(Item *item)
{
        uint64_t keep_ns = CLOCK_NEVER;
        TokenAnswer token = {.keep_ns = CLOCK_NEVER};
        int r = *item->name ? 0 : learn_name(item, &keep_ns);
        if (r == 0 && *item->name)
                r = resolve(item, &token);
        if (r == -EINPROGRESS)
                return;
        if (r != 0) {
                log_debug("watching '%s': %s", *item->name ? item->name : item->scope_id,
                        api_error_name((ApiError)r));
                item_plan(item, RETRY_NS);
                return;
        }
        uint64_t settled_ns = *item->name ? item_learn(item, &token) : 0, now_ns = clock_now_ns();
        if (settled_ns > now_ns) {
                item_plan(item, settled_ns - now_ns + SETTLE_SLACK_NS);
                return;
        }
        if (*item->name)
                item_report(item);
        keep_ns = token.keep_ns < keep_ns ? token.keep_ns : keep_ns;
        uint64_t ttl_ns = item->watch->settings.options->ttl_ns;
        keep_ns = keep_ns < ttl_ns ? keep_ns : ttl_ns;
        item_plan(item, keep_ns > CHECK_MIN_NS ? keep_ns : CHECK_MIN_NS);
}

int watch_new(const WatchSettings *settings, Watch **ret_watch)
{
        const OptionList *names = &settings->options->watch_names, *ids = &settings->options->token_ids;
        bool by_name = names->count > 0;
        size_t count = by_name ? names->count : settings->options->on_change ? ids->count : 0;
        *ret_watch = NULL;
        if (count == 0)
                return 0;
        CLEANUP(watch_free_p) Watch *watch = calloc(1, sizeof *watch + count * sizeof watch->items[0]);
        if (!watch)
                return -ENOMEM;
        watch->settings = *settings;
        watch->count = count;
        for (size_t i = 0; i < count; i++) {
                Item *item = &watch->items[i];
                const char *text = by_name ? names->items[i] : ids->items[i];
                item->watch = watch;
                memcpy(by_name ? item->name : item->scope_id, text, strlen(text) + 1);
                cache_wait_init(&item->wait, item_woken);
                loop_timer_init(&item->timer, settings->loop, item_due, item);
        }
        for (size_t i = 0; i < count; i++)
                if (loop_timer_set(&watch->items[i].timer, clock_now_ns()) < 0)
                        return -ENOMEM;
        *ret_watch = TAKE(watch);
        return 0;
}

Watch *watch_free(Watch *watch)
{
        if (!watch)
                return NULL;
        for (size_t i = 0; i < watch->count; i++) {
                cache_wait_cancel(&watch->items[i].wait);
                loop_timer_cancel(&watch->items[i].timer);
        }
        free(watch);
        return NULL;
}
