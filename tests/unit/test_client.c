/* The API client while all goes well, or fails for good: what is sent, what comes of it, and who may cancel what. */

#include "client_fixture.h"

static void test_get_access_token(void **state)
{
        (void)state;
        Caller caller = {0};
        get(&caller, "at-1");
        assert_int_equal(sent_count, 0);
        turn();
        assert_int_equal(sent_count, 1);
        assert_string_equal(sent[0]->url, "https://api.test/base/tokens/at-1");
        assert_string_equal(sent[0]->date, "20260101T000000Z");
        assert_string_equal(sent[0]->token, SESSION_TOKEN);
        assert_memory_equal(sent[0]->authorization,
                "AWS4-HMAC-SHA256 "
                "Credential=AKIDFIRST/20260101/us-east-2/route53globalresolver/aws4_request, "
                "SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=",
                154);
        assert_int_equal(sent[0]->response_max, 65536);
        assert_int_equal(sent[0]->timeout_ns, 10 * NS_PER_S);
        assert_false(sent[0]->allow_plain);
        assert_int_equal(caller.ended, 0);
        pass_ns(30 * NS_PER_MS);
        answer_doc(0);
        assert_int_equal(caller.ended, 1);
        assert_int_equal(caller.told, 0);
        assert_int_equal(caller.error, API_OK);
        assert_string_equal(caller.detail, "");
        assert_int_equal(caller.sent_ns, NOW_NS);
        size_t len;
        assert_non_null(caller.doc);
        assert_memory_equal(token_doc_field(caller.doc, TOKEN_ID, &len), "at-1", 4);
        const ApiCounters *counters = api_client_counters(client);
        assert_int_equal(counters->attempts[API_GET_ACCESS_TOKEN][API_OK], 1);
        assert_int_equal(counters->retries, 0);
        assert_int_equal(counters->latency[3], 1); /* up to 50 ms */
        assert_true(counters->latency_sum_s > 0.0299 && counters->latency_sum_s < 0.0301);
        end(&caller);
}

static void test_without_a_session_token(void **state)
{
        (void)state;
        secret_deinit(&chain.credentials.keys.session_token);
        Caller caller = {0};
        get(&caller, "at-1");
        turn();
        assert_string_equal(sent[0]->token, "");
        assert_non_null(strstr(sent[0]->authorization, "SignedHeaders=host;x-amz-date, "));
        end(&caller);
}

static void test_lists(void **state)
{
        (void)state;
        Caller caller = {0};
        start(&caller, API_LIST_ACCESS_TOKENS, "dnsv-1", NULL);
        turn();
        assert_string_equal(sent[0]->url, "https://api.test/base/tokens/dns-view/dnsv-1?max_results=100");
        assert_int_equal(sent[0]->response_max, 4 * 1024 * 1024);
        answer(0, (Answer){.status = 200,
                          .body = "{\"accessTokens\":[{\"id\":\"x\"}],\"nextToken\":\"a/+=&\"}"});
        assert_int_equal(caller.ended, 1);
        assert_int_equal(caller.error, API_OK);
        assert_string_equal(caller.next_token, "a/+=&");

        start(&caller, API_LIST_ACCESS_TOKENS, "dnsv-1", "a/+=&");
        turn();
        assert_string_equal(sent[0]->url,
                "https://api.test/base/tokens/dns-view/dnsv-1?max_results=100&next_token=a%2F%2B%3D%26");
        answer(0, (Answer){.status = 200, .body = "{\"accessTokens\":[],\"nextToken\":\"a/+=&\"}"});
        assert_int_equal(caller.ended, 2);
        assert_int_equal(caller.error, API_E_MALFORMED);
        assert_non_null(strstr(caller.detail, "ListAccessTokens: the answer repeats the nextToken"));

        start(&caller, API_LIST_DNS_VIEWS, "gr-1", NULL);
        turn();
        assert_string_equal(sent[0]->url, "https://api.test/base/dns-views/resolver/gr-1?max_results=100");
        answer(0, (Answer){.status = 200, .body = "{\"dnsViews\":[{\"id\":\"dnsv-1\"}]}"});
        assert_int_equal(caller.ids, 1);

        start(&caller, API_LIST_GLOBAL_RESOLVERS, NULL, NULL);
        turn();
        assert_string_equal(sent[0]->url, "https://api.test/base/global-resolver?max_results=100");
        answer(0, (Answer){.status = 200, .body = "{\"globalResolvers\":[{\"id\":\"a\"},{\"id\":\"b\"}]}"});
        assert_int_equal(caller.ids, 2);

        start(&caller, API_GET_GLOBAL_RESOLVER, "gr-1", NULL);
        turn();
        assert_string_equal(sent[0]->url, "https://api.test/base/global-resolver/gr-1");
        answer(0, (Answer){.status = 200, .body = "{\"id\":\"gr-1\",\"dnsName\":\"gr-1.test\"}"});
        assert_string_equal(caller.dns_name, "gr-1.test");
        assert_int_equal(caller.ended, 5);
        assert_int_equal(caller.told, 0);
}

