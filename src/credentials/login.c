/* `aws login`: the sign-in of a console user. The AWS CLI leaves it in a file, and any AWS tool renews it there.
 *
 * The file contains temporary keys for 15 minutes, a refresh token, and the private key that the refresh token is
 * bound to (dpopKey). Each renewal proves possession of that key. The file is read at each use, since another tool may
 * have renewed the sign-in. In its last 5 minutes the sign-in is renewed, and the file is replaced with all its other
 * members, so that the AWS CLI can go on with it. If only a person can sign in again, the error names the command. */

#include "provider.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dpop.h"
#include "service-call.h"
#include "sign-in-file.h"
#include "tokenfs/aws/environment.h"
#include "tokenfs/aws/path.h"
#include "tokenfs/aws/sigv4.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/net/http.h"

#define LOGIN_REFRESH_BEFORE_NS (INT64_C(5) * 60 * (int64_t)NS_PER_S)
#define LOGIN_DEPTH_MAX 8

typedef struct LoginState {
        ProviderRun *run;
        Buf path; /* of the file */
        cJSON *document; /* its content */
        int64_t expires_wall_ns;
        Buf body, proof;
        HttpHeader headers[3];
        int64_t skew_s; /* of this machine's clock, as the answer to a refused proof shows it */
        ServiceCall service;
} LoginState;

static const char *text_of(const cJSON *object, const char *key)
{
        const char *text = json_string(object, key);
        return text && *text ? text : NULL;
}

static const cJSON *access_token(const cJSON *document)
{
        const cJSON *found = NULL;
        return json_member(document, "accessToken", &found) == 0 && cJSON_IsObject(found) ? found : NULL;
}

static int fail_login(LoginState *state, CredentialsError error, const char *problem)
{
        return provider_fail(
                state->run, error, "%s; run `aws login --profile %.100s`", problem, state->run->profile);
}

/* --- The file ------------------------------------------------------------------------------------------------- */

static int find_file(ProviderRun *run, const char *session, Buf *path)
{
        const char *named = environment_get("AWS_LOGIN_CACHE_DIRECTORY");
        CLEANUP(cleanup_free) char *directory = NULL;
        unsigned char digest[32];
        int r = aws_path_expand(named ? named : "~/.aws/login/cache", &directory);
        if (r == 0)
                r = sigv4_sha256(session, strlen(session), digest);
        if (r < 0)
                return r == -ENOMEM
                               ? provider_no_memory(run)
                               : provider_fail(run, CREDENTIALS_E_INVALID,
                                         "AWS_LOGIN_CACHE_DIRECTORY can't be used: %s", strerrordesc_np(-r));
        (void)buf_appendf(path, "%s/", directory);
        (void)buf_append_hex(path, digest, sizeof digest);
        return buf_append_str(path, ".json") == 0 ? 1 : provider_no_memory(run);
}

/* The first member that the AWS CLI always writes and this document lacks; NULL: none. */
static const char *missing_member(const cJSON *document)
{
        static const char *const of_document[] = {"refreshToken", "clientId", "dpopKey"};
        static const char *const of_token[] = {"accessKeyId", "secretAccessKey", "sessionToken", "expiresAt"};
        const cJSON *token = access_token(document);
        if (!token)
                return "accessToken";
        for (size_t i = 0; i < ARRAY_LEN(of_document); i++)
                if (!text_of(document, of_document[i]))
                        return of_document[i];
        for (size_t i = 0; i < ARRAY_LEN(of_token); i++)
                if (!text_of(token, of_token[i]))
                        return of_token[i];
        return NULL;
}

