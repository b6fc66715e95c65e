/* The walk along the providers, in the order of the AWS tools.
 *
 * A profile may take a role with the credentials of another profile. The providers of that profile are then asked in
 * the same way as those of the daemon: walks nest. Each scope has a list of providers. A provider either has an
 * answer, or has none. An error is an answer: a provider that is configured and fails must not be passed over. A
 * provider with an immediate answer takes no turn of the loop. */

#include "provider.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tokenfs/base/parse.h"

static const Provider *const standard_order[] = {
        &provider_environment,
        &provider_assume_role,
        &provider_web_identity,
        &provider_sso,
        &provider_shared_credentials,
        &provider_login,
        &provider_process,
        &provider_config_file,
        &provider_container,
        &provider_imds,
        NULL,
};
static const Provider *const profile_order[] = {
        &provider_web_identity,
        &provider_sso,
        &provider_shared_credentials,
        &provider_login,
        &provider_process,
        &provider_config_file,
        NULL,
};
static const Provider *const role_only[] = {&provider_assume_role, NULL};
static const Provider *const environment_only[] = {&provider_environment, NULL};
static const Provider *const imds_only[] = {&provider_imds, NULL};
static const Provider *const container_only[] = {&provider_container, NULL};

static const Provider *const *const orders[] = {
        [WALK_STANDARD] = standard_order,
        [WALK_PROFILE] = profile_order,
        [WALK_ROLE] = role_only,
        [WALK_ENVIRONMENT] = environment_only,
        [WALK_IMDS] = imds_only,
        [WALK_CONTAINER] = container_only,
};

__attribute__((format(printf, 2, 0))) static void run_set_detail(
        ProviderRun *run, const char *format, va_list args)
{
        buf_clear(&run->detail);
        if (buf_appendf(&run->detail, "%s", run->provider->name) == 0 && run->provider->is_of_profile)
                (void)buf_appendf(&run->detail, " of profile \"%.100s\"", run->profile);
        (void)buf_append_str(&run->detail, ": ");
        /* A description that is too long is cut. */
        char text[PROVIDER_DETAIL_MAX / 2];
        (void)vsnprintf(text, sizeof(text), format, args);
        (void)buf_append_str(&run->detail, text);
}

int provider_fail(ProviderRun *run, CredentialsError error, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        run_set_detail(run, format, args);
        va_end(args);
        run->error = error;
        return 0;
}

int provider_no_memory(ProviderRun *run)
{
        return provider_fail(run, CREDENTIALS_E_FAILED, "out of memory");
}

int provider_pass(ProviderRun *run, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        run_set_detail(run, format, args);
        va_end(args);
        run->error = CREDENTIALS_E_NONE;
        return 0;
}

static bool is_printable(const char *text)
{
        for (; *text; text++)
                if (*text <= ' ' || *text > '~')
                        return false;
        return true;
}

int provider_parse_expiration(const char *text, int64_t *ret_expires_wall_ns)
{
        int r = parse_iso8601(text, ret_expires_wall_ns);
        if (r == -ERANGE) {
                *ret_expires_wall_ns = INT64_MAX;
                r = 0;
        }
        return r;
}

static bool is_blank(const char *text)
{
        return *text && strspn(text, " \t") == strlen(text);
}

/* The fault of a value that no header can hold, or that no service would accept; NULL: none. */
static const char *problem_with(const char *value)
{
        if (is_blank(value))
                return "is blank";
        if (aws_value_has_comment(value))
                return "ends with a comment, which the AWS tools take as part of the value: give it a line "
                       "of its own";
        return NULL;
}

int provider_found(ProviderRun *run, const char *origin, const char *access_key_id,
        const char *secret_access_key, const char *token, int64_t expires_wall_ns)
{
        AwsCredentials *found = &run->credentials;
        size_t len = strlen(access_key_id);
        const struct {
                const char *name, *value;
        } values[] = {{"access key id", access_key_id}, {"secret access key", secret_access_key},
                {"session token", token}};
        for (size_t i = 0; i < (token ? 3 : 2); i++) {
                const char *problem = problem_with(values[i].value);
                if (problem)
                        return provider_fail(run, CREDENTIALS_E_INVALID, "the %s in %s %s", values[i].name,
                                origin, problem);
        }
        if (len == 0 || len >= sizeof(found->keys.access_key_id) || !is_printable(access_key_id))
                return provider_fail(run, CREDENTIALS_E_INVALID, "the access key id in %s is none", origin);
        if (!*secret_access_key)
                return provider_fail(
                        run, CREDENTIALS_E_INVALID, "the secret access key in %s is empty", origin);
        if (token && !is_printable(token))
                return provider_fail(run, CREDENTIALS_E_INVALID, "the session token in %s is none", origin);

        aws_credentials_deinit(found);
        if (secret_set(&found->keys.secret_access_key, secret_access_key, strlen(secret_access_key)) < 0 ||
                (token && *token && secret_set(&found->keys.session_token, token, strlen(token)) < 0)) {
                aws_credentials_deinit(found);
                return provider_no_memory(run);
        }
        memcpy(found->keys.access_key_id, access_key_id, len + 1);
        found->expires_wall_ns = expires_wall_ns;
        if (run->provider->is_of_profile)
                (void)snprintf(found->provider, sizeof(found->provider), "%s (profile %s)",
                        run->provider->name, run->profile);
        else
                (void)snprintf(found->provider, sizeof(found->provider), "%s", run->provider->name);
        run->error = CREDENTIALS_OK;
        return 0;
}

static void run_stop(ProviderRun *run)
{
        if (run->state && run->provider->stop)
                run->provider->stop(run);
        run->state = NULL;
}

/* Asks the providers from walk->next on. 0 or -EINPROGRESS. */
static int walk_on(ProviderWalk *walk)
{
        ProviderRun *run = &walk->run;
        while (*walk->next) {
                run->provider = *walk->next++;
                run->error = CREDENTIALS_E_NONE;
                if (run->provider->start(run) == -EINPROGRESS)
                        return -EINPROGRESS;
                run_stop(run);
                if (run->error != CREDENTIALS_E_NONE)
                        break;
        }
        walk->is_running = false;
        return 0;
}

void provider_finish(ProviderRun *run)
{
        ProviderWalk *walk = CONTAINER_OF(run, ProviderWalk, run);
        run_stop(run);
        if (run->error == CREDENTIALS_E_NONE && walk_on(walk) == -EINPROGRESS)
                return;
        walk->is_running = false;
        walk->handler(walk, walk->userdata);
}

int provider_walk_start(ProviderWalk *walk, const ProviderContext *context, WalkScope scope,
        const char *profile, const ProviderWalk *parent, ProviderWalkHandler *handler, void *userdata)
{
        *walk = (ProviderWalk){
                .run = {.context = context,
                        .profile = profile,
                        .walk = walk,
                        .error = CREDENTIALS_E_NONE,
                        .detail = BUF_INIT(PROVIDER_DETAIL_MAX)},
                .scope = scope,
                .is_running = true,
                .next = orders[scope],
                .parent = parent,
                .handler = handler,
                .userdata = userdata,
        };
        return walk_on(walk);
}

void provider_walk_stop(ProviderWalk *walk)
{
        run_stop(&walk->run);
        aws_credentials_deinit(&walk->run.credentials);
        buf_deinit(&walk->run.detail);
        walk->is_running = false;
}
