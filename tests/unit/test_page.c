/* Pages of list calls: what is taken, what is left out, what is refused. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/page.h"
#include "tokenfs/base/buf.h"

#define ITEM(id, more)                                                                                       \
        "{\"id\":\"" id "\",\"arn\":\"arn:x\",\"createdAt\":\"2026-01-02T03:04:05Z\","                       \
        "\"dnsViewId\":\"dnsv-1\",\"expiresAt\":\"2026-12-31T00:00:00Z\",\"globalResolverId\":\"gr-1\","     \
        "\"status\":\"OPERATIONAL\",\"updatedAt\":\"2026-01-03T00:00:00Z\"" more "}"

static ApiPage parse_ok(ApiOperation operation, const char *asked, const char *body)
{
        char detail[128];
        ApiPage page = {0};
        ApiError error = api_page_parse(operation, "gr-1", asked, body, strlen(body), detail, &page);
        if (error != API_OK)
                fail_msg("refused (%s): %s", detail, body);
        return page;
}

static void parse_refused(ApiOperation operation, const char *asked, const char *body, const char *why)
{
        char detail[128] = "";
        ApiPage page = {0};
        if (api_page_parse(operation, "gr-1", asked, body, strlen(body), detail, &page) != API_E_MALFORMED)
                fail_msg("accepted: %.200s", body);
        if (!strstr(detail, why))
                fail_msg("said \"%s\" rather than \"%s\"", detail, why);
        assert_null(page.items);
        assert_null(page.ids);
        assert_null(page.next_token);
}

static void test_tokens(void **state)
{
        (void)state;
        ApiPage page = parse_ok(API_LIST_ACCESS_TOKENS, NULL,
                "{\"extra\":[{}],\"nextToken\":\"n/+=\",\"accessTokens\":[" ITEM(
                        "at-1", ",\"name\":\"a/b\",\"new\":{\"x\":1}") "," ITEM("at-2", "") "]}");
        assert_int_equal(page.item_count, 2);
        assert_int_equal(page.skipped, 0);
        assert_string_equal(page.next_token, "n/+=");
        assert_null(page.ids);
        assert_string_equal(page.items[0].id, "at-1");
        assert_string_equal(page.items[0].name, "a/b");
        assert_string_equal(page.items[0].dns_view_id, "dnsv-1");
        assert_string_equal(page.items[0].global_resolver_id, "gr-1");
        assert_int_equal(page.items[0].status, TOKEN_OPERATIONAL);
        assert_int_equal(page.items[0].created_wall_ns, INT64_C(1767323045000000000));
        assert_int_equal(page.items[0].updated_wall_ns, INT64_C(1767398400000000000));
        assert_int_equal(page.items[0].expires_wall_ns, INT64_C(1798675200000000000));
        assert_string_equal(page.items[1].id, "at-2");
        assert_string_equal(page.items[1].name, "");
        api_page_deinit(&page);
        assert_null(page.items);
}

static void test_malformed_items_are_left_out(void **state)
{
        (void)state;
        ApiPage page = parse_ok(API_LIST_ACCESS_TOKENS, NULL,
                "{\"accessTokens\":[" ITEM("at-1", "") ",7,null,\"x\",[],{}," ITEM("..", "") "," ITEM(
                        "a/b", "") "," ITEM("at-2", ",\"id\":\"at-3\"") "," ITEM("at-4",
                        ",\"name\":\"1234\"") ","
                                              "{\"id\":\"at-5\",\"status\":\"OPERATIONAL\"}," ITEM(
                                                      "at-6", ",\"name\":null") "]}");
        assert_int_equal(page.item_count, 2);
        assert_int_equal(page.skipped, 10);
        assert_string_equal(page.items[0].id, "at-1");
        assert_string_equal(page.items[1].id, "at-6");
        assert_null(page.next_token);
        api_page_deinit(&page);

        page = parse_ok(API_LIST_DNS_VIEWS, NULL, "{\"dnsViews\":[{\"id\":\"\"},{\"id\":\"dnsv-1\"},{}]}");
        assert_int_equal(page.id_count, 1);
        assert_int_equal(page.skipped, 2);
        assert_string_equal(page.ids[0], "dnsv-1");
        api_page_deinit(&page);
}

static void test_ids(void **state)
{
        (void)state;
        ApiPage page = parse_ok(API_LIST_GLOBAL_RESOLVERS, NULL,
                "{\"globalResolvers\":[{\"id\":\"gr-1\",\"dnsName\":\"x\"},{\"id\":\"gr-2\"}],\"nextToken\":"
                "null}");
        assert_int_equal(page.id_count, 2);
        assert_null(page.items);
        assert_string_equal(page.ids[0], "gr-1");
        assert_string_equal(page.ids[1], "gr-2");
        assert_null(page.next_token);
        api_page_deinit(&page);
        page = parse_ok(API_LIST_DNS_VIEWS, NULL, "{\"dnsViews\":[],\"nextToken\":\"\"}");
        assert_int_equal(page.id_count, 0);
        assert_null(page.next_token);
        api_page_deinit(&page);
}

/* The service's model permits it. */
static void test_without_access_tokens(void **state)
{
        (void)state;
        static const char *const bodies[] = {
                "{\"nextToken\":\"n\"}", "{\"accessTokens\":null,\"nextToken\":\"n\"}"};
        for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
                ApiPage page = parse_ok(API_LIST_ACCESS_TOKENS, NULL, bodies[i]);
                assert_int_equal(page.item_count, 0);
                assert_int_equal(page.skipped, 0);
                assert_string_equal(page.next_token, "n");
                api_page_deinit(&page);
        }
}

