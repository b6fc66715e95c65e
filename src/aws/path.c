/* Paths as the AWS tools take them.
 *
 * A daemon that an init system starts often has no HOME: then the passwd entry's home directory counts. */

#include "tokenfs/aws/path.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tokenfs/aws/environment.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"

static bool is_name_character(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The length of the reference `$NAME` or `${NAME}` at `at`, and its name; 0: there is none. */
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

/* A reference to an unset variable stays. */
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

/* Appends the home directory of `user`, or of the process's user if that is empty. False: no such user. */
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

int aws_path_expand(const char *path, char **ret_path)
{
        CLEANUP(buf_deinit) Buf variables = BUF_INIT(AWS_PATH_MAX), expanded = BUF_INIT(AWS_PATH_MAX);
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
