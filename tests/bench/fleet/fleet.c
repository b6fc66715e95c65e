/* A fleet of hosts against an API that throttles: a discrete-event simulation.
 *
 * Why: whether a fleet settles below a limit, and how it recovers from an outage, shows only with a thousand hosts over
 * hours. How: when a copy is refreshed, when a failed call is repeated, and how many calls are in flight, is decided by
 * the program's own code (freshness.c, pace.c, retry.c), linked in; what is simulated is around it: hosts with tokens,
 * readers that read each token every `read` seconds, a network with a latency, and an API with a token bucket.
 * tests/e2e/test_fleet.py holds it against real mounts.
 *
 * Usage: fleet NAME=VALUE…  (see `settings`). Prints one line of JSON. */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/pace.h"
#include "api/retry.h"
#include "cache/freshness.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"

static struct {
        const char *name;
        double value;
} settings[] = {
        {"hosts", 1000}, {"tokens", 20}, /* of each host */
        {"ttl", 60}, {"stale", 3600}, {"timeout", 10},
        {"limit", 100}, /* calls a second that the API serves */
        {"burst", 5}, /* seconds of the limit that its bucket holds */
        {"latency", 0.02}, {"read", 10}, /* seconds between two reads of a token */
        {"minutes", 60}, {"outage_at", 0}, /* minutes */
        {"outage", 0}, /* minutes of refused connections */
        {"start", 0}, /* seconds over which the hosts start */
        {"seed", 1}, {"series", 0}, /* 1: a line for each minute */
        {"adapt", 1}, /* 0: as if the API never said that it throttles (a fleet of other clients) */
};

static double setting(const char *name)
{
        for (size_t i = 0; i < ARRAY_LEN(settings); i++)
                if (strcmp(settings[i].name, name) == 0)
                        return settings[i].value;
        abort();
}

static uint64_t state;
static uint32_t random_number(void *userdata)
{
        (void)userdata;
        state += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = state;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return (uint32_t)((z ^ (z >> 31)) >> 32);
}
static double random_share(void)
{
        return random_number(NULL) / 4294967296.0;
}
static uint64_t ns(double seconds)
{
        return (uint64_t)(seconds * 1e9);
}

/* The model. */

typedef struct Host Host;
typedef struct Token {
        Host *host;
        Freshness freshness;
        uint64_t read_at_ns; /* of the next read that may need the API */
        uint64_t waits_since_ns; /* a reader waits since then; 0: none */
        uint32_t next; /* in the host's queue, + 1 */
        uint32_t pass; /* of the attempt in flight */
        uint8_t failures;
        bool is_held, is_called, is_full;
} Token;

struct Host {
        Retry retry;
        Pace pace;
        uint64_t timer_ns; /* of the pump; CLOCK_NEVER: none */
        uint32_t first[2], last[2]; /* queues: of tokens without a copy, and of refreshes; + 1, 0: none */
        uint32_t in_flight, calls;
};

typedef enum EventType { EVENT_READ, EVENT_ANSWER, EVENT_RESTED, EVENT_PUMP } EventType;
typedef struct Event {
        uint64_t at_ns;
        uint32_t index; /* of a token, or of a host for EVENT_PUMP */
        uint8_t type, error;
        uint64_t sent_ns;
} Event;

static Token *tokens;
static Host *hosts;
static Event *heap; /* heap[1] is next */
static size_t heap_count, heap_size;
static uint64_t now_ns, ttl_ns, stale_ns, timeout_ns, read_ns, latency_ns, end_ns;
static uint64_t outage_from_ns, outage_to_ns;
static double bucket, limit, bucket_max;
static uint64_t bucket_ns;
static bool adapts;

/* What is counted: in the second half, and for each 10 seconds. */
static struct {
        double calls, throttled, reads, failed, fresh, stale_reads, age_max;
} sum;
static uint32_t *calls_of, *throttled_of, *reads_of, *late_of;
static size_t slot_count;

