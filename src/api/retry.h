#pragma once
/* The backoff that all calls to an endpoint share. No clock, no timer, no input or output of its own. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/api/errors.h"
#include "tokenfs/base/clock.h"

#define RETRY_BASE_NS                                                                                        \
        (100 * NS_PER_MS) /* the first delay is at most this, each one after it at most twice as long */
#define RETRY_CAP_NS (5 * NS_PER_S)
#define RETRY_FLOOR_NS (20 * NS_PER_MS)
#define RETRY_PROBE_NS NS_PER_S /* a probe that takes longer no longer holds up the next */
#define RETRY_SERVER_ERRORS_MAX 3

typedef uint32_t RetryRandom(void *userdata);

typedef struct Retry {
        RetryRandom *random;
        void *userdata;
        uint32_t epoch; /* changes when the circuit opens or closes; at first 1 */
        ApiError error; /* API_OK: the circuit is closed; else why it is open */
        uint64_t since_ns; /* open since */
        uint64_t recovered_ns, failed_ns; /* when it closed, after being open for so long */
        uint64_t probe_at_ns; /* when the next probe may go out */
        unsigned step; /* of the backoff of probes */
        unsigned server_errors; /* in a row, while closed */
} Retry;

void retry_init(Retry *retry, RetryRandom *random, void *userdata);
static inline bool retry_is_open(const Retry *retry)
{
        return retry->error != API_OK;
}

/* When a call may go out; a time up to now_ns: at once. */
uint64_t retry_ready_ns(const Retry *retry, uint64_t now_ns);
/* A call goes out: keeps others waiting if it is a probe. Returns the pass for retry_report. */
uint32_t retry_send(Retry *retry, uint64_t now_ns);
/* Notes the outcome of a call. Cancelled calls have none: the next probe follows a cancelled one in its time. */
void retry_report(Retry *retry, uint32_t pass, ApiError error, uint64_t retry_after_ns, uint64_t now_ns);
/* How long a call that failed `failures` times (>= 1) waits by itself, while the circuit is closed. */
uint64_t retry_delay_ns(const Retry *retry, unsigned failures, uint64_t retry_after_ns);