/* Reads the file, and replaces the document. Returns 1, or 0 and the failure is set. */
static int load(LoginState *state)
{
        ProviderRun *run = state->run;
        CLEANUP(buf_deinit) Buf text = BUF_INIT(PROVIDER_ANSWER_MAX);
        CLEANUP(json_free_p) cJSON *document = NULL;
        int r = sign_in_file_load(buf_str(&state->path), &text);
        if (r == -ENOENT)
                return fail_login(state, CREDENTIALS_E_INVALID, "nobody has signed in yet");
        if (r == 0)
                r = json_parse(buf_str(&text), text.len, LOGIN_DEPTH_MAX, &document);
        if (r == -ENOMEM)
                return provider_no_memory(run);
        const char *missing = r == 0 ? missing_member(document) : NULL;
        int64_t expires_wall_ns = 0;
        if (r == 0 && !missing)
                r = provider_parse_expiration(text_of(access_token(document), "expiresAt"), &expires_wall_ns);
        if (r < 0 || missing)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "the sign-in in %.250s can't be used (%s%s); run `aws login --profile %.60s`",
                        buf_str(&state->path), missing ? "it lacks " : "",
                        missing                       ? missing
                        : r == -EINVAL || r == -E2BIG ? "malformed"
                                                      : strerrordesc_np(-r),
                        run->profile);
        json_free(state->document);
        state->document = TAKE(document);
        state->expires_wall_ns = expires_wall_ns;
        return 1;
}

static int found(LoginState *state)
{
        const cJSON *token = access_token(state->document);
        return provider_found(state->run, "the sign-in of aws login", text_of(token, "accessKeyId"),
                text_of(token, "secretAccessKey"), text_of(token, "sessionToken"), state->expires_wall_ns);
}

static int set_text(cJSON *object, const char *key, const char *text)
{
        cJSON *item = cJSON_CreateString(text);
        bool is_there = cJSON_GetObjectItemCaseSensitive(object, key) != NULL;
        if (item && (is_there ? cJSON_ReplaceItemInObjectCaseSensitive(object, key, item)
                              : cJSON_AddItemToObject(object, key, item)))
                return 0;
        cJSON_Delete(item);
        return -ENOMEM;
}

static void save(const LoginState *state)
{
        CLEANUP(buf_deinit) Buf text = BUF_INIT(PROVIDER_ANSWER_MAX * 2);
        char *printed = cJSON_Print(state->document);
        int r = printed ? buf_append_str(&text, printed) : -ENOMEM;
        cJSON_free(printed);
        if (r == 0)
                r = sign_in_file_save(buf_str(&state->path), &text);
        if (r < 0)
                sign_in_file_log_failure(buf_str(&state->path), r, "aws login");
}

/* --- The renewal ---------------------------------------------------------------------------------------------- */

/* Copies the answer into the document. 0, -EINVAL, -ENOMEM. */
static int read_answer(LoginState *state, const HttpResponse *response)
{
        static const char *const keys[] = {"accessKeyId", "secretAccessKey", "sessionToken"};
        CLEANUP(json_free_p) cJSON *json = NULL;
        uint64_t expires_in_s = 0;
        int r = json_parse(buf_str(&response->body), response->body.len, LOGIN_DEPTH_MAX, &json);
        if (r < 0)
                return r == -ENOMEM ? r : -EINVAL;
        const cJSON *token = access_token(json);
        bool is_whole = text_of(json, "refreshToken") && json_uint(json, "expiresIn", &expires_in_s) == 0 &&
                        expires_in_s > 0 && expires_in_s <= INT32_MAX;
        for (size_t i = 0; i < ARRAY_LEN(keys); i++)
                is_whole = is_whole && token && text_of(token, keys[i]);
        char expires[32];
        int64_t expires_wall_ns = clock_wall_ns() + (int64_t)(expires_in_s * NS_PER_S);
        if (!is_whole || clock_format_utc(expires_wall_ns, expires) < 0)
                return -EINVAL;
        cJSON *own = cJSON_GetObjectItemCaseSensitive(state->document, "accessToken");
        for (size_t i = 0; i < ARRAY_LEN(keys) && r == 0; i++)
                r = set_text(own, keys[i], text_of(token, keys[i]));
        if (r == 0)
                r = set_text(own, "expiresAt", expires);
        if (r == 0)
                r = set_text(state->document, "refreshToken", text_of(json, "refreshToken"));
        state->expires_wall_ns = expires_wall_ns;
        return r;
}

