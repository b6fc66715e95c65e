#pragma once
/* The keys that requests are signed with, and the kinds of failure to get them. */

#include <stdint.h>

#include "tokenfs/base/secret.h"

typedef struct AwsKeys {
        char access_key_id[129];
        Secret secret_access_key;
        Secret session_token; /* unset: none */
} AwsKeys;
/* Wipes and frees what the keys own. */
void aws_keys_deinit(AwsKeys *keys);
/* A deep copy; what *ret_keys held before isn't freed. 0 or -ENOMEM (then *ret_keys is untouched). */
int aws_keys_copy(const AwsKeys *keys, AwsKeys *ret_keys);

typedef struct AwsCredentials {
        AwsKeys keys;
        int64_t expires_wall_ns; /* INT64_MAX: never */
        char provider[48]; /* for people: "environment", "profile web", "assume role …" shortened */
} AwsCredentials;
/* Wipes and frees what the credentials own; they are zeroed. */
void aws_credentials_deinit(AwsCredentials *credentials);

typedef enum CredentialsError {
        CREDENTIALS_OK,
        CREDENTIALS_E_NONE, /* no provider has any: ENOKEY */
        CREDENTIALS_E_INVALID, /* a provider is configured, but wrongly (broken file, mfa_serial, bad answer): ENOKEY */
        CREDENTIALS_E_EXPIRED, /* there were some, they expired and can't be refreshed: EKEYEXPIRED */
        CREDENTIALS_E_REJECTED, /* the provider's service refused (STS AccessDenied, SSO Unauthorized): EKEYREJECTED */
        CREDENTIALS_E_FAILED, /* the provider's service can't be reached or fails for now; transient */
} CredentialsError;
/* For machines: "ok", "none", "invalid", "expired", "rejected", "unreachable". */
const char *credentials_error_name(CredentialsError error);
