/* The signed calls of the API.
 *
 * Why: the cache wants answers, and knows nothing of signatures, credentials, clocks that are off, or of how often
 * an endpoint that fails may be asked. How: a call is always in one list of the client: fresh (goes out as soon as it
 * may), retries (has to be paid for), resting (waits out its own backoff), under way, or refused (never goes out). One
 * function, the pump, moves calls out of the first two, as credentials, the circuit (retry.h) and the limit of calls in
 * flight allow. It runs from a timer, after every answer, and when credentials have come; never from inside
 * api_start, so no handler is called there.
 * A call ends with its answer. It also takes two second chances of its own, each once and at once: with the server's
 * time when the signature's time was refused, and with other credentials when these were.
 * While the circuit is open the calls that wait are told so, each once: whoever has an old copy can serve it without
 * waiting for an attempt of his own. When it is open for a reason that isn't transient they end.
 * Handlers may cancel any call and start others. So each is called as the last thing that is done with its call, and
 * loops over calls begin anew at the head of a list. */

#include "tokenfs/api/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tokenfs/base/list.h"
#include "tokenfs/base/log.h"

#include "api/page.h"
#include "api/request.h"
#include "api/retry.h"

#define SKEW_STEP_MIN_S 10 /* no signature is refused for less */

struct ApiClient {
        ApiSettings settings;
        AwsEndpoint endpoint;
        ListLink refused, fresh, retries, resting, under_way;
        unsigned calls, in_flight;
        Retry retry;
        LoopTimer timer; /* the pump's */
        CredentialWait wait;
        bool is_waiting; /* for credentials */
        int64_t skew_s;
        char open_detail[API_DETAIL_MAX]; /* of what opened the circuit, or of the last probe */
        bool announced_open;
        ApiHealthHandler *on_health;
        void *on_health_userdata;
        ApiCounters counters;
};

struct ApiCall {
        ListLink link;
        ApiClient *client;
        ApiOperation operation;
        char id[TOKEN_ID_MAX + 1];
        char *next_token;
        ApiHandler *handler;
        void *userdata;
        HttpCall *http; /* while under way */
        LoopTimer timer; /* while resting */
        uint32_t pass; /* of the attempt under way */
        uint32_t told_epoch; /* of the circuit, when its owner was last told that it waits */
        unsigned failures;
        int64_t signed_skew_s;
        uint64_t signed_with, refused_keys; /* fingerprints; refused_keys 0: none were */
        bool skew_was_set, keys_were_rejected; /* the second chances, taken */
        bool is_over;
        ApiError refusal_error; /* why the keys were refused, or the call itself */
        char *refusal; /* the same in words; NULL: none */
};

const double api_latency_bounds_s[API_LATENCY_BUCKETS] = {
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, __builtin_inf()};

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

static void call_move_to_front(ApiCall *call, ListLink *list)
{
        list_unlink(&call->link);
        list_append(list->next, &call->link);
}

static void call_free(ApiCall *call)
{
        free(call->next_token);
        free(call->refusal);
        free(call);
}

/* Takes the call out of everything, ending what is under way. */
static void call_detach(ApiCall *call)
{
        ApiClient *client = call->client;
        if (call->http) {
                call->http = http_cancel(call->http);
                client->in_flight--;
        }
        loop_timer_cancel(&call->timer);
        list_unlink(&call->link);
        client->calls--;
}

static void call_end(ApiCall *call, const ApiResult *result)
{
        call_detach(call);
        call->is_over = true;
        call->handler(result, call->userdata);
        call_free(call);
}

static void call_fail(ApiCall *call, ApiError error, const char *detail)
{
        call_end(call, &(ApiResult){.error = error, .detail = detail});
}

/* Ends the call for the reason that was kept with it. */
static void call_refuse(ApiCall *call)
{
        call_fail(call, call->refusal_error, call->refusal ? call->refusal : "");
}

