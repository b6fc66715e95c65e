/* The replaceable back end.
 *
 * Why: SIGHUP is to read everything anew: files, endpoint, CA bundle, connections, credentials. Telling each part to
 * forget, in the right order, would miss the part that nobody thought of. How: all of it is one stack, and a second
 * one is built beside it; when that succeeded, the source that the cache knows points to the new one. The old one
 * lives until its calls have been cancelled. Both exist at once for one turn of the loop only. */

#include "tokenfs/worker/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/worker/parts.h"
#include "tokenfs/base/log.h"

typedef struct Stack {
        AwsConfig *config;
        AwsEndpoint endpoint;
        Http *http;
        CredentialChain *credentials;
        ApiClient *client;
} Stack;

struct Backend {
        Loop *loop;
        const Options *options;
        Stack *stack;
        Stack *retired;
        ApiCounters past; /* of stacks that are gone */
};

static Stack *stack_free(Stack *stack)
{
        if (!stack)
                return NULL;
        api_client_free(stack->client);
        credential_chain_free(stack->credentials);
        http_free(stack->http);
        aws_endpoint_deinit(&stack->endpoint);
        aws_config_free(stack->config);
        free(stack);
        return NULL;
}
CLEANUP_DEFINE(Stack *, stack_free);

/* One that the option names must be there. One that only the environment names may be left from something else, and
 * need not be used. */
static int check_profile(const Options *options, const AwsConfig *config)
{
        const char *profile = aws_config_profile(config);
        if (!aws_config_profile_is_explicit(config) || aws_config_has_profile(config, profile))
                return 0;
        log_write(options->profile ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
                "profile '%s' is neither in %s nor in %s", profile, aws_config_config_file(config),
                aws_config_credentials_file(config));
        return options->profile ? -ENOENT : 0;
}

static int load_config(const Options *options, AwsConfig **ret_config)
{
        Buf error = BUF_INIT(1024);
        int r = parts_load_config(options, &error, ret_config);
        if (r < 0)
                log_error("AWS configuration: %s", buf_str(&error));
        buf_deinit(&error);
        return r < 0 ? r : check_profile(options, *ret_config);
}

static int find_endpoint(const Options *options, const AwsConfig *config, AwsEndpoint *ret_endpoint)
{
        Buf error = BUF_INIT(1024);
        int r = parts_find_endpoint(options, config, &error, ret_endpoint);
        if (r < 0)
                log_error("endpoint: %s", buf_str(&error));
        buf_deinit(&error);
        return r;
}

static int stack_new(Loop *loop, const Options *options, Stack **ret_stack)
{
        CLEANUP(stack_free_p) Stack *stack = calloc(1, sizeof *stack);
        if (!stack)
                return -ENOMEM;
        int r = load_config(options, &stack->config);
        if (r < 0)
                return r;
        r = find_endpoint(options, stack->config, &stack->endpoint);
        if (r < 0)
                return r;
        r = parts_new_http(loop, options, stack->config, &stack->http);
        if (r == 0)
                r = parts_new_credentials(loop, stack->http, options, &stack->credentials);
        if (r == 0)
                r = parts_new_client(
                        loop, stack->http, stack->credentials, &stack->endpoint, options, &stack->client);
        if (r < 0)
                return r;
        *ret_stack = TAKE(stack);
        return 0;
}

int backend_new(Loop *loop, const Options *options, Backend **ret_backend)
{
        CLEANUP(backend_free_p) Backend *backend = calloc(1, sizeof *backend);
        if (!backend)
                return -ENOMEM;
        backend->loop = loop;
        backend->options = options;
        int r = stack_new(loop, options, &backend->stack);
        if (r < 0)
                return r;
        log_info("endpoint %s (%s)", backend->stack->endpoint.url, backend->stack->endpoint.origin);
        *ret_backend = TAKE(backend);
        return 0;
}

Backend *backend_free(Backend *backend)
{
        if (!backend)
                return NULL;
        stack_free(backend->retired);
        stack_free(backend->stack);
        free(backend);
        return NULL;
}

static int source_start(void *userdata, ApiOperation operation, const char *id, const char *next_token,
        ApiHandler *handler, void *handler_userdata, ApiCall **ret_call)
{
        Backend *backend = userdata;
        return api_start(
                backend->stack->client, operation, id, next_token, handler, handler_userdata, ret_call);
}

static void source_health(void *userdata, ApiHealth *ret_health)
{
        backend_health(userdata, ret_health);
}

CacheSource backend_source(Backend *backend)
{
        return (CacheSource){source_start, api_cancel, source_health, backend};
}

static void add_counters(ApiCounters *sum, const ApiCounters *more)
{
        for (size_t i = 0; i < API_OPERATION_COUNT; i++)
                for (size_t k = 0; k < API_ERROR_COUNT; k++)
                        sum->attempts[i][k] += more->attempts[i][k];
        for (size_t i = 0; i < API_LATENCY_BUCKETS; i++)
                sum->latency[i] += more->latency[i];
        sum->retries += more->retries;
        sum->latency_sum_s += more->latency_sum_s;
}

void backend_renew(Backend *backend)
{
        Stack *stack = NULL;
        if (stack_new(backend->loop, backend->options, &stack) < 0) {
                log_error("the new configuration can't be used: going on with the old one");
                http_forget_connections(backend->stack->http);
                credential_chain_forget(backend->stack->credentials);
                api_client_forget(backend->stack->client);
                return;
        }
        if (strcmp(stack->endpoint.url, backend->stack->endpoint.url) != 0)
                log_info("endpoint is now %s (%s)", stack->endpoint.url, stack->endpoint.origin);
        backend_retire(backend);
        backend->retired = backend->stack;
        backend->stack = stack;
}

void backend_retire(Backend *backend)
{
        if (!backend->retired)
                return;
        add_counters(&backend->past, api_client_counters(backend->retired->client));
        backend->retired = stack_free(backend->retired);
}

const AwsConfig *backend_config(const Backend *backend)
{
        return backend->stack->config;
}

const AwsEndpoint *backend_endpoint(const Backend *backend)
{
        return &backend->stack->endpoint;
}

void backend_credentials(const Backend *backend, CredentialStatus *ret_status)
{
        credential_chain_status(backend->stack->credentials, ret_status);
}

void backend_health(const Backend *backend, ApiHealth *ret_health)
{
        api_client_health(backend->stack->client, ret_health);
}

void backend_counters(const Backend *backend, ApiCounters *ret_counters)
{
        *ret_counters = backend->past;
        add_counters(ret_counters, api_client_counters(backend->stack->client));
}

int64_t backend_skew_s(const Backend *backend)
{
        return api_client_skew_s(backend->stack->client);
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
