#pragma once
/* The chain of providers, which finds the credentials. Asynchronous: a provider may call a service, or run a program,
 * on the loop. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/aws/config.h"
#include "tokenfs/aws/keys.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/list.h"
#include "tokenfs/net/http.h"
#include "tokenfs/net/loop.h"

typedef struct CredentialChain CredentialChain;

typedef struct CredentialSettings {
        Loop *loop;
        Http *http; /* borrowed until credential_chain_free */
        const char *
                profile; /* option `profile=`, which precedes keys in the environment (AWS_PROFILE does not); NULL: as the environment has it; copied */
        bool allow_plain_http; /* to service endpoints that are not loopback */
        bool use_fips; /* option; see AwsEndpointOptions */
} CredentialSettings;
int credential_chain_new(const CredentialSettings *settings, CredentialChain **ret_chain);
/* All waits must have ended. Returns NULL. */
CredentialChain *credential_chain_free(CredentialChain *chain);
CLEANUP_DEFINE(CredentialChain *, credential_chain_free);

/* A wait for credentials, embedded in its owner. */
typedef struct CredentialWait CredentialWait;
typedef void CredentialHandler(
        CredentialWait *wait, CredentialsError error, const char *detail, void *userdata);
struct CredentialWait {
        ListLink link;
        CredentialHandler *handler;
        void *userdata;
};

/* The credentials to sign with. Returns CREDENTIALS_OK, and *ret_credentials is borrowed until the next turn of the
 * loop; if they end soon, a renewal starts in the background. Otherwise returns -EINPROGRESS: the loop calls the
 * handler of the wait once, and then the caller asks again. On failure, `error` and `detail` of the handler name
 * provider, file and remedy, without secrets. One renewal serves all waits. The files are checked by stat(), at most
 * once a second, and read again when they changed. */
int credential_chain_get(CredentialChain *chain, CredentialWait *wait, CredentialHandler *handler,
        void *userdata, const AwsCredentials **ret_credentials);
/* Ends a wait; valid in any state of an initialised (zeroed) wait. */
void credential_wait_cancel(CredentialWait *wait);

/* The service refused these credentials: they have expired, or it does not know them. The next get reads all files
 * again, at most once in 5 seconds. */
void credential_chain_reject(CredentialChain *chain);

/* For status and --check: the present knowledge; never waits. */
typedef struct CredentialStatus {
        const char *provider; /* NULL: none yet */
        char access_key_id[16]; /* shortened: "AKIA…WXYZ" */
        int64_t expires_wall_ns; /* INT64_MAX: never */
        CredentialsError error; /* of the last attempt */
        const char *detail; /* of that error; "" */
        bool is_valid; /* there are some, and they have not expired; if `error` is set, they still sign */
        const char *warning; /* for the user to look at; "" */
} CredentialStatus;
void credential_chain_status(const CredentialChain *chain, CredentialStatus *ret_status);
