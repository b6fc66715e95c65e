/* The instance metadata service of Amazon EC2: the role of the machine.
 *
 * Version 2 of its protocol has three calls: for a session token, the role's name and its credentials. Version 1 has
 * no token, so any program that can be made to fetch a URL speaks it: it is used only if the user turns it on. Most
 * machines are no instances: a missing service is no error, and the note has the reason. If the token call times out
 * inside a container, the hop limit of its answer is mostly 1.
 *
 * If the service can't renew the credentials, it returns the last ones, even after their end. The other services
 * accept them in that case, so they are used for some more minutes, as the AWS tools do. */

#include "provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "tokenfs/aws/environment.h"
#include "http.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/parse.h"

#define IMDS_ROLES "latest/meta-data/iam/security-credentials/"
#define IMDS_PAUSE_NS (200 * NS_PER_MS)
#define IMDS_EXTENSION_S 900 /* and a random number up to 600 more */

typedef struct ImdsState {
        ProviderRun *run;
        uint64_t timeout_s, attempts;
        bool allows_v1;
        Buf base, url, token;
        HttpHeader headers[1];
        void (*step)(struct ImdsState *state, const HttpResponse *response);
        ProviderCall call;
} ImdsState;
typedef void ImdsStep(ImdsState *state, const HttpResponse *response);

/* The variable, else the profile's key. */
static const char *get(const ProviderRun *run, const char *variable, const char *key)
{
        const char *value = environment_get(variable);
        return value ? value
                     : aws_config_get(run->context->config, aws_config_profile(run->context->config), key);
}

static int get_number(
        const ProviderRun *run, const char *variable, const char *key, uint64_t max, uint64_t *ret_value)
{
        const char *text = get(run, variable, key);
        *ret_value = 1;
        return text && (parse_uint(text, max, ret_value) < 0 || *ret_value == 0) ? -EINVAL : 0;
}