static void test_bad_ids_are_never_sent(void **state)
{
        (void)state;
        char longest[TOKEN_ID_MAX + 2];
        memset(longest, 'a', sizeof longest - 1);
        longest[sizeof longest - 1] = '\0';
        const char *const ids[] = {"", ".", "..", "a/b", "a_b", "a?b", "a%2e", "\xC3\xA4", longest, NULL};
        for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
                for (ApiOperation operation = 0; operation < API_OPERATION_COUNT; operation++) {
                        if (!api_operation_has_id(operation))
                                continue;
                        Caller caller = {0};
                        start(&caller, operation, ids[i], NULL);
                        turn();
                        assert_int_equal(caller.ended, 1);
                        assert_int_equal(caller.error, API_E_NOT_FOUND);
                }
        }
        char *next_token = calloc(1, 4098);
        assert_non_null(next_token);
        memset(next_token, 'n', 4097);
        Caller caller = {0};
        start(&caller, API_LIST_ACCESS_TOKENS, "dnsv-1", next_token);
        turn();
        assert_int_equal(caller.error, API_E_NOT_FOUND);
        next_token[4096] = '\0';
        start(&caller, API_LIST_ACCESS_TOKENS, "dnsv-1", next_token);
        turn();
        assert_int_equal(sent_total, 1);
        end(&caller);
        free(next_token);
        assert_int_equal(chain.gets, 1);
}

static void test_final_failures(void **state)
{
        (void)state;
        static const struct {
                Answer answer;
                ApiError error;
                const char *detail;
        } all[] = {
                {{.status = 404, .type = "ResourceNotFoundException", .body = "{\"message\":\"No such\"}"},
                        API_E_NOT_FOUND, "GetAccessToken: ResourceNotFoundException, HTTP 404: No such"},
                {{.status = 403,
                         .type = "AccessDeniedException",
                         .body = "{\"message\":\"User: u may not\"}"},
                        API_E_ACCESS_DENIED,
                        "GetAccessToken: AccessDeniedException, HTTP 403: User: u may not; the credentials' "
                        "policy "
                        "must allow the IAM action route53globalresolver:GetAccessToken"},
                {{.status = 302}, API_E_MALFORMED,
                        "GetAccessToken: HTTP 302; this isn't the service: check endpoint_url= and the "
                        "proxy"},
                {{.status = 200, .body = "{\"id\":\"at-2\"}"}, API_E_MALFORMED,
                        "GetAccessToken: the answer lacks arn"},
                {{.status = 200, .body = "<html>"}, API_E_MALFORMED,
                        "GetAccessToken: the answer is not valid JSON"},
                {{.error = HTTP_E_TOO_LARGE, .error_detail = "more than 65536 bytes"}, API_E_MALFORMED,
                        "GetAccessToken: more than 65536 bytes; this isn't the service: check endpoint_url= "
                        "and "
                        "the proxy"},
                {{.error = HTTP_E_MEMORY}, API_E_MEMORY, "GetAccessToken"},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                Caller caller = {0};
                get(&caller, "at-1");
                turn();
                assert_int_equal(sent_count, 1);
                answer(0, all[i].answer);
                assert_int_equal(caller.ended, 1);
                assert_int_equal(caller.told, 0);
                assert_int_equal(caller.error, all[i].error);
                assert_string_equal(caller.detail, all[i].detail);
                assert_null(caller.doc);
                turn();
                assert_int_equal(sent_count, 0);
        }
        ApiHealth health;
        api_client_health(client, &health);
        assert_int_equal(health.error, API_OK);
        const ApiCounters *counters = api_client_counters(client);
        assert_int_equal(counters->attempts[API_GET_ACCESS_TOKEN][API_E_MALFORMED], 4);
        assert_int_equal(counters->attempts[API_GET_ACCESS_TOKEN][API_E_NOT_FOUND], 1);
        assert_int_equal(counters->retries, 0);
}

