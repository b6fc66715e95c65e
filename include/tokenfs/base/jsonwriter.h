#pragma once
/* Writes JSON into a Buf, with commas and indentation. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/base/buf.h"

typedef struct JsonWriter {
        Buf *out;
        unsigned depth;
        bool is_first; /* the next value is the first at this depth */
} JsonWriter;

/* `key` NULL: an element of an array. */
void json_write_open(JsonWriter *writer, const char *key, char bracket);
void json_write_close(JsonWriter *writer, char bracket);
/* NULL is null. */
void json_write_string(JsonWriter *writer, const char *key, const char *value);
void json_write_uint(JsonWriter *writer, const char *key, uint64_t value);
void json_write_int(JsonWriter *writer, const char *key, int64_t value);
void json_write_bool(JsonWriter *writer, const char *key, bool value);
/* Seconds with milliseconds. CLOCK_NEVER is null. */
void json_write_seconds(JsonWriter *writer, const char *key, uint64_t ns);
/* A time as ISO 8601 in UTC, to the second. `none` is null. */
void json_write_time(JsonWriter *writer, const char *key, int64_t wall_ns, int64_t none);
