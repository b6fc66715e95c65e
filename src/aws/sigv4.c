/* Signature Version 4.
 *
 * The algorithm is a page of text work over SHA-256 and HMAC; the tests compare each stage with botocore, byte for
 * byte. Each stage is a function that appends to a buffer. The canonical request is the request in one spelling: the
 * path without dot segments and encoded once more, query and headers sorted, spaces collapsed. The string to sign has
 * time, scope and the hash of the canonical request. The signature is its HMAC under a key that four more HMACs derive
 * from the secret. The derivation takes microseconds, so the key is not kept. All text is in the secret heap, since
 * the canonical request contains the session token. */

#include "tokenfs/aws/sigv4.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "tokenfs/base/cleanup.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define TERMINATOR "aws4_request"
#define DIGEST_BYTES 32
#define HEADERS_MAX 64
#define TEXT_MAX ((size_t)256 * 1024)
#define LAST_SECOND INT64_C(253402300799) /* of the year 9999 */

int sigv4_sha256(const void *data, size_t len, unsigned char ret_digest[DIGEST_BYTES])
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        if (EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL) != 1)
                return -EIO;
        memcpy(ret_digest, digest, DIGEST_BYTES);
        return 0;
}

static int append_hex_sha256(Buf *out, const void *data, size_t len)
{
        unsigned char digest[DIGEST_BYTES];
        int r = sigv4_sha256(data, len, digest);
        return r < 0 ? r : buf_append_hex(out, digest, sizeof digest);
}

/* Writes "20260101T000000Z". */
static int format_date(int64_t time_s, char ret_date[17])
{
        struct tm tm;
        time_t seconds = (time_t)time_s;
        if (time_s < 0 || time_s > LAST_SECOND || !gmtime_r(&seconds, &tm))
                return -EINVAL;
        return strftime(ret_date, 17, "%Y%m%dT%H%M%SZ", &tm) == 16 ? 0 : -EINVAL;
}

/* --- Stage 1: the canonical request ------------------------------------------------------------------------- */

/* Removes dot segments and doubled slashes, then encodes each reserved byte: a path that is sent as "/a%20b" is signed
 * as "/a%2520b". */
static int append_canonical_path(Buf *out, const char *path)
{
        if (*path && *path != '/')
                return -EINVAL;
        CLEANUP(buf_deinit) Buf plain = BUF_INIT(TEXT_MAX);
        for (const char *segment = path; *segment;) {
                segment += *segment == '/';
                size_t len = strcspn(segment, "/");
                if (len == 2 && memcmp(segment, "..", 2) == 0) {
                        while (plain.len > 0 && plain.data[--plain.len] != '/')
                                ;
                } else if (len > 0 && !(len == 1 && *segment == '.')) {
                        (void)buf_append_char(&plain, '/');
                        (void)buf_append(&plain, segment, len);
                }
                segment += len;
        }
        if (plain.error)
                return plain.error;
        bool ends_in_slash = plain.len == 0 || path[strlen(path) - 1] == '/';
        if (ends_in_slash && buf_append_char(&plain, '/') < 0)
                return plain.error;
        return buf_append_uri(out, plain.data, plain.len, "/");
}

typedef struct Parameter {
        const char *name, *value;
        size_t name_len, value_len;
} Parameter;

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
        int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
        return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int compare_parameters(const void *left, const void *right)
{
        const Parameter *a = left, *b = right;
        int order = compare_bytes(a->name, a->name_len, b->name, b->name_len);
        return order ? order : compare_bytes(a->value, a->value_len, b->value, b->value_len);
}

/* The parameters as they are sent, sorted by name, then by value; a name without "=" gets one. */
static int append_canonical_query(Buf *out, const char *query)
{
        if (!query || !*query)
                return 0;
        size_t count = 1;
        for (const char *c = query; *c; c++)
                count += *c == '&';
        CLEANUP(cleanup_free) Parameter *parameters = calloc(count, sizeof *parameters);
        if (!parameters)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++) {
                size_t len = strcspn(query, "&");
                const char *equals = memchr(query, '=', len);
                size_t name_len = equals ? (size_t)(equals - query) : len;
                parameters[i] = (Parameter){.name = query, .name_len = name_len, .value = query + len};
                if (equals) {
                        parameters[i].value = equals + 1;
                        parameters[i].value_len = len - name_len - 1;
                }
                query += len + 1;
        }
        qsort(parameters, count, sizeof *parameters, compare_parameters);
        for (size_t i = 0; i < count; i++) {
                if (i > 0)
                        (void)buf_append_char(out, '&');
                (void)buf_append(out, parameters[i].name, parameters[i].name_len);
                (void)buf_append_char(out, '=');
                (void)buf_append(out, parameters[i].value, parameters[i].value_len);
        }
        return out->error;
}

