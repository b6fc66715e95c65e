#pragma once
/* HTTP calls on the loop, through libcurl: TLS verified, no redirects, http and https only, everything bounded. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/net/loop.h"

typedef struct Http Http;
typedef struct HttpCall HttpCall;

/* Sets libcurl and OpenSSL up with wiping allocators. Once a process, before anything else uses either; before
 * threads. SIGPIPE is the program's to ignore. 0 or -ENOMEM / -EIO. */
int http_global_init(void);

/* One connection pool with its settings. The strings are copied. Trusted certificates: `ca_bundle` is a readable regular
 * file of PEM certificates (checked when used: HTTP_E_TLS), `ca_directory` one or more directories of them, hashed as
 * OpenSSL wants it, separated by colons; both NULL: the system's. `connections_max`: at once, in all. */
typedef struct HttpSettings {
        const char *user_agent;
        const char *ca_bundle, *ca_directory;
        unsigned connections_max;
} HttpSettings;
int http_new(Loop *loop, const HttpSettings *settings, Http **ret_http);
/* Calls still under way must have been cancelled before. Returns NULL. */
Http *http_free(Http *http);
CLEANUP_DEFINE(Http *, http_free);
/* Closes idle connections, so that the next call looks up, connects and verifies again (after suspend). */
void http_forget_connections(Http *http);

typedef struct HttpHeader {
        const char *name, *value;
} HttpHeader;

typedef enum HttpProxy {
        HTTP_PROXY_ENVIRONMENT, /* https_proxy/HTTPS_PROXY, http_proxy, all_proxy, no_proxy as curl reads them; not for
                                 * loopback */
        HTTP_PROXY_NONE, /* never: metadata and container endpoints */
} HttpProxy;

/* A request. Everything is borrowed for the time of http_start only. */
typedef struct HttpRequest {
        const char *method; /* "GET", "PUT", "POST" */
        const char *url; /* sent exactly as written: no path is squashed */
        const HttpHeader *headers;
        size_t header_count;
        const char *body; /* NULL: none */
        size_t body_len;
        uint64_t
                timeout_ns; /* for the whole call; a peer that acknowledges nothing for a quarter of it, or 2 s, is
                              * given up before */
        size_t response_max; /* bytes of body, decoded; more is HTTP_E_TOO_LARGE */
        HttpProxy proxy;
        bool allow_plain; /* accept http:// to hosts that aren't loopback; else they are HTTP_E_INVALID */
} HttpRequest;

typedef enum HttpError {
        HTTP_OK, /* an answer came, whatever its status */
        HTTP_E_INVALID, /* URL or scheme refused */
        HTTP_E_RESOLVE, /* name look-up failed */
        HTTP_E_CONNECT, /* connection refused, unreachable, or lost before the answer was whole */
        HTTP_E_TIMEOUT,
        HTTP_E_TLS,
        HTTP_E_TOO_LARGE, /* body over response_max, or headers over 64 KiB */
        HTTP_E_PROTOCOL, /* the answer isn't HTTP, or ended within its headers */
        HTTP_E_MEMORY,
} HttpError;

typedef struct HttpResponse {
        HttpError error;
        const char *detail; /* a text about the error; "" if none; no secret (never the query) */
        int status; /* 0 if none */
        Buf body;
        uint64_t started_ns, ended_ns;
        const char *peer; /* address that was talked to, the proxy's if there is one; "" if none */
        bool through_tunnel; /* through a proxy, by CONNECT */
        const HttpHeader *headers; /* of the final answer; names as received */
        size_t header_count;
} HttpResponse;
/* The value of the first header of that name (any case), or NULL. */
const char *http_response_header(const HttpResponse *response, const char *name);

/* Called exactly once, from the loop (never from inside http_start), unless the call is cancelled before. The
 * response is borrowed, and wiped when the handler returns; the call is gone then. */
typedef void HttpHandler(const HttpResponse *response, void *userdata);
/* Starts a call. 0, -ENOMEM, -EINVAL: a URL that libcurl can't parse or that names a user, a method or header that would
 * break the request's lines; -EMSGSIZE: headers over 64 KiB. */
int http_start(
        Http *http, const HttpRequest *request, HttpHandler *handler, void *userdata, HttpCall **ret_call);
/* Ends a call without calling its handler. NULL does nothing. Returns NULL. Safe in any handler. */
HttpCall *http_cancel(HttpCall *call);

/* True for 127.0.0.0/8, [::1] and localhost. `host` as in a URL (brackets allowed). */
bool http_host_is_loopback(const char *host);
