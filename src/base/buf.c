/* A byte buffer that outside data may fill.
 *
 * Why: a body, a header or a file from outside must not grow without limit, nor leave copies behind when the buffer
 * moves. How: every buffer has a maximum, and lives in the secret heap, whose realloc wipes the old block. A failure
 * stays in the buffer, so that the caller checks once after a chain of appends. */

#include "tokenfs/base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tokenfs/base/parse.h"
#include "tokenfs/base/secret.h"

static int buf_reserve(Buf *buf, size_t more)
{
        if (buf->error)
                return buf->error;
        if (more > buf->max - buf->len)
                return buf->error = -EMSGSIZE;
        size_t needed = buf->len + more + 1;
        if (needed <= buf->capacity)
                return 0;
        size_t capacity = buf->capacity ? buf->capacity : 48;
        while (capacity < needed)
                capacity *= 2;
        char *data = secret_realloc(buf->data, capacity);
        if (!data)
                return buf->error = -ENOMEM;
        buf->data = data;
        buf->capacity = capacity;
        return 0;
}

int buf_append(Buf *buf, const void *data, size_t len)
{
        int r = buf_reserve(buf, len);
        if (r < 0)
                return r;
        if (len)
                memcpy(buf->data + buf->len, data, len);
        buf->len += len;
        buf->data[buf->len] = '\0';
        return 0;
}

int buf_append_str(Buf *buf, const char *string)
{
        return buf_append(buf, string, strlen(string));
}

int buf_append_char(Buf *buf, char c)
{
        return buf_append(buf, &c, 1);
}

int buf_vappendf(Buf *buf, const char *format, va_list args)
{
        va_list again;
        va_copy(again, args);
        int len = vsnprintf(NULL, 0, format, args);
        int r = len < 0 ? -EINVAL : buf_reserve(buf, (size_t)len);
        if (r == 0) {
                (void)vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
                buf->len += (size_t)len;
        }
        va_end(again);
        return r;
}

int buf_appendf(Buf *buf, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        int r = buf_vappendf(buf, format, args);
        va_end(args);
        return r;
}

static bool is_unreserved(unsigned char c)
{
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
               c == '.' || c == '_' || c == '~';
}

int buf_append_uri(Buf *buf, const char *data, size_t len, const char *keep)
{
        static const char hex[] = "0123456789ABCDEF";
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)data[i];
                if (is_unreserved(c) || (c && strchr(keep, c)))
                        (void)buf_append_char(buf, (char)c);
                else
                        (void)buf_append(buf, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
        }
        return buf->error;
}

int buf_append_hex(Buf *buf, const void *data, size_t len)
{
        static const char hex[] = "0123456789abcdef";
        const unsigned char *bytes = data;
        for (size_t i = 0; i < len; i++)
                (void)buf_append(buf, (char[]){hex[bytes[i] >> 4], hex[bytes[i] & 15]}, 2);
        return buf->error;
}

static size_t utf8_length(const char *data, size_t left)
{
        for (size_t len = 1; len <= 4 && len <= left; len++)
                if (parse_is_utf8(data, len))
                        return len;
        return 0;
}

int buf_append_json(Buf *buf, const char *data, size_t len)
{
        (void)buf_append_char(buf, '"');
        for (size_t i = 0; i < len;) {
                unsigned char c = (unsigned char)data[i];
                size_t step = utf8_length(data + i, len - i);
                if (step == 0) {
                        (void)buf_append_str(buf, "\xEF\xBF\xBD");
                        step = 1;
                } else if (c == '"' || c == '\\') {
                        (void)buf_append(buf, (char[]){'\\', (char)c}, 2);
                } else if (c < 0x20) {
                        (void)buf_appendf(buf, "\\u%04x", c);
                } else {
                        (void)buf_append(buf, data + i, step);
                }
                i += step;
        }
        return buf_append_char(buf, '"');
}

const char *buf_str(const Buf *buf)
{
        return buf->data ? buf->data : "";
}

void buf_clear(Buf *buf)
{
        if (buf->data)
                secret_wipe(buf->data, buf->len + 1);
        buf->len = 0;
        buf->error = 0;
}

void buf_deinit(Buf *buf)
{
        secret_free(buf->data);
        *buf = BUF_INIT(buf->max);
}
