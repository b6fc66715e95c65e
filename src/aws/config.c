/* The shared configuration: both files together, and the chosen profile.
 *
 * The keys of the credentials file precede those of the config file, key by key, as the AWS CLI merges them. The
 * standard order of credentials reads each file by itself as well. */

#include "tokenfs/aws/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config-file.h"
#include "tokenfs/aws/environment.h"
#include "tokenfs/aws/path.h"

struct AwsConfig {
        ConfigFile config, credentials;
        char *profile;
        bool profile_is_explicit;
};

/* --- Loading ------------------------------------------------------------------------------------------------ */

/* A file's path: the caller's, else the variable's, else the default. */
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
                expanded = NULL; /* the file owns it */
        return r;
}

static int choose_profile(const char *profile, AwsConfig *config)
{
        /* The order of the AWS CLI. */
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

bool aws_value_has_comment(const char *value)
{
        return strstr(value, " #") || strstr(value, " ;") || strstr(value, "\t#") || strstr(value, "\t;");
}

/* --- Advice ------------------------------------------------------------------------------------------------- */

static void append_denied_files(const AwsConfig *config, Buf *out)
{
        bool is_both = config->config.is_denied && config->credentials.is_denied;
        if (!config->config.is_denied && !config->credentials.is_denied)
                return;
        (void)buf_appendf(out, "%s%.300s%s%.300s may not be read by uid %u, the user that serves: chown %s",
                out->len ? "; " : "",
                config->config.is_denied ? config->config.path : config->credentials.path,
                is_both ? " and " : "", is_both ? config->credentials.path : "", (unsigned)geteuid(),
                is_both ? "them" : "it");
}

int aws_config_check_profile(const AwsConfig *config, Buf *error)
{
        const char *profile = config->profile;
        if (!config->profile_is_explicit || aws_config_has_profile(config, profile))
                return 0;
        CLEANUP(buf_deinit) Buf with_word = BUF_INIT(AWS_PATH_MAX);
        (void)buf_appendf(&with_word, "profile %s", profile);
        (void)buf_appendf(error, "profile \"%.100s\" is neither in %.300s nor in %.300s", profile,
                config->config.path, config->credentials.path);
        size_t len = error->len;
        append_denied_files(config, error);
        if (error->len > len)
                return -ENOENT;
        /* A section is right in one of the files only. */
        if (config_file_has_section(&config->config, profile))
                (void)buf_appendf(error, "; the section [%.100s] of %.300s must read [profile %.100s]",
                        profile, config->config.path, profile);
        else if (config_file_has_section(&config->credentials, buf_str(&with_word)))
                (void)buf_appendf(error, "; the section [profile %.100s] of %.300s must read [%.100s]",
                        profile, config->credentials.path, profile);
        else
                (void)buf_append_str(
                        error, "; create it, or name another (profile=, AWS_DEFAULT_PROFILE, AWS_PROFILE)");
        return -ENOENT;
}

/* Keys that this program reads, or that say nothing about credentials. */
static bool is_known_key(const char *key)
{
        static const char *const names[] = {"account_id_endpoint_mode", "api_versions", "aws_account_id",
                "ca_bundle", "credential_process", "credential_source", "defaults_mode", "duration_seconds",
                "endpoint_url", "external_id", "ignore_configured_endpoint_urls", "imds_use_ipv6",
                "login_session", "max_attempts", "mfa_serial", "output", "parameter_validation", "plugins",
                "region", "request_checksum_calculation", "request_min_compression_size_bytes",
                "disable_request_compression", "response_checksum_validation", "retry_mode", "role_arn",
                "role_session_name", "s3", "s3_disable_multiregion_access_points", "s3_use_arn_region",
                "sdk_ua_app_id", "services", "sigv4a_signing_region_set", "source_profile", "sso_account_id",
                "sso_region", "sso_registration_scopes", "sso_role_name", "sso_session", "sso_start_url",
                "sts_regional_endpoints", "tcp_keepalive", "use_dualstack_endpoint", "use_fips_endpoint",
                "user_agent_appid", "user_agent_extra", "web_identity_token_file"};
        static const char *const prefixes[] = {"aws_access_key_id", "aws_secret_access_key", "aws_se", "cli_",
                "ec2_metadata_", "metadata_service_"};
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (strcmp(key, names[i]) == 0)
                        return true;
        for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
                if (strncmp(key, prefixes[i], strlen(prefixes[i])) == 0)
                        return true;
        return false;
}

void aws_config_append_unknown_keys(const AwsConfig *config, const char *profile, Buf *out)
{
        const ConfigFile *files[] = {&config->credentials, &config->config};
        size_t start = out->len;
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
                const char *key;
                size_t position = 0;
                while ((key = config_file_next_key(files[i], CONFIG_PROFILE, profile, &position)))
                        if (!is_known_key(key))
                                (void)buf_appendf(out, "%s%.60s", out->len > start ? ", " : "", key);
        }
}

/* The process's group counts as its user's own. */
static void append_foreign(const AwsConfig *config, const ConfigFile *file, Buf *out)
{
        const struct stat *state = &file->state;
        if (!file->exists || file->is_denied)
                return;
        bool is_of_other = state->st_uid != 0 && state->st_uid != geteuid();
        bool is_writable = state->st_mode & S_IWOTH;
        bool is_group_writable = state->st_mode & S_IWGRP && state->st_gid != 0 && state->st_gid != getegid();
        if (!is_of_other && !is_writable && !is_group_writable)
                return;
        (void)buf_appendf(out, "%s%.300s ", out->len ? "; " : "", file->path);
        if (is_of_other)
                (void)buf_appendf(out, "belongs to another user (uid %u)", (unsigned)state->st_uid);
        else
                (void)buf_appendf(out, "may be written by %s", is_writable ? "every user" : "another group");
        if (geteuid() == 0 &&
                config_file_get(file, CONFIG_PROFILE, config->profile, "credential_process", NULL))
                (void)buf_append_str(out, ", and its credential_process runs as root");
        (void)buf_appendf(out, ": that user chooses the credentials; %s it",
                is_of_other ? "chown or replace" : "chmod go-w");
}

void aws_config_append_file_faults(const AwsConfig *config, Buf *out)
{
        append_denied_files(config, out);
        append_foreign(config, &config->config, out);
        append_foreign(config, &config->credentials, out);
}
