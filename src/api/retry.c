/* The backoff that all calls to an endpoint share.
 *
 * Why: a hundred readers of an endpoint that fails must not be a hundred callers, each with a backoff of its own.
 * How: a circuit. A failure that is the endpoint's rather than the call's opens it: throttling, no connection, no TLS,
 * no answer in time, or three 5xx in a row. While it is open only probes go out, one a step of an exponential backoff with
 * full jitter, never earlier than Retry-After; the others wait. A probe that is slow to fail doesn't hold up the
 * others for its whole time-out, lest one hanging token hide that the others would be served. Any answer that shows
 * the endpoint alive closes the circuit, be it a 404.
 * Only what was sent after the circuit last changed may change it: of sixteen calls sent together one may be served
 * and fifteen throttled, in any order. Hence the epoch, which each call carries.
 * Probes and retries are paid out of a bucket that time and successes fill, so that their number has a bound which
 * doesn't depend on how the failures come. */

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

static uint64_t credit_ns(const Retry *retry, uint64_t now_ns)
{
        uint64_t passed_ns = now_ns > retry->credit_at_ns ? now_ns - retry->credit_at_ns : 0;
        return min_ns(clock_add_ns(retry->credit_ns, passed_ns), RETRY_CREDIT_MAX_NS);
}

static uint64_t jitter_ns(const Retry *retry, unsigned step)
{
        uint64_t limit_ns = step < 16 ? min_ns(RETRY_BASE_NS << step, RETRY_CAP_NS) : RETRY_CAP_NS;
        uint64_t limit_us = limit_ns / 1000;
        uint64_t delay_us = (retry->random(retry->userdata) * limit_us) >> 32;
        return max_ns(delay_us * 1000, RETRY_FLOOR_NS);
}

void retry_init(Retry *retry, RetryRandom *random, void *userdata, uint64_t now_ns)
{
        *retry = (Retry){.random = random, .userdata = userdata};
        retry_forget(retry, now_ns);
}

void retry_forget(Retry *retry, uint64_t now_ns)
{
        *retry = (Retry){
                .random = retry->random,
                .userdata = retry->userdata,
                .credit_ns = RETRY_CREDIT_MAX_NS,
                .credit_at_ns = now_ns,
                .epoch = retry->epoch + 1,
        };
}

uint64_t retry_ready_ns(const Retry *retry, bool is_retry, uint64_t now_ns)
{
        if (!retry_is_open(retry) && !is_retry)
                return now_ns;
        uint64_t saved_ns = credit_ns(retry, now_ns);
        uint64_t paid_ns = saved_ns < RETRY_COST_NS ? clock_add_ns(now_ns, RETRY_COST_NS - saved_ns) : now_ns;
        return retry_is_open(retry) ? max_ns(paid_ns, retry->probe_at_ns) : paid_ns;
}

uint32_t retry_send(Retry *retry, bool is_retry, uint64_t now_ns)
{
        if (is_retry || retry_is_open(retry)) {
                uint64_t saved_ns = credit_ns(retry, now_ns);
                retry->credit_ns = saved_ns - min_ns(saved_ns, RETRY_COST_NS);
                retry->credit_at_ns = now_ns;
        }
        if (retry_is_open(retry))
                retry->probe_at_ns =
                        clock_add_ns(now_ns, max_ns(jitter_ns(retry, retry->step), RETRY_PROBE_NS));
        return retry->epoch;
}

static void report_alive(Retry *retry, bool is_current, uint64_t now_ns)
{
        retry->credit_ns = min_ns(credit_ns(retry, now_ns) + RETRY_COST_NS, RETRY_CREDIT_MAX_NS);
        retry->credit_at_ns = now_ns;
        if (!is_current)
                return;
        retry->server_errors = 0;
        if (!retry_is_open(retry))
                return;
        retry->error = API_OK;
        retry->epoch++;
        retry->step = 0;
        retry->since_ns = retry->probe_at_ns = 0;
}

void retry_report(Retry *retry, uint32_t pass, ApiError error, uint64_t retry_after_ns, uint64_t now_ns)
{
        bool is_current = pass == retry->epoch;
        if (error == API_E_MEMORY)
                return;
        if (error != API_E_TLS && !api_error_is_transient(error)) {
                report_alive(retry, is_current, now_ns);
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
                retry->step = 0;
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
