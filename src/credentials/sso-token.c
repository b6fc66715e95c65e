/* Sign-ins of IAM Identity Center.
 *
 * `aws sso login` writes a JSON file for each session. Its name is the SHA-1 of the session's name (legacy: of the
 * start URL). */

#include "sso-token.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "sign-in-file.h"
#include "tokenfs/aws/path.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/parse.h"

void sso_token_deinit(SsoToken *token)
{
        secret_deinit(&token->access_token);
        secret_deinit(&token->refresh_token);
        secret_deinit(&token->client_id);
        secret_deinit(&token->client_secret);
        free(token->path);
        free(token->start_url);
        free(token->region);
        *token = (SsoToken){0};
}

static int copy_secret(const char *text, Secret *ret_secret)
{
        return text ? secret_set(ret_secret, text, strlen(text)) : 0;
}

static int copy_text(const char *text, char **ret_copy)
{
        return text && !(*ret_copy = strdup(text)) ? -ENOMEM : 0;
}

/* A file's name, less ".json". */
static int name_of(const char *session_or_url, char ret_name[static 41])
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        if (EVP_Digest(session_or_url, strlen(session_or_url), digest, &len, EVP_sha1(), NULL) != 1 ||
                len != 20)
                return -EIO;
        for (unsigned i = 0; i < len; i++)
                (void)snprintf(ret_name + 2 * i, 3, "%02x", digest[i]);
        return 0;
}

/* Old versions of the AWS CLI end a time with "UTC" instead of "Z". */
static int parse_time(const char *text, int64_t *ret_wall_ns)
{
        char changed[SSO_TIME_MAX];
        size_t len = strlen(text);
        if (len >= sizeof(changed))
                return -EINVAL;
        (void)snprintf(changed, sizeof(changed), "%s", text);
        if (len > 3 && strcmp(changed + len - 3, "UTC") == 0)
                memcpy(changed + len - 3, "Z", 2);
        return parse_iso8601(changed, ret_wall_ns);
}

static int read_token(const Buf *text, SsoToken *token)
{
        CLEANUP(json_free_p) cJSON *json = NULL;
        int r = json_parse(buf_str(text), text->len, 8, &json);
        if (r < 0)
                return r == -ENOMEM ? r : -EINVAL;
        const char *access_token = json_string(json, "accessToken");
        const char *expires = json_string(json, "expiresAt");
        if (access_token && !*access_token)
                return -ENOENT; /* signed out */
        if (!access_token || !expires || parse_time(expires, &token->expires_wall_ns) < 0)
                return -EINVAL;
        const char *registration_expires = json_string(json, "registrationExpiresAt");
        if (registration_expires && strlen(registration_expires) < sizeof(token->registration_expires))
                (void)snprintf(token->registration_expires, sizeof(token->registration_expires), "%s",
                        registration_expires);
        if (copy_secret(access_token, &token->access_token) < 0 ||
                copy_secret(json_string(json, "refreshToken"), &token->refresh_token) < 0 ||
                copy_secret(json_string(json, "clientId"), &token->client_id) < 0 ||
                copy_secret(json_string(json, "clientSecret"), &token->client_secret) < 0 ||
                copy_text(json_string(json, "startUrl"), &token->start_url) < 0 ||
                copy_text(json_string(json, "region"), &token->region) < 0)
                return -ENOMEM;
        return 0;
}

int sso_token_load(const char *session_or_url, Buf *ret_path, SsoToken *ret_token)
{
        char name[41];
        CLEANUP(cleanup_free) char *directory = NULL;
        int r = name_of(session_or_url, name);
        if (r == 0)
                r = aws_path_expand("~/.aws/sso/cache", &directory);
        if (r == 0)
                r = buf_appendf(ret_path, "%s/%s.json", directory, name);
        if (r < 0)
                return r;
        CLEANUP(buf_deinit) Buf text = BUF_INIT(PROVIDER_ANSWER_MAX);
        SsoToken token = {.path = strdup(buf_str(ret_path))};
        r = token.path ? sign_in_file_load(token.path, &text) : -ENOMEM;
        if (r == 0)
                r = read_token(&text, &token);
        if (r < 0) {
                sso_token_deinit(&token);
                return r;
        }
        *ret_token = token;
        return 0;
}

static void append_member(Buf *out, const char *name, const char *value)
{
        if (!value || !*value)
                return;
        (void)buf_appendf(out, "%s\"%s\": ", out->len > 1 ? ", " : "", name);
        (void)buf_append_json(out, value, strlen(value));
}

static int append_document(const SsoToken *token, Buf *out)
{
        char expires[32];
        if (clock_format_utc(token->expires_wall_ns, expires) < 0)
                return -EINVAL;
        (void)buf_append_char(out, '{');
        append_member(out, "startUrl", token->start_url);
        append_member(out, "region", token->region);
        append_member(out, "accessToken", token->access_token.data);
        append_member(out, "expiresAt", expires);
        append_member(out, "clientId", token->client_id.data);
        append_member(out, "clientSecret", token->client_secret.data);
        append_member(out, "registrationExpiresAt", token->registration_expires);
        append_member(out, "refreshToken", token->refresh_token.data);
        return buf_append_char(out, '}');
}

int sso_token_save(const SsoToken *token)
{
        CLEANUP(buf_deinit) Buf text = BUF_INIT(PROVIDER_ANSWER_MAX * 2);
        int r = append_document(token, &text);
        return r < 0 ? r : sign_in_file_save(token->path, &text);
}

bool sso_token_can_refresh(const SsoToken *token)
{
        int64_t registration_expires_ns;
        return token->refresh_token.data && token->client_id.data && token->client_secret.data &&
               parse_time(token->registration_expires, &registration_expires_ns) == 0 &&
               registration_expires_ns > clock_wall_ns();
}
