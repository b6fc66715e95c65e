/* The signed calls of the API: which of them go out, and when.
 *
 * Why: the cache wants answers, and knows nothing of signatures, credentials, clocks that are off, or of how often an
 * endpoint that fails may be asked. How: a call is always in one list of the client: waiting (goes out when the queue
 * has it next), resting (waits out its own backoff), under way, or refused (never goes out). One function, the pump,
 * sends calls that wait, as credentials, the circuit (retry.h) and the number of calls in flight (pace.h) allow. It
 * runs from a timer, after every answer, and when credentials have come; never from inside api_start, so no handler is
 * called there.
 *
 * A call ends with its answer, be it good or final, and goes on after a transient failure: by its own backoff, or with
 * the others if the endpoint fails for all. It also takes two second chances, each once and at once: with the server's
 * time when the signature's time was refused, and with other credentials when these were.
 *
 * While the circuit is open, each owner of a waiting call gets its error, once: an owner with an old copy can serve it
 * without an attempt of its own. When it is open for a reason that isn't transient, the calls end. Handlers may cancel
 * any call and start others: a handler is always the last thing that is done with a call, and loops over calls begin
 * again at the head of a list. */

#include "tokenfs/api/client.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "call.h"
#include "pace.h"
#include "page.h"
#include "retry.h"
#include "tokenfs/base/list.h"
#include "tokenfs/base/log.h"

#define SKEW_STEP_MIN_S 10 /* no signature is refused for less */

const double api_latency_bounds_s[API_LATENCY_BUCKETS] = {
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, __builtin_inf()};

struct ApiClient {
        ApiSettings settings;
        AwsEndpoint endpoint;
        ListLink refused, waiting, resting, under_way;
        ApiQueue queue; /* of those that wait */
        unsigned calls, in_flight, guesses; /* guesses: of those in flight */
        Retry retry;
        Pace pace;
        double logged_stretch;
        LoopTimer timer; /* the pump's */
        CredentialWait wait;
        bool is_waiting; /* for credentials */
        int64_t skew_s;
        ApiError refusal; /* as ApiHealth's */
        char open_detail[API_DETAIL_MAX]; /* of the failure that opened the circuit, or of the last probe */
        ApiCounters counters;
};

static void client_pump(ApiClient *client);

static ApiCall *first_call(ListLink *list)
{
        return list_first(list, ApiCall, link);
}

static void call_move(ApiCall *call, ListLink *list)
{
        list_unlink(&call->link);
        list_append(list, &call->link);
}

/* Has the call wait to be sent. */
static void call_wait(ApiCall *call)
{
        call_move(call, &call->client->waiting);
        api_queue_append(&call->client->queue, &call->ticket);
}

/* The same, before the other calls of its user. */
static void call_wait_first(ApiCall *call)
{
        call_move(call, &call->client->waiting);
        api_queue_prepend(&call->client->queue, &call->ticket);
}

static void call_note_in_flight(ApiCall *call, bool is_in_flight)
{
        ApiClient *client = call->client;
        unsigned change = is_in_flight ? 1 : -1u;
        client->in_flight += change;
        client->guesses += call->ticket.purpose == API_FOR_GUESS ? change : 0;
}

/* Takes the call out of everything. */
static void call_detach(ApiCall *call)
{
        ApiClient *client = call->client;
        if (call->http)
                call_note_in_flight(call, false);
        loop_timer_cancel(&call->timer);
        list_unlink(&call->link);
        api_queue_leave(&client->queue, &call->ticket);
        call->http = http_cancel(call->http);
        client->calls--;
}

/* Ends the call. */
static void call_end(ApiCall *call, const ApiResult *result)
{
        call_detach(call);
        call->is_over = true;
        call->handler(result, call->userdata);
        api_call_free(call);
}

static void call_fail(ApiCall *call, ApiError error, const char *detail)
{
        call_end(call, &(ApiResult){.error = error, .detail = detail});
}

/* The same, for the reason that was kept with the call. */
static void call_refuse(ApiCall *call)
{
        call_fail(call, call->refusal_error, call->refusal ? call->refusal : "");
}

/* Reports to the owner that the call goes on. The call may be gone afterwards. */
static void call_report(ApiCall *call, ApiError error, const char *detail, uint64_t retry_at_ns)
{
        call->handler(
                &(ApiResult){.error = error, .detail = detail, .retry_at_ns = retry_at_ns}, call->userdata);
}

