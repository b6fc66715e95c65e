/* How names are written as directories' names: one way there, the same way back, and nothing else. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fs/fs-private.h"

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/ '";

/* Not random, and the same everywhere. */
static unsigned next_number(void)
{
        static uint32_t number = 2463534242u;
        number ^= number << 13;
        number ^= number >> 17;
        number ^= number << 5;
        return number >> 1;
}

static void round_trip(const char *name)
{
        char encoded[FS_NAME_MAX + 1], decoded[TOKEN_NAME_MAX + 1];
        assert_int_equal(name_encode(name, encoded), 0);
        assert_true(strlen(encoded) <= FS_NAME_MAX);
        assert_null(strchr(encoded, '/'));
        assert_string_not_equal(encoded, ".");
        assert_string_not_equal(encoded, "..");
        assert_int_equal(name_decode(encoded, decoded), 0);
        assert_string_equal(decoded, name);
}

static void test_examples(void **state)
{
        (void)state;
        static const struct {
                const char *name, *encoded;
        } rows[] = {
                {"web", "web"},
                {"a/b", "a%2Fb"},
                {"/", "%2F"},
                {"//", "%2F%2F"},
                {"it's a b", "it's a b"},
                {"%", "%25"},
                {"%2F", "%252F"},
                {".", "%2E"},
                {"..", "%2E%2E"},
                {"...", "..."},
                {".a", ".a"},
                {"a.", "a."},
                {"./", ".%2F"},
                {"../..", "..%2F.."},
                {" ", " "},
                {"-", "-"},
                {"_", "_"},
        };
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                char encoded[FS_NAME_MAX + 1];
                assert_int_equal(name_encode(rows[i].name, encoded), 0);
                assert_string_equal(encoded, rows[i].encoded);
                round_trip(rows[i].name);
        }
}

/* All names of one and two characters, all single characters at each place of the longest, and random ones. */
static void test_round_trip(void **state)
{
        (void)state;
        char name[TOKEN_NAME_MAX + 1] = "";
        for (const char *a = alphabet; *a; a++) {
                (void)snprintf(name, sizeof name, "%c", *a);
                round_trip(name);
                for (const char *b = alphabet; *b; b++) {
                        (void)snprintf(name, sizeof name, "%c%c", *a, *b);
                        round_trip(name);
                }
        }
        for (size_t i = 0; i < TOKEN_NAME_MAX; i++)
                for (const char *a = alphabet; *a; a++) {
                        memset(name, '/', TOKEN_NAME_MAX);
                        name[TOKEN_NAME_MAX] = '\0';
                        name[i] = *a;
                        round_trip(name);
                }
        for (int round = 0; round < 20000; round++) {
                size_t len = 1 + next_number() % TOKEN_NAME_MAX;
                for (size_t i = 0; i < len; i++)
                        name[i] = round % 3 ? alphabet[next_number() % (sizeof alphabet - 1)]
                                            : (char)(1 + next_number() % 255);
                name[len] = '\0';
                round_trip(name);
        }
}

static void test_too_long(void **state)
{
        (void)state;
        char encoded[FS_NAME_MAX + 1] = "kept", name[TOKEN_NAME_MAX + 2];
        memset(name, 'a', sizeof name);
        name[TOKEN_NAME_MAX + 1] = '\0';
        assert_int_equal(name_encode(name, encoded), -EINVAL);
        assert_int_equal(name_encode("", encoded), -EINVAL);
        assert_string_equal(encoded, "kept");
        char decoded[TOKEN_NAME_MAX + 1] = "kept";
        assert_int_equal(name_decode(name, decoded), -EINVAL);
        char escapes[3 * (TOKEN_NAME_MAX + 1) + 1];
        for (size_t i = 0; i <= TOKEN_NAME_MAX; i++)
                memcpy(escapes + 3 * i, "%2F", 4);
        assert_int_equal(name_decode(escapes, decoded), -EINVAL);
        assert_string_equal(decoded, "kept");
}

/* What would be another way to write a name is none. */
static void test_hostile(void **state)
{
        (void)state;
        static const char *const none[] = {"", ".", "..", "%", "%%", "%2", "%2f", "%25%2f", "%2e",
                "%2E%2E%2E", "%2Ea", "a%2E", "%2E.", ".%2E", "%41", "%00", "%2F%", "a/b", "/", "%252", "%2G",
                "%u002F", "%2E%2F"};
        /* "%252" is "%2" written right. */
        char decoded[TOKEN_NAME_MAX + 1];
        for (size_t i = 0; i < ARRAY_LEN(none); i++) {
                (void)snprintf(decoded, sizeof decoded, "kept");
                int r = name_decode(none[i], decoded);
                if (strcmp(none[i], "%252") == 0) {
                        assert_int_equal(r, 0);
                        assert_string_equal(decoded, "%2");
                        continue;
                }
                if (r != -EINVAL)
                        fail_msg("accepted: %s as %s", none[i], decoded);
                assert_string_equal(decoded, "kept");
        }
        static const char pieces[] = "%2FE5.a/";
        for (int round = 0; round < 200000; round++) {
                char text[24], again[FS_NAME_MAX + 1];
                size_t len = next_number() % (sizeof text - 1);
                for (size_t i = 0; i < len; i++)
                        text[i] = pieces[next_number() % (sizeof pieces - 1)];
                text[len] = '\0';
                if (name_decode(text, decoded) < 0)
                        continue;
                assert_int_equal(name_encode(decoded, again), 0);
                assert_string_equal(again, text);
        }
}

static void test_file_names(void **state)
{
        (void)state;
        for (uint8_t field = 0; field < UINT8_MAX; field++) {
                const char *name = node_file_name(field);
                assert_int_equal(
                        name != NULL, (field >= NODE_FIELD && field <= NODE_JSON) || field == NODE_DOH_URL);
                if (name)
                        assert_int_equal(node_field_of(name), field);
        }
        assert_int_equal(node_field_of(".json"), NODE_JSON);
        assert_int_equal(node_field_of(".doh_url"), NODE_DOH_URL);
        assert_int_equal(node_field_of("value"), NODE_FIELD + TOKEN_VALUE);
        static const char *const none[] = {"", "Value", "values", "json", ".jsonx", "."};
        for (size_t i = 0; i < ARRAY_LEN(none); i++)
                assert_int_equal(node_field_of(none[i]), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_examples),
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_too_long),
                cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_file_names),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