/* Tells the owner that the call goes on. The call may be gone afterwards. */
static void call_tell(ApiCall *call, ApiError error, const char *detail, uint64_t retry_at_ns)
{
        call->handler(
                &(ApiResult){.error = error, .detail = detail, .retry_at_ns = retry_at_ns}, call->userdata);
}

static void fail_all(ListLink *list, ApiError error, const char *detail)
{
        ListLink failing;
        list_init(&failing);
        list_splice(&failing, list);
        ApiCall *call;
        while ((call = first_call(&failing)))
                call_fail(call, error, detail);
}

static void client_kick(ApiClient *client)
{
        /* Without room for the timer the next answer or start runs the pump. */
        (void)loop_timer_set(&client->timer, clock_now_ns());
}

static void tell_all_waiting(ApiClient *client, ListLink *list)
{
        ListLink telling;
        list_init(&telling);
        list_splice(&telling, list);
        ApiCall *call;
        while ((call = first_call(&telling))) {
                call_move(call, list);
                /* A handler may have made the client forget. */
                if (call->told_epoch == client->retry.epoch || !retry_is_open(&client->retry))
                        continue;
                call->told_epoch = client->retry.epoch;
                call_tell(call, client->retry.error, client->open_detail, client->retry.probe_at_ns);
        }
}

static void client_keep_waiting(ApiClient *client)
{
        if (!retry_is_open(&client->retry))
                return;
        if (api_error_is_transient(client->retry.error)) {
                tell_all_waiting(client, &client->fresh);
                tell_all_waiting(client, &client->retries);
        } else {
                ApiError error = client->retry.error;
                fail_all(&client->fresh, error, client->open_detail);
                fail_all(&client->retries, error, client->open_detail);
        }
}

/* Takes note of how an attempt went, and of why the circuit is open if it is. */
static void client_report(
        ApiClient *client, uint32_t pass, ApiError error, uint64_t retry_after_ns, const char *detail)
{
        bool is_current = pass == client->retry.epoch;
        retry_report(&client->retry, pass, error, retry_after_ns, clock_now_ns());
        if (is_current && retry_is_open(&client->retry))
                (void)snprintf(client->open_detail, sizeof client->open_detail, "%s", detail);
}

static void client_count(
        ApiClient *client, ApiOperation operation, ApiError error, const HttpResponse *response)
{
        ApiCounters *counters = &client->counters;
        uint64_t took_ns =
                response->ended_ns > response->started_ns ? response->ended_ns - response->started_ns : 0;
        double took_s = (double)took_ns / (double)NS_PER_S;
        size_t bucket = 0;
        while (took_s > api_latency_bounds_s[bucket])
                bucket++;
        counters->attempts[operation][error]++;
        counters->latency[bucket]++;
        counters->latency_sum_s += took_s;
}

/* What an attempt came to. */
typedef struct Outcome {
        ApiError error;
        ApiFailure failure; /* of an answer that is no success */
        TokenDoc *doc;
        ApiPage page;
        char detail[API_DETAIL_MAX];
} Outcome;

static void outcome_read(const ApiCall *call, const HttpResponse *response, Outcome *outcome)
{
        char what[128] = "";
        if (response->error != HTTP_OK || response->status != 200) {
                api_failure_parse(response, &outcome->failure);
                outcome->error = outcome->failure.error;
        } else if (call->operation == API_GET_ACCESS_TOKEN) {
                outcome->error = token_doc_parse(
                        call->id, buf_str(&response->body), response->body.len, what, &outcome->doc);
        } else {
                outcome->error = api_page_parse(call->operation, call->id, call->next_token,
                        buf_str(&response->body), response->body.len, what, &outcome->page);
        }
        if (outcome->error != API_OK)
                api_explain(call->operation, outcome->error, response->status, &outcome->failure,
                        response->error != HTTP_OK ? response->detail : what, outcome->detail);
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
static bool call_changes_keys(ApiCall *call, const Outcome *outcome)
{
        if (outcome->failure.is_skew || call->refused_keys ||
                (outcome->error != API_E_CREDENTIALS_REJECTED && outcome->error != API_E_CREDENTIALS_EXPIRED))
                return false;
        call->refused_keys = call->signed_with;
        call->refusal_error = outcome->error;
        call->refusal = strdup(outcome->detail);
        return call->refused_keys != 0;
}

static void call_on_rested(LoopTimer *timer, void *userdata)
{
        (void)timer;
        ApiCall *call = userdata;
        call_move(call, &call->client->retries);
        client_pump(call->client);
}

/* A transient failure: the call goes on, by its own backoff or, if the circuit is open, with the others. */
static void call_retry(ApiCall *call, const Outcome *outcome)
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
                        call_move(call, &client->retries);
        } else {
                call->told_epoch = client->retry.epoch;
                call_move(call, &client->retries);
        }
        call_tell(call, outcome->error, outcome->detail, retry_at_ns);
}