static void fail_waiting(ApiClient *client, ApiError error, const char *detail)
{
        ListLink failing;
        list_init(&failing);
        list_splice(&failing, &client->waiting);
        ApiCall *call;
        while ((call = first_call(&failing)))
                call_fail(call, error, detail);
}

static void client_kick(ApiClient *client)
{
        /* Without room for the timer the next answer or start runs the pump. */
        (void)loop_timer_set(&client->timer, clock_now_ns());
}

static void report_waiting(ApiClient *client)
{
        ListLink reporting;
        list_init(&reporting);
        list_splice(&reporting, &client->waiting);
        ApiCall *call;
        while ((call = first_call(&reporting))) {
                call_move(call, &client->waiting);
                if (call->reported_epoch == client->retry.epoch)
                        continue;
                call->reported_epoch = client->retry.epoch;
                call_report(call, client->retry.error, client->open_detail, client->retry.probe_at_ns);
        }
}

static void client_keep_waiting(ApiClient *client)
{
        if (!retry_is_open(&client->retry))
                return;
        if (api_error_is_transient(client->retry.error))
                report_waiting(client);
        else
                fail_waiting(client, client->retry.error, client->open_detail);
}

/* Takes note of how an attempt went, and of why the circuit is open if it is. */
static void note_attempt(
        ApiClient *client, uint32_t pass, ApiError error, uint64_t retry_after_ns, const char *detail)
{
        bool is_current = pass == client->retry.epoch;
        retry_report(&client->retry, pass, error, retry_after_ns, clock_now_ns());
        if (is_current && retry_is_open(&client->retry))
                (void)snprintf(client->open_detail, sizeof client->open_detail, "%s", detail);
}

/* The call that goes out next, if the circuit lets one out now; else NULL, and *ret_ready_ns says when it will. */
static ApiCall *client_next_call(ApiClient *client, uint64_t *ret_ready_ns)
{
        bool is_throttled = client->pace.since_ns || client->retry.error == API_E_THROTTLED;
        ApiTicket *ticket = api_queue_next(
                &client->queue, is_throttled, client->guesses < pace_guesses_max(&client->pace));
        uint64_t now_ns = clock_now_ns();
        *ret_ready_ns = ticket ? retry_ready_ns(&client->retry, now_ns) : CLOCK_NEVER;
        if (ticket && ticket->purpose == API_FOR_GUESS && *ret_ready_ns < client->pace.guess_at_ns)
                *ret_ready_ns = client->pace.guess_at_ns;
        return *ret_ready_ns <= now_ns ? CONTAINER_OF(ticket, ApiCall, ticket) : NULL;
}

static bool client_may_send(const ApiClient *client)
{
        return client->in_flight < client->pace.in_flight_max && !client->is_waiting;
}

static void client_on_credentials(
        CredentialWait *wait, CredentialsError error, const char *detail, void *userdata)
{
        static const ApiError errors[] = {
                [CREDENTIALS_OK] = API_OK,
                [CREDENTIALS_E_NONE] = API_E_NO_CREDENTIALS,
                [CREDENTIALS_E_INVALID] = API_E_NO_CREDENTIALS,
                [CREDENTIALS_E_EXPIRED] = API_E_CREDENTIALS_EXPIRED,
                [CREDENTIALS_E_REJECTED] = API_E_CREDENTIALS_REJECTED,
                [CREDENTIALS_E_FAILED] = API_E_UNREACHABLE,
        };
        (void)wait;
        ApiClient *client = userdata;
        client->is_waiting = false;
        char text[API_DETAIL_MAX];
        (void)snprintf(text, sizeof text, "credentials: %s", detail);
        if (error == CREDENTIALS_E_FAILED) {
                /* An endpoint for which nothing can be signed is as unreachable as one that is down. */
                uint32_t pass = retry_send(&client->retry, clock_now_ns());
                note_attempt(client, pass, errors[error], 0, text);
        } else if (error != CREDENTIALS_OK) {
                fail_waiting(client, errors[error], text);
        }
        client_pump(client);
}

