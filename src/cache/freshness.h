#pragma once
/* When a copy is fresh, ageing, due or stale: the one place that computes it, for tokens and for the listing. */

#include <stdbool.h>
#include <stdint.h>

typedef struct Freshness {
        uint64_t sent_ns; /* when the call was sent that gave the copy: its age counts from here */
        uint64_t answered_ns; /* when it was answered */
        uint32_t random; /* the copy's own: what was fetched together isn't refreshed together */
        uint64_t refresh_ns; /* from here on an access refreshes in the background */
        uint64_t due_ns; /* from here on it is not valid any more */
        uint64_t stale_ns; /* from here on it isn't served even while the API fails */
        int64_t expires_wall_ns; /* a change of what the copy means, still to come; INT64_MAX: none */
} Freshness;

/* The times of a copy that was sent for at `sent_ns` and answered now. `expires_wall_ns` is when its content stops
 * being true by itself (a token's expiresAt; INT64_MAX: never); it shortens the ttl as it nears. A copy that came
 * already expired is fresh as any other, but never stale. */
void freshness_set(
        Freshness *freshness, uint64_t sent_ns, uint64_t ttl_ns, uint64_t stale_ns, int64_t expires_wall_ns);
/* The copy is good until `due_ns` at least. Set when it is refreshed after that. */
void freshness_extend(Freshness *freshness, uint64_t due_ns);
/* An access refreshes it from `refresh_ns` on at the latest. */
void freshness_refresh_by(Freshness *freshness, uint64_t refresh_ns);
/* May it be served without asking? `since_ns`: when the reader came; an answer that came later is always one. */
bool freshness_is_valid(const Freshness *freshness, uint64_t since_ns);
/* Should an access refresh it in the background? Not when it is due (ttl 0 always is): the next reader fetches it. */
bool freshness_is_ageing(const Freshness *freshness);
/* May it be served while the API fails? */
bool freshness_may_be_stale(const Freshness *freshness);
/* When a copy is to be refreshed while the API throttles, or after it failed; until then it is served stale. `stretch`: times
 * the ttl, >= 1. `recovered_ns`: when the API answered again after a failure of `failed_ns`: what fell due meanwhile is
 * refreshed within as long, one ttl at most, so that a fleet that waited doesn't come back all at once. */
uint64_t freshness_paced_ns(
        const Freshness *freshness, double stretch, uint64_t recovered_ns, uint64_t failed_ns);
/* How long the kernel may keep what is served now. */
uint64_t freshness_keep_ns(const Freshness *freshness);
