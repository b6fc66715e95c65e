#pragma once
/* Calls of providers to services, with retries; JSON answers with keys; small files. */

#include "provider.h"
#include "tokenfs/base/json.h"

/* Called once, from the loop, when the call has ended. The response is borrowed, as in HttpHandler. */
typedef void ProviderCallHandler(const HttpResponse *response, void *userdata);

/* The number of attempts, and their reasons. */
typedef struct ProviderCallRules {
        unsigned attempts;
        uint64_t pause_ns; /* before the second attempt; doubled each time */
        /* True for answers that are repeated beside the usual ones; NULL: none. */
        bool (*is_worth_repeating)(const HttpResponse *response);
        /* Called before each further attempt, to renew data that the request's headers point to. A negative result
         * ends the call with HTTP_E_MEMORY. NULL: nothing to renew. */
        int (*renew)(void *userdata);
} ProviderCallRules;

typedef struct ProviderCall {
        const ProviderContext *context;
        HttpRequest request;
        ProviderCallRules rules; /* `attempts`: those that are left */
        HttpCall *call;
        LoopTimer timer;
        ProviderCallHandler *handler;
        void *userdata;
} ProviderCall;

/* Starts a call, on zeroed or stopped memory. Time-outs, failed look-ups and connections, 429 and 5xx are repeated.
 * The data that `request` points to is borrowed until the call ends or is stopped. 0, -ENOMEM, -EINVAL (the URL). */
int provider_call_start(ProviderCall *call, const ProviderContext *context, const HttpRequest *request,
        const ProviderCallRules *rules, ProviderCallHandler *handler, void *userdata);
/* Ends a call without its handler; valid in any state, on zeroed memory too. */
void provider_call_stop(ProviderCall *call);

/* True if the body is a JSON document. */
bool provider_answer_is_json(const HttpResponse *response);

/* Sets the failure of a call without an answer. `what` names the called service. Returns 0. */
int provider_fail_call(ProviderRun *run, const char *what, const HttpResponse *response);

/* Sets the outcome from a JSON document with AccessKeyId, SecretAccessKey, the token under `token_key`, and
 * Expiration. With `is_all_needed`, token and Expiration are required. Returns 0. */
int provider_found_json(
        ProviderRun *run, const char *origin, const cJSON *json, const char *token_key, bool is_all_needed);

/* Appends the content of a regular file. 0, -EMSGSIZE (beyond the buffer's maximum), -EINVAL (no regular file, or a
 * NUL in it), or the errors of open and read. Never waits: a FIFO is refused. */
int provider_read_file(const char *path, Buf *out);
