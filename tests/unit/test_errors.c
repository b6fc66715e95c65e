/* Failures: which kind an answer is, in every form in which the service and what stands before it may say it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tokenfs/api/errors.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/clock.h"

typedef struct Answer {
        HttpError error;
        int status;
        const char *type, *retry_after, *date, *body;
} Answer;

static ApiFailure parse(Answer answer)
{
        HttpHeader headers[4];
        size_t count = 0;
        if (answer.type)
                headers[count++] = (HttpHeader){"X-Amzn-ErrorType", answer.type};
        if (answer.retry_after)
                headers[count++] = (HttpHeader){"retry-after", answer.retry_after};
        if (answer.date)
                headers[count++] = (HttpHeader){"date", answer.date};
        HttpResponse response = {
                .error = answer.error,
                .detail = "",
                .status = answer.status,
                .body = BUF_INIT(1 << 20),
                .headers = headers,
                .header_count = count,
        };
        if (answer.body)
                (void)buf_append_str(&response.body, answer.body);
        ApiFailure failure;
        memset(&failure, 0xaa, sizeof failure);
        api_failure_parse(&response, &failure);
        buf_deinit(&response.body);
        return failure;
}

static void test_names(void **state)
{
        (void)state;
        for (ApiError error = 0; error < API_ERROR_COUNT; error++) {
                const char *name = api_error_name(error);
                assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
                assert_true(*name);
                for (ApiError other = 0; other < error; other++)
                        assert_string_not_equal(name, api_error_name(other));
                assert_false(api_error_ends_copy(error) && api_error_is_transient(error));
        }
        assert_false(api_error_is_transient(API_OK));
        assert_false(api_error_ends_copy(API_OK));
        assert_false(api_error_ends_copy(API_E_CREDENTIALS_EXPIRED));
}

static void test_transport(void **state)
{
        (void)state;
        static const struct {
                HttpError http;
                ApiError api;
        } all[] = {
                {HTTP_E_INVALID, API_E_UNREACHABLE},
                {HTTP_E_RESOLVE, API_E_UNREACHABLE},
                {HTTP_E_CONNECT, API_E_UNREACHABLE},
                {HTTP_E_TIMEOUT, API_E_TIMEOUT},
                {HTTP_E_TLS, API_E_TLS},
                {HTTP_E_TOO_LARGE, API_E_MALFORMED},
                {HTTP_E_PROTOCOL, API_E_MALFORMED},
                {HTTP_E_MEMORY, API_E_MEMORY},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                /* what came before the transport failed says nothing */
                ApiFailure failure = parse((Answer){.error = all[i].http,
                        .status = 404,
                        .type = "ResourceNotFoundException",
                        .body = "{\"message\":\"x\"}",
                        .retry_after = "7"});
                assert_int_equal(failure.error, all[i].api);
                assert_string_equal(failure.type, "");
                assert_string_equal(failure.message, "");
                assert_int_equal(failure.retry_after_ns, 0);
                assert_false(failure.is_skew);
        }
}

static const struct {
        const char *type;
        int status;
        ApiError error;
} types[] = {
        {"AccessDeniedException", 403, API_E_ACCESS_DENIED},
        {"AccessDenied", 403, API_E_ACCESS_DENIED},
        {"OptInRequired", 403, API_E_ACCESS_DENIED},
        {"ResourceNotFoundException", 404, API_E_NOT_FOUND},
        {"ValidationException", 400, API_E_REFUSED},
        {"ThrottlingException", 429, API_E_THROTTLED},
        {"ThrottlingException", 400, API_E_THROTTLED},
        {"TooManyRequestsException", 429, API_E_THROTTLED},
        {"RequestLimitExceeded", 503, API_E_THROTTLED},
        {"SlowDown", 503, API_E_THROTTLED},
        {"InternalServerException", 500, API_E_SERVER},
        {"InternalFailure", 500, API_E_SERVER},
        {"ServiceUnavailableException", 503, API_E_SERVER},
        {"SomethingNewException", 500, API_E_SERVER},
        {"SomethingNewException", 429, API_E_THROTTLED},
        {"SomethingNewException", 403, API_E_ACCESS_DENIED},
        {"SomethingNewException", 400, API_E_MALFORMED},
        {"UnknownOperationException", 404, API_E_MALFORMED},
        {"ConflictException", 409, API_E_MALFORMED},
        {"UnrecognizedClientException", 403, API_E_CREDENTIALS_REJECTED},
        {"InvalidClientTokenId", 403, API_E_CREDENTIALS_REJECTED},
        {"SignatureDoesNotMatch", 403, API_E_CREDENTIALS_REJECTED},
        {"InvalidSignatureException", 403, API_E_CREDENTIALS_REJECTED},
        {"IncompleteSignatureException", 400, API_E_CREDENTIALS_REJECTED},
        {"MissingAuthenticationTokenException", 403, API_E_CREDENTIALS_REJECTED},
        {"ExpiredTokenException", 403, API_E_CREDENTIALS_EXPIRED},
        {"ExpiredToken", 400, API_E_CREDENTIALS_EXPIRED},
        {"RequestTimeoutException", 408, API_E_TIMEOUT},
};