/* Returns 1, or 0 and the failure is set. */
static int read_settings(ProviderRun *run, ImdsState *state)
{
        const char *endpoint = get(run, "AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
        const char *mode =
                get(run, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode");
        const char *use_ipv6 = get(run, "AWS_IMDS_USE_IPV6", "imds_use_ipv6");
        const char *v1_disabled = get(run, "AWS_EC2_METADATA_V1_DISABLED", "ec2_metadata_v1_disabled");
        bool is_ipv6 = false, is_v1_disabled = true;
        if (mode && strcasecmp(mode, "ipv4") != 0 && strcasecmp(mode, "ipv6") != 0)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is neither IPv4 nor IPv6");
        if (mode)
                is_ipv6 = strcasecmp(mode, "ipv6") == 0;
        else if (use_ipv6)
                (void)parse_bool(use_ipv6, &is_ipv6);
        if (v1_disabled)
                (void)parse_bool(v1_disabled, &is_v1_disabled);
        state->allows_v1 = !is_v1_disabled;
        if (get_number(run, "AWS_METADATA_SERVICE_TIMEOUT", "metadata_service_timeout", 60,
                    &state->timeout_s) < 0)
                return provider_fail(
                        run, CREDENTIALS_E_INVALID, "AWS_METADATA_SERVICE_TIMEOUT isn't 1 to 60");
        if (get_number(run, "AWS_METADATA_SERVICE_NUM_ATTEMPTS", "metadata_service_num_attempts", 20,
                    &state->attempts) < 0)
                return provider_fail(
                        run, CREDENTIALS_E_INVALID, "AWS_METADATA_SERVICE_NUM_ATTEMPTS isn't 1 to 20");

        state->base = BUF_INIT(1024);
        (void)buf_append_str(&state->base, endpoint  ? endpoint
                                           : is_ipv6 ? "http://[fd00:ec2::254]"
                                                     : "http://169.254.169.254");
        if (state->base.len > 0 && state->base.data[state->base.len - 1] != '/')
                (void)buf_append_char(&state->base, '/');
        state->url = BUF_INIT(2048);
        state->token = BUF_INIT(4096);
        return state->base.error == 0 ? 1
                                      : provider_fail(run, CREDENTIALS_E_INVALID, "the endpoint is too long");
}

static void on_response(const HttpResponse *response, void *userdata)
{
        ImdsState *state = userdata;
        state->step(state, response);
}

static bool has_nothing(const HttpResponse *response)
{
        return response->status != 200 || response->body.len == 0;
}

static bool has_no_json(const HttpResponse *response)
{
        return has_nothing(response) || !provider_answer_is_json(response);
}

/* Returns -EINPROGRESS, or 0 and the failure is set. */
static int call(ImdsState *state, const char *method, const char *path, const char *more_path,
        bool (*is_worth_repeating)(const HttpResponse *response), ImdsStep *step)
{
        buf_clear(&state->url);
        (void)buf_appendf(&state->url, "%s%s%s", buf_str(&state->base), path, more_path);
        state->step = step;
        bool is_token_call = strcmp(method, "PUT") == 0;
        state->headers[0] = is_token_call ? (HttpHeader){"x-aws-ec2-metadata-token-ttl-seconds", "21600"}
                                          : (HttpHeader){"x-aws-ec2-metadata-token", buf_str(&state->token)};
        int r = state->url.error;
        if (r == 0)
                r = provider_call_start(&state->call, state->run->context,
                        &(HttpRequest){
                                .method = method,
                                .url = buf_str(&state->url),
                                .headers = state->headers,
                                .header_count = is_token_call || state->token.len > 0 ? 1 : 0,
                                .timeout_ns = state->timeout_s * NS_PER_S,
                                .response_max = PROVIDER_ANSWER_MAX,
                                .proxy = HTTP_PROXY_NONE,
                                .allow_plain = true,
                        },
                        &(ProviderCallRules){
                                (unsigned)state->attempts, IMDS_PAUSE_NS, is_worth_repeating, NULL},
                        on_response, state);
        if (r == -ENOMEM)
                return provider_no_memory(state->run);
        if (r < 0)
                return provider_fail(
                        state->run, CREDENTIALS_E_INVALID, "the endpoint isn't an address like http://host");
        return -EINPROGRESS;
}

static void go_on(ImdsState *state, int r)
{
        if (r != -EINPROGRESS)
                provider_finish(state->run);
}

static void pass_status(ImdsState *state, const char *what, const HttpResponse *response)
{
        if (response->error != HTTP_OK)
                (void)provider_pass(state->run, "%s wasn't answered (%.100s)", what, response->detail);
        else
                (void)provider_pass(state->run, "%s was answered with status %d", what, response->status);
        provider_finish(state->run);
}

/* A new answer has keys that end soon: the service can't renew them for now. */
static void extend(ProviderRun *run)
{
        AwsCredentials *found = &run->credentials;
        if (run->error != CREDENTIALS_OK)
                return;
        uint32_t random;
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
                random = 0;
        int64_t extension_s = IMDS_EXTENSION_S + 120 + (int64_t)(random % 481);
        int64_t extended_ns = clock_wall_ns() + extension_s * (int64_t)NS_PER_S;
        if (found->expires_wall_ns > extended_ns)
                return;
        if (found->expires_wall_ns <= clock_wall_ns())
                log_info("credentials: the instance metadata service can't renew for now; its last ones are "
                         "used on");
        found->expires_wall_ns = extended_ns;
}

static void on_credentials(ImdsState *state, const HttpResponse *response)
{
        ProviderRun *run = state->run;
        if (response->error != HTTP_OK || response->status != 200) {
                pass_status(state, "the call for the role's credentials", response);
                return;
        }
        CLEANUP(json_free_p) cJSON *json = NULL;
        if (json_parse(buf_str(&response->body), response->body.len, 8, &json) < 0)
                (void)provider_pass(run, "the role's credentials are no JSON");
        else if (!json_string(json, "AccessKeyId"))
                (void)provider_pass(
                        run, "the role has no credentials; check its trust policy (ec2.amazonaws.com)");
        else
                (void)provider_found_json(run, "the role's credentials", json, "Token", true);
        extend(run);
        provider_finish(run);
}

static void on_role(ImdsState *state, const HttpResponse *response)
{
        if (response->error == HTTP_OK && response->status == 404) {
                (void)provider_pass(state->run, "the instance has no role; attach an instance profile");
                provider_finish(state->run);
                return;
        }
        if (response->error != HTTP_OK || response->status != 200) {
                pass_status(state, "the call for the role's name", response);
                return;
        }
        char role[129];
        size_t len = strcspn(buf_str(&response->body), "\r\n");
        if (len == 0 || len >= sizeof(role)) {
                (void)provider_pass(state->run, "the role's name is empty or too long");
                provider_finish(state->run);
                return;
        }
        memcpy(role, response->body.data, len);
        role[len] = '\0';
        Buf encoded = BUF_INIT(512);
        (void)buf_append_uri(&encoded, role, len, "+=,@");
        go_on(state, call(state, "GET", IMDS_ROLES, buf_str(&encoded), has_no_json, on_credentials));
        buf_deinit(&encoded);
}

static void on_token(ImdsState *state, const HttpResponse *response)
{
        bool is_token = response->error == HTTP_OK && response->status == 200 && response->body.len > 0;
        if (is_token)
                (void)buf_append(&state->token, response->body.data, response->body.len);
        if (is_token && (state->token.error || strpbrk(buf_str(&state->token), "\r\n"))) {
                (void)provider_pass(state->run, "the session token of the service is malformed");
                provider_finish(state->run);
        } else if (is_token || (state->allows_v1 && response->status != 400)) {
                go_on(state, call(state, "GET", IMDS_ROLES, "", has_nothing, on_role));
        } else if (response->error == HTTP_E_TIMEOUT) {
                (void)provider_pass(state->run,
                        "no answer; on an instance in a container, its hop limit must be at least 2");
                provider_finish(state->run);
        } else {
                pass_status(state, "the call for a session token", response);
        }
}

static int imds_start(ProviderRun *run)
{
        const char *disabled = environment_get("AWS_EC2_METADATA_DISABLED");
        if (disabled && strcasecmp(disabled, "true") == 0)
                return provider_pass(run, "switched off by AWS_EC2_METADATA_DISABLED");
        ImdsState *state = calloc(1, sizeof(*state));
        if (!state)
                return provider_no_memory(run);
        run->state = state;
        state->run = run;
        if (read_settings(run, state) == 0)
                return 0;
        return call(state, "PUT", "latest/api/token", "", NULL, on_token);
}

static void imds_stop(ProviderRun *run)
{
        ImdsState *state = run->state;
        provider_call_stop(&state->call);
        buf_deinit(&state->base);
        buf_deinit(&state->url);
        buf_deinit(&state->token);
        free(state);
}

const Provider provider_imds = {.name = "instance metadata", .start = imds_start, .stop = imds_stop};
