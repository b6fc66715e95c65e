/* What an option means to which part. What --check says is only worth something if a mount is made in the same way:
 * so both are made from here. */

#include "tokenfs/worker/parts.h"

#include <string.h>

#include "config.h"

#define USER_AGENT "tokenfs/" TOKENFS_VERSION
/* The API's, and what the credential providers and other endpoints need beside them. */
#define CONNECTIONS_MAX (API_IN_FLIGHT_MAX + 8)

int parts_load_config(const Options *options, Buf *error, AwsConfig **ret_config)
{
        int r = aws_config_load(&(AwsConfigPaths){.profile = options->profile}, error, ret_config);
        if (r < 0 && error->len == 0)
                (void)buf_append_str(error, strerrordesc_np(-r));
        return r;
}

int parts_find_endpoint(
        const Options *options, const AwsConfig *config, Buf *error, AwsEndpoint *ret_endpoint)
{
        const AwsEndpointOptions wishes = {
                .region = options->region,
                .endpoint_url = options->endpoint_url,
                .use_fips = options->use_fips,
                .allow_plain_http = options->allow_plain_http,
        };
        int r = aws_endpoint_resolver(&wishes, config, error, ret_endpoint);
        if (r < 0 && error->len == 0)
                (void)buf_append_str(error, strerrordesc_np(-r));
        return r;
}

CaBundle parts_ca_bundle(const Options *options, const AwsConfig *config)
{
        const CaBundle choices[] = {
                {options->ca_bundle, "ca_bundle="},
                {secure_getenv("AWS_CA_BUNDLE"), "AWS_CA_BUNDLE"},
                {aws_config_get(config, aws_config_profile(config), "ca_bundle"), "ca_bundle of the profile"},
        };
        for (size_t i = 0; i < ARRAY_LEN(choices); i++)
                if (choices[i].path && *choices[i].path)
                        return choices[i];
        return (CaBundle){NULL, "the system's"};
}

int parts_new_http(Loop *loop, const Options *options, const AwsConfig *config, Http **ret_http)
{
        const HttpSettings settings = {
                .user_agent = USER_AGENT,
                .ca_bundle = parts_ca_bundle(options, config).path,
                .connections_max = CONNECTIONS_MAX,
        };
        return http_new(loop, &settings, ret_http);
}

int parts_new_credentials(Loop *loop, Http *http, const Options *options, CredentialChain **ret_chain)
{
        const CredentialSettings settings = {
                .loop = loop,
                .http = http,
                .profile = options->profile,
                .allow_plain_http = options->allow_plain_http,
                .use_fips = options->use_fips,
        };
        return credential_chain_new(&settings, ret_chain);
}

int parts_new_client(Loop *loop, Http *http, CredentialChain *credentials, const AwsEndpoint *endpoint,
        const Options *options, ApiClient **ret_client)
{
        const ApiSettings settings = {
                .loop = loop,
                .http = http,
                .credentials = credentials,
                .endpoint = endpoint,
                .timeout_ns = options->timeout_ns,
                .allow_plain_http = options->allow_plain_http,
        };
        return api_client_new(&settings, ret_client);
}
