/* The token document: what is taken, exactly; what is refused, and why; and what a listing takes of it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenfs/api/token.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/clock.h"

#define ID "at-0123456789abcdef"
#define VALUE "s3cr3t-Value_0"

/* Members as an answer has them, one a line, so that a test can change or leave out one. */
static const char *const usual[TOKEN_FIELD_COUNT] = {
        [TOKEN_ID] = "\"id\":\"" ID "\"",
        [TOKEN_ARN] = "\"arn\":\"arn:aws:route53globalresolver::123456789012:access-token/" ID "\"",
        [TOKEN_CLIENT_TOKEN] = "\"clientToken\":\"b2c5d1a0-0000-4000-8000-000000000000\"",
        [TOKEN_CREATED_AT] = "\"createdAt\":\"2026-01-02T03:04:05.678Z\"",
        [TOKEN_DNS_VIEW_ID] = "\"dnsViewId\":\"dnsv-0123456789abcdef\"",
        [TOKEN_EXPIRES_AT] = "\"expiresAt\":\"2026-12-31T00:00:00Z\"",
        [TOKEN_GLOBAL_RESOLVER_ID] = "\"globalResolverId\":\"gr-0123456789abcdef\"",
        [TOKEN_NAME] = "\"name\":\"office wifi\"",
        [TOKEN_STATUS] = "\"status\":\"OPERATIONAL\"",
        [TOKEN_UPDATED_AT] = "\"updatedAt\":\"2026-02-03T04:05:06+01:00\"",
        [TOKEN_VALUE] = "\"value\":\"" VALUE "\"",
};

typedef struct Body {
        char text[8192];
} Body;

/* The usual document with one member replaced (NULL: left out) and something added ("": nothing). */
static Body body_with(TokenField field, const char *member, const char *more)
{
        Body body;
        size_t used = 0;
        const char *separator = "{";
        for (TokenField f = 0; f < TOKEN_FIELD_COUNT; f++) {
                const char *text = f == field ? member : usual[f];
                if (!text)
                        continue;
                used += (size_t)snprintf(body.text + used, sizeof body.text - used, "%s%s", separator, text);
                separator = ",";
        }
        used += (size_t)snprintf(body.text + used, sizeof body.text - used, "%s}", more);
        assert_true(used < sizeof body.text);
        return body;
}

static Body usual_body(void)
{
        return body_with(TOKEN_FIELD_COUNT, NULL, "");
}

static TokenDoc *parse_ok(const char *text)
{
        char detail[128];
        TokenDoc *doc = NULL;
        ApiError error = token_doc_parse(ID, text, strlen(text), detail, &doc);
        if (error != API_OK)
                fail_msg("refused (%s): %s", detail, text);
        assert_string_equal(detail, "");
        return doc;
}

static void parse_refused_len(const char *text, size_t len, const char *why)
{
        char detail[128] = "unset";
        TokenDoc *doc = NULL;
        if (token_doc_parse(ID, text, len, detail, &doc) != API_E_MALFORMED)
                fail_msg("accepted: %.200s", text);
        assert_null(doc);
        if (!strstr(detail, why))
                fail_msg("said \"%s\" rather than \"%s\" of %.200s", detail, why, text);
        assert_null(strstr(detail, VALUE));
}

static void parse_refused(const char *text, const char *why)
{
        parse_refused_len(text, strlen(text), why);
}

static void assert_field(const TokenDoc *doc, TokenField field, const char *expected)
{
        size_t len = 99;
        const char *bytes = token_doc_field(doc, field, &len);
        if (!expected) {
                assert_null(bytes);
                assert_int_equal(len, 0);
                return;
        }
        assert_int_equal(len, strlen(expected));
        assert_memory_equal(bytes, expected, len);
}

static void assert_json(const TokenDoc *doc, const char *expected, size_t expected_len)
{
        size_t len;
        const char *json = token_doc_json(doc, &len);
        assert_int_equal(len, expected_len + 1);
        assert_memory_equal(json, expected, expected_len);
        assert_int_equal(json[len - 1], '\n');
}