static void test_types_in_every_place(void **state)
{
        (void)state;
        static const char *const in_header[] = {
                "%s", "%s:http://internal.amazon.com/coral/x/", "aws.x#%s", "aws.x#%s:http://x/#y"};
        static const char *const in_body[] = {"{\"__type\":\"com.amazonaws.x#%s\"}", "{\"__type\":\"%s\"}",
                "{\"code\":\"%s:http://x\"}", "{\"Code\":\"%s\",\"other\":[1,2]}"};
        for (size_t i = 0; i < ARRAY_LEN(types); i++) {
                char text[200];
                for (size_t k = 0; k < ARRAY_LEN(in_header); k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                        (void)snprintf(text, sizeof text, in_header[k], types[i].type);
                        ApiFailure failure = parse((Answer){.status = types[i].status, .type = text});
                        assert_int_equal(failure.error, types[i].error);
                        assert_string_equal(failure.type, types[i].type);
                        (void)snprintf(text, sizeof text, in_body[k], types[i].type);
#pragma GCC diagnostic pop
                        failure = parse((Answer){.status = types[i].status, .body = text});
                        assert_int_equal(failure.error, types[i].error);
                        assert_string_equal(failure.type, types[i].type);
                }
        }
        /* the header goes before the body */
        ApiFailure failure = parse((Answer){.status = 400,
                .type = "ThrottlingException",
                .body = "{\"__type\":\"ResourceNotFoundException\",\"message\":\"slow\"}"});
        assert_int_equal(failure.error, API_E_THROTTLED);
        assert_string_equal(failure.message, "slow");
}

static void test_status_without_type(void **state)
{
        (void)state;
        static const struct {
                int status;
                const char *body;
                ApiError error;
        } all[] = {
                {400, "{}", API_E_REFUSED},
                {401, "{}", API_E_CREDENTIALS_REJECTED},
                {403, "{\"Message\":\"x\"}", API_E_ACCESS_DENIED},
                {404, "{}", API_E_NOT_FOUND},
                {408, "{}", API_E_TIMEOUT},
                {409, "{}", API_E_MALFORMED},
                {418, "{}", API_E_MALFORMED},
                {429, "{}", API_E_THROTTLED},
                {429, "", API_E_THROTTLED},
                {429, "<html>", API_E_THROTTLED},
                {500, "", API_E_SERVER},
                {502, "<html>bad gateway</html>", API_E_SERVER},
                {503, "{}", API_E_SERVER},
                {599, "", API_E_SERVER},
                /* not the service: a page of something in between must not end anything */
                {404, "", API_E_MALFORMED},
                {404, "<html>not found</html>", API_E_MALFORMED},
                {404, "[]", API_E_MALFORMED},
                {404, "{\"cut\":", API_E_MALFORMED},
                {403, "<html>blocked by the proxy</html>", API_E_MALFORMED},
                {401, "", API_E_MALFORMED},
                {400, "Bad Request", API_E_MALFORMED},
                {301, "{}", API_E_MALFORMED},
                {302, "", API_E_MALFORMED},
                {307, "{\"__type\":\"ResourceNotFoundException\"}", API_E_MALFORMED},
                {201, "{}", API_E_MALFORMED},
                {204, "", API_E_MALFORMED},
                {206, "{\"__type\":\"AccessDeniedException\"}", API_E_MALFORMED},
                {600, "{\"__type\":\"AccessDeniedException\"}", API_E_MALFORMED},
                {0, "", API_E_MALFORMED},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                ApiFailure failure = parse((Answer){.status = all[i].status, .body = all[i].body});
                if (failure.error != all[i].error)
                        fail_msg("%d \"%s\": %s", all[i].status, all[i].body, api_error_name(failure.error));
        }
}

