/* The backoff that all calls to an endpoint share.
 *
 * Why: a hundred readers of a failing endpoint must not be a hundred callers, each with a backoff of its own. How: a
 * circuit. A failure of the endpoint, rather than of one call, opens it: throttling, no connection, no TLS, no answer in
 * time, or three 5xx in a row. While it is open only probes go out, one at each step of an exponential backoff with full
 * jitter, never earlier than Retry-After; the other calls wait. A slow probe doesn't hold up the next for its whole
 * time-out: one hanging token must not hide that the API answers for others. Any answer that shows the endpoint alive
 * closes the circuit, be it a 404; it takes the backoff one step back, so that an endpoint that fails and answers by turns
 * isn't asked as often as a healthy one.
 *
 * Only calls sent after the circuit last changed may change it: of sixteen calls sent together one may succeed and fifteen
 * be throttled, in any order. Hence the epoch, which each call carries. A failure of one call alone, a single 5xx, is
 * repeated by that call's own backoff. */

#include "retry.h"

#include "tokenfs/base/cleanup.h"

static uint64_t max_ns(uint64_t a_ns, uint64_t b_ns)
{
        return a_ns > b_ns ? a_ns : b_ns;
}

static uint64_t min_ns(uint64_t a_ns, uint64_t b_ns)
{
        return a_ns < b_ns ? a_ns : b_ns;
}

static uint64_t jitter_ns(const Retry *retry, unsigned step)
{
        uint64_t limit_ns = step < 16 ? min_ns(RETRY_BASE_NS << step, RETRY_CAP_NS) : RETRY_CAP_NS;
        uint64_t limit_us = limit_ns / 1000;
        uint64_t delay_us = (retry->random(retry->userdata) * limit_us) >> 32;
        return max_ns(delay_us * 1000, RETRY_FLOOR_NS);
}

void retry_init(Retry *retry, RetryRandom *random, void *userdata)
{
        *retry = (Retry){.random = random, .userdata = userdata, .epoch = 1};
}

uint64_t retry_ready_ns(const Retry *retry, uint64_t now_ns)
{
        return retry_is_open(retry) ? retry->probe_at_ns : now_ns;
}

uint32_t retry_send(Retry *retry, uint64_t now_ns)
{
        if (retry_is_open(retry))
                retry->probe_at_ns =
                        clock_add_ns(now_ns, max_ns(jitter_ns(retry, retry->step), RETRY_PROBE_NS));
        return retry->epoch;
}

static void report_alive(Retry *retry, uint64_t now_ns)
{
        retry->server_errors = 0;
        retry->step -= retry->step > 0;
        if (!retry_is_open(retry))
                return;
        uint64_t failed_ns = now_ns - retry->since_ns;
        /* A short failure while the calls put off by a longer one still come changes nothing about these. */
        if (now_ns + failed_ns >= retry->recovered_ns + retry->failed_ns) {
                retry->recovered_ns = now_ns;
                retry->failed_ns = failed_ns;
        }
        retry->error = API_OK;
        retry->epoch++;
        retry->since_ns = retry->probe_at_ns = 0;
}

void retry_report(Retry *retry, uint32_t pass, ApiError error, uint64_t retry_after_ns, uint64_t now_ns)
{
        bool is_current = pass == retry->epoch;
        if (error == API_E_MEMORY)
                return;
        if (error != API_E_TLS && !api_error_is_transient(error)) {
                if (is_current)
                        report_alive(retry, now_ns);
                return;
        }
        uint64_t allowed_at_ns = clock_add_ns(now_ns, retry_after_ns);
        if (!is_current) {
                if (retry_is_open(retry) && retry_after_ns)
                        retry->probe_at_ns = max_ns(retry->probe_at_ns, allowed_at_ns);
                return;
        }
        if (!retry_is_open(retry)) {
                if (error == API_E_SERVER && ++retry->server_errors < RETRY_SERVER_ERRORS_MAX)
                        return;
                retry->epoch++;
                retry->since_ns = now_ns;
                retry->server_errors = 0;
        }
        retry->error = error;
        retry->probe_at_ns = max_ns(clock_add_ns(now_ns, jitter_ns(retry, retry->step)), allowed_at_ns);
        retry->step++;
}

uint64_t retry_delay_ns(const Retry *retry, unsigned failures, uint64_t retry_after_ns)
{
        return max_ns(jitter_ns(retry, failures - 1), retry_after_ns);
}
