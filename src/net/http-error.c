/* The meaning of libcurl's errors, and their texts.
 *
 * Why: the cache retries transient errors, and the filesystem has one errno for each kind, so each of libcurl's codes needs
 * its kind. How: by a table, and where a code is too coarse by its text: libcurl reports a connection that is cut within
 * the TLS handshake as a TLS error, but it is a lost connection.
 *
 * The text goes into the log, so it must hold no secret. libcurl puts host, port and reason into it. If it ever holds the
 * query or a header's value, the code's general text replaces it. libcurl quotes a proxy's URL that it can't read, with
 * the password: the text is then our own. */

#include "http-private.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#define CURLE_TOO_LARGE_OF_8_6                                                                               \
        100 /* a header beyond libcurl's own limit, since curl 8.6; not in older headers */
#define SECRET_BYTES_MIN 6 /* shorter ones would be found in any text */

static bool is_cut_handshake(const char *text)
{
        static const char *const signs[] = {
                "SSL_ERROR_SYSCALL", "unexpected eof", "Connection reset", "Broken pipe"};
        for (size_t i = 0; i < ARRAY_LEN(signs); i++)
                if (strstr(text, signs[i]))
                        return true;
        return false;
}

/* True once anything of the answer has come, be it less than a line. */
static bool was_heard(CURL *easy, const HttpAnswer *answer)
{
        curl_off_t first_byte_us = 0;
        (void)curl_easy_getinfo(easy, CURLINFO_STARTTRANSFER_TIME_T, &first_byte_us);
        return answer->heard_ns || first_byte_us > 0;
}

HttpError http_error_of(CURL *easy, CURLcode result, const HttpAnswer *answer, const char *text)
{
        if (answer->error)
                return answer->error;
        switch ((int)result) {
        case CURLE_OK: { /* for an answer that ended within its headers, too */
                long status = 0;
                (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
                return answer->header_ended && status >= 200 && status <= 999 ? HTTP_OK : HTTP_E_PROTOCOL;
        }
        case CURLE_URL_MALFORMAT: return HTTP_E_INVALID;
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY: return HTTP_E_RESOLVE;
        case CURLE_OPERATION_TIMEDOUT: return HTTP_E_TIMEOUT;
        case CURLE_SSL_CONNECT_ERROR: return is_cut_handshake(text) ? HTTP_E_CONNECT : HTTP_E_TLS;
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_CRL_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS:
        case CURLE_SSL_ENGINE_NOTFOUND:
        case CURLE_SSL_ENGINE_SETFAILED:
        case CURLE_SSL_ENGINE_INITFAILED:
        case CURLE_SSL_CLIENTCERT:
        case CURLE_USE_SSL_FAILED: return HTTP_E_TLS;
        case CURLE_FILESIZE_EXCEEDED:
        case CURLE_TOO_LARGE_OF_8_6: return HTTP_E_TOO_LARGE;
        case CURLE_OUT_OF_MEMORY:
                /* libcurl before 8.6 says so of a header line beyond its own limit, too. */
                return was_heard(easy, answer) && !answer->header_ended ? HTTP_E_TOO_LARGE : HTTP_E_MEMORY;
        case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 */
        case CURLE_WEIRD_SERVER_REPLY:
        case CURLE_BAD_CONTENT_ENCODING:
        case CURLE_WRITE_ERROR:
        case CURLE_HTTP_RETURNED_ERROR: return HTTP_E_PROTOCOL;
        default:
                /* CURLE_COULDNT_CONNECT, _SEND_ERROR, _RECV_ERROR, _GOT_NOTHING, _PARTIAL_FILE, _HTTP2 … */
                return HTTP_E_CONNECT;
        }
}

/* "Unsupported proxy syntax in '…'", "Unsupported proxy scheme for '…'", "Unsupported proxy '…', libcurl is …". */
static bool quotes_a_proxy(const char *text)
{
        static const char sign[] = "Unsupported proxy";
        return strncmp(text, sign, sizeof sign - 1) == 0;
}

static bool holds_a_secret(CURL *easy, const struct curl_slist *headers, const char *text)
{
        const char *url = NULL;
        (void)curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url);
        const char *query = url ? strchr(url, '?') : NULL;
        if (query && query[1] && strstr(text, query + 1))
                return true;
        for (; headers; headers = headers->next) {
                const char *value = strstr(headers->data, ": ");
                if (value && strlen(value + 2) >= SECRET_BYTES_MIN && strstr(text, value + 2))
                        return true;
        }
        return false;
}

/* The certificate's fault, where libcurl's text doesn't name it. */
static void add_verify_reason(CURL *easy, char *text)
{
        long verify = X509_V_OK;
        (void)curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &verify);
        if (verify == X509_V_OK || verify == X509_V_ERR_UNSPECIFIED)
                return;
        const char *reason = X509_verify_cert_error_string(verify);
        size_t len = strlen(text);
        if (!strstr(text, reason))
                (void)snprintf(text + len, CURL_ERROR_SIZE - len, "%s%s", len ? ": " : "", reason);
}

void http_error_describe(
        CURL *easy, CURLcode result, const HttpAnswer *answer, const struct curl_slist *headers, char *text)
{
        if (answer->error) {
                (void)snprintf(text, CURL_ERROR_SIZE, "%s", answer->reason);
                return;
        }
        if (result == CURLE_OK)
                (void)snprintf(text, CURL_ERROR_SIZE, "the answer isn't a whole HTTP answer");
        else if (quotes_a_proxy(text))
                (void)snprintf(text, CURL_ERROR_SIZE,
                        "the proxy's URL is malformed, or of an unknown kind; check "
                        "https_proxy, HTTPS_PROXY, http_proxy, all_proxy, ALL_PROXY");
        else if (!*text || holds_a_secret(easy, headers, text))
                (void)snprintf(text, CURL_ERROR_SIZE, "%s", curl_easy_strerror(result));
        if (result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CONNECT_ERROR)
                add_verify_reason(easy, text);
        for (char *c = text; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        *c = '?';
}
