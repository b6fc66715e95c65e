/* The byte buffer: its limits, its sticky errors, and the encodings. */

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"

static void test_appends(void **state)
{
        (void)state;
        CLEANUP(buf_deinit) Buf buf = BUF_INIT(100);
        assert_string_equal(buf_str(&buf), "");
        assert_null(buf.data);
        assert_int_equal(buf_append(&buf, NULL, 0), 0);
        assert_string_equal(buf_str(&buf), "");
        assert_int_equal(buf_append(&buf, "ab\0c", 4), 0);
        assert_int_equal(buf.len, 4);
        assert_int_equal(buf_append_str(&buf, "de"), 0);
        assert_int_equal(buf_append_char(&buf, 'f'), 0);
        assert_int_equal(buf_appendf(&buf, "%d%s", 7, "g"), 0);
        assert_int_equal(buf.len, 9);
        assert_memory_equal(buf.data, "ab\0cdef7g", 10);
        buf_clear(&buf);
        assert_int_equal(buf.len, 0);
        assert_string_equal(buf_str(&buf), "");
        assert_int_equal(buf.max, 100);
        buf_deinit(&buf);
        assert_null(buf.data);
        assert_int_equal(buf.max, 100);
}

static void test_maximum(void **state)
{
        (void)state;
        CLEANUP(buf_deinit) Buf buf = BUF_INIT(5);
        assert_int_equal(buf_append_str(&buf, "12345"), 0);
        assert_int_equal(buf_append(&buf, "", 0), 0);
        assert_int_equal(buf_append_char(&buf, '6'), -EMSGSIZE);
        assert_string_equal(buf_str(&buf), "12345");
        assert_int_equal(buf.error, -EMSGSIZE);
        /* sticky, even for what would fit */
        assert_int_equal(buf_append(&buf, "", 0), -EMSGSIZE);
        buf_clear(&buf);
        assert_int_equal(buf.error, 0);
        assert_int_equal(buf_append_str(&buf, "123"), 0);
        assert_int_equal(buf_appendf(&buf, "%s", "456"), -EMSGSIZE);
        assert_string_equal(buf_str(&buf), "123");
        buf_clear(&buf);
        assert_int_equal(buf_append(&buf, "x", SIZE_MAX), -EMSGSIZE);
        Buf none = BUF_INIT(0);
        assert_int_equal(buf_append_char(&none, 'x'), -EMSGSIZE);
        assert_null(none.data);
}

static void test_grows(void **state)
{
        (void)state;
        CLEANUP(buf_deinit) Buf buf = BUF_INIT(300000);
        for (int i = 0; i < 300000; i++)
                assert_int_equal(buf_append_char(&buf, (char)('a' + i % 26)), 0);
        assert_int_equal(buf.len, 300000);
        for (size_t i = 0; i < buf.len; i++)
                assert_int_equal(buf.data[i], 'a' + i % 26);
        assert_int_equal(buf.data[300000], '\0');
        assert_int_equal(buf_append_char(&buf, 'x'), -EMSGSIZE);
}

static void test_uri(void **state)
{
        (void)state;
        CLEANUP(buf_deinit) Buf buf = BUF_INIT(2000);
        assert_int_equal(buf_append_uri(&buf, "aZ09-._~/ +%?\xC3\xA4", 14, ""), 0);
        assert_string_equal(buf_str(&buf), "aZ09-._~%2F%20%2B%25%3F%C3");
        buf_clear(&buf);
        assert_int_equal(buf_append_uri(&buf, "a/b\0c", 5, "/"), 0);
        assert_string_equal(buf_str(&buf), "a/b%00c");
        buf_clear(&buf);
        for (int c = 0; c < 256; c++)
                (void)buf_append_uri(&buf, &(char){(char)c}, 1, "");
        assert_int_equal(buf.error, 0);
        assert_int_equal(buf.len, 66 + 3 * 190);
        Buf small = BUF_INIT(5);
        assert_int_equal(buf_append_uri(&small, "a//", 3, ""), -EMSGSIZE);
        assert_string_equal(buf_str(&small), "a%2F");
        buf_deinit(&small);
}

static void test_hex(void **state)
{
        (void)state;
        CLEANUP(buf_deinit) Buf buf = BUF_INIT(100);
        assert_int_equal(buf_append_hex(&buf, "\x00\x7f\xff\x0a", 4), 0);
        assert_string_equal(buf_str(&buf), "007fff0a");
}

static void test_json(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                size_t len;
                const char *json;
        } all[] = {
                {"", 0, "\"\""},
                {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
                {"\n\t\x1f\0", 4, "\"\\u000a\\u0009\\u001f\\u0000\""},
                {"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", 9, "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\""},
                {"a\xFF"
                 "b",
                        3,
                        "\"a\xEF\xBF\xBD"
                        "b\""},
                {"\xC3", 1, "\"\xEF\xBF\xBD\""},
                {"\xED\xA0\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                CLEANUP(buf_deinit) Buf buf = BUF_INIT(100);
                assert_int_equal(buf_append_json(&buf, all[i].text, all[i].len), 0);
                assert_string_equal(buf_str(&buf), all[i].json);
        }
        CLEANUP(buf_deinit) Buf small = BUF_INIT(3);
        assert_int_equal(buf_append_json(&small, "abc", 3), -EMSGSIZE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_appends),
                cmocka_unit_test(test_maximum),
                cmocka_unit_test(test_grows),
                cmocka_unit_test(test_uri),
                cmocka_unit_test(test_hex),
                cmocka_unit_test(test_json),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
