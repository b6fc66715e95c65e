/* The endpoint of a container's host: Amazon ECS, EKS Pod Identity, and compatible ones.
 *
 * AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is a path on 169.254.170.2. AWS_CONTAINER_CREDENTIALS_FULL_URI is a URL:
 * https, or http to this machine or to one of the hosts' addresses. Otherwise a forged variable could make the daemon
 * send the authorization token in clear text. The token is in a variable, or in a file that is read each time, as it
 * rotates. */

#include "provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tokenfs/aws/environment.h"
#include "container.h"
#include "http.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"

#define CONTAINER_ADDRESS "http://169.254.170.2"
#define CONTAINER_TIMEOUT_NS (2 * NS_PER_S)
#define CONTAINER_ATTEMPTS 3
#define CONTAINER_PAUSE_NS (500 * NS_PER_MS)

typedef struct ContainerState {
        Buf url, token;
        HttpHeader headers[2];
        ProviderCall call;
} ContainerState;

/* The host of a URL, in brackets if it is IPv6. False: there is none, or it is malformed. */
static bool copy_host(const char *authority, char ret_host[static 256])
{
        size_t len = *authority == '['
                             ? strspn(authority + 1, "0123456789abcdefABCDEF:.") + 1
                             : strspn(authority,
                                       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");
        if (*authority == '[' && authority[len++] != ']')
                return false;
        if (len == 0 || len > 255)
                return false;
        memcpy(ret_host, authority, len);
        ret_host[len] = '\0';
        const char *rest = authority + len;
        if (*rest == ':')
                rest += 1 + strspn(rest + 1, "0123456789");
        return !*rest || strchr("/?", *rest);
}

bool container_url_is_allowed(const char *url)
{
        static const char *const hosts[] = {"169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
        char host[256];
        for (const char *c = url; *c; c++)
                if (*c <= ' ' || *c > '~' || *c == '\\' || *c == '#')
                        return false;
        if (strncasecmp(url, "https://", 8) == 0)
                return copy_host(url + 8, host);
        if (strncasecmp(url, "http://", 7) != 0 || !copy_host(url + 7, host))
                return false;
        for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
                if (strcasecmp(host, hosts[i]) == 0)
                        return true;
        return http_host_is_loopback(host);
}

/* Returns 1, or 0 and the failure is set. */
static int set_url(ProviderRun *run, ContainerState *state)
{
        const char *relative = environment_get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        state->url = BUF_INIT(4096);
        if (relative && *relative != '/')
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI doesn't start with a slash");
        if (relative)
                (void)buf_appendf(&state->url, CONTAINER_ADDRESS "%s", relative);
        else
                (void)buf_append_str(&state->url, environment_get("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
        if (state->url.error == -ENOMEM)
                return provider_no_memory(run);
        if (state->url.error || !container_url_is_allowed(buf_str(&state->url)))
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "the address in %s is refused: it must be https, or http to this machine, "
                        "169.254.170.2, "
                        "169.254.170.23 or [fd00:ec2::23]",
                        relative ? "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
                                 : "AWS_CONTAINER_CREDENTIALS_FULL_URI");
        return 1;
}

/* Returns 1, or 0 and the failure is set. */
static int set_token(ProviderRun *run, ContainerState *state)
{
        const char *path = environment_get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        const char *token = environment_get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
        const char *origin =
                path ? "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" : "AWS_CONTAINER_AUTHORIZATION_TOKEN";
        state->token = BUF_INIT(PROVIDER_ANSWER_MAX);
        int r = path    ? provider_read_file(path, &state->token)
                : token ? buf_append_str(&state->token, token)
                        : 0;
        if (r == -ENOMEM)
                return provider_no_memory(run);
        if (r < 0)
                return provider_fail(run, CREDENTIALS_E_INVALID, "the file that %s names can't be read: %s",
                        origin, strerrordesc_np(-r));
        for (size_t i = 0; i < state->token.len; i++)
                if ((unsigned char)state->token.data[i] < ' ')
                        return provider_fail(run, CREDENTIALS_E_INVALID,
                                "the authorization token from %s has a line break or another control "
                                "character",
                                origin);
        return 1;
}

/* In a pod's first second the agent answers, but does not know the pod yet. */
static bool is_not_ready(const HttpResponse *response)
{
        return response->status != 200 || !provider_answer_is_json(response);
}

static CredentialsError error_of_status(int status)
{
        if (status >= 500 || status == 429)
                return CREDENTIALS_E_FAILED;
        return status == 401 || status == 403 ? CREDENTIALS_E_REJECTED : CREDENTIALS_E_INVALID;
}

static void on_response(const HttpResponse *response, void *userdata)
{
        ProviderRun *run = userdata;
        CLEANUP(json_free_p) cJSON *json = NULL;
        int r = 0;
        if (response->error != HTTP_OK)
                (void)provider_fail_call(run, "the container's host", response);
        else if (response->status != 200)
                (void)provider_fail(run, error_of_status(response->status),
                        "the container's host answered with status %d; check the task's or pod's role",
                        response->status);
        else if ((r = json_parse(buf_str(&response->body), response->body.len, 8, &json)) == -ENOMEM)
                (void)provider_no_memory(run);
        else if (r < 0)
                (void)provider_fail(
                        run, CREDENTIALS_E_INVALID, "the answer of the container's host is no JSON");
        else
                (void)provider_found_json(run, "the answer of the container's host", json, "Token", true);
        provider_finish(run);
}

static int container_start(ProviderRun *run)
{
        if (!environment_get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") &&
                !environment_get("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
                return 0;
        ContainerState *state = calloc(1, sizeof(*state));
        if (!state)
                return provider_no_memory(run);
        run->state = state;
        if (set_url(run, state) == 0 || set_token(run, state) == 0)
                return 0;
        state->headers[0] = (HttpHeader){"Accept", "application/json"};
        state->headers[1] = (HttpHeader){"Authorization", buf_str(&state->token)};
        int r = provider_call_start(&state->call, run->context,
                &(HttpRequest){
                        .method = "GET",
                        .url = buf_str(&state->url),
                        .headers = state->headers,
                        .header_count = state->token.len > 0 ? 2 : 1,
                        .timeout_ns = CONTAINER_TIMEOUT_NS,
                        .response_max = PROVIDER_ANSWER_MAX,
                        .proxy = HTTP_PROXY_NONE,
                        .allow_plain = true,
                },
                &(ProviderCallRules){CONTAINER_ATTEMPTS, CONTAINER_PAUSE_NS, is_not_ready, NULL}, on_response,
                run);
        if (r == -ENOMEM)
                return provider_no_memory(run);
        if (r < 0)
                return provider_fail(
                        run, CREDENTIALS_E_INVALID, "the address of the container's host is malformed");
        return -EINPROGRESS;
}

static void container_stop(ProviderRun *run)
{
        ContainerState *state = run->state;
        provider_call_stop(&state->call);
        buf_deinit(&state->url);
        buf_deinit(&state->token);
        free(state);
}

const Provider provider_container = {.name = "container", .start = container_start, .stop = container_stop};
