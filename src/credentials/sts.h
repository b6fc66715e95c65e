#pragma once
/* A call of the Security Token Service for credentials. */

#include "service-call.h"
#include "tokenfs/aws/sigv4.h"

typedef struct StsCall {
        ProviderRun *run;
        const char *action;
        const AwsKeys *keys;
        Buf form;
        SigV4Headers signature;
        HttpHeader headers[4];
        size_t header_count;
        int64_t skew_s; /* of this machine's clock, as the answer to a refused signature shows it */
        ServiceCall service;
} StsCall;

/* Begins the form of an action ("AssumeRole"), on zeroed memory. `action` is borrowed. */
void sts_init(StsCall *sts, const char *action);
/* Adds a parameter. sts_start reports a failure. */
void sts_add(StsCall *sts, const char *name, const char *value);
/* Sends the form, signed with `keys` (borrowed until sts_stop; NULL: unsigned). Returns 0 and `run` has the outcome,
 * or -EINPROGRESS: provider_finish is called later. */
int sts_start(StsCall *sts, ProviderRun *run, const AwsKeys *keys);
/* Valid in any state, on zeroed memory too. */
void sts_stop(StsCall *sts);
/* The default name of a role session: "tokenfs-1700000000". */
void sts_session_name(char ret_name[static 32]);