/* True if another tool has just used the same refresh token. */
static bool was_renewed_elsewhere(LoginState *state)
{
        CLEANUP(buf_deinit) Buf used = BUF_INIT(PROVIDER_ANSWER_MAX);
        if (buf_append_str(&used, text_of(state->document, "refreshToken")) < 0 || load(state) == 0)
                return false;
        return strcmp(text_of(state->document, "refreshToken"), buf_str(&used)) != 0 &&
               state->expires_wall_ns > clock_wall_ns();
}

static int fail_refused(LoginState *state, const HttpResponse *response)
{
        CLEANUP(json_free_p) cJSON *json = NULL;
        (void)json_parse(buf_str(&response->body), response->body.len, LOGIN_DEPTH_MAX, &json);
        const char *error = json ? text_of(json, "error") : NULL;
        if (error && strcmp(error, "TOKEN_EXPIRED") == 0)
                return fail_login(state, CREDENTIALS_E_EXPIRED, "the sign-in has expired");
        if (error && strcmp(error, "USER_CREDENTIALS_CHANGED") == 0)
                return fail_login(state, CREDENTIALS_E_EXPIRED,
                        "the sign-in has ended, as the user's password has changed");
        if (error && strcmp(error, "INSUFFICIENT_PERMISSIONS") == 0)
                return provider_fail(state->run, CREDENTIALS_E_REJECTED,
                        "the user's policy doesn't allow the renewal; allow the IAM action "
                        "signin:CreateOAuth2Token (managed policy SignInLocalDevelopmentAccess)");
        char problem[200];
        (void)snprintf(problem, sizeof problem, "%.100s refuses the renewal with status %d",
                state->service.endpoint.host, response->status);
        return fail_login(state, CREDENTIALS_E_REJECTED, problem);
}

static int conclude(LoginState *state, const HttpResponse *response)
{
        ProviderRun *run = state->run;
        bool is_answer = response->error == HTTP_OK && response->status == 200;
        bool is_transient = response->error != HTTP_OK || response->status >= 500 || response->status == 429;
        if (is_answer) {
                int r = read_answer(state, response);
                if (r == -ENOMEM)
                        return provider_no_memory(run);
                if (r < 0)
                        return provider_fail(run, CREDENTIALS_E_INVALID,
                                "the answer of %.100s isn't what the sign-in service sends",
                                state->service.endpoint.host);
                save(state);
                return found(state);
        }
        if (is_transient ? state->expires_wall_ns > clock_wall_ns() : was_renewed_elsewhere(state))
                return found(state);
        if (response->error != HTTP_OK)
                return provider_fail_call(run, state->service.endpoint.host, response);
        if (is_transient)
                return provider_fail(run, CREDENTIALS_E_FAILED, "%.100s answered the renewal with status %d",
                        state->service.endpoint.host, response->status);
        return fail_refused(state, response);
}

static int send_renewal(LoginState *state);

static void on_response(const HttpResponse *response, void *userdata)
{
        LoginState *state = userdata;
        bool is_refused = response->error == HTTP_OK && response->status >= 400 && response->status < 500;
        int64_t skew_s = is_refused && !state->skew_s ? service_call_skew_s(response) : 0;
        int r;
        if (skew_s) { /* the proof's time may be the reason */
                state->skew_s = skew_s;
                r = send_renewal(state);
        } else {
                r = conclude(state, response);
        }
        if (r != -EINPROGRESS)
                provider_finish(state->run);
}

