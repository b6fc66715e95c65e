#pragma once
/* The times of a copy: when it is fresh, ageing, due or stale. */

#include <stdbool.h>
#include <stdint.h>

typedef struct Freshness {
        uint64_t sent_ns; /* when the call was sent that gave the copy: its age counts from here */
        uint64_t answered_ns; /* when it was answered */
        uint32_t
                random; /* the copy's own: copies that were fetched together must not be refreshed together */
        uint64_t refresh_ns; /* from here on an access refreshes in the background */
        uint64_t due_ns; /* from here on it is not valid any more */
        uint64_t stale_ns; /* from here on it isn't served even while the API fails */
        int64_t expires_wall_ns; /* a later end of the copy's validity; INT64_MAX: none */
} Freshness;

/* Sets the times of a copy whose call was sent at `sent_ns` and answered now. `expires_wall_ns` is a token's expiresAt
 * (INT64_MAX: none); it shortens the ttl as it nears. A copy that arrives expired is fresh as any other, but never stale. */
void freshness_set(
        Freshness *freshness, uint64_t sent_ns, uint64_t ttl_ns, uint64_t stale_ns, int64_t expires_wall_ns);
/* The copy is valid until `due_ns` at least. Call freshness_refresh_by after it. */
void freshness_extend(Freshness *freshness, uint64_t due_ns);
/* From `refresh_ns` on, at the latest, an access refreshes the copy. */
void freshness_refresh_by(Freshness *freshness, uint64_t refresh_ns);
/* May it be served without a call? `since_ns`: when the reader came; a later answer is valid for it in any case. */
bool freshness_is_valid(const Freshness *freshness, uint64_t since_ns);
/* Should an access refresh it in the background? Not when it is due, as with ttl 0 always: then the reader fetches it. */
bool freshness_is_ageing(const Freshness *freshness);
/* May it be served while the API fails? */
bool freshness_may_be_stale(const Freshness *freshness);
/* When to refresh a copy while the API throttles, or after it failed; until then it is served stale. `stretch` >= 1
 * multiplies the ttl. `recovered_ns`: when the API answered again, after a failure of `failed_ns`. Copies that fell due in
 * between are refreshed within as long, one ttl at most: else a waiting fleet would come back all at once. */
uint64_t freshness_paced_ns(
        const Freshness *freshness, double stretch, uint64_t recovered_ns, uint64_t failed_ns);
/* How long the kernel may keep the copy from now on. */
uint64_t freshness_keep_ns(const Freshness *freshness);
