/* Signature Version 4, stage by stage, against what botocore computes now (sigv4_vectors.py), and its refusals. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/aws/sigv4.h"
#include "tokenfs/base/cleanup.h"
#include "vectors.h"

#define HEADERS_MAX 8
#define OUT_MAX ((size_t)1024 * 1024)

/* --- Vectors ------------------------------------------------------------------------------------------------ */

typedef enum Field {
        METHOD,
        HOST,
        PATH,
        REGION,
        SERVICE,
        ACCESS,
        SECRET,
        TIME,
        BODY,
        QUERY,
        TOKEN,
        CANONICAL,
        TO_SIGN,
        SIGNATURE,
        AUTHORIZATION,
        FIELD_COUNT,
} Field;

static const char *const field_names[] = {"method", "host", "path", "region", "service", "access", "secret",
        "time", "body", "query", "token", "canonical", "tosign", "signature", "authorization"};

typedef struct Vector {
        char *fields[FIELD_COUNT]; /* NUL-terminated; NULL: not given */
        size_t lens[FIELD_COUNT];
        char *header_lines[HEADERS_MAX];
        HttpHeader headers[HEADERS_MAX];
        size_t header_count;
} Vector;

static char *unhex(const char *hex, size_t len, size_t *ret_len)
{
        char *data = malloc(len / 2 + 1);
        assert_non_null(data);
        for (size_t i = 0; i < len / 2; i++) {
                unsigned byte;
                assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
                data[i] = (char)byte;
        }
        data[len / 2] = '\0';
        *ret_len = len / 2;
        return data;
}

static void vector_take_line(
        Vector *vector, const char *name, size_t name_len, const char *hex, size_t hex_len)
{
        size_t len;
        char *value = unhex(hex, hex_len, &len);
        if (name_len == 6 && memcmp(name, "header", 6) == 0) {
                assert_true(vector->header_count < HEADERS_MAX);
                size_t i = vector->header_count++;
                char *colon = strchr(value, ':');
                assert_non_null(colon);
                *colon = '\0';
                vector->header_lines[i] = value;
                vector->headers[i] = (HttpHeader){value, colon + 1};
                return;
        }
        for (size_t i = 0; i < FIELD_COUNT; i++)
                if (strlen(field_names[i]) == name_len && memcmp(name, field_names[i], name_len) == 0) {
                        vector->fields[i] = value;
                        vector->lens[i] = len;
                        return;
                }
        fail_msg("unknown field %.*s", (int)name_len, name);
}

static void vector_clear(Vector *vector)
{
        for (size_t i = 0; i < FIELD_COUNT; i++)
                free(vector->fields[i]);
        for (size_t i = 0; i < vector->header_count; i++)
                free(vector->header_lines[i]);
        *vector = (Vector){0};
}

static void check_vector(const Vector *vector)
{
        char *const *fields = vector->fields;
        SigV4Request request = {
                .method = fields[METHOD],
                .host = fields[HOST],
                .path = fields[PATH],
                .query = fields[QUERY],
                .headers = vector->headers,
                .header_count = vector->header_count,
                .body = fields[BODY],
                .body_len = vector->lens[BODY],
                .region = fields[REGION],
                .service = fields[SERVICE],
                .time_s = strtoll(fields[TIME], NULL, 10),
        };
        AwsKeys keys = {0};
        assert_true(vector->lens[ACCESS] < sizeof keys.access_key_id);
        memcpy(keys.access_key_id, fields[ACCESS], vector->lens[ACCESS]);
        assert_int_equal(secret_set(&keys.secret_access_key, fields[SECRET], vector->lens[SECRET]), 0);
        if (fields[TOKEN])
                assert_int_equal(secret_set(&keys.session_token, fields[TOKEN], vector->lens[TOKEN]), 0);

        CLEANUP(buf_deinit) Buf canonical = BUF_INIT(OUT_MAX), to_sign = BUF_INIT(OUT_MAX);
        CLEANUP(buf_deinit) Buf signature = BUF_INIT(OUT_MAX);
        assert_int_equal(sigv4_canonical_request(&request, &keys, &canonical), 0);
        assert_string_equal(buf_str(&canonical), fields[CANONICAL]);
        assert_int_equal(sigv4_string_to_sign(&request, canonical.data, canonical.len, &to_sign), 0);
        assert_string_equal(buf_str(&to_sign), fields[TO_SIGN]);
        assert_int_equal(sigv4_signature(&request, &keys, to_sign.data, to_sign.len, &signature), 0);
        assert_string_equal(buf_str(&signature), fields[SIGNATURE]);

        SigV4Headers headers;
        assert_int_equal(sigv4_sign(&request, &keys, &headers), 0);
        assert_string_equal(buf_str(&headers.authorization), fields[AUTHORIZATION]);
        assert_memory_equal(headers.date, fields[TO_SIGN] + strlen("AWS4-HMAC-SHA256\n"), 16);
        assert_string_equal(headers.payload_hash, fields[CANONICAL] + vector->lens[CANONICAL] - 64);
        sigv4_headers_deinit(&headers);
        aws_keys_deinit(&keys);
}

