#pragma once
/* The inside of the API client: client.c decides which calls go out when, call.c what becomes of one. */

#include "tokenfs/api/client.h"

#include "request.h"
#include "retry.h"

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
        ApiError refusal; /* as ApiHealth's */
        char open_detail[API_DETAIL_MAX]; /* of what opened the circuit, or of the last probe */
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

void api_call_move(ApiCall *call, ListLink *list);
/* Takes the call out of everything, ending what is under way. */
void api_call_detach(ApiCall *call);
void api_call_free(ApiCall *call);
/* Ends the call: its handler is told, the call is gone. */
void api_call_fail(ApiCall *call, ApiError error, const char *detail);
/* The same, for the reason that was kept with the call. */
void api_call_refuse(ApiCall *call);
/* Tells the owner that the call goes on. The call may be gone afterwards. */
void api_call_tell(ApiCall *call, ApiError error, const char *detail, uint64_t retry_at_ns);
/* Sends the call; it ends if that can't be done. */
void api_call_send(ApiCall *call, bool is_retry, const AwsKeys *keys, uint64_t keys_fingerprint);
/* The handler of a call's timer: the call has waited out its own backoff. */
void api_call_on_rested(LoopTimer *timer, void *userdata);

/* Sends what may be sent, tells those who wait, and sets the timer for what comes next. */
void api_client_pump(ApiClient *client);
/* Takes note of how an attempt went, and of why the circuit is open if it is. */
void api_client_report(
        ApiClient *client, uint32_t pass, ApiError error, uint64_t retry_after_ns, const char *detail);
