#pragma once
/* DPoP (RFC 9449): the proof that a request comes from the holder of a private key. */

#include <stddef.h>
#include <stdint.h>

#include "tokenfs/base/buf.h"

/* Appends the proof for a POST of `url` (ASCII) at `time_s`, seconds since 1970 UTC: a JWT, signed with ES256. It is good
 * for one request. `pem` holds the private key (PKCS#8 or SEC 1, EC P-256). 0, -EINVAL (no such key), -ENOMEM, -EMSGSIZE
 * (of `out`), -EIO (OpenSSL). */
int dpop_append_proof(const char *pem, size_t pem_len, const char *url, int64_t time_s, Buf *out);
