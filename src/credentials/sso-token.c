/* Cached sign-ins.
 *
 * `aws sso login` writes one JSON file for each session, named by the SHA-1 of the session's name (legacy: of the start
 * URL). The file is shared with the AWS CLI and with whatever else runs as this user: it is read anew each time, and a
 * refreshed one is written back beside it and renamed over it, with the owner it had, so that the user's own tools go on
 * working. A refresh token is good for one use; so a sign-in that can't be written back (read-only home, other user)
 * is kept in memory, and used as long as it outlasts the file's. */

#include "sso-token.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tokenfs/aws/environment.h"
#include "http.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/list.h"
#include "tokenfs/base/parse.h"

typedef struct SsoEntry {
        ListLink link;
        SsoToken token;
} SsoEntry;

static void entry_free(SsoEntry *entry)
{
        list_unlink(&entry->link);
        sso_token_deinit(&entry->token);
        free(entry);
}

/* Sign-ins that couldn't be written. Of the process, as their files would be: a chain is replaced when the
 * configuration is read anew. */
static ListLink remembered = {&remembered, &remembered};

static SsoEntry *find_entry(const char *name)
{
        for (ListLink *link = remembered.next; link != &remembered; link = link->next) {
                SsoEntry *entry = list_entry(link, SsoEntry, link);
                if (strcmp(entry->token.name, name) == 0)
                        return entry;
        }
        return NULL;
}

void sso_token_deinit(SsoToken *token)
{
        secret_deinit(&token->access_token);
        secret_deinit(&token->refresh_token);
        secret_deinit(&token->client_id);
        secret_deinit(&token->client_secret);
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

static int token_copy(const SsoToken *from, SsoToken *ret_token)
{
        SsoToken copy = {.expires_wall_ns = from->expires_wall_ns};
        memcpy(copy.name, from->name, sizeof(copy.name));
        memcpy(copy.registration_expires, from->registration_expires, sizeof(copy.registration_expires));
        if (copy_secret(from->access_token.data, &copy.access_token) < 0 ||
                copy_secret(from->refresh_token.data, &copy.refresh_token) < 0 ||
                copy_secret(from->client_id.data, &copy.client_id) < 0 ||
                copy_secret(from->client_secret.data, &copy.client_secret) < 0 ||
                copy_text(from->start_url, &copy.start_url) < 0 ||
                copy_text(from->region, &copy.region) < 0) {
                sso_token_deinit(&copy);
                return -ENOMEM;
        }
        *ret_token = copy;
        return 0;
}

/* --- The file ------------------------------------------------------------------------------------------------- */

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

static int append_home(Buf *out)
{
        const char *home = environment_get("HOME");
        struct passwd entry, *found = NULL;
        char strings[4096];
        if (!home && getpwuid_r(getuid(), &entry, strings, sizeof(strings), &found) == 0 && found)
                home = found->pw_dir;
        return buf_append_str(out, home ? home : "");
}

static int append_path(const char *name, const char *suffix, Buf *out)
{
        (void)append_home(out);
        return buf_appendf(out, "/.aws/sso/cache/%s.json%s", name, suffix);
}

/* Old versions of the AWS CLI wrote "UTC" where others write "Z". */
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
        SsoToken token = {0};
        int r = name_of(session_or_url, token.name);
        if (r == 0)
                r = append_path(token.name, "", ret_path);
        if (r < 0)
                return r;
        Buf text = BUF_INIT(PROVIDER_ANSWER_MAX);
        r = provider_read_file(buf_str(ret_path), &text);
        if (r == 0)
                r = read_token(&text, &token);
        buf_deinit(&text);

        SsoEntry *entry = find_entry(token.name);
        if (entry && r == 0 && entry->token.expires_wall_ns > token.expires_wall_ns) {
                sso_token_deinit(&token);
                return token_copy(&entry->token, ret_token);
        }
        if (entry && r == -ENOENT) /* signed out */
                entry_free(entry);
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
        char expires[SSO_TIME_MAX];
        time_t seconds = (time_t)(token->expires_wall_ns / (int64_t)NS_PER_S);
        struct tm tm;
        if (!gmtime_r(&seconds, &tm) || strftime(expires, sizeof(expires), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
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

static int write_all(int fd, const Buf *text)
{
        for (size_t done = 0; done < text->len;) {
                ssize_t len = write(fd, text->data + done, text->len - done);
                if (len < 0 && errno == EINTR)
                        continue;
                if (len <= 0)
                        return len < 0 ? -errno : -EIO;
                done += (size_t)len;
        }
        return fsync(fd) < 0 ? -errno : 0;
}

/* The new file belongs to whom the old one did: else root's daemon would take a user's sign-in away from him. */
static int write_file(const char *temporary, const char *path, const Buf *text)
{
        struct stat old;
        if (lstat(path, &old) < 0)
                return -errno;
        if (!S_ISREG(old.st_mode))
                return -ELOOP;
        CLEANUP(cleanup_close)
        int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        struct stat new;
        int r = fstat(fd, &new) < 0 ? -errno : 0;
        if (r == 0 && (new.st_uid != old.st_uid || new.st_gid != old.st_gid) &&
                fchown(fd, old.st_uid, old.st_gid) < 0)
                r = -errno;
        if (r == 0)
                r = write_all(fd, text);
        if (r == 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlink(temporary);
        return r;
}

static void remember(const SsoToken *token)
{
        SsoEntry *entry = calloc(1, sizeof(*entry));
        if (!entry || token_copy(token, &entry->token) < 0) {
                free(entry);
                return;
        }
        list_append(&remembered, &entry->link);
}

int sso_token_save(const SsoToken *token)
{
        SsoEntry *entry = find_entry(token->name);
        if (entry)
                entry_free(entry);
        Buf path = BUF_INIT(4096), temporary = BUF_INIT(4096), text = BUF_INIT(PROVIDER_ANSWER_MAX * 2);
        char suffix[32];
        (void)snprintf(suffix, sizeof(suffix), ".%ld.tmp", (long)getpid());
        int r = append_path(token->name, "", &path);
        if (r == 0)
                r = append_path(token->name, suffix, &temporary);
        if (r == 0)
                r = append_document(token, &text);
        if (r == 0)
                r = write_file(buf_str(&temporary), buf_str(&path), &text);
        if (r < 0)
                remember(token);
        buf_deinit(&path);
        buf_deinit(&temporary);
        buf_deinit(&text);
        return r;
}

bool sso_token_can_refresh(const SsoToken *token)
{
        int64_t registration_expires_ns;
        return token->refresh_token.data && token->client_id.data && token->client_secret.data &&
               parse_time(token->registration_expires, &registration_expires_ns) == 0 &&
               registration_expires_ns > clock_wall_ns();
}