static void test_usual(void **state)
{
        (void)state;
        Body body = usual_body();
        CLEANUP(token_doc_unref_p) TokenDoc *doc = parse_ok(body.text);
        assert_field(doc, TOKEN_ID, ID);
        assert_field(doc, TOKEN_ARN, "arn:aws:route53globalresolver::123456789012:access-token/" ID);
        assert_field(doc, TOKEN_CLIENT_TOKEN, "b2c5d1a0-0000-4000-8000-000000000000");
        assert_field(doc, TOKEN_CREATED_AT, "2026-01-02T03:04:05.678Z");
        assert_field(doc, TOKEN_DNS_VIEW_ID, "dnsv-0123456789abcdef");
        assert_field(doc, TOKEN_EXPIRES_AT, "2026-12-31T00:00:00Z");
        assert_field(doc, TOKEN_GLOBAL_RESOLVER_ID, "gr-0123456789abcdef");
        assert_field(doc, TOKEN_NAME, "office wifi");
        assert_field(doc, TOKEN_STATUS, "OPERATIONAL");
        assert_field(doc, TOKEN_UPDATED_AT, "2026-02-03T04:05:06+01:00");
        assert_field(doc, TOKEN_VALUE, VALUE);
        assert_json(doc, body.text, strlen(body.text));
        assert_int_equal(token_doc_status(doc), TOKEN_OPERATIONAL);
        assert_int_equal(token_doc_updated_wall_ns(doc), INT64_C(1770087906000000000));
        assert_int_equal(token_doc_expires_wall_ns(doc), INT64_C(1798675200000000000));
}

static void test_references(void **state)
{
        (void)state;
        TokenDoc *doc = parse_ok(usual_body().text);
        assert_ptr_equal(token_doc_ref(doc), doc);
        assert_null(token_doc_unref(doc));
        assert_field(doc, TOKEN_VALUE, VALUE);
        assert_null(token_doc_unref(doc));
        assert_null(token_doc_unref(NULL));
}

static void test_optional_fields(void **state)
{
        (void)state;
        static const char *const names[] = {NULL, "\"name\":null", "\"name\":\"\""};
        static const char *const client_tokens[] = {NULL, "\"clientToken\":null", "\"clientToken\":\"\""};
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                CLEANUP(token_doc_unref_p)
                TokenDoc *doc = parse_ok(body_with(TOKEN_NAME, names[i], "").text);
                assert_field(doc, TOKEN_NAME, NULL);
                assert_field(doc, TOKEN_VALUE, VALUE);
                doc = token_doc_unref(doc);
                doc = parse_ok(body_with(TOKEN_CLIENT_TOKEN, client_tokens[i], "").text);
                assert_field(doc, TOKEN_CLIENT_TOKEN, NULL);
                assert_field(doc, TOKEN_NAME, "office wifi");
        }
}

/* The service's model permits it: the file is empty, the others are right. */
static void test_empty_value(void **state)
{
        (void)state;
        CLEANUP(token_doc_unref_p)
        TokenDoc *doc = parse_ok(body_with(TOKEN_VALUE, "\"value\":\"\"", "").text);
        size_t len = 1;
        assert_non_null(token_doc_field(doc, TOKEN_VALUE, &len));
        assert_int_equal(len, 0);
        assert_non_null(token_doc_field(doc, TOKEN_ARN, &len));
        assert_int_not_equal(len, 0);
}