/* The headers to sign, sorted; headers of one name stay in the order in which they are sent. */
typedef struct HeaderList {
        HttpHeader items[HEADERS_MAX];
        size_t count;
} HeaderList;

/* Printable or above ASCII; also a tab, if `tab`. */
static bool is_header_text(const char *text, bool tab)
{
        for (; *text; text++)
                if (((unsigned char)*text < 0x20 && !(tab && *text == '\t')) || *text == 0x7f)
                        return false;
        return true;
}

static int header_list_add(HeaderList *list, const char *name, const char *value)
{
        if (list->count == HEADERS_MAX || !*name || name[strcspn(name, " :\t")] ||
                !is_header_text(name, false) || !is_header_text(value, true))
                return -EINVAL;
        size_t at = list->count++;
        for (; at > 0 && strcasecmp(list->items[at - 1].name, name) > 0; at--)
                list->items[at] = list->items[at - 1];
        list->items[at] = (HttpHeader){name, value};
        return 0;
}

/* `date` is borrowed by the list. */
static int header_list_fill(
        HeaderList *list, const SigV4Request *request, const AwsKeys *keys, const char *date)
{
        list->count = 0;
        int r = header_list_add(list, "host", request->host);
        if (r == 0)
                r = header_list_add(list, "x-amz-date", date);
        if (r == 0 && keys->session_token.data)
                r = header_list_add(list, "x-amz-security-token", keys->session_token.data);
        for (size_t i = 0; r == 0 && i < request->header_count; i++)
                r = header_list_add(list, request->headers[i].name, request->headers[i].value);
        return r;
}

static bool repeats_name(const HeaderList *list, size_t i)
{
        if (i == 0)
                return false;
        return strcasecmp(list->items[i - 1].name, list->items[i].name) == 0;
}

static void append_lower(Buf *out, const char *text)
{
        for (; *text; text++)
                (void)buf_append_char(out, *text >= 'A' && *text <= 'Z' ? (char)(*text + 'a' - 'A') : *text);
}

/* Without blanks at the ends; several blanks become one. */
static void append_collapsed(Buf *out, const char *value)
{
        value += strspn(value, " \t");
        while (*value) {
                size_t len = strcspn(value, " \t");
                (void)buf_append(out, value, len);
                value += len;
                value += strspn(value, " \t");
                if (*value)
                        (void)buf_append_char(out, ' ');
        }
}

static void append_canonical_headers(Buf *out, const HeaderList *list)
{
        for (size_t i = 0; i < list->count; i++) {
                if (repeats_name(list, i)) {
                        (void)buf_append_char(out, ',');
                } else {
                        if (i > 0)
                                (void)buf_append_char(out, '\n');
                        append_lower(out, list->items[i].name);
                        (void)buf_append_char(out, ':');
                }
                append_collapsed(out, list->items[i].value);
        }
}

static void append_signed_names(Buf *out, const HeaderList *list)
{
        for (size_t i = 0; i < list->count; i++) {
                if (repeats_name(list, i))
                        continue;
                if (i > 0)
                        (void)buf_append_char(out, ';');
                append_lower(out, list->items[i].name);
        }
}

int sigv4_canonical_request(const SigV4Request *request, const AwsKeys *keys, Buf *out)
{
        char date[17];
        HeaderList headers;
        int r = format_date(request->time_s, date);
        if (r == 0)
                r = header_list_fill(&headers, request, keys, date);
        if (r < 0)
                return r;
        (void)buf_append_str(out, request->method);
        (void)buf_append_char(out, '\n');
        r = append_canonical_path(out, request->path ? request->path : "");
        if (r < 0)
                return r;
        (void)buf_append_char(out, '\n');
        r = append_canonical_query(out, request->query);
        if (r < 0)
                return r;
        (void)buf_append_char(out, '\n');
        append_canonical_headers(out, &headers);
        (void)buf_append_str(out, "\n\n");
        append_signed_names(out, &headers);
        (void)buf_append_char(out, '\n');
        return append_hex_sha256(
                out, request->body ? request->body : "", request->body ? request->body_len : 0);
}

/* --- Stage 2: the string to sign ---------------------------------------------------------------------------- */

/* `date` as format_date writes it; the scope has its day only. */
static int append_scope(Buf *out, const SigV4Request *request, const char *date)
{
        return buf_appendf(out, "%.8s/%s/%s/" TERMINATOR, date, request->region, request->service);
}

