#pragma once
/* Kinds of failure of a call. The errno table (fs/errno) and the freshness rules (cache) depend on these alone. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/net/http.h"

typedef enum ApiError {
        API_OK,
        API_E_NOT_FOUND, /* no such token or branch; the API refuses the id; out of scope */
        API_E_REFUSED, /* the API refuses the request as invalid: nothing follows about what exists, and no copy ends */
        API_E_ACCESS_DENIED,
        API_E_NO_CREDENTIALS,
        API_E_CREDENTIALS_EXPIRED,
        API_E_CREDENTIALS_REJECTED, /* bad signature, unknown key, bad session token */
        API_E_THROTTLED,
        API_E_SERVER, /* 5xx */
        API_E_TIMEOUT,
        API_E_UNREACHABLE, /* look-up or connection failed */
        API_E_TLS,
        /* An answer that is malformed, oversized or for another token; a redirect, a web page, or an error that the API
         * does not have. Not transient; ends no copy. */
        API_E_MALFORMED,
        API_E_TOO_MANY, /* the listing has more tokens than can be held */
        API_E_MEMORY,
        API_ERROR_COUNT,
} ApiError;

/* A short name in snake_case, for logs, status and metrics: "not_found". */
const char *api_error_name(ApiError error);
/* True for errors that end a copy at once: not found, access denied, credentials rejected. A withdrawn permission must
 * not live on in a cache. After any other error, the last good copy serves within `stale`. */
bool api_error_ends_copy(ApiError error);
/* True for errors that are retried within one read: throttled, server, timeout, unreachable. */
bool api_error_is_transient(ApiError error);

typedef struct ApiFailure {
        ApiError error;
        uint64_t retry_after_ns; /* from Retry-After; 0: none. At most 5 minutes. */
        bool is_skew; /* the signature's time is refused: a clock is off */
        int64_t server_wall_s; /* from Date; 0: none */
        char type[64]; /* the API's error type, "" if none; printable ASCII */
        char message[200]; /* the API's message, cut, printable; "" if none */
        char reason[200]; /* of a refused request: `reason` and `fieldList`, cut, printable; "" if none */
} ApiFailure;
/* Reads the kind of failure from an answer with any status but 200. The transport's error decides, else the error type
 * (x-amzn-ErrorType, or __type or code in the first 64 KiB of the body), else the status. Retry-After is read in both
 * forms, and Date. A status below 500 without an error type and without a JSON object doesn't come from the API: it is
 * API_E_MALFORMED, as a proxy's 404 page must not end a token. Some servers echo secrets (Authorization, canonical
 * request): these are cut off the message. */
void api_failure_parse(const HttpResponse *response, ApiFailure *ret_failure);
