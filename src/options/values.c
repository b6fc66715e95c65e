/* The values of options: from text to units, with a sentence for each refusal.
 *
 * Why strict: a value that is half read mounts something else than was meant, unnoticed. Every refusal names
 * the option, quotes the value, and says what is allowed, since the reader has no other clue at boot time. */

#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tokenfs/api/token.h"
#include "tokenfs/base/shellwords.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/base/secret.h"
#include "tokenfs/base/users.h"

#define SECONDS_DIGITS 9

/* What the sentence's reader needs to see of a value. */
#define SHOWN "%.80s"

/* "90", "0.5", "5m", "1.5h" into nanoseconds. 0, -EINVAL or -ERANGE. */
static int parse_duration(const char *text, uint64_t *ret_ns)
{
        char whole[21];
        size_t len = strspn(text, "0123456789");
        if (len == 0)
                return -EINVAL;
        if (len >= sizeof whole)
                return -ERANGE;
        memcpy(whole, text, len);
        whole[len] = '\0';
        text += len;

        uint64_t fraction_ns = 0;
        if (*text == '.') {
                uint64_t unit_ns = NS_PER_S / 10;
                size_t digits = strspn(++text, "0123456789");
                if (digits == 0 || digits > SECONDS_DIGITS)
                        return -EINVAL;
                for (; digits > 0; digits--, text++, unit_ns /= 10)
                        fraction_ns += (uint64_t)(*text - '0') * unit_ns;
        }

        uint64_t factor = 1;
        switch (*text) {
        case 'd': factor = 86400; break;
        case 'h': factor = 3600; break;
        case 'm': factor = 60; break;
        default: break;
        }
        if (*text && (!strchr("smhd", *text) || text[1]))
                return -EINVAL;

        uint64_t seconds;
        int r = parse_uint(whole, UINT64_MAX / NS_PER_S / factor - 1, &seconds);
        if (r < 0)
                return r;
        *ret_ns = (seconds * NS_PER_S + fraction_ns) * factor;
        return 0;
}

static int set_seconds(const OptionSpec *spec, const char *value, uint64_t *ret_ns, Buf *error)
{
        uint64_t ns = 0;
        int r = parse_duration(value, &ns);
        bool may_be_never = spec->kind == OPTION_SECONDS_OR_NEVER;
        if (r == 0 && ((ns >= spec->min && ns <= spec->max) || (may_be_never && ns == 0))) {
                *ret_ns = ns;
                return 0;
        }
        (void)buf_appendf(error,
                "option %s: '" SHOWN
                "' is %s; allowed are %s%g to %.0f seconds, with a fraction or one of the units s, m, "
                "h, d (0.5, 90, 5m)",
                spec->name, value, r == -EINVAL ? "no time" : "out of range", may_be_never ? "0 and " : "",
                (double)spec->min / (double)NS_PER_S, (double)spec->max / (double)NS_PER_S);
        return -EINVAL;
}

static int set_count(const OptionSpec *spec, const char *value, uint64_t *ret_count, Buf *error)
{
        uint64_t count = 0;
        int r = parse_uint(value, spec->max, &count);
        if (r == 0 && count >= spec->min) {
                *ret_count = count;
                return 0;
        }
        (void)buf_appendf(error, "option %s: '" SHOWN "' is %s; allowed are %llu to %llu", spec->name, value,
                r == -EINVAL ? "no whole number" : "out of range", (unsigned long long)spec->min,
                (unsigned long long)spec->max);
        return -EINVAL;
}

static int set_mode(const OptionSpec *spec, const char *value, mode_t *ret_mode, Buf *error)
{
        uint64_t mode = 0;
        if (parse_octal(value, spec->max, &mode) < 0) {
                (void)buf_appendf(error,
                        "option %s: '" SHOWN "' is no mode; allowed are octal numbers from 0 to %llo (0440)",
                        spec->name, value, (unsigned long long)spec->max);
                return -EINVAL;
        }
        *ret_mode = (mode_t)mode;
        return 0;
}

static int set_uid(const OptionSpec *spec, const char *value, uid_t *ret_uid, Buf *error)
{
        uint64_t number;
        if (parse_uint(value, UINT32_MAX - 1, &number) == 0) {
                *ret_uid = (uid_t)number;
                return 0;
        }
        User user;
        if (users_find(value, &user) < 0) {
                (void)buf_appendf(error,
                        "option %s: there is no user '" SHOWN "'; give a user's name or number", spec->name,
                        value);
                return -EINVAL;
        }
        *ret_uid = user.uid;
        return 0;
}

