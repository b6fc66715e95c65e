/* How a token's name is written as the name of a directory: '/' is "%2F", '%' is "%25"; "." alone is "%2E" and ".."
 * is "%2E%2E". Nothing else is escaped, and only this form is read. */

#include "fs-private.h"

#include <errno.h>
#include <string.h>

int name_encode(const char *name, char ret_encoded[static FS_NAME_MAX + 1])
{
        size_t len = 0;
        bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
        if (!*name || strlen(name) > TOKEN_NAME_MAX)
                return -EINVAL;
        for (; *name; name++) {
                const char *escaped = *name == '/' ? "%2F" : *name == '%' ? "%25" : dots ? "%2E" : NULL;
                if (escaped) {
                        memcpy(ret_encoded + len, escaped, 3);
                        len += 3;
                } else {
                        ret_encoded[len++] = *name;
                }
        }
        ret_encoded[len] = '\0';
        return 0;
}

int name_decode(const char *encoded, char ret_name[static TOKEN_NAME_MAX + 1])
{
        static const struct {
                char escaped[4], plain;
        } escapes[] = {{"%2F", '/'}, {"%25", '%'}, {"%2E", '.'}};
        char name[TOKEN_NAME_MAX + 1];
        size_t len = 0;
        for (const char *c = encoded; *c;) {
                if (len == TOKEN_NAME_MAX)
                        return -EINVAL;
                char plain = *c;
                size_t step = 1;
                for (size_t i = 0; i < ARRAY_LEN(escapes); i++)
                        if (strncmp(c, escapes[i].escaped, 3) == 0) {
                                plain = escapes[i].plain;
                                step = 3;
                        }
                if (plain == '%' && step == 1)
                        return -EINVAL;
                name[len++] = plain;
                c += step;
        }
        name[len] = '\0';
        /* One name has one directory: only the form that name_encode writes is accepted. */
        char again[FS_NAME_MAX + 1];
        if (name_encode(name, again) < 0 || strcmp(again, encoded) != 0)
                return -EINVAL;
        memcpy(ret_name, name, len + 1);
        return 0;
}