static void test_required_fields(void **state)
{
        (void)state;
        for (TokenField field = 0; field < TOKEN_FIELD_COUNT; field++) {
                char member[64], why[64];
                bool is_optional = token_field_is_optional(field);
                assert_int_equal(is_optional, field == TOKEN_NAME || field == TOKEN_CLIENT_TOKEN);
                assert_int_equal(token_field_is_secret(field), field == TOKEN_VALUE);
                (void)snprintf(why, sizeof why, "lacks %s", token_field_name(field));
                if (!is_optional)
                        parse_refused(body_with(field, NULL, "").text, why);
                (void)snprintf(member, sizeof member, "\"%s\":null", token_field_name(field));
                if (!is_optional)
                        parse_refused(body_with(field, member, "").text, why);
                (void)snprintf(why, sizeof why, "invalid %s", token_field_name(field));
                static const char *const wrong[] = {"17", "true", "[]", "{}", "[\"x\"]"};
                for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
                        (void)snprintf(member, sizeof member, "\"%s\":%s", token_field_name(field), wrong[i]);
                        parse_refused(body_with(field, member, "").text, why);
                }
                (void)snprintf(member, sizeof member, "\"%s\":\"\"", token_field_name(field));
                if (!is_optional && field != TOKEN_VALUE)
                        parse_refused(body_with(field, member, "").text, why);
                (void)snprintf(why, sizeof why, "more than one %s", token_field_name(field));
                (void)snprintf(member, sizeof member, ",\"%s\":\"x\"", token_field_name(field));
                parse_refused(body_with(TOKEN_FIELD_COUNT, NULL, member).text, why);
        }
}

/* A member whose string is `count` times `unit`. */
static Body with_repeated(TokenField field, const char *before, const char *unit, size_t count)
{
        char member[4096];
        size_t used = (size_t)snprintf(member, sizeof member, "\"%s\":\"%s", token_field_name(field), before);
        for (size_t i = 0; i < count; i++)
                used += (size_t)snprintf(member + used, sizeof member - used, "%s", unit);
        (void)snprintf(member + used, sizeof member - used, "\"");
        return body_with(field, member, "");
}

static void test_limits(void **state)
{
        (void)state;
        static const struct {
                TokenField field;
                const char *before, *unit;
                size_t max;
        } limits[] = {
                {TOKEN_ARN, "arn:", "x", 2044},
                {TOKEN_CLIENT_TOKEN, "", "x", 256},
                {TOKEN_DNS_VIEW_ID, "", "x", 64},
                {TOKEN_GLOBAL_RESOLVER_ID, "", "x", 64},
                {TOKEN_NAME, "", "x", 32},
                {TOKEN_STATUS, "", "X", 64},
                {TOKEN_VALUE, "", "x", 100},
                {TOKEN_VALUE, "", "\xC3\xA4", 100},
                {TOKEN_VALUE, "", "\\ud83d\\ude00", 100},
                {TOKEN_CREATED_AT, "2026-01-02T03:04:05.", "0", 43},
        };
        for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
                Body most = with_repeated(limits[i].field, limits[i].before, limits[i].unit, limits[i].max);
                Body more =
                        with_repeated(limits[i].field, limits[i].before, limits[i].unit, limits[i].max + 1);
                if (limits[i].field != TOKEN_CREATED_AT)
                        token_doc_unref(parse_ok(most.text));
                parse_refused(more.text, "invalid ");
        }
}

