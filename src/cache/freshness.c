/* The freshness rule.
 *
 * Ages count on CLOCK_BOOTTIME, which never jumps. The wall clock matters for expiresAt alone; each access reads it, so that
 * a jump takes effect at once.
 *
 *   sent ───────── fresh ─────────▶ refresh ── ageing ──▶ due ────── stale, if the API fails ──────▶ wiped
 */

#include "freshness.h"

#include <sys/random.h>

#include "tokenfs/base/clock.h"

/* Near its expiry a copy is fresh for half of the time left, at least for this long. */
#define FRESHNESS_TTL_MIN_NS NS_PER_S

static uint32_t random_number(void)
{
        uint32_t random = 0;
        return getrandom(&random, sizeof random, GRND_NONBLOCK) == (ssize_t)sizeof random ? random : 0;
}

/* A part of `whole_ns`, as large as the copy's random number says. */
static uint64_t random_part_ns(const Freshness *freshness, uint64_t whole_ns)
{
        return (uint64_t)((double)whole_ns * freshness->random / 4294967296.0);
}

static uint64_t until_expiry_ns(int64_t expires_wall_ns)
{
        if (expires_wall_ns == INT64_MAX)
                return CLOCK_NEVER;
        int64_t left = expires_wall_ns - clock_wall_ns();
        return left > 0 ? (uint64_t)left : 0;
}

void freshness_set(
        Freshness *freshness, uint64_t sent_ns, uint64_t ttl_ns, uint64_t stale_ns, int64_t expires_wall_ns)
{
        uint64_t now = clock_now_ns();
        uint64_t left = until_expiry_ns(expires_wall_ns);
        bool expired = left == 0;
        uint64_t ttl = ttl_ns;
        if (!expired && left / 2 < ttl) {
                uint64_t shortest = FRESHNESS_TTL_MIN_NS < ttl_ns ? FRESHNESS_TTL_MIN_NS : ttl_ns;
                ttl = left / 2 > shortest ? left / 2 : shortest;
        }
        freshness->sent_ns = sent_ns;
        freshness->answered_ns = now;
        freshness->due_ns = clock_add_ns(sent_ns, ttl);
        /* Between 75 % and 85 %: copies that were fetched together must not be refreshed together. */
        freshness->random = random_number();
        freshness->refresh_ns = clock_add_ns(sent_ns, ttl / 4 * 3 + random_part_ns(freshness, ttl / 10));
        uint64_t stale_end = clock_add_ns(freshness->due_ns, stale_ns);
        uint64_t expiry = clock_add_ns(now, left);
        freshness->stale_ns = expired ? freshness->due_ns : expiry < stale_end ? expiry : stale_end;
        freshness->expires_wall_ns = expired ? INT64_MAX : expires_wall_ns;
}

void freshness_extend(Freshness *freshness, uint64_t due_ns)
{
        if (freshness->due_ns >= due_ns)
                return;
        freshness->due_ns = freshness->refresh_ns = due_ns;
        if (freshness->stale_ns < due_ns)
                freshness->stale_ns = due_ns;
}

void freshness_refresh_by(Freshness *freshness, uint64_t refresh_ns)
{
        if (freshness->refresh_ns > refresh_ns)
                freshness->refresh_ns = refresh_ns;
}

bool freshness_is_valid(const Freshness *freshness, uint64_t since_ns)
{
        if (freshness->answered_ns >= since_ns && freshness->answered_ns != 0)
                return true;
        return clock_now_ns() < freshness->due_ns && until_expiry_ns(freshness->expires_wall_ns) > 0;
}

bool freshness_is_ageing(const Freshness *freshness)
{
        uint64_t now = clock_now_ns();
        return now >= freshness->refresh_ns && now < freshness->due_ns;
}

bool freshness_may_be_stale(const Freshness *freshness)
{
        return clock_now_ns() < freshness->stale_ns && until_expiry_ns(freshness->expires_wall_ns) > 0;
}

uint64_t freshness_paced_ns(
        const Freshness *freshness, double stretch, uint64_t recovered_ns, uint64_t failed_ns)
{
        uint64_t ttl_ns = freshness->due_ns - freshness->sent_ns, at_ns = freshness->refresh_ns;
        if (stretch > 1) {
                uint64_t least_ns = ttl_ns > FRESHNESS_TTL_MIN_NS ? ttl_ns : FRESHNESS_TTL_MIN_NS;
                uint64_t paced_ns = least_ns / 4 * 3 + random_part_ns(freshness, least_ns / 4);
                at_ns = clock_add_ns(freshness->sent_ns, (uint64_t)((double)paced_ns * stretch));
        }
        if (freshness->due_ns < recovered_ns) {
                uint64_t paced_ttl_ns = (uint64_t)((double)ttl_ns * stretch);
                uint64_t spread_ns = failed_ns < paced_ttl_ns ? failed_ns : paced_ttl_ns;
                uint64_t spread_at_ns = clock_add_ns(recovered_ns, random_part_ns(freshness, spread_ns));
                at_ns = spread_at_ns > at_ns ? spread_at_ns : at_ns;
        }
        uint64_t last_ns = freshness->stale_ns - (freshness->stale_ns - freshness->due_ns) / 64;
        return at_ns < last_ns ? at_ns : last_ns;
}

uint64_t freshness_keep_ns(const Freshness *freshness)
{
        uint64_t now = clock_now_ns();
        uint64_t left = until_expiry_ns(freshness->expires_wall_ns);
        uint64_t keep = now < freshness->refresh_ns ? freshness->refresh_ns - now : 0;
        return keep < left ? keep : left;
}
