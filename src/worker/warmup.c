/* Fetches the tokens of the scopes.
 *
 * It asks the cache for all tokens at once (the client limits the calls in flight), and then waits for each in turn: the
 * wait ends with the last answer, in whatever order they come. */

#include "warmup.h"

#include <errno.h>
#include <stdlib.h>

#include "tokenfs/base/clock.h"

struct Warmup {
        Tokens *tokens;
        const char *const *ids;
        size_t count, next;
        uint64_t since_ns;
        CacheWait wait;
        LoopTimer timer; /* starts the fetching from the loop, then ends the wait */
        uint64_t until_ns;
        WarmupHandler *handler;
        void *userdata;
};

static void warmup_step(Warmup *warmup)
{
        bool give_up = clock_now_ns() >= warmup->until_ns;
        for (; warmup->next < warmup->count && !give_up; warmup->next++) {
                TokenAnswer answer;
                int r = tokens_get(warmup->tokens, warmup->ids[warmup->next], warmup->since_ns, false,
                        &warmup->wait, &answer);
                if (r == -EINPROGRESS)
                        return;
        }
        if (!warmup->handler)
                return;
        WarmupHandler *handler = warmup->handler;
        warmup->handler = NULL;
        loop_timer_cancel(&warmup->timer);
        handler(warmup->userdata);
}

static void warmup_wake(CacheWait *wait)
{
        warmup_step(CONTAINER_OF(wait, Warmup, wait));
}

static void warmup_timer(LoopTimer *timer, void *userdata)
{
        Warmup *warmup = userdata;
        cache_wait_cancel(&warmup->wait);
        if (loop_timer_set(timer, warmup->until_ns) < 0)
                warmup->until_ns = 0;
        warmup_step(warmup);
}

int warmup_new(Loop *loop, const Cache *cache, uint64_t limit_ns, WarmupHandler *handler, void *userdata,
        Warmup **ret_warmup)
{
        Warmup *warmup = calloc(1, sizeof *warmup);
        if (!warmup)
                return -ENOMEM;
        warmup->tokens = cache->tokens;
        const ScopeIds scopes = scopes_ids(cache->scopes);
        warmup->ids = scopes.token_ids;
        warmup->count = scopes.token_id_count;
        warmup->since_ns = clock_now_ns();
        warmup->until_ns = clock_add_ns(warmup->since_ns, limit_ns);
        warmup->handler = handler;
        warmup->userdata = userdata;
        cache_wait_init(&warmup->wait, warmup_wake);
        loop_timer_init(&warmup->timer, loop, warmup_timer, warmup);
        for (size_t i = 0; i < warmup->count; i++) {
                TokenAnswer answer;
                (void)tokens_get(cache->tokens, warmup->ids[i], warmup->since_ns, false, NULL, &answer);
        }
        if (loop_timer_set(&warmup->timer, warmup->since_ns) < 0)
                return warmup_free(warmup), -ENOMEM;
        *ret_warmup = warmup;
        return 0;
}

Warmup *warmup_free(Warmup *warmup)
{
        if (!warmup)
                return NULL;
        cache_wait_cancel(&warmup->wait);
        loop_timer_cancel(&warmup->timer);
        free(warmup);
        return NULL;
}