/* What each operation makes of a refusal: nothing but the service's word that a resource is missing ends a branch. */
static void test_refusals_by_operation(void **state)
{
        (void)state;
        static const struct {
                ApiOperation operation;
                const char *id, *type;
                int status;
                ApiError error;
        } all[] = {
                {API_GET_ACCESS_TOKEN, "at-1", "ValidationException", 400, API_E_NOT_FOUND},
                {API_GET_GLOBAL_RESOLVER, "gr-1", "ValidationException", 400, API_E_NOT_FOUND},
                {API_GET_ACCESS_TOKEN, "at-1", NULL, 404, API_E_NOT_FOUND},
                {API_LIST_ACCESS_TOKENS, "dnsv-1", "ValidationException", 400, API_E_REFUSED},
                {API_LIST_ACCESS_TOKENS, "dnsv-1", "ResourceNotFoundException", 404, API_E_NOT_FOUND},
                {API_LIST_ACCESS_TOKENS, "dnsv-1", NULL, 404, API_E_REFUSED},
                {API_LIST_DNS_VIEWS, "gr-1", "ValidationException", 400, API_E_REFUSED},
                {API_LIST_DNS_VIEWS, "gr-1", "ResourceNotFoundException", 404, API_E_NOT_FOUND},
                {API_LIST_GLOBAL_RESOLVERS, NULL, "ValidationException", 400, API_E_REFUSED},
                {API_LIST_GLOBAL_RESOLVERS, NULL, "ResourceNotFoundException", 404, API_E_REFUSED},
                {API_LIST_GLOBAL_RESOLVERS, NULL, "UnknownOperationException", 404, API_E_MALFORMED},
                {API_LIST_SHARED_DNS_VIEWS, NULL, "ValidationException", 400, API_E_REFUSED},
                {API_LIST_SHARED_DNS_VIEWS, NULL, "ResourceNotFoundException", 404, API_E_REFUSED},
                {API_LIST_SHARED_DNS_VIEWS, NULL, "AccessDeniedException", 403, API_E_ACCESS_DENIED},
                {API_LIST_SHARED_DNS_VIEWS, NULL, "UnknownOperationException", 404, API_OK},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                Caller caller = {0};
                start(&caller, all[i].operation, all[i].id, NULL);
                turn();
                assert_int_equal(sent_count, 1);
                answer(0, (Answer){.status = all[i].status,
                                  .type = all[i].type,
                                  .body = "{\"reason\":\"FIELD_VALIDATION_FAILED\",\"fieldList\":[{\"name\":"
                                          "\"max_results\",\"message\":\"too many\"}]}"});
                assert_int_equal(caller.ended, 1);
                if (caller.error != all[i].error)
                        fail_msg("%s, %s: %s", api_operation_name(all[i].operation), all[i].type,
                                api_error_name(caller.error));
                if (caller.error == API_E_REFUSED)
                        assert_non_null(
                                strstr(caller.detail, "(FIELD_VALIDATION_FAILED: max_results: too many)"));
        }
}

static void test_what_http_refuses(void **state)
{
        (void)state;
        static const struct {
                int result;
                ApiError error;
        } all[] = {{-ENOMEM, API_E_MEMORY}, {-EINVAL, API_E_UNREACHABLE}, {-EMSGSIZE, API_E_NO_CREDENTIALS}};
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                Caller caller = {0};
                http_start_result = all[i].result;
                get(&caller, "at-1");
                turn();
                assert_int_equal(caller.ended, 1);
                assert_int_equal(caller.error, all[i].error);
        }
        http_start_result = 0;
        secret_deinit(&chain.credentials.keys.session_token);
        assert_int_equal(secret_set(&chain.credentials.keys.session_token, "a\nb", 3), 0);
        Caller caller = {0};
        get(&caller, "at-1");
        turn();
        assert_int_equal(caller.error, API_E_NO_CREDENTIALS);
}