static void push(Event event)
{
        if (heap_count + 2 > heap_size) {
                heap_size = heap_size ? 2 * heap_size : 1024;
                heap = realloc(heap, heap_size * sizeof *heap);
                if (!heap)
                        abort();
        }
        size_t i = ++heap_count;
        for (; i > 1 && heap[i / 2].at_ns > event.at_ns; i /= 2)
                heap[i] = heap[i / 2];
        heap[i] = event;
}

static Event pop(void)
{
        Event first = heap[1], last = heap[heap_count--];
        size_t i = 1;
        for (size_t child = 2; child <= heap_count; child = 2 * i) {
                if (child < heap_count && heap[child + 1].at_ns < heap[child].at_ns)
                        child++;
                if (heap[child].at_ns >= last.at_ns)
                        break;
                heap[i] = heap[child];
                i = child;
        }
        heap[i] = last;
        return first;
}

static size_t slot(void)
{
        size_t i = now_ns / (10 * NS_PER_S);
        return i < slot_count ? i : slot_count - 1;
}

static uint32_t index_of(const Token *token)
{
        return (uint32_t)(token - tokens);
}

/* The API. */

static ApiError api_answer(void)
{
        if (now_ns >= outage_from_ns && now_ns < outage_to_ns)
                return API_E_UNREACHABLE;
        bucket = fmin(bucket + (double)(now_ns - bucket_ns) / 1e9 * limit, bucket_max);
        bucket_ns = now_ns;
        calls_of[slot()]++;
        sum.calls += now_ns > end_ns / 2;
        if (bucket >= 1) {
                bucket--;
                return API_OK;
        }
        throttled_of[slot()]++;
        sum.throttled += now_ns > end_ns / 2;
        return API_E_THROTTLED;
}

/* A host: what api/client.c does. */

static void queue_append(Host *host, Token *token)
{
        int which = token->is_held;
        token->next = 0;
        if (host->last[which])
                tokens[host->last[which] - 1].next = index_of(token) + 1;
        else
                host->first[which] = index_of(token) + 1;
        host->last[which] = index_of(token) + 1;
}

static Token *queue_take(Host *host)
{
        int which = host->first[0] ? 0 : 1;
        if (!host->first[which])
                return NULL;
        Token *token = &tokens[host->first[which] - 1];
        host->first[which] = token->next;
        if (!token->next)
                host->last[which] = 0;
        return token;
}

static void host_pump(Host *host)
{
        while ((host->first[0] || host->first[1]) && host->in_flight < host->pace.in_flight_max) {
                uint64_t ready_ns = retry_ready_ns(&host->retry, now_ns);
                if (ready_ns > now_ns) {
                        if (host->timer_ns != ready_ns)
                                push((Event){.at_ns = ready_ns,
                                        .index = (uint32_t)(host - hosts),
                                        .type = EVENT_PUMP});
                        host->timer_ns = ready_ns;
                        return;
                }
                Token *token = queue_take(host);
                token->pass = retry_send(&host->retry, now_ns);
                host->in_flight++;
                token->is_full =
                        host->in_flight == host->pace.in_flight_max && (host->first[0] || host->first[1]);
                push((Event){
                        .at_ns = now_ns + latency_ns + ns(random_share() * 0.1 * (double)latency_ns / 1e9),
                        .index = index_of(token),
                        .type = EVENT_ANSWER,
                        .sent_ns = now_ns});
        }
}

/* The first read at or after `from_ns`. */
static void plan_read(Token *token, uint64_t from_ns)
{
        if (token->read_at_ns < from_ns)
                token->read_at_ns += (from_ns - token->read_at_ns + read_ns - 1) / read_ns * read_ns;
        push((Event){.at_ns = token->read_at_ns, .index = index_of(token), .type = EVENT_READ});
}

static uint64_t refresh_at_ns(const Token *token)
{
        const Host *host = token->host;
        return freshness_paced_ns(&token->freshness, adapts ? pace_stretch(&host->pace) : 1,
                host->retry.recovered_ns, host->retry.failed_ns);
}

static void start_call(Token *token)
{
        token->is_called = true;
        token->host->calls++;
        token->failures = 0;
        queue_append(token->host, token);
        host_pump(token->host);
}

