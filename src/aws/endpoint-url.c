/* An endpoint's URL.
 *
 * The signature covers host and path, and must match the request that libcurl sends. So a URL has one spelling from
 * here on. Scheme and host are in lower case, the path's escapes in upper case (as libcurl sends them since 8.23), and
 * addresses as libcurl writes them. There is no default port and no slash at the end. User names, queries and fragments
 * have no place in an endpoint and are refused. Messages don't quote the URL: it may hold a password. */

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tokenfs/aws/endpoint.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/parse.h"

#define URL_MAX 2048
#define HOST_MAX 255
#define LABEL_MAX 63

static int fail(Buf *error, const char *what)
{
        (void)buf_append_str(error, what);
        return -EINVAL;
}

static bool is_alphanumeric(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Labels of letters, digits, `-` and `_` (container networks have it), without `-` at their ends; a final dot is
 * allowed. */
static bool is_host_name(const char *host, size_t len)
{
        if (len > 0 && host[len - 1] == '.')
                len--;
        if (len == 0 || len > HOST_MAX)
                return false;
        for (size_t start = 0, i = 0; i <= len; i++) {
                if (i < len && host[i] != '.') {
                        if (!is_alphanumeric(host[i]) && host[i] != '-' && host[i] != '_')
                                return false;
                        continue;
                }
                if (i == start || i - start > LABEL_MAX || host[start] == '-' || host[i - 1] == '-')
                        return false;
                start = i + 1;
        }
        return true;
}

/* Appends the one spelling of a host: names in lower case, addresses as inet_ntop writes them. libcurl writes "[0::1]"
 * and "127.1" into Host in the same way. Returns 0, -EINVAL (no host), or an error of Buf. */
static int append_host(const char *text, size_t len, Buf *out)
{
        char host[HOST_MAX + 1], spelling[INET6_ADDRSTRLEN];
        struct in6_addr v6;
        struct in_addr v4;
        if (len == 0 || len > HOST_MAX)
                return -EINVAL;
        memcpy(host, text, len);
        host[len] = '\0';
        if (*host == '[') {
                bool is_closed = host[len - 1] == ']';
                host[len - 1] = '\0';
                if (!is_closed || inet_pton(AF_INET6, host + 1, &v6) != 1)
                        return -EINVAL;
                return buf_appendf(out, "[%s]", inet_ntop(AF_INET6, &v6, spelling, sizeof spelling));
        }
        if (!is_host_name(host, len))
                return -EINVAL;
        if (inet_aton(host, &v4))
                return buf_append_str(out, inet_ntop(AF_INET, &v4, spelling, sizeof spelling));
        for (char *c = host; *c; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c = (char)(*c + 'a' - 'A');
        return buf_append_str(out, host);
}

static bool is_path(const char *path)
{
        for (; *path; path++) {
                if (*path == '%') {
                        if (strspn(path + 1, "0123456789abcdefABCDEF") < 2)
                                return false;
                        path += 2;
                } else if (!is_alphanumeric(*path) && !strchr("/-._~!$&'()*+,;=:@", *path)) {
                        return false;
                }
        }
        return true;
}

/* Parses ":PORT" of `len` bytes. Empty text and a lone colon mean the default port. */
static int parse_port(const char *text, size_t len, uint64_t own_port, uint64_t *ret_port)
{
        char digits[8];
        if (len > 0 && *text != ':')
                return -EINVAL;
        if (len <= 1) {
                *ret_port = own_port;
                return 0;
        }
        if (len > sizeof digits)
                return -EINVAL;
        memcpy(digits, text + 1, len - 1);
        digits[len - 1] = '\0';
        int r = parse_uint(digits, 65535, ret_port);
        return r < 0 || *ret_port == 0 ? -EINVAL : 0;
}

/* Appends a path; is_path is true for it. */
static void append_path(const char *path, size_t len, Buf *out)
{
        int escaped = 0; /* digits of the escape that are still to come */
        for (const char *end = path + len; path < end; path++) {
                bool is_lower = escaped > 0 && *path >= 'a';
                (void)buf_append_char(out, is_lower ? (char)(*path + 'A' - 'a') : *path);
                escaped = *path == '%' ? 2 : escaped > 0 ? escaped - 1 : 0;
        }
}

/* Joins the parts in the one spelling. `host` has no port. */
static int assemble(bool is_plain, const char *host, uint64_t port, const char *path, size_t path_len,
        AwsEndpoint *ret_endpoint)
{
        CLEANUP(buf_deinit)
        Buf with_port = BUF_INIT(URL_MAX), base = BUF_INIT(URL_MAX), url = BUF_INIT(URL_MAX);
        (void)buf_append_str(&with_port, host);
        if (port != (is_plain ? 80 : 443))
                (void)buf_appendf(&with_port, ":%u", (unsigned)port);
        append_path(path, path_len, &base);
        (void)buf_appendf(&url, "http%s://%s%s", is_plain ? "" : "s", buf_str(&with_port), buf_str(&base));
        if (with_port.error || base.error || url.error)
                return with_port.error ? with_port.error : base.error ? base.error : url.error;
        AwsEndpoint endpoint = {
                .url = strdup(url.data),
                .host = strdup(with_port.data),
                .base = strdup(buf_str(&base)),
                .region = strdup(""),
                .is_plain = is_plain,
                .origin = "endpoint_url=",
        };
        if (!endpoint.url || !endpoint.host || !endpoint.base || !endpoint.region) {
                aws_endpoint_deinit(&endpoint);
                return -ENOMEM;
        }
        *ret_endpoint = endpoint;
        return 0;
}

int aws_endpoint_parse(const char *url, Buf *error, AwsEndpoint *ret_endpoint)
{
        if (strlen(url) > URL_MAX)
                return fail(error, "the URL is longer than 2048 bytes");
        bool is_plain = strncasecmp(url, "http://", 7) == 0;
        if (!is_plain && strncasecmp(url, "https://", 8) != 0)
                return fail(error, "the URL doesn't begin with https://");
        const char *host = url + (is_plain ? 7 : 8);
        size_t authority_len = strcspn(host, "/?#");
        if (memchr(host, '@', authority_len))
                return fail(error, "a URL with a user name is no endpoint; leave it out");
        const char *base = host + authority_len;
        if (base[strcspn(base, "?#")])
                return fail(error, "a URL with ? or # is no endpoint; leave that part out");
        if (!is_path(base))
                return fail(error, "the URL's path has characters that must be encoded as %XX");

        size_t host_len = *host == '[' ? strcspn(host, "]/?#") + 1 : strcspn(host, ":/?#");
        CLEANUP(buf_deinit) Buf spelling = BUF_INIT(HOST_MAX);
        int r = host_len > authority_len ? -EINVAL : append_host(host, host_len, &spelling);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return fail(error,
                        "the URL has no valid host name: it should be like https://host[:port][/path]");
        uint64_t port;
        if (parse_port(host + host_len, authority_len - host_len, is_plain ? 80 : 443, &port) < 0)
                return fail(error, "the URL's port isn't a number from 1 to 65535");

        size_t base_len = strlen(base);
        while (base_len > 0 && base[base_len - 1] == '/')
                base_len--;
        r = assemble(is_plain, buf_str(&spelling), port, base, base_len, ret_endpoint);
        return r == -EMSGSIZE ? fail(error, "the URL is longer than 2048 bytes") : r;
}

void aws_endpoint_deinit(AwsEndpoint *endpoint)
{
        free(endpoint->url);
        free(endpoint->host);
        free(endpoint->base);
        free(endpoint->region);
        *endpoint = (AwsEndpoint){0};
}

int aws_endpoint_copy(const AwsEndpoint *endpoint, AwsEndpoint *ret_endpoint)
{
        AwsEndpoint copy = {
                .url = strdup(endpoint->url),
                .host = strdup(endpoint->host),
                .base = strdup(endpoint->base),
                .region = strdup(endpoint->region),
                .is_plain = endpoint->is_plain,
                .origin = endpoint->origin,
        };
        if (!copy.url || !copy.host || !copy.base || !copy.region) {
                aws_endpoint_deinit(&copy);
                return -ENOMEM;
        }
        *ret_endpoint = copy;
        return 0;
}