static void test_shared_views(void **state)
{
        (void)state;
        ApiPage page = parse_ok(API_LIST_SHARED_DNS_VIEWS, NULL,
                "{\"dnsViews\":[{\"id\":\"dnsv-1\",\"globalResolverId\":\"gr-9\"},{}],\"nextToken\":\"n\"}");
        assert_int_equal(page.id_count, 1);
        assert_int_equal(page.skipped, 1);
        assert_string_equal(page.ids[0], "dnsv-1");
        assert_string_equal(page.next_token, "n");
        api_page_deinit(&page);
}

static void test_resolver(void **state)
{
        (void)state;
        ApiPage page = parse_ok(API_GET_GLOBAL_RESOLVER, NULL,
                "{\"id\":\"gr-1\",\"dnsName\":\"gr-1.route53globalresolver.global.on.aws\",\"x\":1}");
        assert_string_equal(page.dns_name, "gr-1.route53globalresolver.global.on.aws");
        api_page_deinit(&page);
        parse_refused(API_GET_GLOBAL_RESOLVER, NULL, "{\"id\":\"gr-2\",\"dnsName\":\"x\"}", "another");
        parse_refused(API_GET_GLOBAL_RESOLVER, NULL, "{\"dnsName\":\"x\"}", "invalid id");
        static const char *const names[] = {"null", "7", "\"\"", "\"a b\"", "\"a/b\"", "\"a\\nb\""};
        char body[512];
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                (void)snprintf(body, sizeof body, "{\"id\":\"gr-1\",\"dnsName\":%s}", names[i]);
                parse_refused(API_GET_GLOBAL_RESOLVER, NULL, body, "invalid dnsName");
        }
        char longest[257];
        memset(longest, 'd', sizeof longest);
        (void)snprintf(body, sizeof body, "{\"id\":\"gr-1\",\"dnsName\":\"%.256s\"}", longest);
        parse_refused(API_GET_GLOBAL_RESOLVER, NULL, body, "invalid dnsName");
        (void)snprintf(body, sizeof body, "{\"id\":\"gr-1\",\"dnsName\":\"%.255s\"}", longest);
        page = parse_ok(API_GET_GLOBAL_RESOLVER, NULL, body);
        assert_int_equal(strlen(page.dns_name), 255);
        api_page_deinit(&page);
}