static void call_on_response(const HttpResponse *response, void *userdata)
{
        ApiCall *call = userdata;
        ApiClient *client = call->client;
        call->http = NULL;
        client->in_flight--;

        Outcome outcome = {0};
        outcome_read(call, response, &outcome);
        client_count(client, call->operation, outcome.error, response);
        client_report(client, call->pass, outcome.error, outcome.failure.retry_after_ns, outcome.detail);
        log_debug("%s %s: %s, HTTP %d, %" PRIu64 " ms%s%s", api_operation_name(call->operation), call->id,
                api_error_name(outcome.error), response->status,
                (response->ended_ns - response->started_ns) / NS_PER_MS, *outcome.detail ? "; " : "",
                outcome.detail);

        if (call_corrects_skew(call, &outcome.failure) || call_changes_keys(call, &outcome)) {
                client->counters.retries++;
                call_move_to_front(call, &client->fresh);
        } else if (api_error_is_transient(outcome.error)) {
                call_retry(call, &outcome);
        } else {
                call_end(call, &(ApiResult){
                                       .error = outcome.error,
                                       .detail = outcome.detail,
                                       .doc = outcome.doc,
                                       .page = outcome.error == API_OK && !outcome.doc ? &outcome.page : NULL,
                                       .sent_ns = response->started_ns,
                               });
        }
        token_doc_unref(outcome.doc);
        api_page_deinit(&outcome.page);
        client_pump(client);
}

/* Sends the call; it ends here if that can't be done. */
static void call_send(ApiCall *call, bool is_retry, const AwsKeys *keys, uint64_t keys_fingerprint)
{
        ApiClient *client = call->client;
        ApiRequest request = {0};
        call->pass = retry_send(&client->retry, is_retry, clock_now_ns());
        call->signed_with = keys_fingerprint;
        call->signed_skew_s = client->skew_s;
        int r = api_request_build(call->operation, &client->endpoint, call->id, call->next_token, keys,
                clock_wall_ns() / (int64_t)NS_PER_S + client->skew_s, &request);
        if (r < 0) {
                call_fail(call, r == -EINVAL ? API_E_NO_CREDENTIALS : API_E_MEMORY,
                        r == -EINVAL ? "the credentials hold characters that no header can"
                                     : "out of memory");
                return;
        }
        HttpRequest http = {
                .method = "GET",
                .url = buf_str(&request.url),
                .headers = request.headers,
                .header_count = request.header_count,
                .timeout_ns = client->settings.timeout_ns,
                .response_max = api_operation_response_max(call->operation),
                .allow_plain = client->settings.allow_plain_http,
        };
        r = http_start(client->settings.http, &http, call_on_response, call, &call->http);
        api_request_deinit(&request);
        if (r < 0) {
                call_fail(call, r == -EINVAL ? API_E_UNREACHABLE : API_E_MEMORY,
                        r == -EINVAL ? "the endpoint's URL can't be used; check endpoint_url="
                                     : "out of memory");
                return;
        }
        client->in_flight++;
        call_move(call, &client->under_way);
}

