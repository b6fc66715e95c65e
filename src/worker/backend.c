/* The layers behind the caches.
 *
 * Why one module: a worker and --check make the same layers from the same options, so that a step that succeeds in
 * --check succeeds in a mount too. No layer is replaced while a worker serves: SIGHUP makes a new worker. */

#include "tokenfs/worker/backend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "tokenfs/base/log.h"

#define USER_AGENT "tokenfs/" TOKENFS_VERSION
/* The API's calls, and those of the credential providers and other endpoints. */
#define CONNECTIONS_MAX (API_IN_FLIGHT_MAX + 8)

struct Backend {
        AwsConfig *config;
        AwsEndpoint endpoint;
        Http *http;
        CredentialChain *credentials;
        ApiClient *client;
};

int backend_load_config(const Options *options, Buf *error, AwsConfig **ret_config)
{
        int r = aws_config_load(&(AwsConfigPaths){.profile = options->profile}, error, ret_config);
        if (r < 0 && error->len == 0)
                (void)buf_append_str(error, strerrordesc_np(-r));
        return r;
}

int backend_find_endpoint(
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

/* The AWS tools' settings, then OpenSSL's, which the curl program takes as well. An empty variable is none. */
CaBundle backend_ca_bundle(const Options *options, const AwsConfig *config)
{
        const CaBundle choices[] = {
                {options->ca_bundle, NULL, "ca_bundle="},
                {secure_getenv("AWS_CA_BUNDLE"), NULL, "AWS_CA_BUNDLE"},
                {aws_config_get(config, aws_config_profile(config), "ca_bundle"), NULL,
                        "ca_bundle of the profile"},
        };
        for (size_t i = 0; i < ARRAY_LEN(choices); i++)
                if (choices[i].path && *choices[i].path)
                        return choices[i];
        const char *file = secure_getenv("SSL_CERT_FILE"), *directory = secure_getenv("SSL_CERT_DIR");
        bool has_file = file && *file, has_directory = directory && *directory;
        return (CaBundle){
                .path = has_file ? file : NULL,
                .directory = has_directory ? directory : NULL,
                .origin = has_file        ? "SSL_CERT_FILE"
                          : has_directory ? "SSL_CERT_DIR"
                                          : "the system's",
        };
}

int backend_new_http(Loop *loop, const Options *options, const AwsConfig *config, Http **ret_http)
{
        CaBundle bundle = backend_ca_bundle(options, config);
        const HttpSettings settings = {
                .user_agent = USER_AGENT,
                .ca_bundle = bundle.path,
                .ca_directory = bundle.directory,
                .connections_max = CONNECTIONS_MAX,
        };
        return http_new(loop, &settings, ret_http);
}

int backend_new_credentials(Loop *loop, Http *http, const Options *options, CredentialChain **ret_chain)
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

int backend_new_client(Loop *loop, Http *http, CredentialChain *credentials, const AwsEndpoint *endpoint,
        const Options *options, ApiClient **ret_client)
{
        const ApiSettings settings = {
                .loop = loop,
                .http = http,
                .credentials = credentials,
                .endpoint = endpoint,
                .timeout_ns = options->timeout_ns,
                .ttl_ns = options->ttl_ns,
                .stale_ns = options->stale_ns,
                .allow_plain_http = options->allow_plain_http,
        };
        return api_client_new(&settings, ret_client);
}

/* The profile that the option names must exist. The environment may name a profile that another program needs, and that
 * no provider here uses. */
static int check_profile(const Options *options, const AwsConfig *config)
{
        CLEANUP(buf_deinit) Buf error = BUF_INIT(2048);
        if (aws_config_check_profile(config, &error) == 0)
                return 0;
        log_write(options->profile ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "%s", buf_str(&error));
        return options->profile ? -ENOENT : 0;
}

/* These two log their errors. */

static int load_config(const Options *options, AwsConfig **ret_config)
{
        Buf error = BUF_INIT(1024);
        int r = backend_load_config(options, &error, ret_config);
        if (r < 0)
                log_error("AWS configuration: %s", buf_str(&error));
        buf_deinit(&error);
        return r < 0 ? r : check_profile(options, *ret_config);
}

static int find_endpoint(const Options *options, const AwsConfig *config, AwsEndpoint *ret_endpoint)
{
        Buf error = BUF_INIT(1024);
        int r = backend_find_endpoint(options, config, &error, ret_endpoint);
        if (r < 0)
                log_error("endpoint: %s", buf_str(&error));
        buf_deinit(&error);
        return r;
}

const AwsConfig *backend_config(const Backend *backend)
{
        return backend->config;
}

/* The account's number is in a key id, as `aws sts get-access-key-info` says; so a key that is renewed is of the same
 * account. 0: it isn't there. */
static uint64_t account_of_key(const char *id)
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        uint64_t bits = 0;
        if (strlen(id) != 20)
                return 0;
        for (size_t i = 4; i < 14; i++) { /* 50 bits; the first 48 hold it */
                const char *digit = strchr(digits, id[i]);
                if (!digit)
                        return 0;
                bits = bits << 5 | (uint64_t)(digit - digits);
        }
        return bits >> 2 >> 7 & ((UINT64_C(1) << 40) - 1);
}