/* The credentials to sign this call with. False: it can't go out now. */
static bool client_get_keys(ApiClient *client, ApiCall *call, const AwsKeys **ret_keys)
{
        CredentialChain *chain = client->settings.credentials;
        for (;;) {
                const AwsCredentials *credentials = NULL;
                int r = credential_chain_get(
                        chain, &client->wait, client_on_credentials, client, &credentials);
                client->is_waiting = r == -EINPROGRESS;
                if (r < 0 && r != -EINPROGRESS)
                        call_fail(call, API_E_MEMORY, "out of memory");
                if (r < 0)
                        return false;
                *ret_keys = &credentials->keys;
                if (!call->refused_keys || call->refused_keys != api_keys_fingerprint(&credentials->keys))
                        return true;
                if (call->keys_were_rejected) {
                        call_refuse(call);
                        return false;
                }
                call->keys_were_rejected = true;
                credential_chain_reject(chain);
        }
}

static void client_count(ApiClient *client, ApiOperation operation, const ApiOutcome *outcome)
{
        ApiCounters *counters = &client->counters;
        double took_s = (double)outcome->took_ns / (double)NS_PER_S;
        size_t bucket = 0;
        while (took_s > api_latency_bounds_s[bucket])
                bucket++;
        counters->attempts[operation][outcome->error]++;
        counters->latency[bucket]++;
        counters->latency_sum_s += took_s;
}

static void client_note_refusal(ApiClient *client, ApiError error)
{
        if (error == API_E_CREDENTIALS_REJECTED || error == API_E_CREDENTIALS_EXPIRED)
                client->refusal = error;
        else if (error == API_OK || error == API_E_NOT_FOUND || error == API_E_ACCESS_DENIED)
                client->refusal = API_OK;
}

/* Logs when refreshes begin to be stretched, each time that they are stretched twice as far, and the end. */
static void client_log_pace(ApiClient *client)
{
        double stretch = pace_stretch(&client->pace);
        double ttl_s = (double)client->pace.ttl_ns / (double)NS_PER_S;
        if (!client->pace.since_ns && client->logged_stretch > 1) {
                log_info("the API no longer throttles: copies are refreshed as ttl= says");
                client->logged_stretch = 1;
        } else if (stretch >= 2 * client->logged_stretch) {
                log_warning("the API throttles: copies are refreshed about every %.0f s now, and older ones "
                            "are served as stale; "
                            "ttl=%.0f or more would do for this host's tokens",
                        ttl_s * stretch, ceil(ttl_s * pace_stretch_that_would_do(&client->pace)));
                client->logged_stretch = stretch;
        }
}

/* The signature's time was refused: signs with the server's, if that differs from what was signed with. */
static bool call_corrects_skew(ApiCall *call, const ApiFailure *failure)
{
        ApiClient *client = call->client;
        if (!failure->is_skew || call->skew_was_set || failure->server_wall_s == 0)
                return false;
        int64_t skew_s = failure->server_wall_s - clock_wall_ns() / (int64_t)NS_PER_S;
        int64_t step_s = skew_s - call->signed_skew_s;
        if (step_s > -SKEW_STEP_MIN_S && step_s < SKEW_STEP_MIN_S)
                return false;
        call->skew_was_set = true;
        /* Of several calls refused together the first sets it; Date's seconds may differ by one among them. */
        step_s = skew_s - client->skew_s;
        if (step_s > -SKEW_STEP_MIN_S && step_s < SKEW_STEP_MIN_S)
                return true;
        log_warning(
                "the clock of this machine is %" PRId64 " s off; signing with the service's time", -skew_s);
        client->skew_s = skew_s;
        return true;
}

/* The credentials were refused: waits for others. The pump ends the call if there are none. */
static bool call_changes_keys(ApiCall *call, const ApiOutcome *outcome)
{
        if (outcome->failure.is_skew || call->refused_keys ||
                (outcome->error != API_E_CREDENTIALS_REJECTED && outcome->error != API_E_CREDENTIALS_EXPIRED))
                return false;
        call->refused_keys = call->signed_with;
        call->refusal_error = outcome->error;
        call->refusal = strdup(outcome->detail);
        return call->refused_keys != 0;
}

/* A transient failure: the call goes on, by its own backoff or, if the circuit is open, with the others. */
static void call_retry(ApiCall *call, const ApiOutcome *outcome)
{
        ApiClient *client = call->client;
        uint64_t retry_at_ns = client->retry.probe_at_ns;
        call->failures++;
        client->counters.retries++;
        if (!retry_is_open(&client->retry)) {
                uint64_t delay_ns =
                        retry_delay_ns(&client->retry, call->failures, outcome->failure.retry_after_ns);
                retry_at_ns = clock_add_ns(clock_now_ns(), delay_ns);
                call_move(call, &client->resting);
                if (loop_timer_set(&call->timer, retry_at_ns) < 0)
                        call_wait(call);
        } else {
                call->reported_epoch = client->retry.epoch;
                call_wait(call);
        }
        call_report(call, outcome->error, outcome->detail, retry_at_ns);
}