static void test_bodies_that_are_no_help(void **state)
{
        (void)state;
        static const char *const bodies[] = {
                "{\"__type\":7,\"message\":[]}",
                "{\"__type\":\"a#ThrottlingException\",\"__type\":\"a#AccessDeniedException\"}",
                "{\"__type\":\"\"}",
                "{\"__type\":\":#\"}",
                "{\"__type\":\"#\"}",
        };
        for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
                ApiFailure failure = parse((Answer){.status = 404, .body = bodies[i]});
                assert_int_equal(failure.error, API_E_NOT_FOUND);
                assert_string_equal(failure.type, "");
                assert_string_equal(failure.message, "");
        }
        /* deeper, or longer, than is looked at */
        ApiFailure failure = parse((Answer){.status = 500,
                .body = "{\"__type\":\"ThrottlingException\",\"x\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}"});
        assert_int_equal(failure.error, API_E_SERVER);
        Buf body = BUF_INIT(1 << 17);
        (void)buf_append_str(&body, "{\"__type\":\"ThrottlingException\",\"x\":\"");
        while (body.len < (size_t)64 * 1024 - 2)
                (void)buf_append_char(&body, 'x');
        (void)buf_append_str(&body, "\"}");
        assert_int_equal(body.len, 65536);
        assert_int_equal(parse((Answer){.status = 500, .body = body.data}).error, API_E_THROTTLED);
        (void)buf_append_char(&body, ' ');
        assert_int_equal(parse((Answer){.status = 500, .body = body.data}).error, API_E_SERVER);
        buf_deinit(&body);
}

static void test_reason_of_a_refusal(void **state)
{
        (void)state;
        static const struct {
                const char *body, *reason;
        } all[] = {
                {"{\"reason\":\"FIELD_VALIDATION_FAILED\",\"fieldList\":[{\"name\":\"max_results\","
                 "\"message\":"
                 "\"must be \\u00b1 1\\nmore\"},{\"name\":\"id\"},{},7]}",
                        "FIELD_VALIDATION_FAILED: max_results: must be ?? 1"},
                {"{\"reason\":\"OTHER\"}", "OTHER"},
                {"{\"fieldList\":[{\"name\":\"a\",\"message\":\"b\"},{\"name\":\"c\"}]}", "a: b: c"},
                {"{\"reason\":[],\"fieldList\":{}}", ""},
                {"{\"fieldList\":[{\"name\":\"Authorization\"}]}", ""},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                ApiFailure failure =
                        parse((Answer){.status = 400, .type = "ValidationException", .body = all[i].body});
                assert_int_equal(failure.error, API_E_REFUSED);
                assert_string_equal(failure.reason, all[i].reason);
        }
}

static void test_retry_after(void **state)
{
        (void)state;
        clock_set_fake(1, INT64_C(1767225600) * (int64_t)NS_PER_S); /* 2026-01-01T00:00:00Z */
        static const struct {
                const char *retry_after, *date;
                uint64_t seconds;
        } all[] = {
                {"0", NULL, 0},
                {"1", NULL, 1},
                {"300", NULL, 300},
                {"301", NULL, 300},
                {"18446744073709551615", NULL, 300},
                {"99999999999999999999999999", NULL, 300},
                {"-1", NULL, 0},
                {"1.5", NULL, 0},
                {"", NULL, 0},
                {"soon", NULL, 0},
                {"1 s", NULL, 0},
                {"Thu, 01 Jan 2026 00:00:10 GMT", NULL, 10},
                {"Wed, 31 Dec 2025 23:59:59 GMT", NULL, 0},
                {"Thu, 01 Jan 2026 01:00:00 GMT", NULL, 300},
                /* by the server's clock, an hour ahead */
                {"Thu, 01 Jan 2026 01:00:10 GMT", "Thu, 01 Jan 2026 01:00:00 GMT", 10},
                {"Thu, 01 Jan 2026 00:30:00 GMT", "Thu, 01 Jan 2026 01:00:00 GMT", 0},
                {"Thu, 01 Jan 2026 00:00:10", NULL, 0},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                ApiFailure failure = parse((Answer){
                        .status = 429, .retry_after = all[i].retry_after, .date = all[i].date, .body = "{}"});
                if (failure.retry_after_ns != all[i].seconds * NS_PER_S)
                        fail_msg("%s: %llu ns", all[i].retry_after,
                                (unsigned long long)failure.retry_after_ns);
        }
        clock_unset_fake();
}