static int set_gid(const OptionSpec *spec, const char *value, gid_t *ret_gid, Buf *error)
{
        uint64_t number;
        if (parse_uint(value, UINT32_MAX - 1, &number) == 0) {
                *ret_gid = (gid_t)number;
                return 0;
        }
        gid_t gid;
        if (users_find_group(value, &gid) < 0) {
                (void)buf_appendf(error,
                        "option %s: there is no group '" SHOWN "'; give a group's name or number", spec->name,
                        value);
                return -EINVAL;
        }
        *ret_gid = gid;
        return 0;
}

static int set_text(const char *value, char **ret_text)
{
        char *copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        free(*ret_text);
        *ret_text = copy;
        return 0;
}

/* The daemon's working directory is /, so the name is completed with today's. */
static int make_absolute(const char *value, char **ret_path)
{
        if (value[0] == '/')
                return set_text(value, ret_path);
        CLEANUP(cleanup_free) char *directory = getcwd(NULL, 0);
        if (!directory)
                return errno == ENOMEM ? -ENOMEM : set_text(value, ret_path);
        char *path = NULL;
        if (asprintf(&path, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, value) < 0)
                return -ENOMEM;
        free(*ret_path);
        *ret_path = path;
        return 0;
}

static int set_path(const OptionSpec *spec, const char *value, char **ret_path, Buf *error)
{
        if (access(value, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))
                return make_absolute(value, ret_path);
        (void)buf_appendf(error,
                "option %s: there is no file or directory '" SHOWN "'; make it first, or correct the path",
                spec->name, value);
        return -EINVAL;
}

/* mount(8) adds user=NAME when NAME mounts by himself what fstab lets users mount: then there is nothing to drop. */
static int set_user(const OptionSpec *spec, const char *value, char **ret_user, Buf *error)
{
        User user;
        if (users_find(value, &user) < 0) {
                (void)buf_appendf(error, "option %s: there is no user '" SHOWN "'; give the name of one",
                        spec->name, value);
                return -EINVAL;
        }
        if (geteuid() == user.uid) {
                free(*ret_user); /* of an earlier user= */
                *ret_user = NULL;
                return 0;
        }
        if (geteuid() != 0) {
                (void)buf_appendf(error, "option %s: only root can run a part as another user ('" SHOWN "')",
                        spec->name, value);
                return -EINVAL;
        }
        return set_text(value, ret_user);
}

/* Appends a copy; a repeated one is left out. */
static int list_add(OptionList *list, const char *item)
{
        for (size_t i = 0; i < list->count; i++)
                if (strcmp(list->items[i], item) == 0)
                        return 0;
        char **items = reallocarray(list->items, list->count + 1, sizeof *items);
        if (!items)
                return -ENOMEM;
        list->items = items;
        items[list->count] = strdup(item);
        if (!items[list->count])
                return -ENOMEM;
        list->count++;
        return 0;
}

static int set_id(const OptionSpec *spec, const char *value, OptionList *list, Buf *error)
{
        if (!token_id_is_valid(value)) {
                (void)buf_appendf(error,
                        "option %s: '" SHOWN "' is no id; an id has 1 to %d letters, digits, '-' and '.'",
                        spec->name, value, TOKEN_ID_MAX);
                return -EINVAL;
        }
        return list_add(list, value);
}

static int set_name(const OptionSpec *spec, const char *value, OptionList *list, Buf *error)
{
        if (!token_name_is_valid(value)) {
                (void)buf_appendf(error,
                        "option %s: '" SHOWN
                        "' is no name; a name has 1 to %d letters, digits, '-', '_', '/', ' ' and "
                        "''', not digits alone",
                        spec->name, value, TOKEN_NAME_MAX);
                return -EINVAL;
        }
        return list_add(list, value);
}

static int set_command(const OptionSpec *spec, const char *value, char **ret_command, Buf *error)
{
        CLEANUP(secret_free_p) char **words = NULL;
        int r = shellwords_split(value, &words);
        /* The daemon's working directory is /. */
        bool is_relative = r == 0 && words[0][0] != '/' && (strchr(words[0], '/') || !words[0][0]);
        if (r == -EINVAL || is_relative) {
                (void)buf_appendf(error, "option %s: '" SHOWN "' %s", spec->name, value,
                        is_relative ? "must begin with an absolute path, or a program's name"
                                    : "is no command: a quote isn't closed, or there is no word");
                return -EINVAL;
        }
        if (r == 0 && words[0][0] == '/' && access(words[0], X_OK) < 0) {
                (void)buf_appendf(error, "option %s: '" SHOWN "' can't be run: %s", spec->name, words[0],
                        strerror(errno));
                return -EINVAL;
        }
        return r < 0 ? r : set_text(value, ret_command);
}

