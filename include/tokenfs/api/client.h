#pragma once
/* The signed calls of the API, with retries and one backoff for the whole endpoint. The number of calls in flight
 * follows the API's answers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/api/errors.h"
#include "tokenfs/api/token.h"
#include "tokenfs/credentials/chain.h"
#include "tokenfs/aws/endpoint.h"
#include "tokenfs/net/http.h"
#include "tokenfs/net/loop.h"

#define API_IN_FLIGHT_FIRST 16 /* calls in flight at first; fewer while the API throttles */
#define API_IN_FLIGHT_MAX 64

typedef struct ApiClient ApiClient;
typedef struct ApiCall ApiCall;

typedef struct ApiSettings {
        Loop *loop;
        Http *http; /* borrowed */
        CredentialChain *credentials; /* borrowed */
        const AwsEndpoint *endpoint; /* copied */
        uint64_t timeout_ns; /* of one attempt */
        uint64_t ttl_ns, stale_ns; /* of the copies that calls refresh: how far a refresh may be put off */
        bool allow_plain_http;
} ApiSettings;
int api_client_new(const ApiSettings *settings, ApiClient **ret_client);
/* Calls must have been cancelled before. Returns NULL. */
ApiClient *api_client_free(ApiClient *client);
CLEANUP_DEFINE(ApiClient *, api_client_free);

typedef enum ApiOperation {
        API_GET_ACCESS_TOKEN,
        API_LIST_ACCESS_TOKENS, /* of a DNS view */
        API_LIST_DNS_VIEWS, /* of a resolver */
        API_LIST_SHARED_DNS_VIEWS, /* of other accounts, shared through AWS RAM */
        API_LIST_GLOBAL_RESOLVERS,
        API_GET_GLOBAL_RESOLVER,
        API_OPERATION_COUNT,
} ApiOperation;
const char *api_operation_name(ApiOperation operation); /* "GetAccessToken" */
/* False: the operation is about the whole account, and its `id` is NULL. */
bool api_operation_has_id(ApiOperation operation);

/* One page of a list call, or GetGlobalResolver's answer; which members are set depends on the operation. */
typedef struct ApiPage {
        TokenItem *items; /* ListAccessTokens; malformed items are left out and counted */
        size_t item_count;
        char (*ids)[TOKEN_ID_MAX + 1]; /* ListDNSViews, ListSharedDNSViews, ListGlobalResolvers */
        size_t id_count;
        size_t skipped; /* items left out since they were malformed */
        char *next_token; /* NULL: the last page */
        char dns_name[256]; /* GetGlobalResolver */
} ApiPage;

/* The outcome of a call, or of an attempt that will be repeated. */
typedef struct ApiResult {
        ApiError error;
        const char *detail; /* for the log: what failed and the remedy; no secrets; "" */
        TokenDoc *doc; /* GetAccessToken; borrowed (take a reference) */
        const ApiPage *page; /* the others; borrowed */
        uint64_t sent_ns; /* when the attempt that succeeded was sent, on clock_now_ns' clock */
        uint64_t retry_at_ns; /* when a failed attempt is repeated; 0: the call has ended */
} ApiResult;

/* Called from the loop, never from inside api_start. With retry_at_ns != 0 the attempt failed in a transient way and
 * the call goes on (it may be cancelled in the handler); else the call is over. A call that has to wait since the
 * endpoint fails for others is reported in the same way, once, with the error of the others. */
typedef void ApiHandler(const ApiResult *result, void *userdata);

/* What a call is for: it decides which goes out first. */
typedef enum ApiPurpose {
        API_FOR_READ, /* there is no copy of what is asked for */
        API_FOR_REFRESH, /* there is one */
        API_FOR_GUESS, /* the id is neither held nor listed: a small part of the calls in flight are for these */
        API_PURPOSE_COUNT,
} ApiPurpose;
#define API_UID_NONE UINT32_MAX /* the program itself */

typedef struct ApiQuery {
        ApiOperation operation;
        const char *id; /* the token, view or resolver; NULL for operations without (api_operation_has_id) */
        const char *next_token; /* of the page before; NULL: the first */
        ApiPurpose purpose;
        uint32_t uid; /* of the user that wants it: users take turns */
} ApiQuery;

/* Starts a call; the query is copied. The call goes on retrying transient failures until it is cancelled: the caller decides
 * how long it is worth it. 0 or -ENOMEM. */
int api_start(
        ApiClient *client, const ApiQuery *query, ApiHandler *handler, void *userdata, ApiCall **ret_call);
/* Ends a call without its handler. NULL does nothing. Returns NULL. Safe in any handler. */
ApiCall *api_cancel(ApiCall *call);

/* How the endpoint fares. */
typedef struct ApiHealth {
        ApiError error; /* API_OK: calls go out as they come. Else the circuit is open for this reason */
        uint64_t since_ns; /* of the failing state; 0 if healthy */
        uint64_t
                retry_at_ns; /* when the next probe may go out; 0 if healthy. A probe is one of the calls that were
                                  * started: with none, this passes, and the next call to start is the probe */
        unsigned in_flight, queued, in_flight_max;
        /* API_E_CREDENTIALS_REJECTED or _EXPIRED: the API refused the signature of the last call that it judged;
         * API_OK: it took it, whatever it said of the request. */
        ApiError refusal;
        uint64_t recovered_ns,
                failed_ns; /* when the endpoint last answered again, after failing for so long; 0: never */
        uint64_t
                throttled_since_ns; /* copies are refreshed less often than `ttl` asks for, since then; 0: they aren't */
        double stretch; /* times `ttl` (a second at least) is how old they become; 1 if not throttled */
        double stretch_that_would_do; /* times `ttl` would do without throttling, as it seems */
} ApiHealth;
void api_client_health(const ApiClient *client, ApiHealth *ret_health);
/* Counters for metrics: calls (attempts) by operation and result, latency buckets. */
#define API_LATENCY_BUCKETS 12
extern const double api_latency_bounds_s[API_LATENCY_BUCKETS]; /* upper bounds; the last is +Inf */
typedef struct ApiCounters {
        uint64_t attempts[API_OPERATION_COUNT][API_ERROR_COUNT];
        uint64_t retries;
        uint64_t latency[API_LATENCY_BUCKETS]; /* not cumulative */
        double latency_sum_s;
} ApiCounters;
const ApiCounters *api_client_counters(const ApiClient *client);
int64_t api_client_skew_s(const ApiClient *client);
