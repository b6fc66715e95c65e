#pragma once
/* The DNS names of global resolvers, fetched at the first read of an address, then cached as tokens are. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/api/errors.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/policy.h"
#include "tokenfs/cache/wait.h"

typedef struct Resolvers Resolvers;

int resolvers_new(const CachePolicy *policy, Resolvers **ret_resolvers);
/* The caller ends all waits before. Returns NULL. */
Resolvers *resolvers_free(Resolvers *resolvers);
CLEANUP_DEFINE(Resolvers *, resolvers_free);

typedef struct ResolverAnswer {
        ApiError error; /* API_OK: `dns_name` is the answer */
        const char *dns_name; /* letters, digits, '-' and '.'; borrowed until the loop's next turn */
        uint64_t keep_ns, due_ns; /* as TokenAnswer's */
} ResolverAnswer;
/* The resolver's name. Returns as tokens_get; `wait` isn't NULL. */
int resolvers_get(Resolvers *resolvers, const char *id, uint64_t since_ns, bool give_up, CacheWait *wait,
        ResolverAnswer *ret_answer);
/* The held name, fresh or stale; makes no call. NULL: none. Borrowed. */
const char *resolvers_peek(const Resolvers *resolvers, const char *id);
/* Visits all held names. */
typedef void ResolverVisitor(const char *id, const char *dns_name, int64_t fetched_wall_ns, void *userdata);
void resolvers_visit(const Resolvers *resolvers, ResolverVisitor *visitor, void *userdata);
/* Holds a name of an earlier process (copy_restore). */
void resolvers_restore(Resolvers *resolvers, const char *id, const char *dns_name, int64_t fetched_wall_ns,
        int64_t now_wall_ns);
