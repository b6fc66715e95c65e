/* What would the unit do?
 *
 * A check by hand runs as another user, with another environment and a view of other files than the service has: it may
 * fail where the service works, and the other way round. So the settings of the unit are read as systemd reads them
 * (EnvironmentFile= in systemd.exec(5)), and what the unit's own lines say is done here: its user, its environment, no
 * home directories and a /tmp of its own. Drop-ins count where they say something of these: see check-dropins.c. */

#include "check-unit.h"
#include "check-dropins.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/users.h"

#define SETTINGS "/etc/tokenfs/%s.conf"
#define SETTINGS_MAX ((size_t)1024 * 1024)
#define UNIT_USER "tokenfs"
#define UNIT_DIRECTORY "/run/tokenfs/"

/* --- The file's grammar --------------------------------------------------------------------------------------- */

/* Appends one quoted part, from its quote on, and moves behind it. */
static void take_quoted(const char **at, Buf *value)
{
        char quote = *(*at)++;
        for (; **at && **at != quote; (*at)++) {
                if (quote == '"' && **at == '\\' && (*at)[1] && strchr("\"\\`$\n", (*at)[1])) {
                        (*at)++;
                        if (**at == '\n') /* the line goes on */
                                continue;
                }
                (void)buf_append_char(value, **at);
        }
        *at += **at == quote;
}

/* The value behind '=', up to the end of its line. */
static void take_value(const char **at, Buf *value)
{
        size_t kept = 0; /* blanks behind this are at the end of the line */
        *at += strspn(*at, " \t");
        while (**at && **at != '\n') {
                if (**at == '"' || **at == '\'') {
                        take_quoted(at, value);
                        kept = value->len;
                        continue;
                }
                bool is_escaped = **at == '\\' && (*at)[1];
                *at += is_escaped;
                if (!(is_escaped && **at == '\n'))
                        (void)buf_append_char(value, **at);
                if (is_escaped || !strchr(" \t\r", **at))
                        kept = value->len;
                (*at)++;
        }
        if (value->len > kept) {
                value->len = kept;
                value->data[kept] = '\0';
        }
}

static bool is_name(const char *text, size_t len)
{
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_",
                          digits[] = "0123456789";
        for (size_t i = 0; i < len; i++)
                if (!strchr(letters, text[i]) && (i == 0 || !strchr(digits, text[i])))
                        return false;
        return len > 0;
}

