/* The signed calls of the API: which of them go out, and when.
 *
 * Why: the cache wants answers, and knows nothing of signatures, credentials, clocks that are off, or of how often
 * an endpoint that fails may be asked. How: a call is always in one list of the client: fresh (goes out as soon as it
 * may), retries (has to be paid for), resting (waits out its own backoff), under way, or refused (never goes out). One
 * function, the pump, sends calls out of the first two, as credentials, the circuit (retry.h) and the limit of calls in
 * flight allow. It runs from a timer, after every answer, and when credentials have come; never from inside
 * api_start, so no handler is called there.
 * While the circuit is open the calls that wait are told so, each once: whoever has an old copy can serve it without
 * waiting for an attempt of his own. When it is open for a reason that isn't transient they end.
 * Handlers may cancel any call and start others: loops over calls begin anew at the head of a list. */

#include "client-private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tokenfs/base/list.h"

#include "page.h"

static ApiCall *first_call(ListLink *list)
{
        return list_first(list, ApiCall, link);
}

static void fail_all(ListLink *list, ApiError error, const char *detail)
{
        ListLink failing;
        list_init(&failing);
        list_splice(&failing, list);
        ApiCall *call;
        while ((call = first_call(&failing)))
                api_call_fail(call, error, detail);
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
                api_call_move(call, list);
                /* A handler may have made the client forget. */
                if (call->told_epoch == client->retry.epoch || !retry_is_open(&client->retry))
                        continue;
                call->told_epoch = client->retry.epoch;
                api_call_tell(call, client->retry.error, client->open_detail, client->retry.probe_at_ns);
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

void api_client_report(
        ApiClient *client, uint32_t pass, ApiError error, uint64_t retry_after_ns, const char *detail)
{
        bool is_current = pass == client->retry.epoch;
        retry_report(&client->retry, pass, error, retry_after_ns, clock_now_ns());
        if (is_current && retry_is_open(&client->retry))
                (void)snprintf(client->open_detail, sizeof client->open_detail, "%s", detail);
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
                api_client_report(client, pass, errors[error], 0, text);
        } else if (error != CREDENTIALS_OK) {
                fail_all(&client->fresh, errors[error], text);
                fail_all(&client->retries, errors[error], text);
        }
        api_client_pump(client);
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
                        api_call_fail(call, API_E_MEMORY, "out of memory");
                if (r < 0)
                        return false;
                *ret_keys = &credentials->keys;
                *ret_fingerprint = api_keys_fingerprint(&credentials->keys);
                if (!call->refused_keys || call->refused_keys != *ret_fingerprint)
                        return true;
                if (call->keys_were_rejected) {
                        api_call_refuse(call);
                        return false;
                }
                call->keys_were_rejected = true;
                credential_chain_reject(chain);
        }
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
                        api_call_send(call, is_retry, keys, fingerprint);
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

void api_client_pump(ApiClient *client)
{
        ApiCall *call;
        while ((call = first_call(&client->refused)))
                api_call_refuse(call);
        client_send(client);
        client_keep_waiting(client);
        if (loop_timer_set(&client->timer, client_ready_ns(client)) < 0) {
                fail_all(&client->fresh, API_E_MEMORY, "out of memory");
                fail_all(&client->retries, API_E_MEMORY, "out of memory");
        }
}

static void client_on_timer(LoopTimer *timer, void *userdata)
{
        (void)timer;
        api_client_pump(userdata);
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
        bool needs_id = api_operation_has_id(call->operation);
        bool is_valid = !needs_id || (id && token_id_is_valid(id));
        if (is_valid && needs_id)
                memcpy(call->id, id, strlen(id) + 1);
        if (!is_valid || (next_token && strlen(next_token) > PAGE_NEXT_TOKEN_MAX)) {
                call->refusal_error = API_E_NOT_FOUND;
                call->refusal = strdup("this can't be the id of anything");
        }
        api_call_move(call, call->refusal_error ? &call->client->refused : &call->client->fresh);
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
        loop_timer_init(&call->timer, client->settings.loop, api_call_on_rested, call);
        client->calls++;
        int r = call_init(call, id, next_token);
        if (r == 0)
                r = loop_timer_set(&client->timer, clock_now_ns());
        if (r < 0) {
                api_call_detach(call);
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
        api_call_detach(call);
        api_call_free(call);
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
                .refusal = client->refusal,
        };
}

void api_client_forget(ApiClient *client)
{
        ApiCall *call;
        retry_forget(&client->retry, clock_now_ns());
        client->skew_s = 0;
        while ((call = first_call(&client->resting))) {
                loop_timer_cancel(&call->timer);
                api_call_move(call, &client->fresh);
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
