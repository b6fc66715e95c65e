/* DPoP proofs.
 *
 * A proof is a JWT (RFC 7519): base64url(header) "." base64url(payload) "." base64url(signature). Its header contains
 * the public key. ES256 requires the signature as r and s of 32 bytes each (RFC 7518 §3.4); OpenSSL returns DER. */

#include "dpop.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "tokenfs/base/cleanup.h"

#define COORDINATE_LEN 32 /* bytes, of P-256 */
#define PART_MAX ((size_t)8 * 1024)

CLEANUP_DEFINE(EVP_PKEY *, EVP_PKEY_free);
CLEANUP_DEFINE(EVP_MD_CTX *, EVP_MD_CTX_free);
CLEANUP_DEFINE(ECDSA_SIG *, ECDSA_SIG_free);

/* base64url without padding (RFC 4648 §5). */
static int append_base64url(Buf *out, const void *data, size_t len)
{
        static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        const unsigned char *bytes = data;
        for (size_t i = 0; i < len; i += 3) {
                size_t count = len - i < 3 ? len - i : 3;
                uint32_t group = 0;
                for (size_t k = 0; k < 3; k++)
                        group = group << 8 | (k < count ? bytes[i + k] : 0);
                for (size_t k = 0; k <= count; k++)
                        (void)buf_append_char(out, alphabet[group >> (18 - 6 * k) & 63]);
        }
        return out->error;
}

/* Without a callback, OpenSSL asks the terminal for a passphrase. */
static int refuse_passphrase(char *text, int size, int is_for_writing, void *userdata)
{
        (void)text, (void)size, (void)is_for_writing, (void)userdata;
        return -1;
}

/* The key; NULL: the text has no key of P-256. */
static EVP_PKEY *read_key(const char *pem, size_t len)
{
        char group[32] = "";
        BIO *bio = len <= INT_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
        EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, NULL) : NULL;
        (void)BIO_free(bio);
        bool is_p256 = key && EVP_PKEY_is_a(key, "EC") &&
                       EVP_PKEY_get_utf8_string_param(
                               key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, NULL) == 1 &&
                       strcmp(group, "prime256v1") == 0;
        if (!is_p256) {
                EVP_PKEY_free(key);
                return NULL;
        }
        return key;
}

static int append_coordinate(Buf *out, EVP_PKEY *key, const char *name)
{
        unsigned char bytes[COORDINATE_LEN];
        BIGNUM *found = NULL;
        int r = EVP_PKEY_get_bn_param(key, name, &found) == 1 &&
                                BN_bn2binpad(found, bytes, sizeof bytes) == (int)sizeof bytes
                        ? 0
                        : -EIO;
        BN_free(found);
        return r < 0 ? r : append_base64url(out, bytes, sizeof bytes);
}

static int append_header(EVP_PKEY *key, Buf *out)
{
        CLEANUP(buf_deinit) Buf json = BUF_INIT(PART_MAX);
        (void)buf_append_str(&json,
                "{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"");
        int r = append_coordinate(&json, key, OSSL_PKEY_PARAM_EC_PUB_X);
        (void)buf_append_str(&json, "\",\"y\":\"");
        if (r == 0)
                r = append_coordinate(&json, key, OSSL_PKEY_PARAM_EC_PUB_Y);
        (void)buf_append_str(&json, "\"}}");
        if (r == 0)
                r = json.error;
        return r < 0 ? r : append_base64url(out, json.data, json.len);
}

/* A random UUID (RFC 9562, version 4). */
static int make_uuid(char ret_text[static 37])
{
        unsigned char bytes[16];
        if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
                return -EIO;
        bytes[6] = (unsigned char)((bytes[6] & 0x0F) | 0x40);
        bytes[8] = (unsigned char)((bytes[8] & 0x3F) | 0x80);
        char *to = ret_text;
        for (size_t i = 0; i < sizeof bytes; i++)
                to += snprintf(to, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
        return 0;
}

static int append_payload(const char *url, int64_t time_s, Buf *out)
{
        CLEANUP(buf_deinit) Buf json = BUF_INIT(PART_MAX);
        char uuid[37];
        int r = make_uuid(uuid);
        (void)buf_append_str(&json, "{\"htm\":\"POST\",\"htu\":");
        (void)buf_append_json(&json, url, strlen(url));
        (void)buf_appendf(&json, ",\"iat\":%" PRId64 ",\"jti\":\"%s\"}", time_s, r == 0 ? uuid : "");
        if (r == 0)
                r = json.error;
        return r < 0 ? r : append_base64url(out, json.data, json.len);
}

/* Converts DER to r and s. */
static int append_signature(const unsigned char *der, size_t len, Buf *out)
{
        unsigned char pair[2 * COORDINATE_LEN];
        const unsigned char *at = der;
        CLEANUP(ECDSA_SIG_free_p) ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)len);
        if (!signature || BN_bn2binpad(ECDSA_SIG_get0_r(signature), pair, COORDINATE_LEN) != COORDINATE_LEN ||
                BN_bn2binpad(ECDSA_SIG_get0_s(signature), pair + COORDINATE_LEN, COORDINATE_LEN) !=
                        COORDINATE_LEN)
                return -EIO;
        return append_base64url(out, pair, sizeof pair);
}

int dpop_append_proof(const char *pem, size_t pem_len, const char *url, int64_t time_s, Buf *out)
{
        CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = read_key(pem, pem_len);
        if (!key)
                return -EINVAL;
        size_t start = out->len;
        int r = append_header(key, out);
        if (r == 0)
                r = buf_append_char(out, '.');
        if (r == 0)
                r = append_payload(url, time_s, out);
        if (r < 0)
                return r;
        CLEANUP(EVP_MD_CTX_free_p) EVP_MD_CTX *context = EVP_MD_CTX_new();
        unsigned char der[128];
        size_t len = sizeof der;
        if (!context)
                return -ENOMEM;
        if (EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1 ||
                EVP_DigestSign(
                        context, der, &len, (const unsigned char *)out->data + start, out->len - start) != 1)
                return -EIO;
        (void)buf_append_char(out, '.');
        return append_signature(der, len, out);
}
