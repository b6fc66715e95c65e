#pragma once
/* A growing byte buffer with a maximum, in the secret heap. Data from outside is held in these. */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Buf {
        char *data; /* always NUL-terminated when not NULL; the NUL isn't counted */
        size_t len;
        size_t capacity;
        size_t max; /* largest len, in bytes */
        int error; /* the first failure (-ENOMEM, -EMSGSIZE), which stays; 0: none */
} Buf;

/* Allocates nothing before the first byte. */
#define BUF_INIT(max_bytes) ((Buf){.max = (max_bytes)})

/* Each append returns 0, -ENOMEM, or -EMSGSIZE if the length would exceed `max`. A failed one appends nothing, and all
 * later ones fail with the same code: after a chain of appends the caller checks `error` once. */
int buf_append(Buf *buf, const void *data, size_t len);
int buf_append_str(Buf *buf, const char *string);
int buf_append_char(Buf *buf, char c);
int buf_appendf(Buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_vappendf(Buf *buf, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
/* Percent-encodes (upper-case hex) all but RFC 3986's unreserved characters and those in `keep`. */
int buf_append_uri(Buf *buf, const char *data, size_t len, const char *keep);
int buf_append_hex(Buf *buf, const void *data, size_t len);
/* A JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
int buf_append_json(Buf *buf, const char *data, size_t len);

/* The content as a string: "" when empty. Borrowed. */
const char *buf_str(const Buf *buf);
/* Empties, wiping the content and keeping the memory and `max`; clears `error`. */
void buf_clear(Buf *buf);
/* Wipes and frees; the buffer is as after BUF_INIT(max). */
void buf_deinit(Buf *buf);
