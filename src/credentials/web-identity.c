/* A role taken with a token from a file: Kubernetes service accounts (IRSA), CI systems.
 *
 * Another program renews the file, so it is read for each call. Each of the three settings comes from the environment,
 * else from the profile. The environment doesn't count if an option names the profile, or if the profile is the source
 * of another. */

#include "provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/aws/environment.h"
#include "sts.h"

typedef struct IdentityState {
        StsCall sts;
} IdentityState;

static const char *get(const ProviderRun *run, const char *variable, const char *key)
{
        bool has_environment = !run->context->skip_environment && run->walk->scope == WALK_STANDARD;
        const char *value = has_environment ? environment_get(variable) : NULL;
        return value ? value : aws_config_get(run->context->config, run->profile, key);
}

static int read_token(ProviderRun *run, const char *path, Buf *token)
{
        int r = provider_read_file(path, token);
        if (r == -ENOMEM)
                return provider_no_memory(run);
        if (r == -EMSGSIZE)
                return provider_fail(
                        run, CREDENTIALS_E_INVALID, "the token file %.200s is over 64 KiB", path);
        if (r == -EINVAL)
                return provider_fail(
                        run, CREDENTIALS_E_INVALID, "the token file %.200s is no text file", path);
        if (r < 0)
                return provider_fail(run, CREDENTIALS_E_INVALID, "the token file %.200s can't be read: %s",
                        path, strerrordesc_np(-r));
        while (token->len > 0 && strchr(" \t\r\n", token->data[token->len - 1]))
                token->data[--token->len] = '\0';
        if (token->len == 0)
                return provider_fail(run, CREDENTIALS_E_INVALID, "the token file %.200s is empty", path);
        return 1;
}

static int identity_start(ProviderRun *run)
{
        const char *path = get(run, "AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file");
        if (!path)
                return 0;
        const char *role_arn = get(run, "AWS_ROLE_ARN", "role_arn");
        if (!role_arn)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "there is a token file but no role; set AWS_ROLE_ARN, or role_arn in the profile");
        const char *name = get(run, "AWS_ROLE_SESSION_NAME", "role_session_name");
        char made_name[32];
        sts_session_name(made_name);

        IdentityState *state = calloc(1, sizeof(*state));
        if (!state)
                return provider_no_memory(run);
        run->state = state;
        Buf token = BUF_INIT(PROVIDER_ANSWER_MAX);
        int r = read_token(run, path, &token);
        if (r == 1) {
                sts_init(&state->sts, "AssumeRoleWithWebIdentity");
                sts_add(&state->sts, "RoleArn", role_arn);
                sts_add(&state->sts, "RoleSessionName", name ? name : made_name);
                sts_add(&state->sts, "WebIdentityToken", buf_str(&token));
                r = sts_start(&state->sts, run, NULL);
        }
        buf_deinit(&token);
        return r;
}

static void identity_stop(ProviderRun *run)
{
        IdentityState *state = run->state;
        sts_stop(&state->sts);
        free(state);
}

const Provider provider_web_identity = {
        .name = "web identity",
        .is_of_profile = true,
        .start = identity_start,
        .stop = identity_stop,
};