/* Sets a variable for each assignment. 0, or -ENOMEM. */
static int set_variables(const char *text)
{
        CLEANUP(buf_deinit) Buf value = BUF_INIT(SETTINGS_MAX);
        while (*text) {
                text += strspn(text, " \t\r\n");
                size_t len = strcspn(text, "=\n");
                bool is_comment = *text == '#' || *text == ';';
                if (is_comment || text[len] != '=') {
                        text += strcspn(text, "\n");
                        continue;
                }
                CLEANUP(cleanup_free) char *name = strndup(text, len);
                text += len + 1;
                buf_clear(&value);
                take_value(&text, &value);
                if (!name || value.error)
                        return -ENOMEM;
                size_t name_len = strcspn(name, " \t");
                name[name_len] = '\0';
                if (is_name(name, name_len) && setenv(name, buf_str(&value), 1) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* 0, or a negative errno. */
static int read_settings(const char *path, Buf *text)
{
        FILE *file = fopen(path, "re");
        if (!file)
                return -errno;
        char piece[4096];
        size_t len;
        while ((len = fread(piece, 1, sizeof piece, file)) > 0)
                (void)buf_append(text, piece, len);
        int r = ferror(file) ? -EIO : text->error;
        (void)fclose(file);
        return r;
}

/* --- The unit's place ----------------------------------------------------------------------------------------- */

/* systemd starts a service with next to nothing of its own environment. */
static int reset_environment(void)
{
        static const char *const kept[] = {"PATH", "TERM", "LANG", "LC_ALL", "LC_CTYPE"};
        char *values[ARRAY_LEN(kept)] = {NULL};
        int r = 0;
        for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
                const char *value = secure_getenv(kept[i]);
                values[i] = value ? strdup(value) : NULL;
        }
        if (clearenv() != 0)
                r = -ENOMEM;
        for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
                if (r == 0 && values[i] && setenv(kept[i], values[i], 1) < 0)
                        r = -ENOMEM;
                free(values[i]);
        }
        return r;
}

/* ProtectHome=, PrivateTmp=. Without the right to it, files that the service can't see count as there. */
static void hide_files(void)
{
        static const char *const hidden[] = {"/home", "/root", "/run/user", "/tmp", "/var/tmp"};
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return;
        for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
                (void)mount("tmpfs", hidden[i], "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
}

static int parse_options(const Options *check, Buf *error, Options *ret_options)
{
        const char *settings = secure_getenv("OPTIONS");
        char program[] = "tokenfs", switch_check[] = "--check", switch_o[] = "-o";
        CLEANUP(cleanup_free) char *text = NULL;
        if (asprintf(&text, "uid=0,gid=0,%s", settings ? settings : "allow_other") < 0) {
                text = NULL;
                return -ENOMEM;
        }
        char *argv[] = {program, switch_check, switch_o, text, check->check_token_id, NULL};
        int r = options_parse(check->check_token_id ? 5 : 4, argv, error, ret_options);
        if (r < 0)
                return r;
        ret_options->json = check->json;
        if (check->log_level == LOG_LEVEL_DEBUG)
                ret_options->log_level = LOG_LEVEL_DEBUG;
        return 0;
}

/* As systemd does: first what Environment= says, then the files. A failure names the file. */
static int set_environment(const char *settings, const DropIns *dropins, Buf *error)
{
        int r = reset_environment();
        for (size_t at = 0; r == 0 && at < dropins->environment.len;
                at += strlen(dropins->environment.data + at) + 1) {
                CLEANUP(cleanup_free) char *word = strdup(dropins->environment.data + at);
                char *value = word ? strchr(word, '=') : NULL;
                if (!value)
                        return -ENOMEM;
                *value++ = '\0';
                if (setenv(word, value, 1) < 0)
                        r = -ENOMEM;
        }
        if (r == 0 && !dropins->drops_settings)
                r = set_variables(settings);
        for (size_t at = 0; r == 0 && at < dropins->files.len; at += strlen(dropins->files.data + at) + 1) {
                CLEANUP(buf_deinit) Buf text = BUF_INIT(SETTINGS_MAX);
                const char *path = dropins->files.data + at;
                bool is_optional = *path == '-';
                r = read_settings(path + is_optional, &text);
                if (r == -ENOENT && is_optional)
                        r = 0;
                if (r < 0)
                        (void)buf_appendf(error, "%s: %s", path, strerrordesc_np(-r));
                else
                        r = set_variables(buf_str(&text));
        }
        return r;
}

static int fail(CheckReport *report, const char *remedy, const char *detail)
{
        check_report_step(report, "unit", "unit", CHECK_FAILED, remedy, "%s", detail);
        return -EINVAL;
}

/* As root the check becomes the unit's user, which is given here as user= would be. */
static int set_user(CheckReport *report, const char *name, Options *options)
{
        User user;
        char detail[128];
        if (geteuid() != 0 || options->user)
                return 0;
        if (users_find(name, &user) < 0) {
                (void)snprintf(detail, sizeof detail, "there is no user %s, which the unit runs as", name);
                return fail(report, "systemd-sysusers makes it; or install the package", detail);
        }
        options->user = strdup(name);
        return options->user ? 0 : -ENOMEM;
}

int check_unit_load(CheckReport *report, const Options *options, Options *ret_options)
{
        char path[512], detail[1024];
        CLEANUP(buf_deinit) Buf text = BUF_INIT(SETTINGS_MAX), error = BUF_INIT(800);
        CLEANUP(dropins_deinit) DropIns dropins = DROPINS_INIT;
        (void)snprintf(path, sizeof path, SETTINGS, options->unit);
        int r = read_settings(path, &text);
        bool is_there = r == 0;
        if (r < 0 && r != -ENOENT) {
                (void)snprintf(detail, sizeof detail, "%s: %s", path, strerrordesc_np(-r));
                return fail(report, "run the check as root, as systemd reads the file", detail);
        }
        r = dropins_read(options->unit, &error, &dropins);
        if (r == 0)
                r = set_environment(buf_str(&text), &dropins, &error);
        if (r < 0)
                return error.len ? fail(report, "mend that drop-in, or what it names", buf_str(&error)) : r;
        Options unit;
        r = parse_options(options, &error, &unit);
        if (r < 0) {
                (void)snprintf(detail, sizeof detail, "%s: OPTIONS: %s", path, buf_str(&error));
                return r == -EINVAL ? fail(report, "mend that option in the file", detail) : r;
        }
        r = set_user(report, *dropins.user ? dropins.user : UNIT_USER, &unit);
        if (r < 0) {
                options_deinit(&unit);
                return r;
        }
        hide_files();
        const char *mountpoint = secure_getenv("MOUNTPOINT");
        check_report_step(report, "unit", "unit", CHECK_OK, NULL, "%s%s%s%s; %s%s%s, as user %s", path,
                is_there ? "" : " (not there: the unit's own settings)", dropins.paths.len ? ", " : "",
                buf_str(&dropins.paths), mountpoint ? "" : UNIT_DIRECTORY,
                mountpoint ? mountpoint : options->unit, geteuid() == 0 ? "" : " (this check isn't root's)",
                unit.user ? unit.user : "of this check");
        *ret_options = unit;
        return 0;
}
