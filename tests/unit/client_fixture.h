#pragma once
/* What the tests of the API client share: a service and a credential chain that do what the test says, in place of
 * http.c and credentials.c; the loop, the signatures and the parsers are the real ones, and the clock is the fake one. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "tokenfs/api/client.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define NOW_NS (5000 * NS_PER_S)
#define WALL_S INT64_C(1767225600) /* 2026-01-01T00:00:00Z */
#define SECRET_KEY "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
#define SESSION_TOKEN "FwoGZXIvYXdzEBYaDEXAMPLETOKEN"

/* The service. What was sent waits here for the test's answer, in order. */

struct HttpCall {
        HttpHandler *handler;
        void *userdata;
        char url[16384], authorization[2048], date[32], token[256];
        size_t response_max;
        uint64_t timeout_ns, started_ns;
        bool allow_plain;
};

static HttpCall *sent[API_IN_FLIGHT_MAX];
static size_t sent_count, sent_total, cancelled;
static int http_start_result;

static void sent_remove(const HttpCall *call)
{
        for (size_t i = 0; i < sent_count; i++)
                if (sent[i] == call) {
                        memmove(&sent[i], &sent[i + 1], (sent_count - i - 1) * sizeof *sent);
                        sent_count--;
                        return;
                }
        fail_msg("an HTTP call that isn't under way");
}

int http_start(
        Http *http, const HttpRequest *request, HttpHandler *handler, void *userdata, HttpCall **ret_call)
{
        assert_ptr_equal(http, &sent);
        if (http_start_result < 0)
                return http_start_result;
        assert_string_equal(request->method, "GET");
        assert_null(request->body);
        HttpCall *call = calloc(1, sizeof *call);
        if (!call)
                return -ENOMEM;
        *call = (HttpCall){
                .handler = handler,
                .userdata = userdata,
                .response_max = request->response_max,
                .timeout_ns = request->timeout_ns,
                .started_ns = clock_now_ns(),
                .allow_plain = request->allow_plain,
        };
        (void)snprintf(call->url, sizeof call->url, "%s", request->url);
        for (size_t i = 0; i < request->header_count; i++) {
                const HttpHeader *header = &request->headers[i];
                if (strcmp(header->name, "Authorization") == 0)
                        (void)snprintf(call->authorization, sizeof call->authorization, "%s", header->value);
                else if (strcmp(header->name, "X-Amz-Date") == 0)
                        (void)snprintf(call->date, sizeof call->date, "%s", header->value);
                else if (strcmp(header->name, "X-Amz-Security-Token") == 0)
                        (void)snprintf(call->token, sizeof call->token, "%s", header->value);
                else
                        fail_msg("header %s", header->name);
        }
        assert_in_range(sent_count, 0, API_IN_FLIGHT_MAX - 1);
        sent[sent_count++] = call;
        sent_total++;
        *ret_call = call;
        return 0;
}

HttpCall *http_cancel(HttpCall *call)
{
        if (!call)
                return NULL;
        sent_remove(call);
        free(call);
        cancelled++;
        return NULL;
}

const char *http_response_header(const HttpResponse *response, const char *name)
{
        for (size_t i = 0; i < response->header_count; i++)
                if (strcasecmp(response->headers[i].name, name) == 0)
                        return response->headers[i].value;
        return NULL;
}

typedef struct Answer {
        HttpError error;
        const char *error_detail;
        int status;
        const char *type, *retry_after, *date, *body;
} Answer;

/* Answers the call that was sent as the `index`th of those under way. */
static void answer(size_t index, Answer given)
{
        assert_true(index < sent_count);
        HttpCall *call = sent[index];
        HttpHeader headers[3];
        size_t count = 0;
        if (given.type)
                headers[count++] = (HttpHeader){"x-amzn-ErrorType", given.type};
        if (given.retry_after)
                headers[count++] = (HttpHeader){"Retry-After", given.retry_after};
        if (given.date)
                headers[count++] = (HttpHeader){"Date", given.date};
        HttpResponse response = {
                .error = given.error,
                .detail = given.error_detail ? given.error_detail : "",
                .status = given.status,
                .body = BUF_INIT(1 << 20),
                .started_ns = call->started_ns,
                .ended_ns = clock_now_ns(),
                .headers = headers,
                .header_count = count,
        };
        (void)buf_append_str(&response.body, given.body ? given.body : "{}");
        sent_remove(call);
        call->handler(&response, call->userdata);
        free(call);
        buf_deinit(&response.body);
}

/* Answers with the document of the id that was asked for. */
static void answer_doc(size_t index)
{
        assert_true(index < sent_count);
        char body[1024];
        const char *id = strrchr(sent[index]->url, '/') + 1;
        (void)snprintf(body, sizeof body,
                "{\"id\":\"%s\",\"arn\":\"arn:x\",\"createdAt\":\"2026-01-02T03:04:05Z\",\"dnsViewId\":\"v\","
                "\"expiresAt\":\"2026-12-31T00:00:00Z\",\"globalResolverId\":\"r\",\"status\":"
                "\"OPERATIONAL\","
                "\"updatedAt\":\"2026-01-02T03:04:05Z\",\"value\":\"topsecretvalue\"}",
                id);
        answer(index, (Answer){.status = 200, .body = body});
}

/* The chain. */

struct CredentialChain {
        AwsCredentials credentials;
        bool is_ready;
        CredentialWait *wait;
        unsigned gets, rejects;
        const char *key_after_reject; /* NULL: none; the same key again */
        bool waits_after_reject;
};
static CredentialChain chain;

