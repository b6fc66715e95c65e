/* One call: what is sent, and what its answer leads to.
 *
 * A call ends with its answer, be it good or final, and goes on after a transient failure: by its own backoff, or with
 * the others if the endpoint fails for all. It also takes two second chances, each once and at once: with the
 * server's time when the signature's time was refused, and with other credentials when these were.
 * Its owner's handler may cancel it or any other call. So the handler is always called as the last thing that is done
 * with the call. */

#include "client-private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/log.h"

#include "page.h"

#define SKEW_STEP_MIN_S 10 /* no signature is refused for less */

const double api_latency_bounds_s[API_LATENCY_BUCKETS] = {
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, __builtin_inf()};

void api_call_move(ApiCall *call, ListLink *list)
{
        list_unlink(&call->link);
        list_append(list, &call->link);
}

static void call_move_to_front(ApiCall *call, ListLink *list)
{
        list_unlink(&call->link);
        list_append(list->next, &call->link);
}

void api_call_free(ApiCall *call)
{
        free(call->next_token);
        free(call->refusal);
        free(call);
}

void api_call_detach(ApiCall *call)
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
        api_call_detach(call);
        call->is_over = true;
        call->handler(result, call->userdata);
        api_call_free(call);
}

void api_call_fail(ApiCall *call, ApiError error, const char *detail)
{
        call_end(call, &(ApiResult){.error = error, .detail = detail});
}

void api_call_refuse(ApiCall *call)
{
        api_call_fail(call, call->refusal_error, call->refusal ? call->refusal : "");
}

void api_call_tell(ApiCall *call, ApiError error, const char *detail, uint64_t retry_at_ns)
{
        call->handler(
                &(ApiResult){.error = error, .detail = detail, .retry_at_ns = retry_at_ns}, call->userdata);
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
        if (error == API_E_CREDENTIALS_REJECTED || error == API_E_CREDENTIALS_EXPIRED)
                client->refusal = error;
        else if (error == API_OK || error == API_E_NOT_FOUND || error == API_E_ACCESS_DENIED)
                client->refusal = API_OK;
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
                outcome->error = api_operation_error(call->operation, &outcome->failure);
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

void api_call_on_rested(LoopTimer *timer, void *userdata)
{
        (void)timer;
        ApiCall *call = userdata;
        api_call_move(call, &call->client->retries);
        api_client_pump(call->client);
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
                api_call_move(call, &client->resting);
                if (loop_timer_set(&call->timer, retry_at_ns) < 0)
                        api_call_move(call, &client->retries);
        } else {
                call->told_epoch = client->retry.epoch;
                api_call_move(call, &client->retries);
        }
        api_call_tell(call, outcome->error, outcome->detail, retry_at_ns);
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
        api_client_report(client, call->pass, outcome.error, outcome.failure.retry_after_ns, outcome.detail);
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
        api_client_pump(client);
}

void api_call_send(ApiCall *call, bool is_retry, const AwsKeys *keys, uint64_t keys_fingerprint)
{
        ApiClient *client = call->client;
        ApiRequest request = {0};
        call->pass = retry_send(&client->retry, is_retry, clock_now_ns());
        call->signed_with = keys_fingerprint;
        call->signed_skew_s = client->skew_s;
        int r = api_request_build(call->operation, &client->endpoint, call->id, call->next_token, keys,
                clock_wall_ns() / (int64_t)NS_PER_S + client->skew_s, &request);
        if (r < 0) {
                api_call_fail(call, r == -EINVAL ? API_E_NO_CREDENTIALS : API_E_MEMORY,
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
                api_call_fail(call,
                        r == -EINVAL     ? API_E_UNREACHABLE
                        : r == -EMSGSIZE ? API_E_NO_CREDENTIALS
                                         : API_E_MEMORY,
                        r == -EINVAL     ? "the endpoint's URL can't be used; check endpoint_url="
                        : r == -EMSGSIZE ? "the credentials' session token is too long for a header (64 KiB)"
                                         : "out of memory");
                return;
        }
        client->in_flight++;
        api_call_move(call, &client->under_way);
}
