#pragma once
/* AWS Signature Version 4, stage by stage. Source: the AWS General Reference, "Signature Version 4 signing". */

#include <stddef.h>
#include <stdint.h>

#include "tokenfs/aws/keys.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/net/http.h"

/* A request to sign. All borrowed. `path` as it is sent: encoded once, "/" if empty. `query` as it is sent, without
 * "?"; NULL: none. `headers`: further headers to sign, at most 60; host, x-amz-date and x-amz-security-token are added
 * here. */
typedef struct SigV4Request {
        const char *method, *host, *path, *query;
        const HttpHeader *headers;
        size_t header_count;
        const char *body; /* NULL: empty */
        size_t body_len;
        const char *region, *service;
        int64_t time_s; /* seconds since 1970 UTC, corrected for skew */
} SigV4Request;

/* Stage 1: appends the canonical request. Errors: those of Buf; -EINVAL: a control character (but tab) in a header,
 * too many headers, a path without a leading slash, a time before 1970 or after 9999. */
int sigv4_canonical_request(const SigV4Request *request, const AwsKeys *keys, Buf *out);
/* Stage 2. Appends the string to sign for a canonical request. */
int sigv4_string_to_sign(const SigV4Request *request, const char *canonical, size_t canonical_len, Buf *out);
/* Stage 3. Appends the signature in hex. Errors: -ENOMEM, -EIO (OpenSSL). */
int sigv4_signature(
        const SigV4Request *request, const AwsKeys *keys, const char *string_to_sign, size_t len, Buf *out);

/* All stages: the headers to send. sigv4_headers_deinit wipes them. */
typedef struct SigV4Headers {
        Buf authorization; /* Authorization */
        char date[17]; /* X-Amz-Date: 20260101T000000Z */
        char payload_hash[65]; /* signed, but X-Amz-Content-Sha256 is not sent */
} SigV4Headers;
/* The session token of the keys is sent as X-Amz-Security-Token. 0, -ENOMEM, -EINVAL (as in stage 1), -EMSGSIZE (over
 * 256 KiB), -EIO. */
int sigv4_sign(const SigV4Request *request, const AwsKeys *keys, SigV4Headers *ret_headers);
void sigv4_headers_deinit(SigV4Headers *headers);

/* SHA-256 of `len` bytes. 0 or -EIO. */
int sigv4_sha256(const void *data, size_t len, unsigned char ret_digest[32]);
