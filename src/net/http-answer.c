/* Collecting an answer: headers and body as libcurl hands them over, within their limits.
 *
 * Why: an answer comes from outside and may be of any size, whatever its Content-Length says. How: both go into bounded
 * buffers of the secret heap; an answer beyond its limit ends the transfer. The header lines of an interim answer (1xx)
 * give way to those of the next one, but count against the limit. Trailers behind the body are dropped.
 *
 * From 8.7 on, libcurl receives into a buffer of the whole pool of connections, and keeps it while calls are under way (from
 * 8.18 on: as long as the pool). So a body is wiped there once it is copied. Header lines, and what libcurl doesn't hand over
 * of a refused answer, stay there until the next answer.
 *
 * libcurl hands over a proxy's answer to CONNECT, too. A refusal ends the transfer at its status line, since libcurl would
 * wait for the rest of its body. The status is checked here: libcurl takes "20000" for 200. */

#include "http-private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/secret.h"

void http_answer_init(HttpAnswer *answer, size_t body_max)
{
        *answer = (HttpAnswer){
                .header_text = BUF_INIT(HTTP_HEADER_BYTES_MAX + 2 * HTTP_HEADERS_MAX),
                .body = BUF_INIT(body_max),
                .is_of_proxy = true,
        };
}

void http_answer_deinit(HttpAnswer *answer)
{
        buf_deinit(&answer->header_text);
        buf_deinit(&answer->body);
}

static size_t refuse(HttpAnswer *answer, HttpError error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static size_t refuse(HttpAnswer *answer, HttpError error, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        (void)vsnprintf(answer->reason, sizeof answer->reason, format, args);
        va_end(args);
        answer->error = error;
        return CURL_WRITEFUNC_ERROR;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Keeps "Name: value". A line without a name (a folded one) is left out. */
static size_t keep_header(HttpAnswer *answer, const char *line, size_t len)
{
        const char *colon = memchr(line, ':', len);
        if (!colon || colon == line || is_blank(*line) || memchr(line, '\0', len))
                return 0;
        if (answer->header_count == HTTP_HEADERS_MAX)
                return refuse(answer, HTTP_E_TOO_LARGE, "the answer has more than 64 headers");
        const char *value = colon + 1, *end = line + len;
        while (value < end && is_blank(*value))
                value++;
        while (end > value && is_blank(end[-1]))
                end--;

        Buf *text = &answer->header_text;
        answer->headers[answer->header_count].name = text->len;
        (void)buf_append(text, line, (size_t)(colon - line));
        (void)buf_append_char(text, '\0');
        answer->headers[answer->header_count].value = text->len;
        (void)buf_append(text, value, (size_t)(end - value));
        (void)buf_append_char(text, '\0');
        if (text->error)
                return refuse(answer, HTTP_E_MEMORY, "out of memory");
        answer->header_count++;
        return 0;
}

/* "HTTP/1.1 200 OK": three digits behind the version, and nothing that belongs to them. Returns 0 if it is none. */
static int parse_status(const char *line, size_t len)
{
        const char *blank = memchr(line, ' ', len);
        size_t left = blank ? len - (size_t)(blank - line) : 0;
        if (left < 4 || (left > 4 && !is_blank(blank[4])))
                return 0;
        for (int i = 1; i <= 3; i++)
                if (blank[i] < '0' || blank[i] > '9')
                        return 0;
        return 100 * (blank[1] - '0') + 10 * (blank[2] - '0') + (blank[3] - '0');
}

/* Begins the headers of the next answer: an interim one, a proxy's, or the final one. */
static size_t begin_headers(HttpAnswer *answer, const char *line, size_t len)
{
        int status = parse_status(line, len);
        if (status < 100)
                return refuse(answer, HTTP_E_PROTOCOL, "the answer's status line is malformed");
        if (answer->is_of_proxy && status >= 300)
                return refuse(answer, HTTP_E_CONNECT, "the proxy refused to connect: HTTP %d", status);
        buf_clear(&answer->header_text);
        answer->header_count = 0;
        answer->header_ended = false;
        return 0;
}

/* One header line a call, the status line and the empty one at the end included. */
static size_t on_header(char *data, size_t size, size_t count, void *userdata)
{
        HttpAnswer *answer = userdata;
        size_t len = size * count;
        answer->heard_ns = clock_now_ns();
        answer->header_bytes += len;
        if (answer->header_bytes > HTTP_HEADER_BYTES_MAX)
                return refuse(answer, HTTP_E_TOO_LARGE, "the answer's headers are larger than 64 KiB");
        if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
                return begin_headers(answer, data, len) ? CURL_WRITEFUNC_ERROR : len;
        if (answer->header_ended)
                return len;
        answer->header_ended = len == 0 || *data == '\r' || *data == '\n';
        return keep_header(answer, data, len) ? CURL_WRITEFUNC_ERROR : len;
}

static size_t on_body(char *data, size_t size, size_t count, void *userdata)
{
        HttpAnswer *answer = userdata;
        size_t len = size * count;
        answer->heard_ns = clock_now_ns();
        int r = buf_append(&answer->body, data, len);
        secret_wipe(data, len);
        if (r == -EMSGSIZE)
                return refuse(answer, HTTP_E_TOO_LARGE, "the answer's body is larger than allowed");
        if (r < 0)
                return refuse(answer, HTTP_E_MEMORY, "out of memory");
        return len;
}

void http_answer_attach(HttpAnswer *answer, CURL *easy)
{
        (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
        (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, answer);
        (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
        (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
        /* A length that is too much is refused before the first byte; 0 would mean no limit to libcurl. */
        (void)curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)answer->body.max);
}

size_t http_answer_headers(const HttpAnswer *answer, HttpHeader *headers)
{
        for (size_t i = 0; i < answer->header_count; i++)
                headers[i] = (HttpHeader){
                        .name = answer->header_text.data + answer->headers[i].name,
                        .value = answer->header_text.data + answer->headers[i].value,
                };
        return answer->header_count;
}
