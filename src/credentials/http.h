#pragma once
/* An HTTP call of a provider, repeated on failures that pass, and what providers read from answers and files. */

#include "provider.h"
#include "tokenfs/base/json.h"

/* Called once, from the loop; the call has ended. The response is borrowed, as in HttpHandler. */
typedef void ProviderCallHandler(const HttpResponse *response, void *userdata);

/* How often a call is attempted. */
typedef struct ProviderCallRules {
        unsigned attempts;
        uint64_t pause_ns; /* before the second attempt; doubled each time */
        /* Answers that are worth another attempt beside the usual ones; NULL: none. */
        bool (*is_worth_repeating)(const HttpResponse *response);
        /* Called before each further attempt, to renew what the request's headers point to. A negative result ends the
         * call, out of memory. NULL: nothing to renew. */
        int (*renew)(void *userdata);
} ProviderCallRules;

typedef struct ProviderCall {
        const ProviderContext *context;
        HttpRequest request;
        ProviderCallRules rules; /* `attempts` are those left */
        HttpCall *call;
        LoopTimer timer;
        ProviderCallHandler *handler;
        void *userdata;
} ProviderCall;

/* Starts a call on zeroed or stopped memory. Repeated are time-outs, failures of look-up and connection, 429 and 5xx.
 * What `request` points to is borrowed until the call has ended or was stopped. 0, -ENOMEM, -EINVAL (the URL). */
int provider_call_start(ProviderCall *call, const ProviderContext *context, const HttpRequest *request,
        const ProviderCallRules *rules, ProviderCallHandler *handler, void *userdata);
/* Ends it without its handler; right in every state, on zeroed memory too. */
void provider_call_stop(ProviderCall *call);

/* True if the body is a JSON document. */
bool provider_answer_is_json(const HttpResponse *response);

/* Sets the failure of a call that brought no answer. `what` names whom was called. Returns 0. */
int provider_fail_call(ProviderRun *run, const char *what, const HttpResponse *response);

/* Sets the outcome from a JSON document with AccessKeyId and SecretAccessKey, the token under `token_key`, and
 * Expiration. With `is_all_needed` the token and Expiration may not be missing. Returns 0. */
int provider_found_json(
        ProviderRun *run, const char *origin, const cJSON *json, const char *token_key, bool is_all_needed);

/* Appends a regular file's content. 0, -EMSGSIZE (larger than the buffer's maximum), -EINVAL (no regular file, or a NUL in it), or the
 * errors of open and read. Never waits (a FIFO is refused). */
int provider_read_file(const char *path, Buf *out);
