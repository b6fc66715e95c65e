#pragma once
/* One call, and one attempt at it: built, signed, sent, and its answer read. The client decides which call
 * goes out when, and acts on the outcome. */

#include "queue.h"
#include "request.h"

/* The outcome of an attempt. */
typedef struct ApiOutcome {
        ApiError error;
        ApiFailure failure; /* of an answer that is no success */
        TokenDoc *doc;
        ApiPage page;
        uint64_t sent_ns, took_ns;
        char detail[API_DETAIL_MAX];
} ApiOutcome;
/* The outcome is borrowed; the call is under way no more, and may be freed. */
typedef void ApiOutcomeHandler(ApiCall *call, ApiOutcome *outcome);

struct ApiCall {
        ListLink link; /* in one of the client's lists */
        ApiTicket ticket;
        ApiClient *client;
        ApiOperation operation;
        char id[TOKEN_ID_MAX + 1];
        char *next_token;
        ApiHandler *handler;
        void *userdata;
        LoopTimer timer; /* while resting */
        unsigned failures;
        uint32_t reported_epoch; /* of the circuit, when the owner last heard that the call waits */
        ApiError refusal_error; /* why the keys were refused, or the call itself */
        char *refusal; /* the same in words; NULL: none */
        uint64_t refused_keys; /* fingerprint; 0: none were */
        bool skew_was_set, keys_were_rejected; /* the second chances, taken */
        bool is_over;

        /* The attempt under way. */
        HttpCall *http;
        ApiOutcomeHandler *on_outcome;
        uint32_t pass;
        bool is_full; /* other calls waited for this one's place */
        uint64_t signed_with; /* fingerprint */
        int64_t signed_skew_s;
};

/* Where a call goes. Borrowed for the time of api_call_send. */
typedef struct ApiTarget {
        Http *http;
        const AwsEndpoint *endpoint;
        const AwsKeys *keys;
        int64_t skew_s;
        uint64_t timeout_ns;
        bool allow_plain_http;
} ApiTarget;
/* Sends an attempt; the handler is called with its outcome, from the loop. API_OK, or why it can't be sent, with a constant
 * text. */
ApiError api_call_send(
        ApiCall *call, const ApiTarget *target, ApiOutcomeHandler *handler, const char **ret_detail);
/* Frees a call that is in no list any more; an attempt under way is cancelled. */
void api_call_free(ApiCall *call);
