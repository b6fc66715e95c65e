/* JSON: what is refused before cJSON sees it, and look-ups that don't choose between duplicates. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenfs/base/json.h"

static int parse(const char *text)
{
        CLEANUP(json_free_p) cJSON *json = NULL;
        int r = json_parse(text, strlen(text), 4, &json);
        assert_true((r == 0) == (json != NULL));
        return r;
}

static void test_accepts(void **state)
{
        (void)state;
        static const char *const texts[] = {
                "{}",
                " {\"a\": [1, 2.5, -3e2, true, false, null]} \n",
                "\"x\"",
                "{\"a\":{\"b\":{\"c\":[]}}}",
                "\"[[[[[[[[\"",
                "\"\\\"\"",
                "\"\\\\u0000\"",
                "[0, -0, 1.5, 1e9, 1E+9, 10.25e-3, -7]",
                "\"\xC3\xA4\\u00e4\\ud83d\\ude00\"",
        };
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
                assert_int_equal(parse(texts[i]), 0);
}

static void test_refuses(void **state)
{
        (void)state;
        static const char *const texts[] = {
                "",
                " ",
                "{",
                "}",
                "{}x",
                "{} {}",
                "[1,]",
                "{\"a\"}",
                "{\"a\":}",
                "\"",
                "\"\\\"",
                "nul",
                "\"\\u0000\"",
                "\"a\nb\"",
                "\"\xFF\"",
                "\"\xC3\"",
                "\xC3\xA4",
                "\"\\u12\"",
                "\"\\ud800\"",
                "[}",
                "\"\\",
                "]",
                /* what cJSON alone would take */
                "\xEF\xBB\xBF{}",
                "{\v}",
                "[\x1f 1]",
                "[01]",
                "[1.]",
                "[-.5]",
                "[.5]",
                "[+1]",
                "[-]",
                "[1e]",
                "[1e+]",
                "[1.5.5]",
                "[0x10]",
                "[1-]",
                "[NaN]",
                "[1 2]",
        };
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
                if (parse(texts[i]) != -EINVAL)
                        fail_msg("accepted: %s", texts[i]);
        cJSON *json = NULL;
        assert_int_equal(json_parse("{}\0", 3, 4, &json), -EINVAL);
        assert_int_equal(json_parse("\"a\0b\"", 5, 4, &json), -EINVAL);
        /* not NUL-terminated: nothing behind the length is looked at */
        assert_int_equal(json_parse("{\"a\":1}", 6, 4, &json), -EINVAL);
        assert_null(json);
}

static void test_depth(void **state)
{
        (void)state;
        assert_int_equal(parse("[[[[]]]]"), 0);
        assert_int_equal(parse("[[[[[]]]]]"), -E2BIG);
        assert_int_equal(parse("{\"a\":[{\"b\":[[]]}]}"), -E2BIG);
        assert_int_equal(parse("[[],[],[],[],[],[]]"), 0);
}

static void test_number_of_values(void **state)
{
        (void)state;
        size_t len = 2 * (size_t)JSON_VALUES_MAX + 1;
        char *text = malloc(len);
        cJSON *json = NULL;
        assert_non_null(text);
        for (size_t i = 0; i < len; i++)
                text[i] = i % 2 ? '1' : ',';
        text[0] = '[';
        text[len - 1] = ']';
        assert_int_equal(json_parse(text, len, 4, &json), 0);
        assert_int_equal(cJSON_GetArraySize(json), JSON_VALUES_MAX);
        json = json_free(json);
        memcpy(text + 1, "[],[],", 6); /* four values where there were three */
        assert_int_equal(json_parse(text, len, 4, &json), -E2BIG);
        free(text);
}

static void test_members(void **state)
{
        (void)state;
        static const char text[] =
                "{\"a\":\"x\",\"A\":\"y\",\"d\":\"1\",\"d\":\"1\",\"n\":7,\"neg\":-1,\"frac\":1.5,"
                "\"big\":1e300,\"null\":null}";
        CLEANUP(json_free_p) cJSON *json = NULL;
        assert_int_equal(json_parse(text, strlen(text), 4, &json), 0);
        assert_string_equal(json_string(json, "a"), "x");
        assert_string_equal(json_string(json, "A"), "y");
        assert_null(json_string(json, "d"));
        assert_null(json_string(json, "n"));
        assert_null(json_string(json, "null"));
        assert_null(json_string(json, "missing"));
        const cJSON *member = NULL;
        assert_int_equal(json_member(json, "d", &member), -ENOTUNIQ);
        assert_int_equal(json_member(json, "missing", &member), -ENOENT);
        assert_null(member);
        assert_int_equal(json_member(json, "null", &member), 0);
        assert_true(cJSON_IsNull(member));
        assert_int_equal(json_member(member, "a", &member), -ENOENT);
        uint64_t value = 0;
        assert_int_equal(json_uint(json, "n", &value), 0);
        assert_int_equal(value, 7);
        assert_int_equal(json_uint(json, "neg", &value), -EINVAL);
        assert_int_equal(json_uint(json, "frac", &value), -EINVAL);
        assert_int_equal(json_uint(json, "big", &value), -EINVAL);
        assert_int_equal(json_uint(json, "a", &value), -EINVAL);
        assert_int_equal(json_uint(json, "missing", &value), -ENOENT);
        assert_int_equal(value, 7);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_accepts),
                cmocka_unit_test(test_refuses),
                cmocka_unit_test(test_depth),
                cmocka_unit_test(test_number_of_values),
                cmocka_unit_test(test_members),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
