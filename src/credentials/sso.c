/* IAM Identity Center: the role of the profile, with the sign-in that `aws sso login` left.
 *
 * A sign-in of an sso_session is renewed through SSO-OIDC in its last 15 minutes; one of the legacy form can't be. The
 * call for the role's credentials has the sign-in in a header. If only a person can sign in again, the error names the
 * command. */

#include "provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "service-call.h"
#include "sign-in-file.h"
#include "sso-token.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/log.h"

#define SSO_REFRESH_BEFORE_NS (INT64_C(15) * 60 * (int64_t)NS_PER_S)

/* The settings of the profile and its sso-session. Borrowed from the configuration. */
typedef struct SsoSettings {
        const char *session; /* NULL: the legacy form */
        const char *start_url, *region, *role_name, *account_id;
} SsoSettings;

typedef struct SsoState {
        ProviderRun *run;
        SsoSettings settings;
        SsoToken token;
        Buf body;
        HttpHeader headers[2];
        ServiceCall service;
} SsoState;

static const char *get(const ProviderRun *run, const char *key)
{
        return aws_config_get(run->context->config, run->profile, key);
}

static int fail_login(SsoState *state, CredentialsError error, const char *problem)
{
        return provider_fail(
                state->run, error, "%s; run `aws sso login --profile %.100s`", problem, state->run->profile);
}

/* One setting: of the session, if one is named; the profile may repeat it, but not contradict it. */
static int resolve(
        ProviderRun *run, const char *session, const char *key, bool is_of_session, const char **ret_value)
{
        const char *own = get(run, key);
        const char *shared = session ? aws_config_get_sso_session(run->context->config, session, key) : NULL;
        if (own && shared && strcmp(own, shared) != 0)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "it and [sso-session %.100s] say different things in %s; leave one", session, key);
        *ret_value = shared || (session && is_of_session) ? shared : own;
        if (!*ret_value)
                return provider_fail(run, CREDENTIALS_E_INVALID, "%s is missing%s%.100s", key,
                        session && is_of_session ? " in sso-session " : "",
                        session && is_of_session ? session : "");
        return 1;
}

/* Returns 1, or 0 and the failure is set. */
static int read_settings(ProviderRun *run, SsoSettings *settings)
{
        settings->session = get(run, "sso_session");
        if (settings->session && !aws_config_has_sso_session(run->context->config, settings->session))
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "[sso-session %.100s] doesn't exist in %.200s", settings->session,
                        aws_config_config_file(run->context->config));
        return resolve(run, settings->session, "sso_role_name", false, &settings->role_name) &&
               resolve(run, settings->session, "sso_account_id", false, &settings->account_id) &&
               resolve(run, settings->session, "sso_start_url", true, &settings->start_url) &&
               resolve(run, settings->session, "sso_region", true, &settings->region);
}

/* Returns 1, or 0 and the failure is set. */
static int load_token(SsoState *state)
{
        ProviderRun *run = state->run;
        Buf path = BUF_INIT(4096);
        int r = sso_token_load(state->settings.session ? state->settings.session : state->settings.start_url,
                &path, &state->token);
        if (r == -ENOMEM)
                (void)provider_no_memory(run);
        else if (r == -ENOENT)
                (void)fail_login(state, CREDENTIALS_E_INVALID, "nobody has signed in yet");
        else if (r < 0)
                (void)provider_fail(run, CREDENTIALS_E_INVALID,
                        "the sign-in in %.250s can't be read (%s); run `aws sso login --profile %.60s`",
                        buf_str(&path), r == -EINVAL ? "malformed" : strerrordesc_np(-r), run->profile);
        buf_deinit(&path);
        return r < 0 ? 0 : 1;
}

/* Returns -EINPROGRESS, or 0 and the failure is set. `path` is appended to the endpoint's URL. */
static int start_call(SsoState *state, const char *service, const char *method, const char *path,
        HttpHeader header, ProviderCallHandler *handler)
{
        if (service_call_find(&state->service, state->run, service, state->settings.region, path) == 0)
                return 0;
        state->headers[0] = header;
        state->headers[1] = (HttpHeader){"Accept", "application/json"};
        const ServiceRequest request = {
                .method = method,
                .headers = state->headers,
                .header_count = ARRAY_LEN(state->headers),
                .body = state->body.len > 0 ? &state->body : NULL,
        };
        return service_call_send(&state->service, &request, handler, state);
}