/* A proof is valid for one request. */
static int renew_proof(void *userdata)
{
        LoginState *state = userdata;
        const char *pem = text_of(state->document, "dpopKey");
        buf_clear(&state->proof);
        int r = dpop_append_proof(pem, strlen(pem), buf_str(&state->service.url),
                clock_wall_ns() / (int64_t)NS_PER_S + state->skew_s, &state->proof);
        state->headers[2] = (HttpHeader){"DPoP", buf_str(&state->proof)};
        return r;
}

/* The region of the sign-in, if the file has it; else the profile's. NULL: none. */
static const char *sign_in_region(const LoginState *state)
{
        const ProviderRun *run = state->run;
        const char *const regions[] = {
                text_of(state->document, "signInRegion"),
                aws_config_get(run->context->config, run->profile, "region"),
                environment_get("AWS_REGION"),
                environment_get("AWS_DEFAULT_REGION"),
        };
        for (size_t i = 0; i < ARRAY_LEN(regions); i++)
                if (regions[i] && *regions[i])
                        return regions[i];
        return NULL;
}

static int append_member(Buf *out, const char *before, const char *key, const char *value)
{
        (void)buf_appendf(out, "%s\"%s\":", before, key);
        return buf_append_json(out, value, strlen(value));
}

/* Returns -EINPROGRESS, or 0 and the failure is set. */
static int send_renewal(LoginState *state)
{
        int r = renew_proof(state);
        if (r == -ENOMEM)
                return provider_no_memory(state->run);
        if (r < 0)
                return fail_login(state, CREDENTIALS_E_INVALID, "the sign-in's dpopKey is no key of P-256");
        const ServiceRequest request = {
                .method = "POST",
                .headers = state->headers,
                .header_count = ARRAY_LEN(state->headers),
                .body = &state->body,
                .renew = renew_proof,
        };
        return service_call_send(&state->service, &request, on_response, state);
}

/* Returns -EINPROGRESS, or 0 and the failure is set. */
static int refresh(LoginState *state)
{
        const char *region = sign_in_region(state);
        if (!region)
                return provider_fail(state->run, CREDENTIALS_E_INVALID,
                        "a renewal needs a region; add `region` to the profile");
        if (service_call_find(&state->service, state->run, "signin", region, "/v1/token") == 0)
                return 0;
        (void)append_member(&state->body, "{", "clientId", text_of(state->document, "clientId"));
        (void)append_member(&state->body, ",", "refreshToken", text_of(state->document, "refreshToken"));
        (void)append_member(&state->body, ",", "grantType", "refresh_token");
        if (buf_append_char(&state->body, '}') < 0)
                return provider_no_memory(state->run);
        state->headers[0] = (HttpHeader){"Content-Type", "application/json"};
        state->headers[1] = (HttpHeader){"Accept", "application/json"};
        return send_renewal(state);
}

static int login_start(ProviderRun *run)
{
        const char *session = aws_config_get(run->context->config, run->profile, "login_session");
        if (!session)
                return 0;
        LoginState *state = calloc(1, sizeof *state);
        if (!state)
                return provider_no_memory(run);
        run->state = state;
        state->run = run;
        state->path = BUF_INIT(AWS_PATH_MAX + 80);
        state->body = BUF_INIT(PROVIDER_ANSWER_MAX * 2);
        state->proof = BUF_INIT((size_t)16 * 1024);
        if (find_file(run, session, &state->path) == 0 || load(state) == 0)
                return 0;
        if (state->expires_wall_ns - clock_wall_ns() > LOGIN_REFRESH_BEFORE_NS)
                return found(state);
        return refresh(state);
}

static void login_stop(ProviderRun *run)
{
        LoginState *state = run->state;
        service_call_stop(&state->service);
        json_free(state->document);
        buf_deinit(&state->path);
        buf_deinit(&state->body);
        buf_deinit(&state->proof);
        free(state);
}

const Provider provider_login = {
        .name = "login",
        .is_of_profile = true,
        .start = login_start,
        .stop = login_stop,
};