static void test_vectors(void **state)
{
        (void)state;
        Vectors vectors;
        Vector vector = {0};
        size_t checked = 0;
        vectors_open(&vectors, TESTS_DIR "/sigv4_vectors.py");
        while (vectors_next(&vectors)) {
                char *space = strchr(vectors.line, ' ');
                if (space) {
                        size_t name_len = (size_t)(space - vectors.line);
                        vector_take_line(&vector, vectors.line, name_len, space + 1, strlen(space + 1));
                        continue;
                }
                assert_string_equal(vectors.line, "end");
                check_vector(&vector);
                vector_clear(&vector);
                checked++;
        }
        vectors_close(&vectors);
        assert_true(checked > 400);
}

/* --- What it refuses ---------------------------------------------------------------------------------------- */

static const SigV4Request plain_request = {
        .method = "GET",
        .host = "localhost:8080",
        .path = "/tokens/t-1",
        .region = "us-east-2",
        .service = "route53globalresolver",
        .time_s = 1767225600,
};

static AwsKeys plain_keys(void)
{
        AwsKeys keys = {.access_key_id = "AKIDEXAMPLE"};
        assert_int_equal(secret_set(&keys.secret_access_key, "secret", 6), 0);
        return keys;
}

static int sign_with(const SigV4Request *request)
{
        AwsKeys keys = plain_keys();
        SigV4Headers headers;
        int r = sigv4_sign(request, &keys, &headers);
        if (r == 0)
                sigv4_headers_deinit(&headers);
        aws_keys_deinit(&keys);
        return r;
}

static int sign_with_header(const char *name, const char *value)
{
        HttpHeader header = {name, value};
        SigV4Request request = plain_request;
        request.headers = &header;
        request.header_count = 1;
        return sign_with(&request);
}

static void test_headers_refused(void **state)
{
        (void)state;
        assert_int_equal(sign_with_header("X-A", "b\tc"), 0);
        assert_int_equal(sign_with_header("X-A", "b\nc"), -EINVAL);
        assert_int_equal(sign_with_header("X-A", "b\r"), -EINVAL);
        assert_int_equal(sign_with_header("X-A", "\x7f"), -EINVAL);
        assert_int_equal(sign_with_header("X-A\n", "b"), -EINVAL);
        assert_int_equal(sign_with_header("X A", "b"), -EINVAL);
        assert_int_equal(sign_with_header("X-A:", "b"), -EINVAL);
        assert_int_equal(sign_with_header("", "b"), -EINVAL);

        SigV4Request request = plain_request;
        request.host = "localhost\r\nX-Evil: 1";
        assert_int_equal(sign_with(&request), -EINVAL);
}

static void test_too_many_headers_refused(void **state)
{
        (void)state;
        HttpHeader headers[80];
        for (size_t i = 0; i < ARRAY_LEN(headers); i++)
                headers[i] = (HttpHeader){"X-A", "b"};
        SigV4Request request = plain_request;
        request.headers = headers;
        request.header_count = 60;
        assert_int_equal(sign_with(&request), 0);
        request.header_count = ARRAY_LEN(headers);
        assert_int_equal(sign_with(&request), -EINVAL);
}

static void test_keys_with_line_breaks_refused(void **state)
{
        (void)state;
        SigV4Headers headers;
        AwsKeys keys = plain_keys();
        strncpy(keys.access_key_id, "AKID\r\nX-Evil: 1", sizeof keys.access_key_id - 1);
        assert_int_equal(sigv4_sign(&plain_request, &keys, &headers), -EINVAL);
        aws_keys_deinit(&keys);

        keys = plain_keys();
        assert_int_equal(secret_set(&keys.session_token, "a\nb", 3), 0);
        assert_int_equal(sigv4_sign(&plain_request, &keys, &headers), -EINVAL);
        aws_keys_deinit(&keys);
}

static void test_path_and_time_refused(void **state)
{
        (void)state;
        SigV4Request request = plain_request;
        request.path = "tokens/t-1";
        assert_int_equal(sign_with(&request), -EINVAL);
        request = plain_request;
        request.time_s = -1;
        assert_int_equal(sign_with(&request), -EINVAL);
        request.time_s = INT64_MAX;
        assert_int_equal(sign_with(&request), -EINVAL);
}

static void test_limits(void **state)
{
        (void)state;
        AwsKeys keys = plain_keys();
        CLEANUP(buf_deinit) Buf out = BUF_INIT(20);
        assert_int_equal(sigv4_canonical_request(&plain_request, &keys, &out), -EMSGSIZE);
        assert_true(out.len <= 20);
        aws_keys_deinit(&keys);

        CLEANUP(buf_deinit) Buf path = BUF_INIT(300 * 1024);
        while (path.len < 290 * 1024)
                assert_int_equal(buf_append_str(&path, "/0123456789abcdef"), 0);
        SigV4Request request = plain_request;
        request.path = path.data;
        assert_int_equal(sign_with(&request), -EMSGSIZE);
}

static void test_sha256(void **state)
{
        (void)state;
        unsigned char digest[32];
        assert_int_equal(sigv4_sha256("abc", 3, digest), 0);
        assert_memory_equal(digest, "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23", 16);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors),
                cmocka_unit_test(test_headers_refused),
                cmocka_unit_test(test_too_many_headers_refused),
                cmocka_unit_test(test_keys_with_line_breaks_refused),
                cmocka_unit_test(test_path_and_time_refused),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_sha256),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
