/* The DNS names of global resolvers.
 *
 * Why: the address for a token holds its resolver's name, which no token document has. The call may need a permission that
 * the mount lacks, and most mounts never need the name: so a read of an address starts the call, and its failure concerns
 * that read alone. How: each resolver has a cached copy (copy.h), its name and its call. A name is no secret and hardly
 * ever changes. Resolvers are few, so a list is index enough. */

#include "tokenfs/cache/resolvers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/list.h"
#include "tokenfs/base/log.h"

#define RESOLVERS_MAX 256

typedef struct Resolver {
        ListLink link; /* most recently used last */
        Resolvers *resolvers;
        char id[TOKEN_ID_MAX + 1];
        Copy copy;
        char dns_name[256]; /* while the copy is held */
        ApiCall *call;
} Resolver;

struct Resolvers {
        CachePolicy policy;
        ListLink list;
        size_t count;
};

int resolvers_new(const CachePolicy *policy, Resolvers **ret_resolvers)
{
        Resolvers *resolvers = calloc(1, sizeof *resolvers);
        if (!resolvers)
                return -ENOMEM;
        resolvers->policy = *policy;
        list_init(&resolvers->list);
        *ret_resolvers = resolvers;
        return 0;
}

static void resolver_end_call(Resolver *resolver)
{
        resolver->call = resolver->resolvers->policy.source.cancel(resolver->call);
        copy_cancel(&resolver->copy);
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

static CopyFetch resolver_fetch;

static Resolver *resolvers_find(const Resolvers *resolvers, const char *id)
{
        for (const ListLink *link = resolvers->list.next; link != &resolvers->list; link = link->next) {
                Resolver *resolver = list_entry(link, Resolver, link);
                if (strcmp(resolver->id, id) == 0)
                        return resolver;
        }
        return NULL;
}

/* Makes room for one more: frees the least recently used without waiting readers. */
static void resolvers_trim(Resolvers *resolvers)
{
        ListLink *next;
        for (ListLink *link = resolvers->list.next; link != &resolvers->list; link = next) {
                Resolver *resolver = list_entry(link, Resolver, link);
                next = link->next;
                if (resolvers->count < RESOLVERS_MAX)
                        return;
                if (list_is_empty(&resolver->copy.waits))
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
        copy_init(&resolver->copy, &resolvers->policy, resolver_fetch);
        list_append(&resolvers->list, &resolver->link);
        resolvers->count++;
        return resolver;
}

static void resolver_learn(Resolver *resolver, const ApiResult *result)
{
        if (resolver->copy.error != API_OK)
                log_info("resolver %s: answered again", resolver->id);
        bool has_changed = !resolver->copy.is_held || strcmp(resolver->dns_name, result->page->dns_name) != 0;
        memcpy(resolver->dns_name, result->page->dns_name, sizeof resolver->dns_name);
        copy_learn(&resolver->copy, result->sent_ns, INT64_MAX);
        store_note(resolver->resolvers->policy.store, has_changed ? STORE_CHANGED : STORE_RENEWED);
}

static void resolver_note_failure(Resolver *resolver, const ApiResult *result)
{
        Copy *copy = &resolver->copy;
        if (result->error != copy->error)
                log_warning("resolver %s: %s%s%s (only .doh_url needs it)", resolver->id,
                        api_error_name(result->error), *result->detail ? ": " : "", result->detail);
        if (result->retry_at_ns)
                copy_note_retry(copy, result->error, result->retry_at_ns);
        else if (copy_fail(copy, result->error, copy_error_hold_ns(copy, result->error)) && copy->is_held) {
                copy_drop(copy);
                store_note(copy->policy->store, STORE_REFUSED);
        }
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
        if (resolver->call && !copy_is_wanted(&resolver->copy))
                resolver_end_call(resolver);
        copy_wake(&resolver->copy);
}

static int resolver_fetch(Copy *copy, CopyReason reason, uint32_t uid)
{
        (void)reason;
        Resolver *resolver = CONTAINER_OF(copy, Resolver, copy);
        const CacheSource *source = &copy->policy->source;
        const ApiQuery query = {
                .operation = API_GET_GLOBAL_RESOLVER,
                .id = resolver->id,
                .purpose = copy->is_held ? API_FOR_REFRESH : API_FOR_READ,
                .uid = uid,
        };
        return source->start(source->userdata, &query, resolver_on_result, resolver, &resolver->call);
}

int resolvers_get(Resolvers *resolvers, const char *id, uint64_t since_ns, bool give_up, CacheWait *wait,
        ResolverAnswer *ret_answer)
{
        Resolver *resolver = resolvers_find_or_add(resolvers, id);
        if (!resolver)
                return -ENOMEM;
        CopyAnswer copy;
        int r = copy_get(&resolver->copy, since_ns, give_up, wait, &copy);
        if (r < 0)
                return r;
        bool has_name = copy.hit != CACHE_HIT_NEGATIVE;
        *ret_answer = (ResolverAnswer){
                .error = has_name ? API_OK : copy.error,
                .dns_name = has_name ? resolver->dns_name : NULL,
                .keep_ns = copy.keep_ns,
                .due_ns = copy.due_ns,
        };
        return 0;
}

const char *resolvers_peek(const Resolvers *resolvers, const char *id)
{
        CopyAnswer copy;
        const Resolver *resolver = resolvers_find(resolvers, id);
        return resolver && copy_peek(&resolver->copy, &copy) == 0 ? resolver->dns_name : NULL;
}

void resolvers_visit(const Resolvers *resolvers, ResolverVisitor *visitor, void *userdata)
{
        for (const ListLink *link = resolvers->list.next; link != &resolvers->list; link = link->next) {
                const Resolver *resolver = list_entry(link, Resolver, link);
                if (resolver->copy.is_held)
                        visitor(resolver->id, resolver->dns_name, resolver->copy.success_wall_ns, userdata);
        }
}

void resolvers_restore(Resolvers *resolvers, const char *id, const char *dns_name, int64_t fetched_wall_ns,
        int64_t now_wall_ns)
{
        Resolver *resolver = resolvers_find_or_add(resolvers, id);
        if (!resolver || resolver->copy.is_held ||
                !copy_restore(&resolver->copy, fetched_wall_ns, INT64_MAX, now_wall_ns))
                return;
        (void)snprintf(resolver->dns_name, sizeof resolver->dns_name, "%s", dns_name);
}