/* --- The role's credentials --------------------------------------------------------------------------------- */

static void read_credentials(SsoState *state, const HttpResponse *response)
{
        ProviderRun *run = state->run;
        CLEANUP(json_free_p) cJSON *json = NULL;
        const cJSON *found = NULL;
        uint64_t expires_ms = 0;
        int r = json_parse(buf_str(&response->body), response->body.len, 8, &json);
        if (r == 0)
                r = json_member(json, "roleCredentials", &found);
        const char *access_key_id = r == 0 ? json_string(found, "accessKeyId") : NULL;
        const char *secret = r == 0 ? json_string(found, "secretAccessKey") : NULL;
        const char *token = r == 0 ? json_string(found, "sessionToken") : NULL;
        if (r == -ENOMEM)
                (void)provider_no_memory(run);
        else if (!access_key_id || !secret || !token || json_uint(found, "expiration", &expires_ms) < 0)
                (void)provider_fail(run, CREDENTIALS_E_INVALID,
                        "the answer of %.100s isn't what Identity Center sends",
                        state->service.endpoint.host);
        else
                (void)provider_found(run, "the answer of Identity Center", access_key_id, secret, token,
                        expires_ms > INT64_MAX / NS_PER_MS ? INT64_MAX : (int64_t)(expires_ms * NS_PER_MS));
}

static void on_credentials(const HttpResponse *response, void *userdata)
{
        SsoState *state = userdata;
        ProviderRun *run = state->run;
        if (response->error != HTTP_OK)
                (void)provider_fail_call(run, state->service.endpoint.host, response);
        else if (response->status == 200)
                read_credentials(state, response);
        else if (response->status == 401)
                (void)fail_login(state, CREDENTIALS_E_REJECTED, "the sign-in is not accepted any more");
        else if (response->status >= 500 || response->status == 429)
                (void)provider_fail(run, CREDENTIALS_E_FAILED, "%.100s answered with status %d",
                        state->service.endpoint.host, response->status);
        else
                (void)provider_fail(run,
                        response->status == 403 ? CREDENTIALS_E_REJECTED : CREDENTIALS_E_INVALID,
                        "%.100s refused with status %d; check sso_account_id %.20s and sso_role_name %.70s",
                        state->service.endpoint.host, response->status, state->settings.account_id,
                        state->settings.role_name);
        provider_finish(run);
}

static int ask_for_credentials(SsoState *state)
{
        if (state->token.expires_wall_ns <= clock_wall_ns())
                return fail_login(state, CREDENTIALS_E_EXPIRED, "the sign-in has expired");
        Buf path = BUF_INIT(2048);
        const SsoSettings *settings = &state->settings;
        (void)buf_append_str(&path, "/federation/credentials?role_name=");
        (void)buf_append_uri(&path, settings->role_name, strlen(settings->role_name), "");
        (void)buf_append_str(&path, "&account_id=");
        (void)buf_append_uri(&path, settings->account_id, strlen(settings->account_id), "");
        buf_deinit(&state->body);
        int r = path.error ? provider_fail(state->run, CREDENTIALS_E_INVALID, "sso_role_name is too long")
                           : start_call(state, "sso", "GET", buf_str(&path),
                                     (HttpHeader){"x-amz-sso_bearer_token", state->token.access_token.data},
                                     on_credentials);
        buf_deinit(&path);
        return r;
}

/* --- The refresh of the sign-in ----------------------------------------------------------------------------- */

