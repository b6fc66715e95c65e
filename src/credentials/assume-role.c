/* A role of the profile (role_arn), taken with other credentials.
 *
 * Those come from another profile (source_profile), which may hold keys or take a role itself, or from one of three
 * providers (credential_source). Both are nested walks. A profile with keys may name itself as its source; any other
 * return to a profile is a loop. A role that requires a code of an MFA device is refused: there is no user to type it.
 * A profile with web_identity_token_file belongs to another provider. */

#include "provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sts.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/parse.h"

#define CHAIN_MAX 16 /* profiles in a row */

typedef struct RoleState {
        ProviderWalk source;
        StsCall sts;
} RoleState;

static const char *get(const ProviderRun *run, const char *profile, const char *key)
{
        return aws_config_get(run->context->config, profile, key);
}

static bool has_role(const ProviderRun *run, const char *profile)
{
        return get(run, profile, "role_arn") && !get(run, profile, "web_identity_token_file");
}

static bool has_static_keys(const ProviderRun *run, const char *profile)
{
        return get(run, profile, "aws_access_key_id") || get(run, profile, "aws_secret_access_key");
}

/* Returns 1 if the source may be asked, or 0 and the failure is set. */
static int check_source_profile(ProviderRun *run, const char *source)
{
        if (!aws_config_has_profile(run->context->config, source))
                return provider_fail(
                        run, CREDENTIALS_E_INVALID, "its source_profile \"%.100s\" doesn't exist", source);
        unsigned length = 0;
        for (const ProviderWalk *walk = run->walk; walk; walk = walk->parent, length++) {
                if (strcmp(walk->run.profile, source) != 0)
                        continue;
                bool is_itself = walk == run->walk;
                if (!is_itself || !has_static_keys(run, source))
                        return provider_fail(run, CREDENTIALS_E_INVALID,
                                "its source_profile \"%.100s\" leads back to itself; name one that has "
                                "credentials",
                                source);
        }
        if (length >= CHAIN_MAX)
                return provider_fail(run, CREDENTIALS_E_INVALID, "more than %d profiles in a row", CHAIN_MAX);
        return 1;
}

static int find_credential_source(const char *name, WalkScope *ret_scope)
{
        static const struct {
                const char *name;
                WalkScope scope;
        } known[] = {
                {"Environment", WALK_ENVIRONMENT},
                {"Ec2InstanceMetadata", WALK_IMDS},
                {"EcsContainer", WALK_CONTAINER},
        };
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
                if (strcmp(name, known[i].name) == 0) {
                        *ret_scope = known[i].scope;
                        return 0;
                }
        return -ENOENT;
}

static void add_duration(ProviderRun *run, StsCall *sts)
{
        const char *duration = get(run, run->profile, "duration_seconds");
        uint64_t seconds;
        if (!duration)
                return;
        if (parse_uint(duration, INT32_MAX, &seconds) == 0)
                sts_add(sts, "DurationSeconds", duration);
        else
                log_warning(
                        "credentials: duration_seconds of profile \"%.100s\" isn't a number, and is left out",
                        run->profile);
}

/* The source has its outcome: calls STS for the role. */
static int assume(ProviderRun *run)
{
        RoleState *state = run->state;
        ProviderRun *source = &state->source.run;
        if (source->error == CREDENTIALS_E_NONE)
                return provider_fail(run,
                        state->source.scope == WALK_IMDS ? CREDENTIALS_E_FAILED : CREDENTIALS_E_INVALID,
                        "its source has no credentials%s%s", source->detail.len ? ": " : "",
                        buf_str(&source->detail));
        if (source->error != CREDENTIALS_OK)
                return provider_fail(run, source->error, "its source failed: %s", buf_str(&source->detail));

        const char *name = get(run, run->profile, "role_session_name");
        const char *external_id = get(run, run->profile, "external_id");
        char made_name[32];
        sts_session_name(made_name);
        sts_init(&state->sts, "AssumeRole");
        sts_add(&state->sts, "RoleArn", get(run, run->profile, "role_arn"));
        sts_add(&state->sts, "RoleSessionName", name ? name : made_name);
        if (external_id)
                sts_add(&state->sts, "ExternalId", external_id);
        add_duration(run, &state->sts);
        return sts_start(&state->sts, run, &source->credentials.keys);
}

static void on_source(ProviderWalk *walk, void *userdata)
{
        (void)walk;
        ProviderRun *run = userdata;
        if (assume(run) != -EINPROGRESS)
                provider_finish(run);
}

static int role_start(ProviderRun *run)
{
        if (!has_role(run, run->profile))
                return 0;
        const char *source = get(run, run->profile, "source_profile");
        const char *credential_source = get(run, run->profile, "credential_source");
        if (source && credential_source)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "it has both source_profile and credential_source; leave one");
        if (!source && !credential_source)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "it has role_arn but neither source_profile nor credential_source; add one");
        WalkScope scope = WALK_PROFILE;
        if (source && check_source_profile(run, source) == 0)
                return 0;
        if (source && !has_static_keys(run, source) && has_role(run, source))
                scope = WALK_ROLE;
        if (credential_source && find_credential_source(credential_source, &scope) < 0)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "its credential_source \"%.60s\" is none of Environment, Ec2InstanceMetadata, "
                        "EcsContainer",
                        credential_source);
        if (get(run, run->profile, "mfa_serial"))
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "it wants an MFA code (mfa_serial), and there is nobody to type one; use a role "
                        "without");

        RoleState *state = calloc(1, sizeof(*state));
        if (!state)
                return provider_no_memory(run);
        run->state = state;
        int r = provider_walk_start(&state->source, run->context, scope, source ? source : run->profile,
                run->walk, on_source, run);
        return r == -EINPROGRESS ? r : assume(run);
}

static void role_stop(ProviderRun *run)
{
        RoleState *state = run->state;
        sts_stop(&state->sts);
        provider_walk_stop(&state->source);
        free(state);
}

const Provider provider_assume_role = {
        .name = "assume role",
        .is_of_profile = true,
        .start = role_start,
        .stop = role_stop,
};
