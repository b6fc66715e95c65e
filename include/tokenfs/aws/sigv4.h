#pragma once
/* AWS Signature Version 4, stage by stage. Source: the AWS General Reference, "Signature Version 4 signing". */

#include <stddef.h>
#include <stdint.h>

#include "tokenfs/aws/keys.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/net/http.h"

/* What is signed. All borrowed. `path` is the path as sent (already encoded once; "/" if empty); `query` as sent,
 * without '?', NULL if none. `headers` are the additional headers to sign (host, x-amz-date and
 * x-amz-security-token are added here), at most 60. */
typedef struct SigV4Request {
        const char *method, *host, *path, *query;
        const HttpHeader *headers;
        size_t header_count;
        const char *body; /* NULL: empty */
        size_t body_len;
        const char *region, *service;
        int64_t time_s; /* seconds since 1970 UTC, corrected for skew */
} SigV4Request;

/* Stage 1. Appends the canonical request. Errors: those of Buf, -EINVAL for a header with control characters (a tab
 * in its value is none), too many headers, a path without a leading slash, a time before 1970 or after 9999. */
int sigv4_canonical_request(const SigV4Request *request, const AwsKeys *keys, Buf *out);
/* Stage 2. Appends the string to sign for a canonical request. */
int sigv4_string_to_sign(const SigV4Request *request, const char *canonical, size_t canonical_len, Buf *out);
/* Stage 3. Appends the signature in hex. Errors: -ENOMEM, -EIO (OpenSSL). */
int sigv4_signature(
        const SigV4Request *request, const AwsKeys *keys, const char *string_to_sign, size_t len, Buf *out);

/* All stages: the values of the headers to send. Wiped by sigv4_headers_deinit. */
typedef struct SigV4Headers {
        Buf authorization; /* Authorization */
        char date[17]; /* X-Amz-Date: 20260101T000000Z */
        char payload_hash[65]; /* X-Amz-Content-Sha256 is not sent, only signed over */
} SigV4Headers;
/* The session token goes as X-Amz-Security-Token, from the keys. 0, -ENOMEM, -EINVAL (as in
 * stage 1), -EMSGSIZE (over 256 KiB), -EIO. */
int sigv4_sign(const SigV4Request *request, const AwsKeys *keys, SigV4Headers *ret_headers);
void sigv4_headers_deinit(SigV4Headers *headers);

/* SHA-256 of `len` bytes. 0 or -EIO. */
int sigv4_sha256(const void *data, size_t len, unsigned char ret_digest[32]);
