#pragma once
/* The shared configuration of the AWS tools: ~/.aws/config and ~/.aws/credentials, as the AWS CLI reads them. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"

typedef struct AwsConfig AwsConfig;

/* Where the files lie, whether they exist or not, and which profile is meant. */
typedef struct AwsConfigPaths {
        const char *config_file; /* NULL: AWS_CONFIG_FILE, else ~/.aws/config */
        const char *credentials_file; /* NULL: AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials */
        const char *profile; /* NULL: AWS_DEFAULT_PROFILE, AWS_PROFILE, else "default" */
} AwsConfigPaths;

/* Reads both files (one that is missing is empty). Returns 0, -ENOMEM, -EINVAL (broken grammar: `error` says file,
 * line and what is wrong, and quotes nothing of it), -EACCES and other errors of open/read (`error` says which file;
 * a file at its usual place that may not be read counts as missing, with a warning in the log), -EFBIG (over 1 MiB),
 * -ENAMETOOLONG. Paths may begin with ~ and name variables ($X); the home directory is HOME's, else the passwd
 * entry's. Variables that are empty count as unset. A named profile that is in neither file is no error here: see
 * aws_config_has_profile. */
int aws_config_load(const AwsConfigPaths *paths, Buf *error, AwsConfig **ret_config);
AwsConfig *aws_config_free(AwsConfig *config);
CLEANUP_DEFINE(AwsConfig *, aws_config_free);

/* True if a file that was read has since changed, come or gone (by its inode, size and times; no content is read). */
bool aws_config_is_outdated(const AwsConfig *config);

/* The chosen profile's name; true if the user named it (option or environment) rather than by default. */
const char *aws_config_profile(const AwsConfig *config);
bool aws_config_profile_is_explicit(const AwsConfig *config);
const char *aws_config_config_file(const AwsConfig *config);
const char *aws_config_credentials_file(const AwsConfig *config);

bool aws_config_has_profile(const AwsConfig *config, const char *profile);
/* A profile that the user named must be there. 0, or -ENOENT with `error` saying where it isn't, which section was
 * perhaps meant, and what to do. */
int aws_config_check_profile(const AwsConfig *config, Buf *error);
/* Appends the profile's keys that this program doesn't know, separated by ", ". */
void aws_config_append_unknown_keys(const AwsConfig *config, const char *profile, Buf *out);
/* Appends what is wrong with the files' owners and modes, where another user may have written them, and what to do; nothing
 * if all is well. The process's user and root are trusted. */
void aws_config_append_foreign_files(const AwsConfig *config, Buf *out);

/* A key (any case) of a profile: merged from both files, those of the credentials file first. NULL if not there, or if
 * its value is nested. Borrowed until the config is freed. */
const char *aws_config_get(const AwsConfig *config, const char *profile, const char *key);
/* The same from one of the files (which the standard order asks separately). */
const char *aws_config_get_from_credentials(const AwsConfig *config, const char *profile, const char *key);
const char *aws_config_get_from_config(const AwsConfig *config, const char *profile, const char *key);
/* True if a value seems to end with a comment (" # mine"): the AWS tools take it as part of the value. */
bool aws_value_has_comment(const char *value);
/* A key in `[sso-session NAME]`; NULL if not there. */
const char *aws_config_get_sso_session(const AwsConfig *config, const char *name, const char *key);
bool aws_config_has_sso_session(const AwsConfig *config, const char *name);
bool aws_config_has_services(const AwsConfig *config, const char *name);
/* `[services NAME]`, nested: `route53globalresolver =\n  endpoint_url = …`. NULL if not there. */
const char *aws_config_get_service(
        const AwsConfig *config, const char *name, const char *service, const char *key);
