/* One attempt at a call: the request, and the reading of its answer.
 *
 * An attempt ends in an outcome, which its handler judges: this file knows nothing of retries, circuits or queues. */

#include "call.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#include "page.h"

void api_call_free(ApiCall *call)
{
        (void)http_cancel(call->http);
        free(call->next_token);
        free(call->refusal);
        free(call);
}

static void outcome_read(const ApiCall *call, const HttpResponse *response, ApiOutcome *outcome)
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

static void on_response(const HttpResponse *response, void *userdata)
{
        ApiCall *call = userdata;
        call->http = NULL;
        ApiOutcome outcome = {
                .sent_ns = response->started_ns,
                .took_ns = response->ended_ns > response->started_ns
                                   ? response->ended_ns - response->started_ns
                                   : 0,
        };
        outcome_read(call, response, &outcome);
        log_debug("%s %s: %s, HTTP %d, %" PRIu64 " ms%s%s", api_operation_name(call->operation), call->id,
                api_error_name(outcome.error), response->status, outcome.took_ns / NS_PER_MS,
                *outcome.detail ? "; " : "", outcome.detail);
        call->on_outcome(call, &outcome);
        token_doc_unref(outcome.doc);
        api_page_deinit(&outcome.page);
}

static ApiError refuse(ApiError error, const char *detail, const char **ret_detail)
{
        *ret_detail = detail;
        return error;
}

ApiError api_call_send(
        ApiCall *call, const ApiTarget *target, ApiOutcomeHandler *handler, const char **ret_detail)
{
        ApiRequest request = {0};
        call->on_outcome = handler;
        call->signed_with = api_keys_fingerprint(target->keys);
        call->signed_skew_s = target->skew_s;
        int r = api_request_build(call->operation, target->endpoint, call->id, call->next_token, target->keys,
                clock_wall_ns() / (int64_t)NS_PER_S + target->skew_s, &request);
        if (r == -EINVAL)
                return refuse(API_E_NO_CREDENTIALS, "the credentials hold characters that no header can",
                        ret_detail);
        if (r < 0)
                return refuse(API_E_MEMORY, "out of memory", ret_detail);
        HttpRequest http = {
                .method = "GET",
                .url = buf_str(&request.url),
                .headers = request.headers,
                .header_count = request.header_count,
                .timeout_ns = target->timeout_ns,
                .response_max = api_operation_response_max(call->operation),
                .allow_plain = target->allow_plain_http,
        };
        r = http_start(target->http, &http, on_response, call, &call->http);
        api_request_deinit(&request);
        if (r == -EINVAL)
                return refuse(API_E_UNREACHABLE,
                        "the endpoint's URL can't be used; check endpoint_url=", ret_detail);
        if (r == -EMSGSIZE)
                return refuse(API_E_NO_CREDENTIALS,
                        "the credentials' session token is too long for a header (64 KiB)", ret_detail);
        return r < 0 ? refuse(API_E_MEMORY, "out of memory", ret_detail) : API_OK;
}