static int refuse_option(const OptionSpec *spec, Buf *error)
{
        (void)buf_appendf(error, "option %s isn't supported: %s", spec->name, spec->help);
        return -EINVAL;
}

static int refuse_value(const OptionSpec *spec, const char *value, Buf *error)
{
        (void)buf_appendf(error, "option %s takes no value ('" SHOWN "')", spec->name, value);
        return -EINVAL;
}

static int set_flag(const OptionSpec *spec, const char *value, bool *ret_flag, Buf *error)
{
        if (value)
                return refuse_value(spec, value, error);
        *ret_flag = true;
        return 0;
}

static int set_switch(const OptionSpec *spec, const char *value, bool *ret_switch, Buf *error)
{
        if (parse_bool(value, ret_switch) == 0)
                return 0;
        (void)buf_appendf(error, "option %s: '" SHOWN "' is neither on nor off; allowed are on and off",
                spec->name, value);
        return -EINVAL;
}

/* libfuse splits at commas again, and undoes the same escapes. */
static int set_fuse(const OptionSpec *spec, const char *value, OptionList *list, Buf *error)
{
        if (!spec->argument)
                return value ? refuse_value(spec, value, error) : list_add(list, spec->name);
        if (strlen(value) > OPTION_MOUNT_TEXT_MAX) {
                (void)buf_appendf(error, "option %s: its value is too long; allowed are %d bytes", spec->name,
                        OPTION_MOUNT_TEXT_MAX);
                return -EINVAL;
        }
        Buf item = BUF_INIT(OPTION_MOUNT_TEXT_MAX * 2 + 64);
        (void)buf_appendf(&item, "%s=", spec->name);
        for (; *value; value++) {
                if (*value == ',' || *value == '\\')
                        (void)buf_append_char(&item, '\\');
                (void)buf_append_char(&item, *value);
        }
        int r = item.error ? -ENOMEM : list_add(list, buf_str(&item));
        buf_deinit(&item);
        return r;
}

static int set_fuse_count(const OptionSpec *spec, const char *value, OptionList *list, Buf *error)
{
        uint64_t count;
        int r = set_count(spec, value, &count, error);
        return r < 0 ? r : set_fuse(spec, value, list, error);
}

static int set_log_level(const OptionSpec *spec, const char *value, LogLevel *ret_level, Buf *error)
{
        if (log_level_parse(value, ret_level) < 0) {
                (void)buf_appendf(error,
                        "option %s: '" SHOWN "' is no level; allowed are error, warning, info, debug",
                        spec->name, value);
                return -EINVAL;
        }
        return 0;
}

int option_set(const OptionSpec *spec, const char *value, Options *options, Buf *error)
{
        void *target = (char *)options + spec->offset;
        if (spec->argument && (!value || !*value) && !(spec->kind == OPTION_USER && !value)) {
                (void)buf_appendf(
                        error, "option %s needs a value (%s=%s)", spec->name, spec->name, spec->argument);
                return -EINVAL;
        }
        switch (spec->kind) {
        case OPTION_FLAG: return set_flag(spec, value, target, error);
        case OPTION_SWITCH: return set_switch(spec, value, target, error);
        case OPTION_TEXT: return set_text(value, target);
        case OPTION_PATH: return set_path(spec, value, target, error);
        case OPTION_SECONDS:
        case OPTION_SECONDS_OR_NEVER: return set_seconds(spec, value, target, error);
        case OPTION_COUNT: return set_count(spec, value, target, error);
        case OPTION_MODE: return set_mode(spec, value, target, error);
        case OPTION_UID: return set_uid(spec, value, target, error);
        case OPTION_GID: return set_gid(spec, value, target, error);
        case OPTION_USER: return value ? set_user(spec, value, target, error) : 0;
        case OPTION_LOG_LEVEL: return set_log_level(spec, value, target, error);
        case OPTION_ID: return set_id(spec, value, target, error);
        case OPTION_NAME: return set_name(spec, value, target, error);
        case OPTION_COMMAND: return set_command(spec, value, target, error);
        case OPTION_FUSE: return set_fuse(spec, value, &options->mount_options, error);
        case OPTION_FUSE_COUNT: return set_fuse_count(spec, value, &options->mount_options, error);
        case OPTION_MOUNT: return 0;
        case OPTION_REFUSED: return refuse_option(spec, error);
        }
        return -EINVAL;
}
