#pragma once
/* The shared configuration of the AWS tools: ~/.aws/config and ~/.aws/credentials, as the AWS CLI reads them. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"

typedef struct AwsConfig AwsConfig;

/* Paths of the files, which need not exist, and the profile. */
typedef struct AwsConfigPaths {
        const char *config_file; /* NULL: AWS_CONFIG_FILE, else ~/.aws/config */
        const char *credentials_file; /* NULL: AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials */
        const char *profile; /* NULL: AWS_DEFAULT_PROFILE, AWS_PROFILE, else "default" */
} AwsConfigPaths;

/* Reads both files; a missing file is empty. Returns 0; -ENOMEM; -EINVAL: broken grammar, and `error` names file, line
 * and fault, and quotes nothing of the file; -EFBIG: over 1 MiB; -ENAMETOOLONG; or the error of open or read, and
 * `error` names the file. A file at its default path that this user may not read counts as missing: see
 * aws_config_append_file_faults. aws_path_expand expands the paths. An empty variable counts as unset. A profile that is in neither file is
 * no error here: see aws_config_check_profile. */
int aws_config_load(const AwsConfigPaths *paths, Buf *error, AwsConfig **ret_config);
AwsConfig *aws_config_free(AwsConfig *config);
CLEANUP_DEFINE(AwsConfig *, aws_config_free);

/* True if a file has changed, appeared or gone since it was read. Inode, size and times are compared, not the
 * content. */
bool aws_config_is_outdated(const AwsConfig *config);

/* The name of the chosen profile; true if an option or the environment names it. */
const char *aws_config_profile(const AwsConfig *config);
bool aws_config_profile_is_explicit(const AwsConfig *config);
const char *aws_config_config_file(const AwsConfig *config);
const char *aws_config_credentials_file(const AwsConfig *config);

bool aws_config_has_profile(const AwsConfig *config, const char *profile);
/* Checks that the profile exists, if the user names one. 0, or -ENOENT, and `error` names both files, the section that
 * was probably meant, and the remedy. */
int aws_config_check_profile(const AwsConfig *config, Buf *error);
/* Appends the keys of a profile that this program does not know, separated by ", ". */
void aws_config_append_unknown_keys(const AwsConfig *config, const char *profile, Buf *out);
/* Appends the fault of each file that this user may not read, or that another user may write or owns, and the remedy;
 * nothing if there is none. The process's user and root are trusted. */
void aws_config_append_file_faults(const AwsConfig *config, Buf *out);

/* The value of a key (any case) of a profile. The credentials file precedes the config file. NULL: no such key, or its
 * value is nested. Borrowed until the config is freed. */
const char *aws_config_get(const AwsConfig *config, const char *profile, const char *key);
/* The same from one file: two providers of the standard order read one each. */
const char *aws_config_get_from_credentials(const AwsConfig *config, const char *profile, const char *key);
const char *aws_config_get_from_config(const AwsConfig *config, const char *profile, const char *key);
/* True if a value seems to end with a comment (" # mine"), which the AWS tools take as part of the value. */
bool aws_value_has_comment(const char *value);
/* A key of `[sso-session NAME]`; NULL: none. */
const char *aws_config_get_sso_session(const AwsConfig *config, const char *name, const char *key);
bool aws_config_has_sso_session(const AwsConfig *config, const char *name);
bool aws_config_has_services(const AwsConfig *config, const char *name);
/* A nested key of `[services NAME]`: `route53globalresolver =\n  endpoint_url = …`. NULL: none. */
const char *aws_config_get_service(
        const AwsConfig *config, const char *name, const char *service, const char *key);
