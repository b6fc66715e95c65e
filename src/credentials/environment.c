/* Keys in the environment: AWS_ACCESS_KEY_ID and its companions.
 *
 * A key id without its secret is an error: the user set half of it. AWS_CREDENTIAL_EXPIRATION is the end of validity.
 * Nothing can be renewed: the environment of a process does not change. */

#include "provider.h"

#include "tokenfs/aws/environment.h"

static int environment_start(ProviderRun *run)
{
        const char *access_key_id = environment_get("AWS_ACCESS_KEY_ID");
        bool is_skipped = run->context->skip_environment && run->walk->scope == WALK_STANDARD;
        if (is_skipped || !access_key_id)
                return 0;
        const char *secret = environment_get("AWS_SECRET_ACCESS_KEY");
        if (!secret)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY isn't; set both or neither");
        const char *token = environment_get("AWS_SECURITY_TOKEN");
        if (!token)
                token = environment_get("AWS_SESSION_TOKEN");
        int64_t expires_wall_ns = INT64_MAX;
        const char *expiration = environment_get("AWS_CREDENTIAL_EXPIRATION");
        if (expiration && provider_parse_expiration(expiration, &expires_wall_ns) < 0)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "AWS_CREDENTIAL_EXPIRATION isn't a time like 2030-01-31T12:00:00Z");
        return provider_found(run, "the environment", access_key_id, secret, token, expires_wall_ns);
}

const Provider provider_environment = {.name = "environment", .start = environment_start};
