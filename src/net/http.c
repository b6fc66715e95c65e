/* HTTP calls.
 *
 * Why: all traffic of this program to the network goes through here, so the rules stand in one place: TLS 1.2 at least and
 * verified, no redirect followed, no compression asked for or decoded, no cookies, no netrc, plain http to loopback only,
 * every size and time bounded. How: a call owns one easy handle of libcurl, which lives as long as the call. Making one
 * takes 1 µs, and libcurl wipes a handle's buffers only when it frees the handle. Connections, looked-up names and the parsed
 * CA bundle are worth keeping, and belong to the loop's multi handle. No secret of a call stays in memory.
 *
 * A call that is refused before libcurl sees it ends through a timer, since handlers run only from the loop. A CA bundle
 * that is no regular file is one such reason: OpenSSL opens and reads it within the loop, and would wait for a FIFO's
 * writer.
 *
 * Addresses and connections that die silently (a zone that is down, a firewall that lost its state): the kernel ends a
 * socket whose peer acknowledges nothing for a quarter of the call's time-out, 2 s at most (TCP_USER_TIMEOUT). That counts
 * for SYN as for data; name look-ups and a slow API don't count. libcurl then moves on to the next address, or repeats the
 * request if a reused connection ends before the first byte. It may take another idle connection for that, which is then
 * as dead: so a repeated request goes on with fresh connections only. A name is looked up for each burst of new
 * connections, since libcurl's cache would keep a dead address.
 *
 * A peer may acknowledge and still never answer (a proxy whose server is gone). The call times out, and libcurl closes its
 * connection, but idle ones of the same peer would take the next calls. So all connections are forgotten when a call on an
 * old connection is given up, and no byte of any answer came since it began.
 *
 * All calls speak HTTP/1.1. Over HTTP/2 the request's headers, with the session token, stay in memory as long as the
 * connection does: in the table for the compression of headers. Before 8.7, libcurl keeps the last answer beside it.
 *
 * libcurl looks names up in a thread, which may hang in the C library for long. With CURLOPT_QUICK_EXIT libcurl leaves such
 * a thread behind, and doesn't wait for it within the loop. */

#include "tokenfs/net/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http-private.h"
#include "loop-private.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/secret.h"

#define REQUEST_HEADER_BYTES_MAX ((size_t)64 * 1024)
#define KEEPALIVE_S 30L
#define CA_CACHE_S 3600L
#define DNS_CACHE_S 1L
#define PEER_SILENCE_NS (2 * NS_PER_S) /* a peer that acknowledges nothing for so long is dead */
#define SILENCE_NS (2 * NS_PER_S) /* a call that is cancelled sooner says nothing about its connection */

struct Http {
        Loop *loop;
        char *user_agent;
        char *ca_bundle, *ca_directory; /* both NULL: libcurl's default places */
        long connections_max;
        uint64_t heard_ns; /* when the last byte of any answer came */
        uint64_t connect_ns; /* when the last socket was opened */
};

struct HttpCall {
        LoopTransfer transfer; /* its easy handle is NULL for a call that is refused */
        Http *http; /* may be gone once the handler has run */
        bool is_tls;
        HttpHandler *handler;
        void *userdata;

        Buf header_lines; /* "Name: value NUL" … */
        struct curl_slist *nodes; /* over header_lines */
        Buf body;

        HttpAnswer answer;
        char text[CURL_ERROR_SIZE];
        char peer[INET6_ADDRSTRLEN]; /* the address tried last */
        uint64_t started_ns, end_ns; /* it ends at end_ns at the latest */
        uint64_t requested_ns; /* when libcurl sent the request last; 0: not yet */
        unsigned silence_ms; /* TCP_USER_TIMEOUT */

        LoopTimer refusal;
        HttpError refusal_error;
        bool is_ending; /* its handler runs */
};

/* OpenSSL's allocator interface names the caller. */
static void *openssl_malloc(size_t size, const char *file, int line)
{
        (void)file, (void)line;
        return wiping_malloc(size);
}

