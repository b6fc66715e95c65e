/* The source of tokens that tests answer for. */

#include "fake_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void call_free(ApiCall *call)
{
        free(call->next_token);
        free(call);
}

static int fake_start(void *userdata, const ApiQuery *query, ApiHandler *handler, void *handler_userdata,
        ApiCall **ret_call)
{
        FakeSource *fake = userdata;
        if (fake->start_result < 0)
                return fake->start_result;
        ApiCall *call = calloc(1, sizeof *call);
        if (!call)
                return -ENOMEM;
        call->source = fake;
        call->operation = query->operation;
        call->purpose = query->purpose;
        call->uid = query->uid;
        (void)snprintf(call->id, sizeof call->id, "%s", query->id ? query->id : "");
        if (query->next_token && !(call->next_token = strdup(query->next_token))) {
                free(call);
                return -ENOMEM;
        }
        call->sent_ns = clock_now_ns();
        call->handler = handler;
        call->userdata = handler_userdata;
        list_append(&fake->calls, &call->link);
        fake->started++;
        fake->running++;
        *ret_call = call;
        return 0;
}

static void call_end(ApiCall *call)
{
        list_unlink(&call->link);
        call->source->running--;
}

static ApiCall *fake_cancel(ApiCall *call)
{
        if (!call || call->is_over)
                return NULL;
        call->source->cancelled++;
        call_end(call);
        call_free(call);
        return NULL;
}

static void fake_health(void *userdata, ApiHealth *ret_health)
{
        const FakeSource *fake = userdata;
        *ret_health = fake->health;
}

CacheSource fake_source(FakeSource *fake)
{
        return (CacheSource){fake_start, fake_cancel, fake_health, fake};
}

void fake_source_init(FakeSource *fake)
{
        *fake = (FakeSource){.health = {.stretch = 1, .in_flight_max = API_IN_FLIGHT_FIRST}};
        list_init(&fake->calls);
        clock_set_fake(FAKE_NOW_NS, FAKE_WALL_NS);
}

void fake_source_deinit(FakeSource *fake)
{
        assert_int_equal(fake->running, 0);
        assert_true(list_is_empty(&fake->calls));
        clock_unset_fake();
}

ApiCall *fake_call(FakeSource *fake, ApiOperation operation, const char *id)
{
        for (ListLink *link = fake->calls.next; link != &fake->calls; link = link->next) {
                ApiCall *call = list_entry(link, ApiCall, link);
                if (call->operation == operation && (!id || strcmp(call->id, id) == 0))
                        return call;
        }
        return NULL;
}

ApiCall *fake_get_call(FakeSource *fake, const char *id)
{
        ApiCall *found = NULL;
        for (ListLink *link = fake->calls.next; link != &fake->calls; link = link->next) {
                ApiCall *call = list_entry(link, ApiCall, link);
                if (call->operation != API_GET_ACCESS_TOKEN || strcmp(call->id, id) != 0)
                        continue;
                if (found)
                        fail_msg("two calls for %s", id);
                found = call;
        }
        if (!found)
                fail_msg("no call for %s", id);
        return found;
}

static void answer(ApiCall *call, ApiResult *result)
{
        if (!call)
                fail_msg("no call to answer");
        result->detail = "";
        result->sent_ns = call->sent_ns;
        call_end(call);
        call->is_over = true;
        call->handler(result, call->userdata);
        call_free(call);
}

void fake_answer_doc(ApiCall *call, TokenDoc *doc)
{
        answer(call, &(ApiResult){.doc = doc});
}

void fake_answer_page(ApiCall *call, const ApiPage *page)
{
        answer(call, &(ApiResult){.page = page});
}

void fake_answer_error(ApiCall *call, ApiError error)
{
        answer(call, &(ApiResult){.error = error});
}

void fake_answer_retry(ApiCall *call, ApiError error, uint64_t retry_at_ns)
{
        call->sent_ns = retry_at_ns;
        call->handler(&(ApiResult){.error = error, .detail = "", .retry_at_ns = retry_at_ns}, call->userdata);
}

static void format_time(int64_t offset_s, char ret_text[static 32])
{
        time_t time = (time_t)(FAKE_WALL_S + offset_s);
        struct tm parts;
        (void)gmtime_r(&time, &parts);
        (void)strftime(ret_text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

static const char *or_else(const char *text, const char *otherwise)
{
        return text ? text : otherwise;
}

TokenDoc *fake_doc(const FakeToken *token)
{
        char created[32], expires[32], name[64] = "", body[1024], detail[128];
        format_time(token->created_s ? token->created_s : -3600, created);
        format_time(token->expires_s ? token->expires_s : 100 * 86400, expires);
        if (token->name)
                (void)snprintf(name, sizeof name, "\"name\":\"%s\",", token->name);
        int len = snprintf(body, sizeof body,
                "{\"id\":\"%s\",\"arn\":\"arn:aws:route53globalresolver::1:token/%s\",%s\"createdAt\":\"%s\","
                "\"dnsViewId\":\"%s\",\"expiresAt\":\"%s\",\"globalResolverId\":\"%s\",\"status\":\"%s\","
                "\"updatedAt\":\"%s\",\"value\":\"%s\"}",
                token->id, token->id, name, created, or_else(token->dns_view_id, "dnsv-1"), expires,
                or_else(token->global_resolver_id, "gr-1"), or_else(token->status, "OPERATIONAL"), created,
                or_else(token->value, "secret"));
        TokenDoc *doc = NULL;
        ApiError error = token_doc_parse(token->id, body, (size_t)len, detail, &doc);
        if (error != API_OK)
                fail_msg("%s: %s", detail, body);
        return doc;
}

void fake_item(const FakeToken *token, TokenItem *ret_item)
{
        TokenDoc *doc = fake_doc(token);
        token_item_from_doc(doc, ret_item);
        token_doc_unref(doc);
}

void fake_answer_token(FakeSource *fake, const FakeToken *token)
{
        TokenDoc *doc = fake_doc(token);
        fake_answer_doc(fake_get_call(fake, token->id), doc);
        token_doc_unref(doc);
}

static void reader_woken(CacheWait *wait)
{
        CONTAINER_OF(wait, FakeReader, wait)->woken++;
}

void fake_reader_init(FakeReader *reader)
{
        *reader = (FakeReader){0};
        cache_wait_init(&reader->wait, reader_woken);
}

void fake_answer_tokens(
        FakeSource *fake, const char *id, const FakeToken *tokens, size_t count, const char *next_token)
{
        char next[64];
        TokenItem *items = calloc(count + 1, sizeof *items);
        for (size_t i = 0; i < count; i++)
                fake_item(&tokens[i], &items[i]);
        ApiPage page = {.items = items, .item_count = count, .next_token = next_token ? next : NULL};
        (void)snprintf(next, sizeof next, "%s", or_else(next_token, ""));
        fake_answer_page(fake_call(fake, API_LIST_ACCESS_TOKENS, id), &page);
        free(items);
}

void fake_answer_ids(FakeSource *fake, ApiOperation operation, const char *id, const char *const *ids,
        size_t count, const char *next_token)
{
        char next[64];
        ApiPage page = {.ids = calloc(count + 1, TOKEN_ID_MAX + 1),
                .id_count = count,
                .next_token = next_token ? next : NULL};
        for (size_t i = 0; i < count; i++)
                (void)snprintf(page.ids[i], sizeof page.ids[i], "%s", ids[i]);
        (void)snprintf(next, sizeof next, "%s", or_else(next_token, ""));
        fake_answer_page(fake_call(fake, operation, id), &page);
        free(page.ids);
}
