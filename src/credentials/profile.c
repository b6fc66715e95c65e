/* Static keys of a profile: in the shared credentials file, and in the config file.
 *
 * The standard order puts the credentials file before credential_process and the config file behind it: these are two
 * providers. A key id and its secret must be in the same file. */

#include "provider.h"

#include <errno.h>

typedef const char *ProfileGet(const AwsConfig *config, const char *profile, const char *key);

static int find_keys(ProviderRun *run, ProfileGet *get, const char *file)
{
        const AwsConfig *config = run->context->config;
        const char *access_key_id = get(config, run->profile, "aws_access_key_id");
        if (!access_key_id)
                return 0;
        const char *secret = get(config, run->profile, "aws_secret_access_key");
        if (!secret)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "%.200s has aws_access_key_id but no aws_secret_access_key; give both or neither",
                        file);
        const char *token = get(config, run->profile, "aws_security_token");
        if (!token)
                token = get(config, run->profile, "aws_session_token");
        return provider_found(run, file, access_key_id, secret, token, INT64_MAX);
}

static int shared_credentials_start(ProviderRun *run)
{
        return find_keys(
                run, aws_config_get_from_credentials, aws_config_credentials_file(run->context->config));
}

static int config_file_start(ProviderRun *run)
{
        return find_keys(run, aws_config_get_from_config, aws_config_config_file(run->context->config));
}

const Provider provider_shared_credentials = {
        .name = "shared credentials file",
        .is_of_profile = true,
        .start = shared_credentials_start,
};
const Provider provider_config_file = {
        .name = "config file",
        .is_of_profile = true,
        .start = config_file_start,
};