static void on_outcome(ApiCall *call, ApiOutcome *outcome)
{
        ApiClient *client = call->client;
        call_note_in_flight(call, false);
        client_count(client, call->operation, outcome);
        client_note_refusal(client, outcome->error);
        bool is_current = call->pass == client->retry.epoch;
        bool is_guess = call->ticket.purpose == API_FOR_GUESS;
        bool is_probe = is_current && retry_is_open(&client->retry);
        uint64_t retry_after_ns = outcome->failure.retry_after_ns;
        /* Any user may make ids up: Retry-After of a guess holds for guesses (pace.c). */
        note_attempt(client, call->pass, outcome->error, is_guess ? 0 : retry_after_ns, outcome->detail);
        pace_report(&client->pace,
                &(PaceAttempt){.error = outcome->error,
                        .took_ns = outcome->took_ns,
                        .is_refresh = call->ticket.purpose == API_FOR_REFRESH,
                        .is_guess = is_guess,
                        .is_probe = is_probe,
                        .retry_after_ns = retry_after_ns,
                        .is_current = is_current,
                        .is_full = call->is_full},
                clock_now_ns());
        client_log_pace(client);

        if (call_corrects_skew(call, &outcome->failure) || call_changes_keys(call, outcome)) {
                client->counters.retries++;
                call_wait_first(call);
        } else if (api_error_is_transient(outcome->error)) {
                call_retry(call, outcome);
        } else {
                call_end(call,
                        &(ApiResult){
                                .error = outcome->error,
                                .detail = outcome->detail,
                                .doc = outcome->doc,
                                .page = outcome->error == API_OK && !outcome->doc ? &outcome->page : NULL,
                                .sent_ns = outcome->sent_ns,
                        });
        }
        client_pump(client);
}

static void client_send_call(ApiClient *client, ApiCall *call, const AwsKeys *keys)
{
        const ApiTarget target = {
                .http = client->settings.http,
                .endpoint = &client->endpoint,
                .keys = keys,
                .skew_s = client->skew_s,
                .timeout_ns = client->settings.timeout_ns,
                .allow_plain_http = client->settings.allow_plain_http,
        };
        const char *detail = "";
        call->pass = retry_send(&client->retry, clock_now_ns());
        if (call->ticket.purpose == API_FOR_GUESS)
                pace_note_guess(&client->pace, clock_now_ns());
        api_queue_take(&client->queue, &call->ticket);
        call_move(call, &client->under_way);
        ApiError error = api_call_send(call, &target, on_outcome, &detail);
        if (error != API_OK) {
                call_fail(call, error, detail);
                return;
        }
        call_note_in_flight(call, true);
        call->is_full = client->in_flight >= client->pace.in_flight_max && first_call(&client->waiting);
}

static void client_send(ApiClient *client)
{
        ApiCall *call;
        uint64_t ready_ns;
        while (client_may_send(client) && (call = client_next_call(client, &ready_ns))) {
                const AwsKeys *keys = NULL;
                if (client_get_keys(client, call, &keys))
                        client_send_call(client, call, keys);
        }
}

/* When there will be something to send, as far as it is time that decides. */
static uint64_t client_ready_ns(ApiClient *client)
{
        uint64_t ready_ns = CLOCK_NEVER;
        if (first_call(&client->refused))
                return clock_now_ns();
        if (client_may_send(client))
                (void)client_next_call(client, &ready_ns);
        return ready_ns;
}

/* Sends the calls that may go out, reports to the owners of those that wait, and sets the timer for the next. */
static void client_pump(ApiClient *client)
{
        ApiCall *call;
        while ((call = first_call(&client->refused)))
                call_refuse(call);
        client_send(client);
        client_keep_waiting(client);
        if (loop_timer_set(&client->timer, client_ready_ns(client)) < 0)
                fail_waiting(client, API_E_MEMORY, "out of memory");
}

static void client_on_timer(LoopTimer *timer, void *userdata)
{
        (void)timer;
        client_pump(userdata);
}

/* The call has waited out its own backoff. */
static void call_on_rested(LoopTimer *timer, void *userdata)
{
        (void)timer;
        ApiCall *call = userdata;
        call_wait(call);
        client_pump(call->client);
}