static void test_date(void **state)
{
        (void)state;
        assert_int_equal(
                parse((Answer){.status = 403, .date = "Thu, 01 Jan 2026 00:00:00 GMT"}).server_wall_s,
                1767225600);
        assert_int_equal(parse((Answer){.status = 403, .date = "2026-01-01"}).server_wall_s, 0);
        assert_int_equal(parse((Answer){.status = 403}).server_wall_s, 0);
}

static void test_skew(void **state)
{
        (void)state;
        static const struct {
                const char *type, *body;
                bool is_skew;
        } all[] = {
                {"RequestExpired", "{}", true},
                {"RequestTimeTooSkewed", "{}", true},
                {"RequestTimeTooSkewedException", "{}", true},
                {"InvalidSignatureException",
                        "{\"message\":\"Signature expired: 20260101T000000Z is now earlier than x\"}", true},
                {"SignatureDoesNotMatch",
                        "{\"message\":\"Signature not yet current: 2026 is still later than x\"}", true},
                {"SignatureDoesNotMatch", "{\"message\":\"The request signature we calculated\"}", false},
                {"AccessDeniedException", "{\"message\":\"signature expired\"}", false},
                {"ExpiredTokenException", "{\"message\":\"The token is expired\"}", false},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                ApiFailure failure = parse((Answer){.status = 403, .type = all[i].type, .body = all[i].body});
                assert_int_equal(failure.is_skew, all[i].is_skew);
                if (failure.is_skew)
                        assert_int_equal(failure.error, API_E_CREDENTIALS_REJECTED);
        }
}

static void assert_message(const char *body, const char *expected)
{
        ApiFailure failure = parse((Answer){.status = 403, .type = "SignatureDoesNotMatch", .body = body});
        assert_string_equal(failure.message, expected);
}

static void test_messages_are_clean(void **state)
{
        (void)state;
        assert_message("{\"message\":\"plain\"}", "plain");
        assert_message("{\"Message\":\"plain\"}", "plain");
        assert_message("{\"errorMessage\":\"plain\"}", "plain");
        assert_message("{\"message\":\"a\\tb\\u0007c\\u007f\\u00e4\"}", "a?b?c???");
        assert_message("{\"message\":\"first line\\nsecond\"}", "first line");
        assert_message("{\"message\":\"\"}", "");
        /* what some services say of a signature, with what they were sent */
        assert_message(
                "{\"message\":\"No match. The Canonical String for this request should have been 'GET\"}",
                "No match. The");
        assert_message("{\"message\":\"Bad header: Authorization=AWS4-HMAC-SHA256 Credential=AKIA\"}",
                "Bad header:");
        assert_message("{\"message\":\"got Credential=AKIA/x, Signature=0123\"}", "got");
        assert_message("{\"message\":\"x-amz-security-token:abc\"}", "");

        char body[700], longest[400];
        memset(longest, 'm', sizeof longest - 1);
        longest[sizeof longest - 1] = '\0';
        (void)snprintf(body, sizeof body, "{\"message\":\"%s\"}", longest);
        longest[199] = '\0';
        assert_message(body, longest);

        memset(longest, 'T', 100);
        longest[100] = '\0';
        ApiFailure failure = parse((Answer){.status = 500, .type = longest});
        assert_int_equal(strlen(failure.type), sizeof failure.type - 1);
        failure = parse((Answer){.status = 500, .type = "Bad\tType"});
        assert_string_equal(failure.type, "Bad");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_transport),
                cmocka_unit_test(test_types_in_every_place),
                cmocka_unit_test(test_status_without_type),
                cmocka_unit_test(test_bodies_that_are_no_help),
                cmocka_unit_test(test_reason_of_a_refusal),
                cmocka_unit_test(test_retry_after),
                cmocka_unit_test(test_date),
                cmocka_unit_test(test_skew),
                cmocka_unit_test(test_messages_are_clean),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