int sigv4_string_to_sign(const SigV4Request *request, const char *canonical, size_t canonical_len, Buf *out)
{
        char date[17];
        int r = format_date(request->time_s, date);
        if (r < 0)
                return r;
        (void)buf_appendf(out, ALGORITHM "\n%s\n", date);
        (void)append_scope(out, request, date);
        (void)buf_append_char(out, '\n');
        return append_hex_sha256(out, canonical, canonical_len);
}

/* --- Stage 3: the signature --------------------------------------------------------------------------------- */

static int hmac_sha256(
        const void *key, size_t key_len, const void *data, size_t len, unsigned char ret_digest[DIGEST_BYTES])
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        if (key_len > INT_MAX || !HMAC(EVP_sha256(), key, (int)key_len, data, len, digest, NULL))
                return -EIO;
        memcpy(ret_digest, digest, DIGEST_BYTES);
        secret_wipe(digest, sizeof digest);
        return 0;
}

/* An HMAC over day, region, service and terminator in turn, the first under "AWS4" and the secret. */
static int derive_key(const SigV4Request *request, const AwsKeys *keys, unsigned char ret_key[DIGEST_BYTES])
{
        char date[17];
        int r = format_date(request->time_s, date);
        if (r < 0)
                return r;
        date[8] = '\0';
        const Secret *secret = &keys->secret_access_key;
        CLEANUP(buf_deinit) Buf first = BUF_INIT(TEXT_MAX);
        (void)buf_append_str(&first, "AWS4");
        if (secret->data)
                (void)buf_append(&first, secret->data, secret->len);
        if (first.error)
                return first.error;

        unsigned char key[DIGEST_BYTES];
        const char *const steps[] = {request->region, request->service, TERMINATOR};
        r = hmac_sha256(first.data, first.len, date, strlen(date), key);
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(steps); i++)
                r = hmac_sha256(key, sizeof key, steps[i], strlen(steps[i]), key);
        if (r == 0)
                memcpy(ret_key, key, sizeof key);
        secret_wipe(key, sizeof key);
        return r;
}

int sigv4_signature(
        const SigV4Request *request, const AwsKeys *keys, const char *string_to_sign, size_t len, Buf *out)
{
        unsigned char key[DIGEST_BYTES], signature[DIGEST_BYTES];
        int r = derive_key(request, keys, key);
        if (r < 0)
                return r;
        r = hmac_sha256(key, sizeof key, string_to_sign, len, signature);
        if (r == 0)
                r = buf_append_hex(out, signature, sizeof signature);
        secret_wipe(key, sizeof key);
        secret_wipe(signature, sizeof signature);
        return r;
}

/* --- All of it ---------------------------------------------------------------------------------------------- */

int sigv4_sign(const SigV4Request *request, const AwsKeys *keys, SigV4Headers *ret_headers)
{
        CLEANUP(buf_deinit) Buf canonical = BUF_INIT(TEXT_MAX);
        CLEANUP(buf_deinit) Buf to_sign = BUF_INIT(TEXT_MAX);
        SigV4Headers result = {.authorization = BUF_INIT(TEXT_MAX)};
        HeaderList headers;

        int r = is_header_text(keys->access_key_id, false) ? 0 : -EINVAL;
        if (r == 0)
                r = format_date(request->time_s, result.date);
        if (r == 0)
                r = header_list_fill(&headers, request, keys, result.date);
        if (r == 0)
                r = sigv4_canonical_request(request, keys, &canonical);
        if (r == 0)
                r = sigv4_string_to_sign(request, canonical.data, canonical.len, &to_sign);
        if (r < 0)
                return r;
        /* The payload's hash is the last line of the canonical request. */
        memcpy(result.payload_hash, canonical.data + canonical.len - 2 * DIGEST_BYTES, 2 * DIGEST_BYTES);

        Buf *line = &result.authorization;
        (void)buf_appendf(line, ALGORITHM " Credential=%s/", keys->access_key_id);
        (void)append_scope(line, request, result.date);
        (void)buf_append_str(line, ", SignedHeaders=");
        append_signed_names(line, &headers);
        (void)buf_append_str(line, ", Signature=");
        r = sigv4_signature(request, keys, to_sign.data, to_sign.len, line);
        if (r < 0) {
                sigv4_headers_deinit(&result);
                return r;
        }
        *ret_headers = result;
        return 0;
}

void sigv4_headers_deinit(SigV4Headers *headers)
{
        buf_deinit(&headers->authorization);
        secret_wipe(headers->payload_hash, sizeof headers->payload_hash);
}
