#pragma once
/* The layers behind the caches: configuration, endpoint, connections, credentials and the API client, made from the
 * options and the files that they name. A worker has all of them as one Backend; --check makes them one by one. */

#include "tokenfs/api/client.h"
#include "tokenfs/aws/config.h"
#include "tokenfs/credentials/chain.h"
#include "tokenfs/aws/endpoint.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/source.h"
#include "tokenfs/options/options.h"
#include "tokenfs/net/http.h"
#include "tokenfs/net/loop.h"

typedef struct Backend Backend;

/* `options` is borrowed. 0, -ENOMEM, or another negative errno: the configuration can't be used, and the log says
 * why. */
int backend_new(Loop *loop, const Options *options, Backend **ret_backend);
/* The caller must have cancelled all calls. Returns NULL. */
Backend *backend_free(Backend *backend);
CLEANUP_DEFINE(Backend *, backend_free);

/* The source for the caches. */
CacheSource backend_source(Backend *backend);

/* The configuration; the caller frees it. It may hold keys, and no layer needs it any more, since the credential providers
 * read the files themselves. NULL the second time. */
AwsConfig *backend_take_config(Backend *backend);

/* The next calls look names up and connect again; calls in flight continue. */
void backend_forget_connections(Backend *backend);

/* Borrowed; NULL once it was taken. */
const AwsConfig *backend_config(const Backend *backend);

/* For status and metrics. Borrowed. */
const AwsEndpoint *backend_endpoint(const Backend *backend);
void backend_credentials(const Backend *backend, CredentialStatus *ret_status);
/* Finds the credentials, as the first call would. Returns as credential_chain_get. */
int backend_find_credentials(
        Backend *backend, CredentialWait *wait, CredentialHandler *handler, void *userdata);
void backend_health(const Backend *backend, ApiHealth *ret_health);
void backend_counters(const Backend *backend, ApiCounters *ret_counters);
int64_t backend_skew_s(const Backend *backend);

/* Reads the configuration and finds the endpoint, to see whether backend_new would succeed. Returns as backend_new. */
int backend_probe(const Options *options);

/* The layers one by one. As aws_config_load and aws_endpoint_resolver; `error` is never empty on failure. */
int backend_load_config(const Options *options, Buf *error, AwsConfig **ret_config);
int backend_find_endpoint(
        const Options *options, const AwsConfig *config, Buf *error, AwsEndpoint *ret_endpoint);
/* As http_new, credential_chain_new, api_client_new. */
int backend_new_http(Loop *loop, const Options *options, const AwsConfig *config, Http **ret_http);
int backend_new_credentials(Loop *loop, Http *http, const Options *options, CredentialChain **ret_chain);
int backend_new_client(Loop *loop, Http *http, CredentialChain *credentials, const AwsEndpoint *endpoint,
        const Options *options, ApiClient **ret_client);

/* The identity of endpoint and account, as far as the configuration has it: no call is made. */
int backend_write_identity(const AwsConfig *config, const AwsEndpoint *endpoint, Buf *out);

/* The trusted certificates; those of the system if neither is given. Borrowed from the options, the environment or the
 * configuration. */
typedef struct CaBundle {
        const char *path, *directory; /* a file, and a list of directories as in SSL_CERT_DIR; NULL: none */
        const char *origin; /* the setting that names it, for people; a constant */
} CaBundle;
CaBundle backend_ca_bundle(const Options *options, const AwsConfig *config);
