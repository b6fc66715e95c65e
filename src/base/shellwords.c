/* credential_process names a program with arguments. The AWS tools split the line as a POSIX shell does, and run the
 * program without a shell; this module has the same rules, in one pass. Words are no longer than the line, and there are
 * at most half as many as bytes, so one block holds pointers and bytes. */

#include "tokenfs/base/shellwords.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "tokenfs/base/secret.h"

int shellwords_split(const char *line, char ***ret_words)
{
        size_t len = strlen(line);
        size_t words_max = len / 2 + 2;
        CLEANUP(secret_free_p) char **words = secret_malloc(words_max * sizeof(*words) + len + 1);
        if (!words)
                return -ENOMEM;
        char *out = (char *)(words + words_max);
        size_t count = 0;
        bool in_word = false;
        char quote = '\0';
        for (const char *c = line; *c; c++) {
                bool is_escape = *c == '\\' && quote != '\'';
                /* Between double quotes a backslash hides only these two; before others it stays. */
                if (is_escape && quote && c[1] != '"' && c[1] != '\\')
                        is_escape = false;
                if (!quote && !is_escape && strchr(" \t\r\n", *c)) {
                        if (in_word)
                                *out++ = '\0';
                        in_word = false;
                        continue;
                }
                if (!in_word)
                        words[count++] = out;
                in_word = true;
                if (is_escape) {
                        if (!*++c)
                                return -EINVAL;
                        *out++ = *c;
                } else if (quote ? *c == quote : *c == '"' || *c == '\'') {
                        quote = quote ? '\0' : *c;
                } else {
                        *out++ = *c;
                }
        }
        if (quote || count == 0)
                return -EINVAL;
        *out = '\0';
        words[count] = NULL;
        *ret_words = TAKE(words);
        return 0;
}
