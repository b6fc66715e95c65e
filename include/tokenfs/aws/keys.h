#pragma once
/* Keys for signing, and the kinds of failure to get them. */

#include <stdint.h>

#include "tokenfs/base/secret.h"

typedef struct AwsKeys {
        char access_key_id[129];
        Secret secret_access_key;
        Secret session_token; /* unset: none */
} AwsKeys;
/* Wipes and frees the members. */
void aws_keys_deinit(AwsKeys *keys);

typedef struct AwsCredentials {
        AwsKeys keys;
        int64_t expires_wall_ns; /* INT64_MAX: never */
        char provider[48]; /* for people: "environment", "login (profile web)" */
} AwsCredentials;
/* Wipes and frees the members, and zeroes the credentials. */
void aws_credentials_deinit(AwsCredentials *credentials);

typedef enum CredentialsError {
        CREDENTIALS_OK,
        CREDENTIALS_E_NONE, /* no provider has credentials: ENOKEY */
        CREDENTIALS_E_INVALID, /* a provider is configured, but gives none (broken file, bad answer, failing program): ENOKEY */
        CREDENTIALS_E_EXPIRED, /* they have expired and can't be renewed: EKEYEXPIRED */
        CREDENTIALS_E_REJECTED, /* the provider's service refuses (STS AccessDenied, SSO Unauthorized): EKEYREJECTED */
        CREDENTIALS_E_FAILED, /* the provider's service can't be reached, or fails for now; transient */
} CredentialsError;
/* For machines: "ok", "none", "invalid", "expired", "rejected", "unreachable". */
const char *credentials_error_name(CredentialsError error);