static uint32_t random_number(void *userdata)
{
        (void)userdata;
        uint32_t number;
        if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number)
                number = (uint32_t)clock_now_ns() * UINT32_C(2654435761);
        return number;
}

int api_client_new(const ApiSettings *settings, ApiClient **ret_client)
{
        CLEANUP(cleanup_free) ApiClient *client = calloc(1, sizeof *client);
        if (!client)
                return -ENOMEM;
        client->settings = *settings;
        int r = aws_endpoint_copy(settings->endpoint, &client->endpoint);
        if (r < 0)
                return r;
        client->settings.endpoint = NULL;
        ListLink *lists[] = {&client->refused, &client->waiting, &client->resting, &client->under_way};
        for (size_t i = 0; i < ARRAY_LEN(lists); i++)
                list_init(lists[i]);
        loop_timer_init(&client->timer, settings->loop, client_on_timer, client);
        api_queue_init(&client->queue);
        retry_init(&client->retry, random_number, NULL);
        pace_init(&client->pace, settings->ttl_ns, settings->stale_ns);
        client->logged_stretch = 1;
        *ret_client = TAKE(client);
        return 0;
}

ApiClient *api_client_free(ApiClient *client)
{
        if (!client)
                return NULL;
        credential_wait_cancel(&client->wait);
        loop_timer_cancel(&client->timer);
        aws_endpoint_deinit(&client->endpoint);
        free(client);
        return NULL;
}

/* Copies the query. A query that can't be sent is refused later, from the loop. */
static int call_init(ApiCall *call, const ApiQuery *query)
{
        int r = api_queue_join(&call->client->queue, &call->ticket, query->purpose, query->uid);
        if (r < 0)
                return r;
        if (query->next_token && !(call->next_token = strdup(query->next_token)))
                return -ENOMEM;
        bool needs_id = api_operation_has_id(query->operation);
        bool is_valid = !needs_id || (query->id && token_id_is_valid(query->id));
        if (is_valid && needs_id)
                memcpy(call->id, query->id, strlen(query->id) + 1);
        if (is_valid && (!query->next_token || strlen(query->next_token) <= PAGE_NEXT_TOKEN_MAX)) {
                call_wait(call);
                return 0;
        }
        call->refusal_error = API_E_NOT_FOUND;
        call->refusal = strdup("this can't be the id of anything");
        call_move(call, &call->client->refused);
        return 0;
}

int api_start(
        ApiClient *client, const ApiQuery *query, ApiHandler *handler, void *userdata, ApiCall **ret_call)
{
        ApiCall *call = calloc(1, sizeof *call);
        if (!call)
                return -ENOMEM;
        call->client = client;
        call->operation = query->operation;
        call->handler = handler;
        call->userdata = userdata;
        list_init(&call->link);
        loop_timer_init(&call->timer, client->settings.loop, call_on_rested, call);
        client->calls++;
        int r = call_init(call, query);
        if (r == 0)
                r = loop_timer_set(&client->timer, clock_now_ns());
        if (r < 0) {
                call_detach(call);
                api_call_free(call);
                return r;
        }
        *ret_call = call;
        return 0;
}

ApiCall *api_cancel(ApiCall *call)
{
        if (!call || call->is_over)
                return NULL;
        ApiClient *client = call->client;
        call_detach(call);
        api_call_free(call);
        if (first_call(&client->waiting))
                client_kick(client);
        return NULL;
}

void api_client_health(const ApiClient *client, ApiHealth *ret_health)
{
        *ret_health = (ApiHealth){
                .error = client->retry.error,
                .since_ns = client->retry.since_ns,
                .retry_at_ns = client->retry.probe_at_ns,
                .in_flight = client->in_flight,
                .queued = client->calls - client->in_flight,
                .in_flight_max = client->pace.in_flight_max,
                .refusal = client->refusal,
                .recovered_ns = client->retry.recovered_ns,
                .failed_ns = client->retry.failed_ns,
                .throttled_since_ns = client->pace.since_ns,
                .stretch = pace_stretch(&client->pace),
                .stretch_that_would_do = pace_stretch_that_would_do(&client->pace),
        };
}

const ApiCounters *api_client_counters(const ApiClient *client)
{
        return &client->counters;
}

int64_t api_client_skew_s(const ApiClient *client)
{
        return client->skew_s;
}