/* The call that goes out next, if one may now; else NULL, and *ret_ready_ns says when one may. Calls that have failed
 * give way while the circuit is open: a token that always hangs shall not be each probe. */
static ApiCall *client_next_call(ApiClient *client, bool *ret_is_retry, uint64_t *ret_ready_ns)
{
        bool retries_first = !retry_is_open(&client->retry);
        uint64_t now_ns = clock_now_ns();
        *ret_ready_ns = CLOCK_NEVER;
        for (int turn = 0; turn < 2; turn++) {
                bool is_retry = (turn == 0) == retries_first;
                ApiCall *call = first_call(is_retry ? &client->retries : &client->fresh);
                if (!call)
                        continue;
                uint64_t ready_ns = retry_ready_ns(&client->retry, is_retry, now_ns);
                if (ready_ns <= now_ns) {
                        *ret_is_retry = is_retry;
                        return call;
                }
                if (ready_ns < *ret_ready_ns)
                        *ret_ready_ns = ready_ns;
        }
        return NULL;
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
                uint32_t pass = retry_send(&client->retry, false, clock_now_ns());
                client_report(client, pass, errors[error], 0, text);
        } else if (error != CREDENTIALS_OK) {
                fail_all(&client->fresh, errors[error], text);
                fail_all(&client->retries, errors[error], text);
        }
        client_pump(client);
}

/* The credentials to sign this call with. False: it can't go out now. */
static bool client_get_keys(
        ApiClient *client, ApiCall *call, const AwsKeys **ret_keys, uint64_t *ret_fingerprint)
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
                *ret_fingerprint = api_keys_fingerprint(&credentials->keys);
                if (!call->refused_keys || call->refused_keys != *ret_fingerprint)
                        return true;
                if (call->keys_were_rejected) {
                        call_refuse(call);
                        return false;
                }
                call->keys_were_rejected = true;
                credential_chain_reject(chain);
        }
}

static void client_announce(ApiClient *client)
{
        bool is_open = retry_is_open(&client->retry);
        if (is_open == client->announced_open)
                return;
        client->announced_open = is_open;
        ApiHealth health;
        api_client_health(client, &health);
        if (client->on_health)
                client->on_health(&health, client->on_health_userdata);
}

/* Sends what may be sent. */
static void client_send(ApiClient *client)
{
        ApiCall *call;
        bool is_retry = false;
        uint64_t ready_ns = CLOCK_NEVER;
        while (client->in_flight < API_IN_FLIGHT_MAX && !client->is_waiting &&
                (call = client_next_call(client, &is_retry, &ready_ns))) {
                const AwsKeys *keys = NULL;
                uint64_t fingerprint = 0;
                if (client_get_keys(client, call, &keys, &fingerprint))
                        call_send(call, is_retry, keys, fingerprint);
        }
}

/* When there will be something to send, as far as it is time that decides. */
static uint64_t client_ready_ns(ApiClient *client)
{
        bool is_retry = false;
        uint64_t ready_ns = CLOCK_NEVER;
        if (first_call(&client->refused))
                return clock_now_ns();
        if (client->in_flight >= API_IN_FLIGHT_MAX || client->is_waiting)
                return CLOCK_NEVER;
        return client_next_call(client, &is_retry, &ready_ns) ? clock_now_ns() : ready_ns;
}

static void client_pump(ApiClient *client)
{
        ApiCall *call;
        while ((call = first_call(&client->refused)))
                call_refuse(call);
        client_send(client);
        client_keep_waiting(client);
        client_announce(client);
        if (loop_timer_set(&client->timer, client_ready_ns(client)) < 0) {
                fail_all(&client->fresh, API_E_MEMORY, "out of memory");
                fail_all(&client->retries, API_E_MEMORY, "out of memory");
        }
}

static void client_on_timer(LoopTimer *timer, void *userdata)
{
        (void)timer;
        client_pump(userdata);
}

