/* Command lines; tests/e2e/test_credentials_life.py compares thousands more with shlex. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tokenfs/base/shellwords.h"
#include "tokenfs/base/secret.h"

/* The words, each in [], or the error. */
static int split(const char *line, char ret_text[static 256])
{
        CLEANUP(secret_free_p) char **words = NULL;
        int r = shellwords_split(line, &words);
        assert_true((r == 0) == (words != NULL));
        size_t len = 0;
        for (char **word = words; r == 0 && *word; word++) {
                size_t more = strlen(*word);
                assert_true(len + more + 3 < 256);
                ret_text[len++] = '[';
                memcpy(ret_text + len, *word, more);
                len += more;
                ret_text[len++] = ']';
        }
        ret_text[len] = '\0';
        return r;
}

static void test_splits(void **state)
{
        (void)state;
        static const char *const lines[][2] = {
                {"a", "[a]"},
                {"  a \t b\r\nc ", "[a][b][c]"},
                {"'a b' \"c d\" e\\ f", "[a b][c d][e f]"},
                {"a'b'\"c\"d", "[abcd]"},
                {"'' \"\" x''", "[][][x]"},
                {"\"\\\" \\\\ \\$ \\a\"", "[\" \\ \\$ \\a]"},
                {"'\\' \\'", "[\\][']"},
                {"$HOME `x` * ; | > # ~", "[$HOME][`x`][*][;][|][>][#][~]"},
                {"\\\n", "[\n]"},
                {"\xC3\xA4 'b", NULL},
        };
        for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
                char text[256];
                assert_int_equal(split(lines[i][0], text), lines[i][1] ? 0 : -EINVAL);
                if (lines[i][1])
                        assert_string_equal(text, lines[i][1]);
        }
}

static void test_refuses(void **state)
{
        (void)state;
        static const char *const lines[] = {
                "", " \t\r\n", "'", "\"", "a 'b", "a \"b", "\\", "a\\", "\"a\\\"", "'a\\\\"};
        char text[256];
        for (size_t i = 0; i < ARRAY_LEN(lines); i++)
                assert_int_equal(split(lines[i], text), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_splits),
                cmocka_unit_test(test_refuses),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
