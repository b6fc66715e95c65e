/* The shared configuration: both files together, and which profile is meant.
 *
 * The credentials file's keys come before those of the config file, key by key, as the AWS CLI merges them; the
 * standard order of credentials also asks for each file by itself. Variables that are empty count as unset.
 * Paths may start with `~` or `~user` and contain `$NAME` or `${NAME}`, as those tools take them; the home directory is
 * HOME's, else the one of the passwd entry, since a daemon that an init system starts often has no HOME. */

#include "tokenfs/aws/config.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "config-file.h"
#include "tokenfs/aws/environment.h"

#define PATH_MAX_BYTES 4096

struct AwsConfig {
        ConfigFile config, credentials;
        char *profile;
        bool profile_is_explicit;
};

/* --- Paths -------------------------------------------------------------------------------------------------- */

static bool is_name_character(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The length of the reference `$NAME` or `${NAME}` at `at`, 0 if there is none, with the name copied out. */
static size_t reference_at(const char *at, char ret_name[static 128])
{
        bool in_braces = at[0] == '$' && at[1] == '{';
        const char *name = at + 1 + in_braces;
        size_t len = 0;
        if (*at != '$')
                return 0;
        while (name[len] && (in_braces ? name[len] != '}' : is_name_character(name[len])))
                len++;
        if (len == 0 || len >= 128 || (in_braces && !name[len]))
                return 0;
        memcpy(ret_name, name, len);
        ret_name[len] = '\0';
        return 1 + len + 2 * (size_t)in_braces;
}

/* References to variables that aren't set stay as they are. */
static void expand_variables(const char *path, Buf *out)
{
        while (*path) {
                char name[128];
                size_t len = reference_at(path, name);
                const char *value = len ? secure_getenv(name) : NULL;
                if (value)
                        (void)buf_append_str(out, value);
                else
                        (void)buf_append(out, path, len ? len : 1);
                path += len ? len : 1;
        }
}

/* Appends the home directory of `user`, or of ours if that is empty. False if there is no such user. */
static bool append_home(const char *user, Buf *out)
{
        const char *home = *user ? NULL : environment_get("HOME");
        if (home) {
                (void)buf_append_str(out, home);
                return true;
        }
        struct passwd entry, *found = NULL;
        char strings[4096];
        int r = *user ? getpwnam_r(user, &entry, strings, sizeof strings, &found)
                      : getpwuid_r(getuid(), &entry, strings, sizeof strings, &found);
        if (r != 0 || !found)
                return false;
        (void)buf_append_str(out, found->pw_dir);
        return true;
}

/* Returns 0 with the path malloc'd, -ENOMEM, or -ENAMETOOLONG. */
static int expand_path(const char *path, char **ret_path)
{
        CLEANUP(buf_deinit) Buf variables = BUF_INIT(PATH_MAX_BYTES), expanded = BUF_INIT(PATH_MAX_BYTES);
        expand_variables(path, &variables);
        const char *rest = buf_str(&variables);
        if (*rest == '~') {
                size_t len = strcspn(rest, "/");
                CLEANUP(cleanup_free) char *user = strndup(rest + 1, len - 1);
                if (!user)
                        return -ENOMEM;
                if (append_home(user, &expanded))
                        rest += len;
        }
        (void)buf_append_str(&expanded, rest);
        int r = variables.error ? variables.error : expanded.error;
        if (r < 0)
                return r == -EMSGSIZE ? -ENAMETOOLONG : r;
        char *copy = strdup(buf_str(&expanded));
        if (!copy)
                return -ENOMEM;
        *ret_path = copy;
        return 0;
}

/* --- Loading ------------------------------------------------------------------------------------------------ */

/* A file's path: what the caller says, else the variable's, else the usual place. */
static int read_file(const char *path, const char *variable, const char *usual, ConfigDialect dialect,
        Buf *error, ConfigFile *ret_file)
{
        if (!path)
                path = environment_get(variable);
        CLEANUP(cleanup_free) char *expanded = NULL;
        int r = expand_path(path ? path : usual, &expanded);
        if (r == -ENAMETOOLONG)
                (void)buf_appendf(error, "%s is longer than %d bytes", variable, PATH_MAX_BYTES);
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
