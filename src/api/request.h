#pragma once
/* The request of an operation, and the words for its failure. */

#include "tokenfs/api/client.h"
#include "tokenfs/aws/sigv4.h"

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

/* The meaning of a failure of this operation. Two operations send nothing but an id: a refused request means that nothing
 * has this id (API_E_NOT_FOUND). A list call ends with API_E_NOT_FOUND only if the service names the missing resource;
 * any other refusal says nothing about what exists (API_E_REFUSED). An endpoint that doesn't know ListSharedDNSViews
 * shares nothing (API_OK, an empty page). */
ApiError api_operation_error(ApiOperation operation, const ApiFailure *failure);

/* Describes a failed attempt, and the remedy. `failure` (NULL: none) is the service's answer, `what` a text of our own ("":
 * none). The description holds no secret if these don't. */
#define API_DETAIL_MAX 640
void api_explain(ApiOperation operation, ApiError error, int status, const ApiFailure *failure,
        const char *what, char text[static API_DETAIL_MAX]);
