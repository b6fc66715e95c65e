/* Keys for signing, with their end of validity: wiped as one. */

#include "tokenfs/aws/keys.h"

void aws_keys_deinit(AwsKeys *keys)
{
        secret_wipe(keys->access_key_id, sizeof keys->access_key_id);
        secret_deinit(&keys->secret_access_key);
        secret_deinit(&keys->session_token);
}

void aws_credentials_deinit(AwsCredentials *credentials)
{
        aws_keys_deinit(&credentials->keys);
        *credentials = (AwsCredentials){0};
}

const char *credentials_error_name(CredentialsError error)
{
        static const char *const names[] = {
                [CREDENTIALS_OK] = "ok",
                [CREDENTIALS_E_NONE] = "none",
                [CREDENTIALS_E_INVALID] = "invalid",
                [CREDENTIALS_E_EXPIRED] = "expired",
                [CREDENTIALS_E_REJECTED] = "rejected",
                [CREDENTIALS_E_FAILED] = "unreachable",
        };
        return names[error];
}