static void *openssl_realloc(void *memory, size_t size, const char *file, int line)
{
        (void)file, (void)line;
        return wiping_realloc(memory, size);
}

static void openssl_free(void *memory, const char *file, int line)
{
        (void)file, (void)line;
        wiping_free(memory);
}

int http_global_init(void)
{
        if (!CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free))
                return -EIO;
        CURLcode code = curl_global_init_mem(CURL_GLOBAL_DEFAULT, wiping_malloc, wiping_free, wiping_realloc,
                wiping_strdup, wiping_calloc);
        return code == CURLE_OK ? 0 : code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EIO;
}

int http_new(Loop *loop, const HttpSettings *settings, Http **ret_http)
{
        Http *http = calloc(1, sizeof *http);
        if (!http)
                return -ENOMEM;
        http->loop = loop;

        /* With a bundle in one file and no directory beside it, libcurl parses it once and not for each connection. */
        const char *ca_bundle = settings->ca_bundle;
        if (!ca_bundle && !settings->ca_directory) {
                ca_bundle = curl_version_info(CURLVERSION_NOW)->cainfo;
                if (ca_bundle && access(ca_bundle, R_OK) < 0)
                        ca_bundle = NULL;
        }
        http->user_agent = strdup(settings->user_agent);
        http->ca_bundle = ca_bundle ? strdup(ca_bundle) : NULL;
        http->ca_directory = settings->ca_directory ? strdup(settings->ca_directory) : NULL;
        if (!http->user_agent || (ca_bundle && !http->ca_bundle) ||
                (settings->ca_directory && !http->ca_directory)) {
                (void)http_free(http);
                return -ENOMEM;
        }
        http->connections_max = settings->connections_max;
        loop_connections_allow(loop, http->connections_max);
        *ret_http = http;
        return 0;
}

Http *http_free(Http *http)
{
        if (!http)
                return NULL;
        loop_connections_allow(http->loop, -http->connections_max);
        loop_connections_forget(http->loop);
        free(http->user_agent);
        free(http->ca_bundle);
        free(http->ca_directory);
        free(http);
        return NULL;
}

void http_forget_connections(Http *http)
{
        loop_connections_forget(http->loop);
}

/* Calls: the request. */