static void test_refuses(void **state)
{
        (void)state;
        parse_refused(API_LIST_ACCESS_TOKENS, NULL, "", "valid JSON");
        parse_refused(API_LIST_ACCESS_TOKENS, NULL, "[]", "no JSON object");
        parse_refused(API_LIST_DNS_VIEWS, NULL, "{}", "no array dnsViews");
        parse_refused(API_LIST_SHARED_DNS_VIEWS, NULL, "{\"dnsViews\":null}", "no array dnsViews");
        parse_refused(API_LIST_GLOBAL_RESOLVERS, NULL, "{\"dnsViews\":[]}", "no array globalResolvers");
        parse_refused(API_LIST_ACCESS_TOKENS, NULL, "{\"accessTokens\":{}}", "no array accessTokens");
        parse_refused(API_LIST_ACCESS_TOKENS, NULL, "{\"accessTokens\":[],\"accessTokens\":[]}", "no array");
        parse_refused(API_LIST_DNS_VIEWS, NULL, "{\"dnsViews\":[],\"dnsViews\":[]}", "no array dnsViews");
        parse_refused(
                API_LIST_GLOBAL_RESOLVERS, NULL, "{\"globalResolvers\":[],\"nextToken\":7}", "nextToken");
        parse_refused(API_LIST_GLOBAL_RESOLVERS, NULL,
                "{\"globalResolvers\":[],\"nextToken\":\"a\",\"nextToken\":\"b\"}", "nextToken");
        parse_refused(
                API_LIST_GLOBAL_RESOLVERS, "a", "{\"globalResolvers\":[],\"nextToken\":\"a\"}", "repeats");
        parse_refused(API_LIST_GLOBAL_RESOLVERS, NULL,
                "{\"globalResolvers\":[],\"x\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}", "too deeply");
}

static void test_sizes(void **state)
{
        (void)state;
        Buf body = BUF_INIT(PAGE_BODY_MAX + 1);
        (void)buf_append_str(&body, "{\"globalResolvers\":[");
        for (int i = 0; i < PAGE_ITEMS_MAX; i++)
                (void)buf_appendf(&body, "%s{\"id\":\"gr-%d\"}", i ? "," : "", i);
        size_t len = body.len;
        (void)buf_append_str(&body, "]}");
        ApiPage page = parse_ok(API_LIST_GLOBAL_RESOLVERS, NULL, body.data);
        assert_int_equal(page.id_count, PAGE_ITEMS_MAX);
        assert_string_equal(page.ids[PAGE_ITEMS_MAX - 1], "gr-999");
        api_page_deinit(&page);
        body.len = len;
        (void)buf_append_str(&body, ",{}]}");
        parse_refused(API_LIST_GLOBAL_RESOLVERS, NULL, body.data, "too many");

        buf_clear(&body);
        (void)buf_append_str(&body, "{\"globalResolvers\":[],\"nextToken\":\"");
        for (size_t i = 0; i < PAGE_NEXT_TOKEN_MAX; i++)
                (void)buf_append_char(&body, 'n');
        (void)buf_append_str(&body, "\"}");
        page = parse_ok(API_LIST_GLOBAL_RESOLVERS, NULL, body.data);
        assert_int_equal(strlen(page.next_token), PAGE_NEXT_TOKEN_MAX);
        api_page_deinit(&page);
        body.len -= 2;
        (void)buf_append_str(&body, "n\"}");
        parse_refused(API_LIST_GLOBAL_RESOLVERS, NULL, body.data, "nextToken");

        body.len -= 2;
        while (body.len < PAGE_BODY_MAX - 1)
                (void)buf_append_char(&body, 'n');
        (void)buf_append_str(&body, "\"}");
        assert_int_equal(body.error, 0);
        parse_refused(API_LIST_GLOBAL_RESOLVERS, NULL, body.data, "too long");
        buf_deinit(&body);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tokens),
                cmocka_unit_test(test_malformed_items_are_left_out),
                cmocka_unit_test(test_ids),
                cmocka_unit_test(test_without_access_tokens),
                cmocka_unit_test(test_shared_views),
                cmocka_unit_test(test_resolver),
                cmocka_unit_test(test_refuses),
                cmocka_unit_test(test_sizes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
