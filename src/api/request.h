#pragma once
/* What goes out for an operation, and how its failure is put into words. */

#include "tokenfs/api/client.h"

/* Bytes of body that an answer may have. */
size_t api_operation_response_max(ApiOperation operation);

/* A signed request. The headers point into it and into the keys. */
typedef struct ApiRequest {
        Buf url;
        SigV4Headers signature;
        HttpHeader headers[3];
        size_t header_count;
} ApiRequest;
/* `id` NULL: of operations that have none; `next_token` NULL: the first page. `keys` are borrowed for the life of the
 * request. 0, -ENOMEM, -EMSGSIZE (URL too long), -EINVAL (keys that no header can hold), -EIO (OpenSSL). */
int api_request_build(ApiOperation operation, const AwsEndpoint *endpoint, const char *id,
        const char *next_token, const AwsKeys *keys, int64_t time_s, ApiRequest *ret_request);
void api_request_deinit(ApiRequest *request);

/* Tells keys apart; says nothing of them. 0 is the answer of none. */
uint64_t api_keys_fingerprint(const AwsKeys *keys);

/* Puts a failed attempt into words: what failed, and what to do. `failure` (NULL: none) is what the service said,
 * `what` what we say ("": nothing). No secrets, provided there are none in these. */
#define API_DETAIL_MAX 640
void api_explain(ApiOperation operation, ApiError error, int status, const ApiFailure *failure,
        const char *what, char text[static API_DETAIL_MAX]);