static bool is_token(const char *text)
{
        return *text && text[strspn(text, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                          "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
}

static void append_header(HttpCall *call, const char *name, const char *value)
{
        /* To libcurl, "Name:" means to leave out its own header, and "Name;" an empty value. */
        const char *separator = !value ? ":" : *value ? ": " : ";";
        (void)buf_append_str(&call->header_lines, name);
        (void)buf_append_str(&call->header_lines, separator);
        (void)buf_append_str(&call->header_lines, value ? value : "");
        (void)buf_append_char(&call->header_lines, '\0');
}

/* libcurl's own list would copy the values into memory that isn't locked. */
static int build_headers(HttpCall *call, const HttpRequest *request)
{
        bool has_type = false;
        size_t count = request->header_count + 1;
        call->header_lines = BUF_INIT(REQUEST_HEADER_BYTES_MAX);
        append_header(call, "Expect", NULL);
        for (size_t i = 0; i < request->header_count; i++) {
                const HttpHeader *header = &request->headers[i];
                if (!is_token(header->name) || header->value[strcspn(header->value, "\r\n")])
                        return -EINVAL;
                has_type |= strcasecmp(header->name, "Content-Type") == 0;
                append_header(call, header->name, header->value);
        }
        if (!has_type) {
                append_header(call, "Content-Type", NULL);
                count++;
        }
        if (call->header_lines.error)
                return call->header_lines.error;

        call->nodes = calloc(count, sizeof *call->nodes);
        if (!call->nodes)
                return -ENOMEM;
        char *line = call->header_lines.data;
        for (size_t i = 0; i < count; i++, line += strlen(line) + 1)
                call->nodes[i] =
                        (struct curl_slist){.data = line, .next = i + 1 < count ? &call->nodes[i + 1] : NULL};
        return 0;
}

static long milliseconds(uint64_t ns)
{
        uint64_t ms = ns / NS_PER_MS + (ns % NS_PER_MS != 0);
        return ms < 1 ? 1 : ms > INT_MAX ? INT_MAX : (long)ms;
}

/* Opens a socket for libcurl. */
static curl_socket_t on_open(void *userdata, curlsocktype purpose, struct curl_sockaddr *address)
{
        (void)purpose;
        HttpCall *call = userdata;
        int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
        if (fd < 0)
                return CURL_SOCKET_BAD;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &call->silence_ms, sizeof call->silence_ms);
        const void *number =
                address->family == AF_INET6
                        ? (const void *)&((struct sockaddr_in6 *)(void *)&address->addr)->sin6_addr
                        : (const void *)&((struct sockaddr_in *)(void *)&address->addr)->sin_addr;
        (void)inet_ntop(address->family, number, call->peer, sizeof call->peer);
        call->http->connect_ns = clock_now_ns();
        return fd;
}

/* The connection is there, and the request goes out. When it goes out again, on a connection that is as old as the one
 * that just ended, the transfer is stopped; on_transfer_end starts it again with fresh connections. */
static int on_request(void *userdata, char *peer, char *own, int peer_port, int own_port)
{
        (void)peer, (void)own, (void)peer_port, (void)own_port;
        HttpCall *call = userdata;
        bool is_first = call->requested_ns == 0, is_fresh = call->http->connect_ns >= call->requested_ns;
        call->answer.is_of_proxy = false;
        call->requested_ns = clock_now_ns();
        return is_first || is_fresh ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* OpenSSL wipes decrypted bytes in its buffers, and frees these while a connection is idle. */
static CURLcode on_tls(CURL *easy, void *context, void *userdata)
{
        (void)easy, (void)userdata;
        (void)SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);
        (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
        return CURLE_OK;
}

/* The first failure of a row of curl_easy_setopt. */
#define SET(option, value)                                                                                   \
        do {                                                                                                 \
                if (code == CURLE_OK)                                                                        \
                        code = curl_easy_setopt(easy, option, value);                                        \
        } while (0)

static int set_rules(CURL *easy, const Http *http)
{
        CURLcode code = CURLE_OK;
        SET(CURLOPT_NOSIGNAL, 1L);
        SET(CURLOPT_QUICK_EXIT, 1L);
        SET(CURLOPT_PROTOCOLS_STR, "http,https");
        SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        SET(CURLOPT_FOLLOWLOCATION, 0L);
        SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
        SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
        SET(CURLOPT_PATH_AS_IS, 1L);
        SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
        SET(CURLOPT_USERAGENT, http->user_agent);
        SET(CURLOPT_DNS_CACHE_TIMEOUT, DNS_CACHE_S);
        SET(CURLOPT_TCP_KEEPALIVE, 1L);
        SET(CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
        SET(CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S / 3);

        SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        SET(CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        SET(CURLOPT_SSL_CTX_FUNCTION, on_tls);
        SET(CURLOPT_SSL_VERIFYPEER, 1L);
        SET(CURLOPT_SSL_VERIFYHOST, 2L);
        if (http->ca_bundle || http->ca_directory) {
                SET(CURLOPT_CAINFO, http->ca_bundle);
                SET(CURLOPT_CAPATH, http->ca_directory);
                SET(CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
                SET(CURLOPT_PROXY_CAINFO, http->ca_bundle);
                SET(CURLOPT_PROXY_CAPATH, http->ca_directory);
        }
        return code == CURLE_OK ? 0 : -ENOMEM;
}

static int set_request(CURL *easy, HttpCall *call, const HttpRequest *request, const HttpRoute *route)
{
        CURLcode code = CURLE_OK;
        SET(CURLOPT_URL, request->url);
        SET(CURLOPT_HTTPHEADER, call->nodes);
        if (request->body || strcmp(request->method, "GET") != 0) {
                SET(CURLOPT_POST, 1L);
                SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
                SET(CURLOPT_POSTFIELDS, buf_str(&call->body));
                SET(CURLOPT_CUSTOMREQUEST, request->method);
        }
        SET(CURLOPT_TIMEOUT_MS, milliseconds(request->timeout_ns));
        SET(CURLOPT_CONNECTTIMEOUT_MS, milliseconds(request->timeout_ns));
        SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
        SET(CURLOPT_OPENSOCKETDATA, call);
        SET(CURLOPT_PREREQFUNCTION, on_request);
        SET(CURLOPT_PREREQDATA, call);
        if (route->is_direct)
                SET(CURLOPT_PROXY, "");
        SET(CURLOPT_ERRORBUFFER, call->text);
        return code == CURLE_OK ? 0 : -ENOMEM;
}

/* Calls: how they end. */

static HttpCall *call_free(HttpCall *call)
{
        if (!call)
                return NULL;
        loop_timer_cancel(&call->refusal);
        loop_transfer_stop(&call->transfer);
        curl_easy_cleanup(call->transfer.easy); /* before what it borrows */
        free(call->nodes);
        buf_deinit(&call->header_lines);
        buf_deinit(&call->body);
        http_answer_deinit(&call->answer);
        secret_free(call);
        return NULL;
}
CLEANUP_DEFINE(HttpCall *, call_free);

/* Hands the answer over; the call is gone afterwards. The handler may free the whole Http. */
static void call_end(HttpCall *call, HttpError error)
{
        HttpHeader headers[HTTP_HEADERS_MAX];
        long status = 0, connect_status = 0;
        const char *peer = NULL;
        if (call->transfer.easy) {
                (void)curl_easy_getinfo(call->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
                (void)curl_easy_getinfo(call->transfer.easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
                (void)curl_easy_getinfo(call->transfer.easy, CURLINFO_PRIMARY_IP, &peer);
        }
        loop_transfer_stop(&call->transfer);
        HttpResponse response = {
                .error = error,
                .detail = error ? call->text : "",
                .status = (int)status,
                .body = call->answer.body,
                .started_ns = call->started_ns,
                .ended_ns = clock_now_ns(),
                .peer = peer && *peer ? peer : call->peer,
                .through_tunnel = connect_status != 0,
                .headers = headers,
                .header_count = http_answer_headers(&call->answer, headers),
        };
        call->is_ending = true;
        call->handler(&response, call->userdata);
        (void)call_free(call);
}

static void on_refusal(LoopTimer *timer, void *userdata)
{
        (void)timer;
        HttpCall *call = userdata;
        call_end(call, call->refusal_error);
}

/* Has the call end so, with this text. */
static int refuse(HttpCall *call, HttpError error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static int refuse(HttpCall *call, HttpError error, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        (void)vsnprintf(call->text, sizeof call->text, format, args);
        va_end(args);
        call->refusal_error = error;
        return loop_timer_set(&call->refusal, 0);
}

/* A bundle that isn't there is libcurl's to complain of. */
static bool bundle_may_block(const Http *http)
{
        struct stat st;
        return http->ca_bundle && stat(http->ca_bundle, &st) == 0 && !S_ISREG(st.st_mode);
}

/* For a call that gives up waiting; see the essay above. Plain http goes to this host, without a proxy. */
static void suspect_connection(HttpCall *call)
{
        long connects = 0;
        uint64_t heard_ns =
                call->answer.heard_ns > call->http->heard_ns ? call->answer.heard_ns : call->http->heard_ns;
        if (!call->is_tls || heard_ns >= call->started_ns)
                return;
        if (curl_easy_getinfo(call->transfer.easy, CURLINFO_NUM_CONNECTS, &connects) == CURLE_OK &&
                connects == 0)
                loop_connections_forget(call->http->loop);
}

/* Restarts a transfer that on_request stopped, with fresh connections and in the rest of its time. */
static int restart(HttpCall *call)
{
        uint64_t now_ns = clock_now_ns();
        uint64_t left_ns = call->end_ns > now_ns ? call->end_ns - now_ns : 0;
        loop_transfer_stop(&call->transfer);
        loop_connections_forget(call->http->loop);
        call->requested_ns = 0;
        call->answer.is_of_proxy = true;
        if (curl_easy_setopt(call->transfer.easy, CURLOPT_TIMEOUT_MS, milliseconds(left_ns)) != CURLE_OK)
                return -ENOMEM;
        return loop_transfer_start(call->http->loop, &call->transfer);
}

static void on_transfer_end(LoopTransfer *transfer, CURLcode result)
{
        HttpCall *call = CONTAINER_OF(transfer, HttpCall, transfer);
        Http *http = call->http;
        if (result == CURLE_ABORTED_BY_CALLBACK && restart(call) == 0)
                return;
        HttpError error = http_error_of(transfer->easy, result, &call->answer, call->text);
        if (error)
                http_error_describe(transfer->easy, result, &call->answer, call->nodes, call->text);
        if (error == HTTP_E_TIMEOUT)
                suspect_connection(call);
        /* The next call reads the CA bundle again: it may have been mended by then. */
        if (error == HTTP_E_TLS)
                loop_connections_forget(http->loop);
        if (call->answer.heard_ns > http->heard_ns)
                http->heard_ns = call->answer.heard_ns;
        call_end(call, error);
}

/* Hands it to libcurl. */
static int send_call(HttpCall *call, const HttpRequest *request, const HttpRoute *route)
{
        CURL *easy = curl_easy_init();
        call->transfer = (LoopTransfer){.easy = easy, .handler = on_transfer_end};
        call->body = BUF_INIT(request->body_len);
        int r = easy ? buf_append(&call->body, request->body, request->body_len) : -ENOMEM;
        if (r == 0)
                r = build_headers(call, request);
        if (r == 0)
                r = set_rules(easy, call->http);
        if (r == 0)
                r = set_request(easy, call, request, route);
        if (r < 0)
                return r;
        http_answer_attach(&call->answer, easy);
        return loop_transfer_start(call->http->loop, &call->transfer);
}

int http_start(
        Http *http, const HttpRequest *request, HttpHandler *handler, void *userdata, HttpCall **ret_call)
{
        HttpRoute route;
        int r = is_token(request->method) ? http_route_find(request, &route) : -EINVAL;
        if (r < 0)
                return r;
        HttpCall *call CLEANUP(call_free_p) = secret_calloc(1, sizeof *call);
        if (!call)
                return -ENOMEM;
        call->http = http;
        call->is_tls = route.is_tls;
        call->handler = handler;
        call->userdata = userdata;
        call->started_ns = clock_now_ns();
        call->end_ns = clock_add_ns(call->started_ns, request->timeout_ns);
        call->silence_ms = (unsigned)milliseconds(
                request->timeout_ns / 4 < PEER_SILENCE_NS ? request->timeout_ns / 4 : PEER_SILENCE_NS);
        http_answer_init(&call->answer, request->response_max);
        loop_timer_init(&call->refusal, http->loop, on_refusal, call);

        if (route.is_refused)
                r = refuse(call, HTTP_E_INVALID, "only https is allowed here (and plain http to loopback)");
        else if ((route.is_tls || !route.is_direct) && bundle_may_block(http))
                r = refuse(call, HTTP_E_TLS, "the CA bundle %s is no regular file", http->ca_bundle);
        else
                r = send_call(call, request, &route);
        if (r < 0)
                return r;
        *ret_call = TAKE(call);
        return 0;
}

HttpCall *http_cancel(HttpCall *call)
{
        if (!call || call->is_ending)
                return NULL;
        if (call->transfer.easy && clock_now_ns() - call->started_ns >= SILENCE_NS)
                suspect_connection(call);
        return call_free(call);
}

const char *http_response_header(const HttpResponse *response, const char *name)
{
        for (size_t i = 0; i < response->header_count; i++)
                if (strcasecmp(response->headers[i].name, name) == 0)
                        return response->headers[i].value;
        return NULL;
}
