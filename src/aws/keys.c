/* Keys for signing, with their end of validity: copied and wiped as one. */

#include "tokenfs/aws/keys.h"

#include <string.h>

void aws_keys_deinit(AwsKeys *keys)
{
        secret_wipe(keys->access_key_id, sizeof keys->access_key_id);
        secret_deinit(&keys->secret_access_key);
        secret_deinit(&keys->session_token);
}

int aws_keys_copy(const AwsKeys *keys, AwsKeys *ret_keys)
{
        AwsKeys copy = {0};
        memcpy(copy.access_key_id, keys->access_key_id, sizeof copy.access_key_id);
        const Secret *secret = &keys->secret_access_key, *token = &keys->session_token;
        int r = secret->data ? secret_set(&copy.secret_access_key, secret->data, secret->len) : 0;
        if (r == 0 && token->data)
                r = secret_set(&copy.session_token, token->data, token->len);
        if (r < 0) {
                aws_keys_deinit(&copy);
                return r;
        }
        *ret_keys = copy;
        return 0;
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
