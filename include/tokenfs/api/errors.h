#pragma once
/* What can go wrong between us and a token, as kinds. The errno table (fs/errno) and the freshness rules (cache)
 * speak of these and of nothing else. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/net/http.h"

typedef enum ApiError {
        API_OK,
        API_E_NOT_FOUND, /* no such token; the API refused the id; out of scope */
        API_E_REFUSED, /* the API refused the request as invalid: says nothing about what exists, ends no copy */
        API_E_ACCESS_DENIED,
        API_E_NO_CREDENTIALS,
        API_E_CREDENTIALS_EXPIRED,
        API_E_CREDENTIALS_REJECTED, /* bad signature, unknown key, bad session token */
        API_E_THROTTLED,
        API_E_SERVER, /* 5xx */
        API_E_TIMEOUT,
        API_E_UNREACHABLE, /* look-up or connection failed */
        API_E_TLS,
        API_E_MALFORMED, /* answer malformed, oversized or for another token; a redirect, a web page, or
                                     * a refusal that the API doesn't have: not transient, and ends no copy */
        API_E_TOO_MANY, /* a listing of more tokens than can be held */
        API_E_MEMORY,
        API_ERROR_COUNT,
} ApiError;

/* A short name in snake_case, for logs, status and metrics: "not_found". */
const char *api_error_name(ApiError error);
/* Ends a cached copy at once: not found, access denied, credentials rejected. An access that was taken away must
 * not live on in a cache. All other errors leave the last good copy servable within `stale`. */
bool api_error_ends_copy(ApiError error);
/* Worth trying again within one read: throttled, server, timeout, unreachable. */
bool api_error_is_transient(ApiError error);

typedef struct ApiFailure {
        ApiError error;
        uint64_t retry_after_ns; /* from Retry-After; 0: none. At most 5 minutes. */
        bool is_skew; /* the signature's time was refused: the clock is off */
        int64_t server_wall_s; /* from Date; 0: none */
        char type[64]; /* the API's error type, "" if none; printable ASCII */
        char message[200]; /* the API's message, cut, printable; "" if none */
        char reason[200]; /* of a refused request: `reason` and `fieldList`, cut, printable; "" if none */
} ApiFailure;
/* Reads the kind of failure out of an answer that isn't a success (every status but 200): transport error, or
 * x-amzn-ErrorType, __type/code in the body (at most 64 KiB of it), else the status; Retry-After in both forms, Date.
 * A status below 500 without an error type and a JSON object isn't the API's: API_E_MALFORMED, lest a proxy's 404
 * page end a token. Secrets that a server may echo (Authorization, canonical request) are cut off the message. */
void api_failure_parse(const HttpResponse *response, ApiFailure *ret_failure);