static uint32_t random_number(void *userdata)
{
        (void)userdata;
        uint32_t number;
        if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number)
                number = (uint32_t)clock_now_ns() * UINT32_C(2654435761);
        return number;
}

static int endpoint_copy(const AwsEndpoint *endpoint, AwsEndpoint *ret_endpoint)
{
        AwsEndpoint copy = {
                .url = strdup(endpoint->url),
                .host = strdup(endpoint->host),
                .base = strdup(endpoint->base),
                .region = strdup(endpoint->region),
                .is_plain = endpoint->is_plain,
                .origin = endpoint->origin,
        };
        if (!copy.url || !copy.host || !copy.base || !copy.region) {
                aws_endpoint_deinit(&copy);
                return -ENOMEM;
        }
        *ret_endpoint = copy;
        return 0;
}

int api_client_new(const ApiSettings *settings, ApiClient **ret_client)
{
        CLEANUP(cleanup_free) ApiClient *client = calloc(1, sizeof *client);
        if (!client)
                return -ENOMEM;
        client->settings = *settings;
        int r = endpoint_copy(settings->endpoint, &client->endpoint);
        if (r < 0)
                return r;
        client->settings.endpoint = NULL;
        ListLink *lists[] = {
                &client->refused, &client->fresh, &client->retries, &client->resting, &client->under_way};
        for (size_t i = 0; i < ARRAY_LEN(lists); i++)
                list_init(lists[i]);
        loop_timer_init(&client->timer, settings->loop, client_on_timer, client);
        retry_init(&client->retry, random_number, NULL, clock_now_ns());
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

/* Keeps what the call is about. What can't be sent is refused, in its turn, from the loop. */
static int call_init(ApiCall *call, const char *id, const char *next_token)
{
        if (next_token && !(call->next_token = strdup(next_token)))
                return -ENOMEM;
        bool needs_id = call->operation != API_LIST_GLOBAL_RESOLVERS;
        bool is_valid = !needs_id || (id && token_id_is_valid(id));
        if (is_valid && needs_id)
                memcpy(call->id, id, strlen(id) + 1);
        if (!is_valid || (next_token && strlen(next_token) > PAGE_NEXT_TOKEN_MAX)) {
                call->refusal_error = API_E_NOT_FOUND;
                call->refusal = strdup("this can't be the id of anything");
        }
        call_move(call, call->refusal_error ? &call->client->refused : &call->client->fresh);
        return 0;
}

int api_start(ApiClient *client, ApiOperation operation, const char *id, const char *next_token,
        ApiHandler *handler, void *userdata, ApiCall **ret_call)
{
        ApiCall *call = calloc(1, sizeof *call);
        if (!call)
                return -ENOMEM;
        call->client = client;
        call->operation = operation;
        call->handler = handler;
        call->userdata = userdata;
        loop_timer_init(&call->timer, client->settings.loop, call_on_rested, call);
        client->calls++;
        int r = call_init(call, id, next_token);
        if (r == 0)
                r = loop_timer_set(&client->timer, clock_now_ns());
        if (r < 0) {
                call_detach(call);
                call_free(call);
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
        call_free(call);
        if (first_call(&client->fresh) || first_call(&client->retries))
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
        };
}

void api_client_on_health(ApiClient *client, ApiHealthHandler *handler, void *userdata)
{
        client->on_health = handler;
        client->on_health_userdata = userdata;
}

void api_client_forget(ApiClient *client)
{
        ApiCall *call;
        retry_forget(&client->retry, clock_now_ns());
        client->skew_s = 0;
        while ((call = first_call(&client->resting))) {
                loop_timer_cancel(&call->timer);
                call_move(call, &client->fresh);
        }
        list_splice(&client->fresh, &client->retries);
        client_kick(client);
}

const ApiCounters *api_client_counters(const ApiClient *client)
{
        return &client->counters;
}

int64_t api_client_skew_s(const ApiClient *client)
{
        return client->skew_s;
}
