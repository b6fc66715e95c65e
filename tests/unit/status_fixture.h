#pragma once
/* Fakes of all that the service files ask, and a set-up: nothing has happened yet. */

#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tokenfs/worker/status.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/fs/errno.h"

#define WALL_NS (INT64_C(1767225600) * (int64_t)NS_PER_S) /* 2026-01-01T00:00:00Z */
#define PLANTED "PLANTED-VALUE-0123456789"

static const char document[] =
        "{\"id\":\"at-1\",\"arn\":\"arn:aws:route53globalresolver::123456789012:access-token/at-1\","
        "\"createdAt\":\"2025-12-01T00:00:00Z\",\"updatedAt\":\"2025-12-01T00:00:00Z\",\"dnsViewId\":\"v-1\","
        "\"expiresAt\":\"2026-02-01T00:00:00Z\",\"globalResolverId\":\"gr-1\",\"name\":\"it's a "
        "\\u0027name\","
        "\"status\":\"OPERATIONAL\",\"value\":\"" PLANTED "\",\"clientToken\":\"" PLANTED "-CLIENT\"}";

/* What the fakes below answer. */
static CredentialStatus credentials;
static ApiHealth health;
static ApiCounters calls;
static TokensCounters cache_figures;
static FsCounters fs_figures;
static ListingStatus listing;
static TokensEntryStatus entries[3];
static TokenItem listed;
static PersistStatus persisted;
static const Persist *persist; /* NULL: no copies on disk */
static bool is_crowded; /* the one entry stands for as many as are asked for */
static size_t entry_count;

const AwsEndpoint *backend_endpoint(const Backend *backend)
{
        (void)backend;
        static char url[] = "https://example.test", host[] = "example.test", base[] = "",
                    region[] = "us-east-2";
        static const AwsEndpoint endpoint = {url, host, base, region, false, "endpoint_url="};
        return &endpoint;
}

void backend_credentials(const Backend *backend, CredentialStatus *ret_status)
{
        (void)backend;
        *ret_status = credentials;
        ret_status->warning = ret_status->warning ? ret_status->warning : "";
}

void backend_health(const Backend *backend, ApiHealth *ret_health)
{
        (void)backend;
        *ret_health = health;
}

void backend_counters(const Backend *backend, ApiCounters *ret_counters)
{
        (void)backend;
        *ret_counters = calls;
}

int64_t backend_skew_s(const Backend *backend)
{
        (void)backend;
        return -7;
}

const TokensCounters *tokens_counters(const Tokens *tokens)
{
        (void)tokens;
        return &cache_figures;
}

void tokens_visit(const Tokens *tokens, size_t max, TokensEntryVisitor *visitor, void *userdata)
{
        (void)tokens;
        assert_in_range(max, 1, STATUS_TOKENS_MAX);
        for (size_t i = 0; i < entry_count && i < max; i++)
                visitor(&entries[i], userdata);
        for (size_t i = 0; i < max && entry_count == 1 && is_crowded; i++)
                visitor(&entries[0], userdata);
}

const FsCounters *fs_counters(const Fs *fs)
{
        (void)fs;
        return &fs_figures;
}

void persist_status(const Persist *which, PersistStatus *ret_status)
{
        assert_ptr_equal(which, persist);
        *ret_status = persisted;
}

void listing_peek(Listing *which, ListingAnswer *ret_answer)
{
        (void)which;
        *ret_answer = (ListingAnswer){0};
}

int items_find(const Items *items, const char *id, size_t *ret_position)
{
        (void)items;
        *ret_position = 0;
        return strcmp(listed.id, id) == 0 ? 0 : -ENOENT;
}

void items_get(const Items *items, size_t position, TokenItem *ret_item)
{
        (void)items;
        assert_int_equal(position, 0);
        *ret_item = listed;
}

void listing_status(const Listing *which, ListingStatus *ret_status)
{
        (void)which;
        *ret_status = listing;
}

static Options options = {.ttl_ns = 60 * NS_PER_S, .stale_ns = 3600 * NS_PER_S, .max_tokens = 10000};
static NodesShared shared;

static inline StatusSources sources(void)
{
        return (StatusSources){
                .options = &options, .mountpoint = "/run/a \"b\\", .persist = persist, .shared = &shared};
}

static inline int set_up(void **state)
{
        (void)state;
        clock_set_fake(100 * NS_PER_S, WALL_NS);
        shared = (NodesShared){.started_wall_ns = WALL_NS - 60 * (int64_t)NS_PER_S};
        credentials = (CredentialStatus){.expires_wall_ns = INT64_MAX, .detail = ""};
        health = (ApiHealth){.error = API_OK};
        calls = (ApiCounters){.retries = 0};
        cache_figures = (TokensCounters){.evictions = 0};
        fs_figures = (FsCounters){.interrupted = 0};
        listing = (ListingStatus){.age_ns = CLOCK_NEVER, .state = "none"};
        entry_count = 0;
        is_crowded = false;
        persist = NULL;
        listed = (TokenItem){.name = ""};
        return 0;
}