int backend_write_identity(const AwsConfig *config, const AwsEndpoint *endpoint, Buf *out)
{
        static const char *const names[] = {"role_arn", "sso_account_id", "aws_account_id", "source_profile"};
        const char *profile = aws_config_profile(config);
        const char *key = secure_getenv("AWS_ACCESS_KEY_ID");
        if (!key || !*key)
                key = aws_config_get(config, profile, "aws_access_key_id");
        (void)buf_appendf(out, "%s\n%s\nprofile %s\n", endpoint->url, endpoint->region, profile);
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                const char *value = aws_config_get(config, profile, names[i]);
                (void)buf_appendf(out, "%s %s\n", names[i], value ? value : "");
        }
        uint64_t account = key ? account_of_key(key) : 0;
        if (account)
                (void)buf_appendf(out, "account %" PRIu64, account);
        else
                (void)buf_appendf(out, "key %s", key ? key : "");
        return out->error;
}

int backend_new(Loop *loop, const Options *options, Backend **ret_backend)
{
        CLEANUP(backend_free_p) Backend *backend = calloc(1, sizeof *backend);
        if (!backend)
                return -ENOMEM;
        int r = load_config(options, &backend->config);
        if (r == 0)
                r = find_endpoint(options, backend->config, &backend->endpoint);
        if (r == 0)
                r = backend_new_http(loop, options, backend->config, &backend->http);
        if (r == 0)
                r = backend_new_credentials(loop, backend->http, options, &backend->credentials);
        if (r == 0)
                r = backend_new_client(loop, backend->http, backend->credentials, &backend->endpoint, options,
                        &backend->client);
        if (r < 0)
                return r;
        log_info("endpoint %s (%s)", backend->endpoint.url, backend->endpoint.origin);
        *ret_backend = TAKE(backend);
        return 0;
}

Backend *backend_free(Backend *backend)
{
        if (!backend)
                return NULL;
        api_client_free(backend->client);
        credential_chain_free(backend->credentials);
        http_free(backend->http);
        aws_endpoint_deinit(&backend->endpoint);
        aws_config_free(backend->config);
        free(backend);
        return NULL;
}

int backend_probe(const Options *options)
{
        CLEANUP(aws_config_free_p) AwsConfig *config = NULL;
        AwsEndpoint endpoint = {0};
        int r = load_config(options, &config);
        if (r == 0)
                r = find_endpoint(options, config, &endpoint);
        aws_endpoint_deinit(&endpoint);
        return r;
}

static int source_start(void *userdata, const ApiQuery *query, ApiHandler *handler, void *handler_userdata,
        ApiCall **ret_call)
{
        Backend *backend = userdata;
        return api_start(backend->client, query, handler, handler_userdata, ret_call);
}

static void source_health(void *userdata, ApiHealth *ret_health)
{
        backend_health(userdata, ret_health);
}

CacheSource backend_source(Backend *backend)
{
        return (CacheSource){source_start, api_cancel, source_health, backend};
}

void backend_forget_connections(Backend *backend)
{
        http_forget_connections(backend->http);
}

AwsConfig *backend_take_config(Backend *backend)
{
        return TAKE(backend->config);
}

const AwsEndpoint *backend_endpoint(const Backend *backend)
{
        return &backend->endpoint;
}

void backend_credentials(const Backend *backend, CredentialStatus *ret_status)
{
        credential_chain_status(backend->credentials, ret_status);
}

int backend_find_credentials(
        Backend *backend, CredentialWait *wait, CredentialHandler *handler, void *userdata)
{
        const AwsCredentials *credentials;
        return credential_chain_get(backend->credentials, wait, handler, userdata, &credentials);
}

void backend_health(const Backend *backend, ApiHealth *ret_health)
{
        api_client_health(backend->client, ret_health);
}

void backend_counters(const Backend *backend, ApiCounters *ret_counters)
{
        *ret_counters = *api_client_counters(backend->client);
}

int64_t backend_skew_s(const Backend *backend)
{
        return api_client_skew_s(backend->client);
}
