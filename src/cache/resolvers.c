/* The DNS names of global resolvers.
 *
 * Why: the address under which a token is used holds its resolver's name, which is in no token's document. It may need
 * a permission that a mount hasn't, and most mounts never need it: so it is asked for only when somebody reads an
 * address, and what goes wrong with it concerns nobody else. How: as with tokens (tokens.c), an entry is one copy, one
 * call and those who wait for it, and what it may be served for follows from its times (freshness.h). A name is no
 * secret and changes hardly ever; resolvers are few, so that a list does as an index. */

#include "tokenfs/cache/resolvers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "freshness.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/list.h"
#include "tokenfs/base/log.h"

#define RESOLVERS_MAX 256
/* As in tokens.c. */
#define RESOLVERS_ERROR_HOLD_NS NS_PER_S
#define RESOLVERS_PROBE_LINGER_NS (10 * NS_PER_S)

typedef struct Resolver {
        ListLink link; /* most recently used last */
        Resolvers *resolvers;
        char id[TOKEN_ID_MAX + 1];
        ListLink waits;
        uint64_t used_ns;

        char dns_name[256]; /* "": none */
        Freshness freshness; /* of it */

        ApiCall *call;
        uint64_t retry_at_ns; /* the call waits for its next attempt; 0: an attempt is under way */
        ApiError error; /* of the last attempt; API_OK after a good one */
        uint64_t error_ns, error_held_ns;
} Resolver;

struct Resolvers {
        ResolversSettings settings;
        ListLink list;
        size_t count;
};

int resolvers_new(const ResolversSettings *settings, Resolvers **ret_resolvers)
{
        Resolvers *resolvers = calloc(1, sizeof *resolvers);
        if (!resolvers)
                return -ENOMEM;
        resolvers->settings = *settings;
        list_init(&resolvers->list);
        *ret_resolvers = resolvers;
        return 0;
}

static void resolver_end_call(Resolver *resolver)
{
        resolver->call = resolver->resolvers->settings.source.cancel(resolver->call);
        resolver->retry_at_ns = 0;
}

static void resolver_free(Resolver *resolver)
{
        resolver_end_call(resolver);
        list_unlink(&resolver->link);
        resolver->resolvers->count--;
        free(resolver);
}

Resolvers *resolvers_free(Resolvers *resolvers)
{
        if (!resolvers)
                return NULL;
        Resolver *resolver;
        while ((resolver = list_first(&resolvers->list, Resolver, link)))
                resolver_free(resolver);
        free(resolvers);
        return NULL;
}

void resolvers_forget(Resolvers *resolvers)
{
        ListLink woken;
        list_init(&woken);
        Resolver *resolver;
        while ((resolver = list_first(&resolvers->list, Resolver, link))) {
                list_splice(&woken, &resolver->waits);
                resolver_free(resolver);
        }
        cache_wait_wake_all(&woken);
}

static Resolver *resolvers_find(const Resolvers *resolvers, const char *id)
{
        for (const ListLink *link = resolvers->list.next; link != &resolvers->list; link = link->next) {
                Resolver *resolver = list_entry(link, Resolver, link);
                if (strcmp(resolver->id, id) == 0)
                        return resolver;
        }
        return NULL;
}

/* Makes room for one more: the least recently used that nobody waits for goes. */
static void resolvers_trim(Resolvers *resolvers)
{
        ListLink *next;
        for (ListLink *link = resolvers->list.next; link != &resolvers->list; link = next) {
                Resolver *resolver = list_entry(link, Resolver, link);
                next = link->next;
                if (resolvers->count < RESOLVERS_MAX)
                        return;
                if (list_is_empty(&resolver->waits))
                        resolver_free(resolver);
        }
}

static Resolver *resolvers_find_or_add(Resolvers *resolvers, const char *id)
{
        Resolver *resolver = resolvers_find(resolvers, id);
        if (resolver) {
                list_unlink(&resolver->link);
                list_append(&resolvers->list, &resolver->link);
                return resolver;
        }
        size_t len = strnlen(id, sizeof resolver->id);
        if (len == sizeof resolver->id)
                return NULL;
        resolvers_trim(resolvers);
        resolver = calloc(1, sizeof *resolver);
        if (!resolver)
                return NULL;
        resolver->resolvers = resolvers;
        memcpy(resolver->id, id, len);
        list_init(&resolver->waits);
        list_append(&resolvers->list, &resolver->link);
        resolvers->count++;
        return resolver;
}

static void resolver_learn(Resolver *resolver, const ApiResult *result)
{
        const ResolversSettings *settings = &resolver->resolvers->settings;
        memcpy(resolver->dns_name, result->page->dns_name, sizeof resolver->dns_name);
        freshness_set(&resolver->freshness, result->sent_ns, settings->ttl_ns, settings->stale_ns, INT64_MAX);
        if (resolver->error != API_OK)
                log_info("resolver %s: answered again", resolver->id);
        resolver->error = API_OK;
        resolver->error_held_ns = 0;
}

