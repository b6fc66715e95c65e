#pragma once
/* A call of the Security Token Service that gives credentials. */

#include "http.h"
#include "tokenfs/aws/endpoint.h"
#include "tokenfs/aws/sigv4.h"

typedef struct StsCall {
        ProviderRun *run;
        const char *action;
        const AwsKeys *keys;
        Buf form, url;
        AwsEndpoint endpoint;
        SigV4Headers signature;
        HttpHeader headers[4];
        size_t header_count;
        int64_t skew_s; /* of our clock, as the answer to a refused signature showed it */
        ProviderCall call;
} StsCall;

/* Begins a form for an action ("AssumeRole"); on zeroed memory. `action` is borrowed. */
void sts_init(StsCall *sts, const char *action);
/* Adds a parameter; failures stick to the form, and show in sts_start. */
void sts_add(StsCall *sts, const char *name, const char *value);
/* Sends it, signed with `keys` (borrowed until the stop; NULL: unsigned). Returns 0 with the outcome set in `run`, or
 * -EINPROGRESS: then the outcome is set and provider_finish called later. */
int sts_start(StsCall *sts, ProviderRun *run, const AwsKeys *keys);
/* Right in every state, on zeroed memory too. */
void sts_stop(StsCall *sts);
/* A role session name for those who gave none: "tokenfs-1700000000". */
void sts_session_name(char ret_name[static 32]);