/* Copies the answer into the token. 0, -EINVAL, -ENOMEM. */
static int read_refreshed(SsoState *state, const HttpResponse *response)
{
        CLEANUP(json_free_p) cJSON *json = NULL;
        SsoToken *token = &state->token;
        uint64_t expires_in_s = 0;
        int r = json_parse(buf_str(&response->body), response->body.len, 8, &json);
        if (r < 0)
                return r == -ENOMEM ? r : -EINVAL;
        const char *access_token = json_string(json, "accessToken");
        const char *refresh_token = json_string(json, "refreshToken");
        if (!access_token || !*access_token || json_uint(json, "expiresIn", &expires_in_s) < 0 ||
                expires_in_s > INT32_MAX)
                return -EINVAL;
        char *start_url = strdup(state->settings.start_url), *region = strdup(state->settings.region);
        if (!start_url || !region ||
                secret_set(&token->access_token, access_token, strlen(access_token)) < 0 ||
                (refresh_token &&
                        secret_set(&token->refresh_token, refresh_token, strlen(refresh_token)) < 0)) {
                free(start_url);
                free(region);
                return -ENOMEM;
        }
        free(token->start_url);
        free(token->region);
        token->start_url = start_url;
        token->region = region;
        token->expires_wall_ns = clock_wall_ns() + (int64_t)(expires_in_s * NS_PER_S);
        return 0;
}

static void save(SsoState *state)
{
        int r = sso_token_save(&state->token);
        if (r < 0)
                sign_in_file_log_failure(state->token.path, r, "aws sso login");
}

static void on_refreshed(const HttpResponse *response, void *userdata)
{
        SsoState *state = userdata;
        ProviderRun *run = state->run;
        bool is_valid = state->token.expires_wall_ns > clock_wall_ns();
        bool is_answer = response->error == HTTP_OK && response->status == 200;
        int r = is_answer ? read_refreshed(state, response) : -EPROTO;
        if (r == 0)
                save(state);
        if (r == 0 || is_valid) {
                r = ask_for_credentials(state);
                if (r == -EINPROGRESS)
                        return;
        } else if (response->error != HTTP_OK) {
                (void)provider_fail_call(run, state->service.endpoint.host, response);
        } else if (response->status >= 500 || response->status == 429 || r == -ENOMEM) {
                (void)provider_fail(run, CREDENTIALS_E_FAILED,
                        "%.100s answered the refresh of the sign-in with status %d",
                        state->service.endpoint.host, response->status);
        } else {
                (void)fail_login(
                        state, CREDENTIALS_E_EXPIRED, "the sign-in has expired, and its refresh is refused");
        }
        provider_finish(run);
}

static int refresh(SsoState *state)
{
        const struct {
                const char *name, *value;
        } members[] = {
                {"clientId", state->token.client_id.data},
                {"clientSecret", state->token.client_secret.data},
                {"grantType", "refresh_token"},
                {"refreshToken", state->token.refresh_token.data},
        };
        state->body = BUF_INIT(PROVIDER_ANSWER_MAX * 2);
        for (size_t i = 0; i < ARRAY_LEN(members); i++) {
                (void)buf_appendf(&state->body, "%c\"%s\":", i == 0 ? '{' : ',', members[i].name);
                (void)buf_append_json(&state->body, members[i].value, strlen(members[i].value));
        }
        if (buf_append_char(&state->body, '}') < 0)
                return provider_no_memory(state->run);
        return start_call(state, "sso-oidc", "POST", "/token",
                (HttpHeader){"Content-Type", "application/json"}, on_refreshed);
}

static int sso_start(ProviderRun *run)
{
        if (!get(run, "sso_role_name") && !get(run, "sso_account_id"))
                return 0;
        SsoState *state = calloc(1, sizeof(*state));
        if (!state)
                return provider_no_memory(run);
        run->state = state;
        state->run = run;
        if (read_settings(run, &state->settings) == 0 || load_token(state) == 0)
                return 0;
        bool is_ending = state->token.expires_wall_ns - clock_wall_ns() < SSO_REFRESH_BEFORE_NS;
        if (state->settings.session && is_ending && sso_token_can_refresh(&state->token))
                return refresh(state);
        return ask_for_credentials(state);
}

static void sso_stop(ProviderRun *run)
{
        SsoState *state = run->state;
        service_call_stop(&state->service);
        sso_token_deinit(&state->token);
        buf_deinit(&state->body);
        free(state);
}

const Provider provider_sso = {
        .name = "IAM Identity Center",
        .is_of_profile = true,
        .start = sso_start,
        .stop = sso_stop,
};