static void resolver_note_failure(Resolver *resolver, const ApiResult *result)
{
        if (result->error != resolver->error)
                log_warning("resolver %s: %s%s%s (only .doh_url needs it)", resolver->id,
                        api_error_name(result->error), *result->detail ? ": " : "", result->detail);
        resolver->error = result->error;
        resolver->error_ns = clock_now_ns();
        resolver->retry_at_ns = result->retry_at_ns;
        if (result->retry_at_ns)
                return;
        uint64_t hold_ns = resolver->resolvers->settings.negative_ttl_ns;
        if (result->error != API_E_NOT_FOUND && hold_ns > RESOLVERS_ERROR_HOLD_NS)
                hold_ns = RESOLVERS_ERROR_HOLD_NS;
        resolver->error_held_ns = clock_add_ns(resolver->error_ns, hold_ns);
        if (api_error_ends_copy(result->error))
                resolver->dns_name[0] = '\0';
}

static void resolver_on_result(const ApiResult *result, void *userdata)
{
        Resolver *resolver = userdata;
        if (result->retry_at_ns == 0)
                resolver->call = NULL;
        if (result->error == API_OK)
                resolver_learn(resolver, result);
        else
                resolver_note_failure(resolver, result);
        bool is_wanted = !list_is_empty(&resolver->waits) ||
                         clock_now_ns() < clock_add_ns(resolver->used_ns, RESOLVERS_PROBE_LINGER_NS);
        if (resolver->call && !is_wanted)
                resolver_end_call(resolver);
        cache_wait_wake_all(&resolver->waits);
}

static int resolver_start(Resolver *resolver)
{
        if (resolver->call)
                return 0;
        const CacheSource *source = &resolver->resolvers->settings.source;
        resolver->retry_at_ns = 0;
        return source->start(source->userdata, API_GET_GLOBAL_RESOLVER, resolver->id, NULL,
                resolver_on_result, resolver, &resolver->call);
}

/* An error that ended a call, and still answers: remembered, or learnt after the reader came. */
static bool resolver_has_verdict(const Resolver *resolver, uint64_t since_ns)
{
        return !resolver->call && resolver->error != API_OK &&
               (clock_now_ns() < resolver->error_held_ns || resolver->error_ns >= since_ns);
}

static int answer_name(const Resolver *resolver, bool is_stale, ResolverAnswer *ret_answer)
{
        *ret_answer = (ResolverAnswer){
                .dns_name = resolver->dns_name,
                .keep_ns = is_stale ? 0 : freshness_keep_ns(&resolver->freshness),
                .due_ns = is_stale ? clock_now_ns() : resolver->freshness.due_ns,
        };
        return 0;
}

static int answer_error(ApiError error, ResolverAnswer *ret_answer)
{
        *ret_answer = (ResolverAnswer){.error = error, .due_ns = clock_now_ns()};
        return 0;
}

int resolvers_get(Resolvers *resolvers, const char *id, uint64_t since_ns, bool give_up, CacheWait *wait,
        ResolverAnswer *ret_answer)
{
        Resolver *resolver = resolvers_find_or_add(resolvers, id);
        if (!resolver)
                return -ENOMEM;
        uint64_t now_ns = clock_now_ns();
        bool has_name = resolver->dns_name[0];
        resolver->used_ns = now_ns;
        if (has_name && freshness_is_promised(&resolver->freshness, since_ns)) {
                if (freshness_is_ageing(&resolver->freshness) && !resolver_has_verdict(resolver, UINT64_MAX))
                        (void)resolver_start(resolver);
                return answer_name(resolver, false, ret_answer);
        }
        bool may_be_stale = has_name && freshness_may_be_stale(&resolver->freshness);
        if (resolver_has_verdict(resolver, since_ns))
                return may_be_stale ? answer_name(resolver, true, ret_answer)
                                    : answer_error(resolver->error, ret_answer);

        ApiHealth health = {0};
        resolvers->settings.source.health(resolvers->settings.source.userdata, &health);
        int r = resolver_start(resolver);
        ApiError failing = r < 0 ? API_E_MEMORY : resolver->retry_at_ns ? resolver->error : health.error;
        bool fails_for_long = health.error != API_OK &&
                              now_ns > clock_add_ns(health.since_ns, resolvers->settings.timeout_ns);
        if (may_be_stale && (give_up || failing != API_OK))
                return answer_name(resolver, true, ret_answer);
        if (give_up || fails_for_long || r < 0)
                return answer_error(failing != API_OK ? failing : API_E_TIMEOUT, ret_answer);
        list_unlink(&wait->link);
        list_append(&resolver->waits, &wait->link);
        return -EINPROGRESS;
}

const char *resolvers_peek(const Resolvers *resolvers, const char *id)
{
        const Resolver *resolver = resolvers_find(resolvers, id);
        if (!resolver || !resolver->dns_name[0])
                return NULL;
        bool is_held = freshness_is_promised(&resolver->freshness, UINT64_MAX) ||
                       freshness_may_be_stale(&resolver->freshness);
        return is_held ? resolver->dns_name : NULL;
}
