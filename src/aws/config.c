/* The shared configuration: both files together, and which profile is meant.
 *
 * The credentials file's keys come before those of the config file, key by key, as the AWS CLI merges them; the
 * standard order of credentials also asks for each file by itself. Variables that are empty count as unset.
 * Paths may start with `~` or `~user` and contain `$NAME` or `${NAME}`, as those tools take them; the home directory is
 * HOME's, else the one of the passwd entry, since a daemon that an init system starts often has no HOME. */

#include "tokenfs/aws/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config-file.h"
#include "tokenfs/aws/environment.h"
#include "tokenfs/aws/path.h"

struct AwsConfig {
        ConfigFile config, credentials;
        char *profile;
        bool profile_is_explicit;
};

/* --- Loading ------------------------------------------------------------------------------------------------ */

/* A file's path: what the caller says, else the variable's, else the usual place. */
static int read_file(const char *path, const char *variable, const char *usual, ConfigDialect dialect,
        Buf *error, ConfigFile *ret_file)
{
        if (!path)
                path = environment_get(variable);
        CLEANUP(cleanup_free) char *expanded = NULL;
        int r = aws_path_expand(path ? path : usual, &expanded);
        if (r == -ENAMETOOLONG)
                (void)buf_appendf(error, "%s is longer than %d bytes", variable, AWS_PATH_MAX);
        if (r == 0)
                r = config_file_read(expanded, path != NULL, dialect, error, ret_file);
        if (r == 0)
                expanded = NULL; /* the file has it */
        return r;
}

static int choose_profile(const char *profile, AwsConfig *config)
{
        /* The AWS CLI asks in this order. */
        if (!profile)
                profile = environment_get("AWS_DEFAULT_PROFILE");
        if (!profile)
                profile = environment_get("AWS_PROFILE");
        config->profile_is_explicit = profile != NULL;
        config->profile = strdup(profile ? profile : "default");
        return config->profile ? 0 : -ENOMEM;
}

int aws_config_load(const AwsConfigPaths *paths, Buf *error, AwsConfig **ret_config)
{
        CLEANUP(aws_config_free_p) AwsConfig *config = calloc(1, sizeof *config);
        if (!config)
                return -ENOMEM;
        int r = choose_profile(paths->profile, config);
        if (r == 0)
                r = read_file(paths->config_file, "AWS_CONFIG_FILE", "~/.aws/config", CONFIG_DIALECT_CONFIG,
                        error, &config->config);
        if (r == 0)
                r = read_file(paths->credentials_file, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials",
                        CONFIG_DIALECT_CREDENTIALS, error, &config->credentials);
        if (r < 0)
                return r;
        *ret_config = TAKE(config);
        return 0;
}

AwsConfig *aws_config_free(AwsConfig *config)
{
        if (!config)
                return NULL;
        config_file_deinit(&config->config);
        config_file_deinit(&config->credentials);
        free(config->profile);
        free(config);
        return NULL;
}

bool aws_config_is_outdated(const AwsConfig *config)
{
        return config_file_is_outdated(&config->config) || config_file_is_outdated(&config->credentials);
}

/* --- Asking ------------------------------------------------------------------------------------------------- */

const char *aws_config_profile(const AwsConfig *config)
{
        return config->profile;
}

bool aws_config_profile_is_explicit(const AwsConfig *config)
{
        return config->profile_is_explicit;
}

const char *aws_config_config_file(const AwsConfig *config)
{
        return config->config.path;
}

const char *aws_config_credentials_file(const AwsConfig *config)
{
        return config->credentials.path;
}

bool aws_config_has_profile(const AwsConfig *config, const char *profile)
{
        return config_file_has(&config->credentials, CONFIG_PROFILE, profile) ||
               config_file_has(&config->config, CONFIG_PROFILE, profile);
}

const char *aws_config_get_from_credentials(const AwsConfig *config, const char *profile, const char *key)
{
        return config_file_get(&config->credentials, CONFIG_PROFILE, profile, key, NULL);
}

const char *aws_config_get_from_config(const AwsConfig *config, const char *profile, const char *key)
{
        return config_file_get(&config->config, CONFIG_PROFILE, profile, key, NULL);
}

const char *aws_config_get(const AwsConfig *config, const char *profile, const char *key)
{
        const char *value = aws_config_get_from_credentials(config, profile, key);
        return value ? value : aws_config_get_from_config(config, profile, key);
}

bool aws_config_has_sso_session(const AwsConfig *config, const char *name)
{
        return config_file_has(&config->config, CONFIG_SSO_SESSION, name);
}

const char *aws_config_get_sso_session(const AwsConfig *config, const char *name, const char *key)
{
        return config_file_get(&config->config, CONFIG_SSO_SESSION, name, key, NULL);
}

bool aws_config_has_services(const AwsConfig *config, const char *name)
{
        return config_file_has(&config->config, CONFIG_SERVICES, name);
}

const char *aws_config_get_service(
        const AwsConfig *config, const char *name, const char *service, const char *key)
{
        return config_file_get(&config->config, CONFIG_SERVICES, name, service, key);
}