static void set_key(const char *id)
{
        AwsKeys *keys = &chain.credentials.keys;
        (void)snprintf(keys->access_key_id, sizeof keys->access_key_id, "%s", id);
        assert_int_equal(secret_set(&keys->secret_access_key, SECRET_KEY, strlen(SECRET_KEY)), 0);
        assert_int_equal(secret_set(&keys->session_token, SESSION_TOKEN, strlen(SESSION_TOKEN)), 0);
}

int credential_chain_get(CredentialChain *of, CredentialWait *wait, CredentialHandler *handler,
        void *userdata, const AwsCredentials **ret_credentials)
{
        assert_ptr_equal(of, &chain);
        chain.gets++;
        if (chain.is_ready) {
                *ret_credentials = &chain.credentials;
                return 0;
        }
        wait->handler = handler;
        wait->userdata = userdata;
        chain.wait = wait;
        return -EINPROGRESS;
}

void credential_wait_cancel(CredentialWait *wait)
{
        if (chain.wait == wait)
                chain.wait = NULL;
}

void credential_chain_reject(CredentialChain *of)
{
        of->rejects++;
        if (of->key_after_reject)
                set_key(of->key_after_reject);
        if (of->waits_after_reject)
                of->is_ready = false;
}

/* The client. */

static Loop *loop;
static ApiClient *client;

/* A caller: what it was told, and what it does about it. */
typedef struct Caller {
        ApiPurpose purpose;
        uint32_t uid;
        ApiCall *call;
        unsigned told, ended; /* times */
        ApiError error;
        char detail[700];
        uint64_t retry_at_ns, sent_ns;
        TokenDoc *doc;
        size_t items, ids;
        char next_token[32], dns_name[64];
        void (*act)(struct Caller *caller); /* in the handler */
} Caller;

static void on_result(const ApiResult *result, void *userdata)
{
        Caller *caller = userdata;
        assert_non_null(caller->call);
        caller->error = result->error;
        caller->retry_at_ns = result->retry_at_ns;
        caller->sent_ns = result->sent_ns;
        (void)snprintf(caller->detail, sizeof caller->detail, "%s", result->detail ? result->detail : "");
        assert_null(strstr(caller->detail, SECRET_KEY));
        assert_null(strstr(caller->detail, SESSION_TOKEN));
        assert_null(strstr(caller->detail, "topsecretvalue"));
        if (result->retry_at_ns) {
                caller->told++;
                assert_true(result->error != API_OK);
                assert_true(api_error_is_transient(result->error));
        } else {
                caller->ended++;
                caller->call = NULL;
        }
        if (result->doc)
                caller->doc = token_doc_ref(result->doc);
        if (result->page) {
                caller->items = result->page->item_count;
                caller->ids = result->page->id_count;
                (void)snprintf(caller->next_token, sizeof caller->next_token, "%s",
                        result->page->next_token ? result->page->next_token : "");
                (void)snprintf(caller->dns_name, sizeof caller->dns_name, "%.60s", result->page->dns_name);
        }
        if (caller->act)
                caller->act(caller);
}

static void start(Caller *caller, ApiOperation operation, const char *id, const char *next_token)
{
        unsigned told = caller->told, ended = caller->ended;
        assert_null(caller->call);
        const ApiQuery query = {.operation = operation,
                .id = id,
                .next_token = next_token,
                .purpose = caller->purpose,
                .uid = caller->uid};
        assert_int_equal(api_start(client, &query, on_result, caller, &caller->call), 0);
        assert_int_equal(caller->told, told);
        assert_int_equal(caller->ended, ended);
}

static void get(Caller *caller, const char *id)
{
        start(caller, API_GET_ACCESS_TOKEN, id, NULL);
}

static void end(Caller *caller)
{
        caller->call = api_cancel(caller->call);
        caller->doc = token_doc_unref(caller->doc);
}

static void turn(void)
{
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(loop_turn(loop, 0), 0);
}

static void pass_ns(uint64_t by_ns)
{
        clock_advance_fake(by_ns);
        turn();
}

static int client_open(void);

/* Another client, which knows nothing of what was; no call may be left. */
static inline void client_renew(void)
{
        client = api_client_free(client);
        assert_int_equal(client_open(), 0);
}

static int client_setup(void **state)
{
        (void)state;
        log_open(LOG_LEVEL_ERROR, false);
        clock_set_fake(NOW_NS, WALL_S * (int64_t)NS_PER_S);
        chain = (CredentialChain){.is_ready = true};
        set_key("AKIDFIRST");
        sent_total = cancelled = 0;
        http_start_result = 0;
        assert_int_equal(loop_new(&loop), 0);
        return client_open();
}

static int client_open(void)
{
        static char url[] = "https://api.test/base", host[] = "api.test", base[] = "/base",
                    region[] = "us-east-2";
        AwsEndpoint endpoint = {.url = url, .host = host, .base = base, .region = region, .origin = "test"};
        ApiSettings settings = {
                .loop = loop,
                .http = (Http *)(void *)&sent,
                .credentials = &chain,
                .endpoint = &endpoint,
                .timeout_ns = 10 * NS_PER_S,
                .ttl_ns = 60 * NS_PER_S,
                .stale_ns = 3600 * NS_PER_S,
        };
        return api_client_new(&settings, &client);
}

static int client_teardown(void **state)
{
        (void)state;
        ApiHealth health;
        api_client_health(client, &health);
        assert_int_equal(health.in_flight, 0);
        assert_int_equal(health.queued, 0);
        assert_int_equal(sent_count, 0);
        client = api_client_free(client);
        assert_null(chain.wait);
        aws_keys_deinit(&chain.credentials.keys);
        loop = loop_free(loop);
        clock_unset_fake();
        return 0;
}

#define client_test(function) cmocka_unit_test_setup_teardown(function, client_setup, client_teardown)