static void test_sixteen_in_flight(void **state)
{
        (void)state;
        Caller callers[40] = {{0}};
        for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
                char id[16];
                (void)snprintf(id, sizeof id, "at-%zu", i);
                get(&callers[i], id);
        }
        turn();
        assert_int_equal(sent_count, 16);
        ApiHealth health;
        api_client_health(client, &health);
        assert_int_equal(health.in_flight, 16);
        assert_int_equal(health.queued, 24);
        assert_non_null(strstr(sent[15]->url, "at-15"));
        answer_doc(3);
        assert_int_equal(sent_count, 16);
        assert_non_null(strstr(sent[15]->url, "at-16"));
        /* a call that is cancelled makes room; one that waited is never sent */
        end(&callers[17]);
        end(&callers[0]);
        turn();
        assert_int_equal(sent_count, 16);
        assert_non_null(strstr(sent[15]->url, "at-18"));
        while (sent_count > 0)
                answer_doc(0);
        assert_int_equal(sent_total, 39);
        for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
                assert_int_equal(callers[i].ended, i != 0 && i != 17);
                end(&callers[i]);
        }
}

/* Handlers that do what they may. */

static Caller others[20];

static void cancel_others(Caller *caller)
{
        (void)caller;
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
                others[i].call = api_cancel(others[i].call);
}

static void start_again(Caller *caller)
{
        caller->act = NULL;
        get(caller, "at-again");
}

static void test_handlers_may_cancel_and_start(void **state)
{
        (void)state;
        memset(others, 0, sizeof others);
        Caller caller = {.act = cancel_others};
        get(&caller, "at-1");
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
                get(&others[i], "at-other");
        turn();
        assert_int_equal(sent_count, 16);
        answer(0, (Answer){.status = 404, .type = "ResourceNotFoundException"});
        assert_int_equal(caller.ended, 1);
        assert_int_equal(sent_count, 0);
        assert_int_equal(cancelled, 15);

        caller.act = start_again;
        get(&caller, "at-1");
        turn();
        answer(0, (Answer){.status = 404, .type = "ResourceNotFoundException"});
        assert_int_equal(caller.ended, 2);
        turn();
        assert_int_equal(sent_count, 1);
        assert_non_null(strstr(sent[0]->url, "at-again"));
        end(&caller);

        /* from refusals, in the midst of a list of them */
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
                get(&others[i], "..");
        others[2].act = cancel_others;
        turn();
        unsigned ended = 0;
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
                ended += others[i].ended;
        assert_int_equal(ended, 3);
        others[2].act = start_again;
        get(&others[2], "..");
        turn();
        assert_int_equal(sent_count, 1);
        end(&others[2]);
}

static ApiCall *ended_call;

static void cancel_ended(Caller *caller)
{
        (void)caller;
        ended_call = api_cancel(ended_call);
}

static void test_cancelling_what_has_ended_in_its_handler(void **state)
{
        (void)state;
        Caller caller = {.act = cancel_ended};
        get(&caller, "at-1");
        ended_call = caller.call;
        turn();
        answer(0, (Answer){.status = 404, .type = "ResourceNotFoundException"});
        assert_int_equal(caller.ended, 1);
        assert_null(ended_call);
        assert_null(api_cancel(NULL));
}

static void test_operation_names(void **state)
{
        (void)state;
        assert_string_equal(api_operation_name(API_GET_ACCESS_TOKEN), "GetAccessToken");
        assert_string_equal(api_operation_name(API_LIST_ACCESS_TOKENS), "ListAccessTokens");
        assert_string_equal(api_operation_name(API_LIST_DNS_VIEWS), "ListDNSViews");
        assert_string_equal(api_operation_name(API_LIST_GLOBAL_RESOLVERS), "ListGlobalResolvers");
        assert_string_equal(api_operation_name(API_GET_GLOBAL_RESOLVER), "GetGlobalResolver");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                client_test(test_get_access_token),
                client_test(test_without_a_session_token),
                client_test(test_lists),
                client_test(test_bad_ids_are_never_sent),
                client_test(test_final_failures),
                client_test(test_refusals_by_operation),
                client_test(test_what_http_refuses),
                client_test(test_sixteen_in_flight),
                client_test(test_handlers_may_cancel_and_start),
                client_test(test_cancelling_what_has_ended_in_its_handler),
                cmocka_unit_test(test_operation_names),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
