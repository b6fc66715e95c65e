/* The way that a request's URL asks for: with TLS or without, through a proxy or never, or not at all. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "http-private.h"

bool http_host_is_loopback(const char *host)
{
        char address[INET6_ADDRSTRLEN];
        size_t len = strlen(host);
        if (strcasecmp(host, "localhost") == 0)
                return true;
        if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
                host++;
                len -= 2;
        }
        if (len >= sizeof address)
                return false;
        memcpy(address, host, len);
        address[len] = '\0';
        struct in_addr v4;
        struct in6_addr v6;
        if (inet_pton(AF_INET, address, &v4) == 1)
                return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
        return inet_pton(AF_INET6, address, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static void cleanup_url(CURLU **url)
{
        curl_url_cleanup(*url);
}

static void cleanup_curl_free(char **string)
{
        curl_free(*string);
}

int http_route_find(const HttpRequest *request, HttpRoute *ret_route)
{
        CURLU *url CLEANUP(cleanup_url) = curl_url();
        if (!url)
                return -ENOMEM;
        char *scheme CLEANUP(cleanup_curl_free) = NULL;
        char *host CLEANUP(cleanup_curl_free) = NULL;
        CURLUcode code = curl_url_set(url, CURLUPART_URL, request->url,
                CURLU_NON_SUPPORT_SCHEME | CURLU_PATH_AS_IS | CURLU_DISALLOW_USER);
        if (code == CURLUE_OK)
                code = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0);
        if (code == CURLUE_OK)
                code = curl_url_get(url, CURLUPART_HOST, &host, 0);
        bool is_without_host = code == CURLUE_NO_HOST && scheme; /* file: and the like */
        if (code != CURLUE_OK && !is_without_host)
                return code == CURLUE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
        bool is_tls = strcasecmp(scheme, "https") == 0;
        bool is_plain = strcasecmp(scheme, "http") == 0;
        bool is_loopback = host && http_host_is_loopback(host);
        *ret_route = (HttpRoute){
                .is_tls = is_tls,
                .is_direct = is_loopback || request->proxy == HTTP_PROXY_NONE,
                .is_refused = !is_tls && !(is_plain && (is_loopback || request->allow_plain)),
        };
        return 0;
}
