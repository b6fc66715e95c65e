#pragma once
/* Shared by the files of the HTTP client: the route, the answer as it is collected, the meaning of libcurl's errors. */

#include <curl/curl.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/net/http.h"

#define HTTP_HEADER_BYTES_MAX ((size_t)64 * 1024)
#define HTTP_HEADERS_MAX 64

/* The way that a request's URL asks for. */
typedef struct HttpRoute {
        bool is_tls, is_direct, is_refused; /* direct: never through a proxy, which may be one with TLS */
} HttpRoute;
/* 0, -ENOMEM, or -EINVAL: a URL that libcurl can't parse or that names a user. */
int http_route_find(const HttpRequest *request, HttpRoute *ret_route);

/* An answer as received so far. */
typedef struct HttpAnswer {
        Buf header_text; /* "name NUL value NUL" … */
        struct {
                size_t name, value; /* offsets in header_text */
        } headers[HTTP_HEADERS_MAX];
        size_t header_count;
        size_t header_bytes; /* of all header lines, those of interim answers too */
        bool header_ended;
        bool is_of_proxy; /* answers CONNECT: the request hasn't been sent yet */
        Buf body;
        HttpError error; /* why taking it was refused; HTTP_OK: it wasn't */
        char reason[64];
        uint64_t heard_ns; /* when the last byte came; 0: none did */
} HttpAnswer;
void http_answer_init(HttpAnswer *answer, size_t body_max);
void http_answer_deinit(HttpAnswer *answer);
/* Has `easy` give received bytes to the answer. */
void http_answer_attach(HttpAnswer *answer, CURL *easy);
/* Fills `headers` (room for HTTP_HEADERS_MAX), which borrows from the answer. Returns how many. */
size_t http_answer_headers(const HttpAnswer *answer, HttpHeader *headers);

/* The kind of failure; `text` is libcurl's error text. */
HttpError http_error_of(CURL *easy, CURLcode result, const HttpAnswer *answer, const char *text);
/* Puts a description of the failure for people into `text` (CURL_ERROR_SIZE bytes), where libcurl's text is now: never the
 * query, nor a value of the request headers. */
void http_error_describe(
        CURL *easy, CURLcode result, const HttpAnswer *answer, const struct curl_slist *headers, char *text);
