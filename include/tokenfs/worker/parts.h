#pragma once
/* The parts behind the cache, each made from the options and what they refer to: for the back end, which stacks them,
 * and for --check, which looks at one after the other. */

#include "tokenfs/api/client.h"
#include "tokenfs/aws/config.h"
#include "tokenfs/credentials/chain.h"
#include "tokenfs/aws/endpoint.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/options/options.h"
#include "tokenfs/net/http.h"
#include "tokenfs/net/loop.h"

/* As aws_config_load and aws_endpoint_resolver; `error` is never empty on failure. */
int parts_load_config(const Options *options, Buf *error, AwsConfig **ret_config);
int parts_find_endpoint(
        const Options *options, const AwsConfig *config, Buf *error, AwsEndpoint *ret_endpoint);

/* Whose certificates are trusted. Borrowed from the options, the environment or the configuration. */
typedef struct CaBundle {
        const char *path; /* NULL: the system's */
        const char *origin; /* what chose it, for people; a constant */
} CaBundle;
CaBundle parts_ca_bundle(const Options *options, const AwsConfig *config);

/* As http_new, credential_chain_new, api_client_new. */
int parts_new_http(Loop *loop, const Options *options, const AwsConfig *config, Http **ret_http);
int parts_new_credentials(Loop *loop, Http *http, const Options *options, CredentialChain **ret_chain);
int parts_new_client(Loop *loop, Http *http, CredentialChain *credentials, const AwsEndpoint *endpoint,
        const Options *options, ApiClient **ret_client);
