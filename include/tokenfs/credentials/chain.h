#pragma once
/* Credentials, and the chain of providers that finds them. Asynchronous: a provider may call HTTP, or run a
 * process, on the loop. */

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
        Http *http; /* borrowed for the chain's life */
        const char
                *profile; /* option `profile=`, which outdoes keys in the environment (AWS_PROFILE doesn't);
                                       * NULL: the environment's; copied */
        bool allow_plain_http; /* for service endpoints that aren't loopback */
        bool use_fips; /* option; see AwsEndpointOptions */
} CredentialSettings;
int credential_chain_new(const CredentialSettings *settings, CredentialChain **ret_chain);
/* Waiters must be gone before. Returns NULL. */
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

/* The credentials to sign with now. Returns CREDENTIALS_OK with *ret_credentials borrowed until the loop's next
 * turn, when they are at hand (a refresh that is near is started in the background). Otherwise -EINPROGRESS: the
 * wait's handler is called once from the loop, and then this function is asked again (on error the handler's
 * `error` and `detail` say why; `detail` names provider, file and remedy, no secrets). One refresh at a time,
 * however many wait. Files are looked at (stat) at each call at most once a second and reread when they changed. */
int credential_chain_get(CredentialChain *chain, CredentialWait *wait, CredentialHandler *handler,
        void *userdata, const AwsCredentials **ret_credentials);
/* Gives up waiting; right in any state of an initialised (zeroed) wait. */
void credential_wait_cancel(CredentialWait *wait);

/* The service refused these credentials (expired or unknown to it): the next get reads everything anew, at most
 * once in 5 seconds. */
void credential_chain_reject(CredentialChain *chain);

/* For status and --check: what is known now, without waiting. */
typedef struct CredentialStatus {
        const char *provider; /* NULL: none yet */
        char access_key_id[16]; /* shortened: "AKIA…WXYZ" */
        int64_t expires_wall_ns; /* INT64_MAX: never */
        CredentialsError error; /* of the last try */
        const char *detail; /* of that error; "" */
        bool is_valid; /* there are some, and they haven't expired: with an error, they serve on */
        const char *warning; /* what the user should look at; "" */
} CredentialStatus;
void credential_chain_status(const CredentialChain *chain, CredentialStatus *ret_status);
