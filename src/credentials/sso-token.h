#pragma once
/* A sign-in of IAM Identity Center, which `aws sso login` left in ~/.aws/sso/cache. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/secret.h"

#define SSO_TIME_MAX 40

typedef struct SsoToken {
        char *path; /* of its file */
        Secret access_token;
        int64_t expires_wall_ns;
        /* Needed for a renewal; unset if the file lacks them. */
        Secret refresh_token, client_id, client_secret;
        char registration_expires[SSO_TIME_MAX]; /* as the file has it; "" if none */
        char *start_url, *region;
} SsoToken;
void sso_token_deinit(SsoToken *token);

/* Reads the sign-in of an sso-session (its name) or, in the legacy form, of a start URL. `ret_path` gets the file's
 * path, also on failure. Returns 0, -ENOENT (no file, or an empty accessToken: no sign-in), -EINVAL (the AWS CLI writes
 * no such file), -ENOMEM, or the errors of provider_read_file. */
int sso_token_load(const char *session_or_url, Buf *ret_path, SsoToken *ret_token);
/* Writes the sign-in back, as sign_in_file_save does. */
int sso_token_save(const SsoToken *token);

/* True if the token has all that a renewal needs, and the registration is valid. */
bool sso_token_can_refresh(const SsoToken *token);
