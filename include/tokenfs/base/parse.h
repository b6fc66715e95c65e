#pragma once
/* Readers of text from outside: strict, bounded, without locale. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits only (no sign, no space), at most `max`. 0, -EINVAL or -ERANGE. */
int parse_uint(const char *text, uint64_t max, uint64_t *ret_value);
/* Octal digits only, at most `max`. 0, -EINVAL or -ERANGE. */
int parse_octal(const char *text, uint64_t max, uint64_t *ret_value);
/* ISO 8601 with a date, a time, and `Z` or an offset; fractions of a second are kept.
 * Result: nanoseconds since 1970 UTC. 0, -EINVAL (also before 1970), -ERANGE (a time after the year 2200). */
int parse_iso8601(const char *text, int64_t *ret_wall_ns);
/* The HTTP date (RFC 9110 IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT"). Seconds since 1970. 0 or -EINVAL. */
int parse_http_date(const char *text, int64_t *ret_seconds);
/* 1, 0; true, false; yes, no; on, off (any case). 0 or -EINVAL. */
int parse_bool(const char *text, bool *ret_value);
/* Seconds since 1970 for a civil date and time in UTC. */
int64_t parse_civil_seconds(int year, int month, int day, int hour, int minute, int second);
/* True if the bytes are well-formed UTF-8 (no surrogates, no overlong forms). NUL bytes are allowed. */
bool parse_is_utf8(const char *data, size_t len);