static void count_read(const Token *token, double reads, double failed)
{
        bool is_fresh = token->is_held && now_ns < token->freshness.sent_ns + 2 * ttl_ns;
        reads_of[slot()] += (uint32_t)reads;
        late_of[slot()] += is_fresh ? 0 : (uint32_t)reads;
        if (now_ns <= end_ns / 2)
                return;
        sum.reads += reads;
        sum.failed += failed;
        sum.fresh += is_fresh ? reads : 0;
        sum.stale_reads += token->is_held && now_ns >= token->freshness.due_ns ? reads : 0;
        if (token->is_held)
                sum.age_max = fmax(sum.age_max, (double)(now_ns - token->freshness.sent_ns) / 1e9);
}

static void on_read(Token *token)
{
        if (token->is_held && now_ns >= token->freshness.stale_ns)
                token->is_held = false;
        bool is_failed = false;
        if (!token->is_called) {
                if (!token->is_held) {
                        token->waits_since_ns = now_ns;
                        start_call(token);
                } else if (now_ns >= refresh_at_ns(token) &&
                           !(retry_is_open(&token->host->retry) && token->host->calls > 0)) {
                        token->waits_since_ns = now_ns;
                        start_call(token);
                }
        } else if (!token->is_held) {
                if (now_ns - token->waits_since_ns >= timeout_ns)
                        is_failed = true;
        }
        count_read(token, 1, is_failed);
        token->read_at_ns += read_ns;
        plan_read(token, token->read_at_ns);
}

static void on_answer(Token *token, ApiError error, uint64_t sent_ns)
{
        Host *host = token->host;
        host->in_flight--;
        bool is_current = token->pass == host->retry.epoch;
        retry_report(&host->retry, token->pass, error, 0, now_ns);
        pace_report(&host->pace,
                &(PaceAttempt){.error = error,
                        .took_ns = now_ns - sent_ns,
                        .is_refresh = token->is_held,
                        .is_current = is_current,
                        .is_full = token->is_full},
                now_ns);
        if (error == API_OK) {
                freshness_set(&token->freshness, sent_ns, ttl_ns, stale_ns, INT64_MAX);
                token->is_held = true;
                token->is_called = false;
                host->calls--;
        } else if (error == API_E_THROTTLED && token->is_held && adapts) {
                token->is_called = false;
                host->calls--;
        } else if (retry_is_open(&host->retry)) {
                queue_append(host, token);
        } else {
                token->failures++;
                push((Event){.at_ns = now_ns + retry_delay_ns(&host->retry, token->failures, 0),
                        .index = index_of(token),
                        .type = EVENT_RESTED});
        }
        host_pump(host);
}

static void run(void)
{
        while (heap_count && heap[1].at_ns < end_ns) {
                Event event = pop();
                now_ns = event.at_ns;
                clock_set_fake(now_ns, (int64_t)now_ns);
                Token *token = &tokens[event.index];
                switch ((EventType)event.type) {
                case EVENT_READ: on_read(token); break;
                case EVENT_ANSWER: on_answer(token, api_answer(), event.sent_ns); break;
                case EVENT_RESTED:
                        queue_append(token->host, token);
                        host_pump(token->host);
                        break;
                case EVENT_PUMP:
                        if (hosts[event.index].timer_ns == now_ns) {
                                hosts[event.index].timer_ns = CLOCK_NEVER;
                                host_pump(&hosts[event.index]);
                        }
                        break;
                }
        }
}

