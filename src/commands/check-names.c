/* Names that a mount watches: a name with a typing error would be watched for ever, and no change reported.
 *
 * A name is looked up through the caches of a mount (cache/resolve), so that what is found here is found there. */

#include "check-names.h"

#include <errno.h>
#include <stdio.h>

#include "check-report.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/cache/resolve.h"

static int source_start(void *userdata, const ApiQuery *query, ApiHandler *handler, void *handler_userdata,
        ApiCall **ret_call)
{
        return api_start(userdata, query, handler, handler_userdata, ret_call);
}

static void source_health(void *userdata, ApiHealth *ret_health)
{
        api_client_health(userdata, ret_health);
}

/* The loop's next turn asks again. */
static void on_wake(CacheWait *wait)
{
        (void)wait;
}

static void report_name(
        CheckReport *report, const char *name, CheckOutcome outcome, const char *remedy, const char *text)
{
        char step[TOKEN_NAME_MAX + 16];
        (void)snprintf(step, sizeof step, "watch=%s", name);
        check_report_step(report, step, "name", outcome, remedy, "%s", text);
}

static void report_answer(CheckReport *report, const char *name, const NameAnswer *answer)
{
        char text[256];
        if (answer->error == API_OK)
                (void)snprintf(text, sizeof text, "%s means %s", name, answer->id);
        else if (answer->error == API_E_NOT_FOUND)
                (void)snprintf(text, sizeof text, "no token has the name %s", name);
        else
                (void)snprintf(
                        text, sizeof text, "%s can't be looked up: %s", name, api_error_name(answer->error));
        const char *remedy =
                answer->error == API_E_NOT_FOUND
                        ? "check the spelling in watch=, and the scopes; a mount waits for such a token"
                : answer->error != API_OK ? "see the steps of the list calls above"
                                          : NULL;
        report_name(report, name, answer->error == API_OK ? CHECK_OK : CHECK_FAILED, remedy, text);
}

static int look_up(Cache *cache, Loop *loop, const char *name, uint64_t deadline_ns, NameAnswer *ret_answer)
{
        CacheWait wait;
        cache_wait_init(&wait, on_wake);
        ResolveReader reader = {.since_ns = clock_now_ns(), .wait = &wait};
        int r;
        while ((r = resolve_name_id(cache, name, &reader, ret_answer)) == -EINPROGRESS) {
                uint64_t now_ns = clock_now_ns();
                reader.gives_up = now_ns >= deadline_ns;
                r = reader.gives_up ? 0 : loop_turn(loop, deadline_ns - now_ns);
                if (r < 0)
                        break;
        }
        cache_wait_cancel(&wait);
        return r;
}

int check_names(
        CheckReport *report, const Options *options, Loop *loop, ApiClient *client, uint64_t deadline_ns)
{
        if (options->watch_names.count == 0)
                return 0;
        CLEANUP(cache_free_p) Cache *cache = NULL;
        const CacheSettings settings = {
                .loop = loop,
                .policy = {.source = {source_start, api_cancel, source_health, client},
                        .ttl_ns = options->ttl_ns,
                        .negative_ttl_ns = options->negative_ttl_ns,
                        .stale_ns = options->stale_ns,
                        .timeout_ns = options->timeout_ns},
                .max_tokens = (uint32_t)options->max_tokens,
                .scopes = options_scopes(options),
        };
        int r = cache_new(&settings, &cache);
        for (size_t i = 0; i < options->watch_names.count && r == 0; i++) {
                NameAnswer answer;
                r = look_up(cache, loop, options->watch_names.items[i], deadline_ns, &answer);
                if (r == 0)
                        report_answer(report, options->watch_names.items[i], &answer);
        }
        return r;
}

void check_names_skip(CheckReport *report, const Options *options, const char *why)
{
        char text[128];
        (void)snprintf(text, sizeof text, "skipped: %s", why);
        for (size_t i = 0; i < options->watch_names.count; i++)
                report_name(report, options->watch_names.items[i], CHECK_SKIPPED, NULL, text);
}
