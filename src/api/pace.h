#pragma once
/* How fast this host may ask, as the API's answers show it: how far refreshes are stretched while it throttles, and how
 * many calls may be in flight. No clock, no timer, no input or output of its own. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/api/errors.h"
#include "tokenfs/base/clock.h"

#define PACE_STEP 0.007 /* what a success adds to `share`, times share^PACE_STEP_POWER */
#define PACE_STEP_POWER 0.25
#define PACE_MEAN_WEIGHT (1.0 / 32) /* of a new value in `mean_stretch` */
#define PACE_LOAD_MAX 0.8 /* the ttl that is recommended leaves this much of the limit unused, as 1 - load */
#define PACE_STALE_PART 0.75 /* of `stale` that stretching may use: a copy has time left for its refresh */
#define PACE_IN_FLIGHT_FIRST 16
#define PACE_IN_FLIGHT_MAX 64
#define PACE_LATENCY_GROWTH                                                                                  \
        2 /* calls in flight increase while no answer takes longer than this times the quickest */
#define PACE_GUESSES_PART 4 /* of the calls in flight, one in so many may be a guess */
#define PACE_GUESS_GAP_FIRST_NS (50 * NS_PER_MS)
#define PACE_GUESS_GAP_MIN_NS NS_PER_MS /* less is none */
#define PACE_GUESS_GAP_MAX_NS (5 * NS_PER_S)
#define PACE_GUESS_GAP_PART 256 /* "no such token" takes one in so many off the gap */
#define PACE_GUESS_GAP_FOUND_PART 8 /* as does a token that is found */

typedef struct Pace {
        double share; /* of the refreshes that `ttl` asks for: 1 while the API doesn't throttle */
        double share_min;
        uint64_t ttl_ns; /* at least a second */
        uint64_t decreased_ns, increased_ns; /* when `share` was changed last */
        /* Of 1 / `share` while that is below 1, over the last successes. Those come as often as the share is large, so that
         * this is the inverse of the share's mean over time; a mean of `share` itself would be too large. */
        double mean_stretch;
        uint64_t since_ns; /* throttled since; 0: it isn't */
        unsigned in_flight_max;
        uint64_t latency_ns; /* of the quickest answer, rising slowly */
        uint64_t guess_gap_ns; /* between two guesses; 0: none */
        uint64_t guess_at_ns; /* when the next guess may go out */
        uint64_t guess_slowed_ns; /* when the gap was doubled last */
} Pace;

/* A ttl is stretched at most so far that copies are still within `stale_ns`. */
void pace_init(Pace *pace, uint64_t ttl_ns, uint64_t stale_ns);
/* An attempt ended. */
typedef struct PaceAttempt {
        ApiError error;
        uint64_t took_ns;
        bool is_refresh; /* of a copy; else a reader waited without one */
        bool is_guess; /* for an id that is neither held nor listed */
        bool is_current; /* sent after the last throttled call was known: of calls that go out together one counts */
        bool is_probe; /* sent while the circuit was open (retry.h) */
        uint64_t retry_after_ns;
        bool is_full; /* calls waited since as many as allowed were in flight */
} PaceAttempt;
void pace_report(Pace *pace, const PaceAttempt *attempt, uint64_t now_ns);
/* So many guesses may be in flight. */
unsigned pace_guesses_max(const Pace *pace);
/* A guess goes out. */
void pace_note_guess(Pace *pace, uint64_t now_ns);
/* A copy is refreshed when it is `ttl` times this old. 1 while the API doesn't throttle. */
double pace_stretch(const Pace *pace);
/* `ttl` times this would do for this host's tokens; 1 while the API doesn't throttle. */
double pace_stretch_that_would_do(const Pace *pace);
