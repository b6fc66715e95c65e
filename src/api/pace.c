/* Adapting to the API's limits.
 *
 * Why: the `ttl` of a fleet may ask for more calls than the API allows. Each host would then spend most of its calls on
 * refusals, for ever. How: additive increase, multiplicative decrease, as in congestion control. Each host makes only a
 * share of the refreshes that `ttl` asks for. A throttled call halves the share (the effective ttl doubles), a success
 * adds a little. The step shrinks with the share's root: in the long run 2 * step / sqrt(share) of all calls are
 * throttled. That is below 5 % for shares from 1 down to 1/60. Large shares give way to small ones; with steps
 * proportional to the share none would.
 *
 * The number of calls in flight follows in the same way: it halves with a throttled call, and grows by one with each
 * success, beyond its first value only while calls wait and latencies hold.
 *
 * Guesses are calls for ids that are neither held nor listed. One user who makes ids up could use all that the API allows,
 * and refreshes would be stretched for everybody. So a throttled guess doubles the gap between guesses, and answers
 * that there is no such token shorten it slowly: less than 1 % of guesses are throttled in the long run, and of the calls
 * beside them. A guess that finds a token was none, and shortens it much: where listing is denied, all ids are guesses at first.
 * Retry-After of a throttled guess holds for guesses. A single guess after a pause waits for nothing. */

#include "pace.h"

#include <math.h>

void pace_init(Pace *pace, uint64_t ttl_ns, uint64_t stale_ns)
{
        if (ttl_ns < NS_PER_S)
                ttl_ns = NS_PER_S;
        *pace = (Pace){
                .share = 1,
                .share_min = 1 / (1 + PACE_STALE_PART * (double)stale_ns / (double)ttl_ns),
                .ttl_ns = ttl_ns,
                .mean_stretch = 1,
                .in_flight_max = PACE_IN_FLIGHT_FIRST,
        };
}

/* The part of a round, one refresh of each token, that has passed since then. */
static double rounds_since(const Pace *pace, uint64_t then_ns, uint64_t now_ns)
{
        return (double)(now_ns - then_ns) * pace->share / (double)pace->ttl_ns;
}

static void share_decrease(Pace *pace, uint64_t now_ns)
{
        if (!pace->since_ns) {
                pace->since_ns = pace->increased_ns = now_ns;
                pace->mean_stretch = 1 / pace->share;
        } else if (rounds_since(pace, pace->decreased_ns, now_ns) < 0.5) {
                return;
        }
        pace->decreased_ns = now_ns;
        pace->share = fmax(pace->share / 2, pace->share_min);
}

static void share_increase(Pace *pace, uint64_t now_ns)
{
        if (!pace->since_ns)
                return;
        double step = PACE_STEP * pow(pace->share, PACE_STEP_POWER);
        double limit = pace->share * rounds_since(pace, pace->increased_ns, now_ns);
        pace->increased_ns = now_ns;
        pace->share = fmin(pace->share + fmin(step, limit), 1);
        pace->mean_stretch += (1 / pace->share - pace->mean_stretch) * PACE_MEAN_WEIGHT;
        if (pace->share >= 1)
                pace->since_ns = 0;
}

static void in_flight_follow(Pace *pace, const PaceAttempt *attempt)
{
        pace->latency_ns += pace->latency_ns / 1024;
        if (!pace->latency_ns || attempt->took_ns < pace->latency_ns)
                pace->latency_ns = attempt->took_ns;
        if (pace->in_flight_max < PACE_IN_FLIGHT_FIRST)
                pace->in_flight_max++;
        else if (attempt->took_ns > PACE_LATENCY_GROWTH * pace->latency_ns)
                pace->in_flight_max -= pace->in_flight_max > PACE_IN_FLIGHT_FIRST;
        else if (attempt->is_full && !pace->since_ns && pace->in_flight_max < PACE_IN_FLIGHT_MAX)
                pace->in_flight_max++;
}

static void guesses_follow(Pace *pace, const PaceAttempt *attempt, uint64_t now_ns)
{
        uint64_t gap_ns = pace->guess_gap_ns;
        if (attempt->error == API_OK) {
                gap_ns -= gap_ns / PACE_GUESS_GAP_FOUND_PART;
        } else if (attempt->error != API_E_THROTTLED) {
                gap_ns -= gap_ns / PACE_GUESS_GAP_PART;
        } else {
                /* Of guesses that go out together one counts; and none while the API throttles all calls. */
                if (!attempt->is_probe && now_ns - attempt->took_ns >= pace->guess_slowed_ns) {
                        gap_ns = gap_ns ? 2 * gap_ns : PACE_GUESS_GAP_FIRST_NS;
                        pace->guess_slowed_ns = now_ns;
                }
                if (pace->guess_at_ns < now_ns + attempt->retry_after_ns)
                        pace->guess_at_ns = now_ns + attempt->retry_after_ns;
        }
        if (gap_ns < PACE_GUESS_GAP_MIN_NS)
                gap_ns = 0;
        pace->guess_gap_ns = gap_ns < PACE_GUESS_GAP_MAX_NS ? gap_ns : PACE_GUESS_GAP_MAX_NS;
}

unsigned pace_guesses_max(const Pace *pace)
{
        unsigned max = pace->in_flight_max / PACE_GUESSES_PART;
        return max > 0 ? max : 1;
}

void pace_note_guess(Pace *pace, uint64_t now_ns)
{
        pace->guess_at_ns = now_ns + pace->guess_gap_ns;
}

void pace_report(Pace *pace, const PaceAttempt *attempt, uint64_t now_ns)
{
        if (attempt->is_guess &&
                (attempt->error == API_E_THROTTLED || !api_error_is_transient(attempt->error)))
                guesses_follow(pace, attempt, now_ns);
        if (attempt->error == API_E_THROTTLED) {
                if (attempt->is_current && !attempt->is_guess)
                        pace->in_flight_max = pace->in_flight_max > 1 ? pace->in_flight_max / 2 : 1;
                if (attempt->is_refresh)
                        share_decrease(pace, now_ns);
        } else if (!api_error_is_transient(attempt->error) && attempt->error != API_E_TLS) {
                in_flight_follow(pace, attempt);
                if (attempt->is_refresh)
                        share_increase(pace, now_ns);
        }
}

double pace_stretch(const Pace *pace)
{
        return 1 / pace->share;
}

double pace_stretch_that_would_do(const Pace *pace)
{
        return pace->since_ns ? fmax(pace->mean_stretch / PACE_LOAD_MAX, 1) : 1;
}