static void print_results(double stretch, double would_do)
{
        double seconds = (double)end_ns / 2e9;
        uint32_t peak = 0;
        for (size_t i = slot_count / 2; i < slot_count; i++)
                peak = calls_of[i] > peak ? calls_of[i] : peak;
        if (setting("series") != 0)
                for (size_t i = 0; i + 6 <= slot_count; i += 6) {
                        double calls = 0, throttled = 0, reads = 0, late = 0, most = 0;
                        for (size_t k = i; k < i + 6; k++) {
                                calls += calls_of[k];
                                throttled += throttled_of[k];
                                reads += reads_of[k];
                                late += late_of[k];
                                most = fmax(most, calls_of[k]);
                        }
                        printf("%4zu min: %8.1f calls/s (peak %8.1f) %5.1f %% throttled, %5.1f %% of reads "
                               "late\n",
                                i / 6, calls / 60, most / 10, calls > 0 ? 100 * throttled / calls : 0,
                                reads > 0 ? 100 * late / reads : 0);
                }
        printf("{\"calls_per_s\": %.3f, \"throttled\": %.4f, \"failed\": %.4f, \"fresh\": %.4f, "
               "\"peak_per_s\": %.1f, "
               "\"stretch\": %.2f, \"would_do\": %.2f, \"age_max_s\": %.0f}\n",
                sum.calls / seconds, sum.calls > 0 ? sum.throttled / sum.calls : 0,
                sum.reads > 0 ? sum.failed / sum.reads : 0, sum.reads > 0 ? sum.fresh / sum.reads : 0,
                peak / 10.0, stretch, would_do, sum.age_max);
}

int main(int argc, char *argv[])
{
        for (int i = 1; i < argc; i++) {
                size_t len = strcspn(argv[i], "="), k = 0;
                for (; k < ARRAY_LEN(settings); k++)
                        if (strlen(settings[k].name) == len && strncmp(settings[k].name, argv[i], len) == 0)
                                break;
                char *end = NULL;
                if (k == ARRAY_LEN(settings) || !argv[i][len] ||
                        (settings[k].value = strtod(argv[i] + len + 1, &end), *end)) {
                        (void)fprintf(stderr, "fleet: %s isn't a setting with a number; there are:", argv[i]);
                        for (k = 0; k < ARRAY_LEN(settings); k++)
                                (void)fprintf(stderr, " %s=%g", settings[k].name, settings[k].value);
                        (void)fputc('\n', stderr);
                        return 1;
                }
        }
        size_t host_count = (size_t)setting("hosts"), per_host = (size_t)setting("tokens");
        state = (uint64_t)setting("seed");
        ttl_ns = ns(setting("ttl"));
        stale_ns = ns(setting("stale"));
        timeout_ns = ns(setting("timeout"));
        read_ns = ns(setting("read"));
        latency_ns = ns(setting("latency"));
        limit = setting("limit");
        bucket = bucket_max = fmax(limit * setting("burst"), 1);
        end_ns = ns(60 * setting("minutes"));
        outage_from_ns = ns(60 * setting("outage_at"));
        outage_to_ns = outage_from_ns + ns(60 * setting("outage"));
        adapts = setting("adapt") != 0;
        slot_count = (size_t)(setting("minutes") * 6) + 1;
        calls_of = calloc(slot_count, sizeof *calls_of);
        throttled_of = calloc(slot_count, sizeof *throttled_of);
        reads_of = calloc(slot_count, sizeof *reads_of);
        late_of = calloc(slot_count, sizeof *late_of);
        hosts = calloc(host_count, sizeof *hosts);
        tokens = calloc(host_count * per_host, sizeof *tokens);
        if (!calls_of || !throttled_of || !reads_of || !late_of || !hosts || !tokens)
                return 1;
        for (size_t i = 0; i < host_count; i++) {
                retry_init(&hosts[i].retry, random_number, NULL);
                pace_init(&hosts[i].pace, ttl_ns, stale_ns);
                hosts[i].timer_ns = CLOCK_NEVER;
                double start = setting("start") * random_share();
                for (size_t k = 0; k < per_host; k++) {
                        Token *token = &tokens[i * per_host + k];
                        token->host = &hosts[i];
                        token->read_at_ns = 1 + ns(start + random_share() * setting("read"));
                        plan_read(token, 0);
                }
        }
        run();
        double stretch = 0, would_do = 0;
        for (size_t i = 0; i < host_count; i++) {
                stretch += pace_stretch(&hosts[i].pace) / (double)host_count;
                would_do += pace_stretch_that_would_do(&hosts[i].pace) / (double)host_count;
        }
        print_results(stretch, would_do);
        return 0;
}