static void test_refuses_bad_text(void **state)
{
        (void)state;
        static const struct {
                TokenField field;
                const char *member;
        } bad[] = {
                {TOKEN_NAME, "\"name\":\"12345\""},
                {TOKEN_NAME, "\"name\":\"a\\nb\""},
                {TOKEN_NAME, "\"name\":\"a.b\""},
                {TOKEN_STATUS, "\"status\":\"A\\u007fB\""},
                {TOKEN_STATUS, "\"status\":\"\xC3\xA4\""},
                {TOKEN_ARN, "\"arn\":\"arn:\\u0001\""},
                {TOKEN_DNS_VIEW_ID, "\"dnsViewId\":\"..\""},
                {TOKEN_DNS_VIEW_ID, "\"dnsViewId\":\"a/b\""},
                {TOKEN_CREATED_AT, "\"createdAt\":\"yesterday\""},
                {TOKEN_CREATED_AT, "\"createdAt\":\"2026-02-30T00:00:00Z\""},
                {TOKEN_EXPIRES_AT, "\"expiresAt\":\"2026-01-01\""},
                {TOKEN_UPDATED_AT, "\"updatedAt\":\"2026-01-01T00:00:00\""},
        };
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                parse_refused(body_with(bad[i].field, bad[i].member, "").text, "invalid ");
        parse_refused(body_with(TOKEN_ID, "\"id\":\"at-0123456789abcdeF\"", "").text, "another token");
        parse_refused(body_with(TOKEN_VALUE, "\"value\":\"a\\u0000b\"", "").text, "valid JSON");
        parse_refused(body_with(TOKEN_VALUE, "\"value\":\"a\xFF\"", "").text, "valid JSON");
        parse_refused(body_with(TOKEN_VALUE, "\"value\":\"a\nb\"", "").text, "valid JSON");
        parse_refused("", "valid JSON");
        parse_refused("   ", "valid JSON");
        parse_refused("null", "no JSON object");
        parse_refused("[]", "no JSON object");
        parse_refused("\"" ID "\"", "no JSON object");
        Body body = usual_body();
        for (size_t len = 0; len < strlen(body.text); len++)
                parse_refused_len(body.text, len, "valid JSON");
        parse_refused_len(body.text, strlen(body.text) + 1, "valid JSON"); /* the NUL behind it */
}

static void test_any_status_is_known_or_other(void **state)
{
        (void)state;
        static const struct {
                const char *member;
                TokenStatus status;
        } all[] = {
                {"\"status\":\"CREATING\"", TOKEN_CREATING},
                {"\"status\":\"OPERATIONAL\"", TOKEN_OPERATIONAL},
                {"\"status\":\"DELETING\"", TOKEN_DELETING},
                {"\"status\":\"FROZEN\"", TOKEN_STATUS_OTHER},
                {"\"status\":\"operational\"", TOKEN_STATUS_OTHER},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                CLEANUP(token_doc_unref_p)
                TokenDoc *doc = parse_ok(body_with(TOKEN_STATUS, all[i].member, "").text);
                assert_int_equal(token_doc_status(doc), all[i].status);
        }
}

static void test_strings_with_escapes(void **state)
{
        (void)state;
        Body body = body_with(TOKEN_VALUE, "\"value\":\"a\\\"b\\\\\\/\\u00e4\\ud83d\\ude00\\n\"", "");
        CLEANUP(token_doc_unref_p) TokenDoc *doc = parse_ok(body.text);
        assert_field(doc, TOKEN_VALUE, "a\"b\\/\xC3\xA4\xF0\x9F\x98\x80\n");
        assert_field(doc, TOKEN_ID, ID);
        assert_json(doc, body.text, strlen(body.text));
        doc = token_doc_unref(doc);

        /* every field written with an escape */
        Buf text = BUF_INIT(8192);
        body = usual_body();
        for (const char *c = body.text, *in = NULL; *c; c++) {
                in = *c == '"' ? (in ? NULL : c) : in;
                if (in && c == in + 1)
                        (void)buf_appendf(&text, "\\u%04x", (unsigned char)*c);
                else
                        (void)buf_append_char(&text, *c);
        }
        assert_int_equal(text.error, 0);
        doc = parse_ok(text.data);
        assert_field(doc, TOKEN_ID, ID);
        assert_field(doc, TOKEN_VALUE, VALUE);
        assert_field(doc, TOKEN_NAME, "office wifi");
        assert_field(doc, TOKEN_UPDATED_AT, "2026-02-03T04:05:06+01:00");
        assert_json(doc, text.data, text.len);
        buf_deinit(&text);
}

static void test_keeps_what_it_does_not_know(void **state)
{
        (void)state;
        Body body = body_with(TOKEN_FIELD_COUNT, NULL,
                ",\"big\":12345678901234567890123,\"tags\":{\"a\":[1.10,true,null]},\"Value\":\"other case\","
                "\"tags\":\"twice\",\"arnold\":\"\"");
        char spaced[8300];
        (void)snprintf(spaced, sizeof spaced, " \r\n\t%s\n\n", body.text);
        CLEANUP(token_doc_unref_p) TokenDoc *doc = parse_ok(spaced);
        assert_json(doc, body.text, strlen(body.text));
        assert_field(doc, TOKEN_VALUE, VALUE);
}

static void test_depth_and_length(void **state)
{
        (void)state;
        char deep[64], deeper[64];
        (void)snprintf(deep, sizeof deep, ",\"x\":%.15s1%.15s", "[[[[[[[[[[[[[[[", "]]]]]]]]]]]]]]]");
        (void)snprintf(deeper, sizeof deeper, ",\"x\":%.16s1%.16s", "[[[[[[[[[[[[[[[[", "]]]]]]]]]]]]]]]]");
        token_doc_unref(parse_ok(body_with(TOKEN_FIELD_COUNT, NULL, deep).text));
        parse_refused(body_with(TOKEN_FIELD_COUNT, NULL, deeper).text, "too deeply");

        Buf text = BUF_INIT(200000);
        Body body = usual_body();
        (void)buf_append(&text, body.text, strlen(body.text) - 1);
        (void)buf_append_str(&text, ",\"padding\":\"");
        while (text.len < (size_t)64 * 1024 - 2)
                (void)buf_append_char(&text, 'p');
        (void)buf_append_str(&text, "\"}");
        assert_int_equal(text.len, 65536);
        char detail[128];
        TokenDoc *doc = NULL;
        assert_int_equal(token_doc_parse(ID, text.data, text.len, detail, &doc), API_OK);
        assert_field(doc, TOKEN_VALUE, VALUE);
        assert_json(doc, text.data, text.len);
        doc = token_doc_unref(doc);
        (void)buf_append_char(&text, ' ');
        parse_refused_len(text.data, text.len, "too long");
        buf_deinit(&text);
}

static uint64_t fingerprint_of(const char *text)
{
        CLEANUP(token_doc_unref_p) TokenDoc *doc = parse_ok(text);
        return token_doc_fingerprint(doc);
}

static void test_fingerprint_follows_the_bytes(void **state)
{
        (void)state;
        Body body = usual_body();
        char spaced[8300];
        uint64_t fingerprint = fingerprint_of(body.text);
        assert_true(fingerprint != 0);
        assert_true(fingerprint == fingerprint_of(body.text));
        (void)snprintf(spaced, sizeof spaced, "\n%s ", body.text);
        assert_true(fingerprint == fingerprint_of(spaced));
        static const char *const changed[TOKEN_FIELD_COUNT] = {
                [TOKEN_ARN] = "\"arn\":\"arn:aws:other\"",
                [TOKEN_CLIENT_TOKEN] = "\"clientToken\":\"other\"",
                [TOKEN_CREATED_AT] = "\"createdAt\":\"2026-01-02T03:04:05.679Z\"",
                [TOKEN_DNS_VIEW_ID] = "\"dnsViewId\":\"dnsv-other\"",
                [TOKEN_EXPIRES_AT] = "\"expiresAt\":\"2026-12-31T00:00:01Z\"",
                [TOKEN_GLOBAL_RESOLVER_ID] = "\"globalResolverId\":\"gr-other\"",
                [TOKEN_NAME] = "\"name\":\"other\"",
                [TOKEN_STATUS] = "\"status\":\"DELETING\"",
                [TOKEN_UPDATED_AT] = "\"updatedAt\":\"2026-02-03T04:05:06+01:01\"",
                [TOKEN_VALUE] = "\"value\":\"s3cr3t-Value_1\"",
        };
        for (TokenField field = TOKEN_ARN; field < TOKEN_FIELD_COUNT; field++)
                assert_true(fingerprint != fingerprint_of(body_with(field, changed[field], "").text));
        assert_true(fingerprint != fingerprint_of(body_with(TOKEN_NAME, NULL, "").text));
        assert_true(fingerprint != fingerprint_of(body_with(TOKEN_FIELD_COUNT, NULL, ",\"x\":1").text));
}

static void test_ids(void **state)
{
        (void)state;
        char id[66];
        memset(id, 'a', 65);
        id[65] = '\0';
        assert_false(token_id_is_valid(id));
        id[64] = '\0';
        assert_true(token_id_is_valid(id));
        static const char *const good[] = {"a", "at-1", "A.b-9", "...", "-", ".a", "0"};
        static const char *const bad[] = {
                "", ".", "..", "a_b", "a/b", "a b", "../x", "a%", "\xC3\xA4", "a\n", ".by_name"};
        for (size_t i = 0; i < ARRAY_LEN(good); i++)
                assert_true(token_id_is_valid(good[i]));
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                assert_false(token_id_is_valid(bad[i]));
}

static void test_names(void **state)
{
        (void)state;
        static const char *const good[] = {"a", "a1", "1a", "-", "_", "/", " ", "'", "office wifi/2nd floor",
                "abcdefghijklmnopqrstuvwxyz012345"};
        static const char *const bad[] = {"", "1", "0123456789", "a.b", ".", "..", "a%b", "a\n", "\xC3\xA4",
                "abcdefghijklmnopqrstuvwxyz0123456"};
        for (size_t i = 0; i < ARRAY_LEN(good); i++)
                assert_true(token_name_is_valid(good[i]));
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                assert_false(token_name_is_valid(bad[i]));
}

static void test_item_of_a_document(void **state)
{
        (void)state;
        TokenItem item;
        memset(&item, 'x', sizeof item);
        CLEANUP(token_doc_unref_p) TokenDoc *doc = parse_ok(usual_body().text);
        token_item_from_doc(doc, &item);
        assert_string_equal(item.id, ID);
        assert_string_equal(item.name, "office wifi");
        assert_string_equal(item.dns_view_id, "dnsv-0123456789abcdef");
        assert_string_equal(item.global_resolver_id, "gr-0123456789abcdef");
        assert_int_equal(item.status, TOKEN_OPERATIONAL);
        assert_int_equal(item.created_wall_ns, INT64_C(1767323045678000000));
        assert_int_equal(item.updated_wall_ns, token_doc_updated_wall_ns(doc));
        assert_int_equal(item.expires_wall_ns, token_doc_expires_wall_ns(doc));
        doc = token_doc_unref(doc);
        doc = parse_ok(body_with(TOKEN_NAME, NULL, "").text);
        token_item_from_doc(doc, &item);
        assert_string_equal(item.name, "");
        doc = token_doc_unref(doc);
        /* the longest that there may be */
        doc = parse_ok(with_repeated(TOKEN_DNS_VIEW_ID, "", "v", TOKEN_ID_MAX).text);
        token_item_from_doc(doc, &item);
        assert_int_equal(strlen(item.dns_view_id), TOKEN_ID_MAX);
        assert_string_equal(item.global_resolver_id, "gr-0123456789abcdef");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_usual),
                cmocka_unit_test(test_references),
                cmocka_unit_test(test_optional_fields),
                cmocka_unit_test(test_empty_value),
                cmocka_unit_test(test_required_fields),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_refuses_bad_text),
                cmocka_unit_test(test_any_status_is_known_or_other),
                cmocka_unit_test(test_strings_with_escapes),
                cmocka_unit_test(test_keeps_what_it_does_not_know),
                cmocka_unit_test(test_depth_and_length),
                cmocka_unit_test(test_fingerprint_follows_the_bytes),
                cmocka_unit_test(test_ids),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_item_of_a_document),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
