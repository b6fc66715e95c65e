/* Writes JSON without a tree in memory: a status of ten thousand tokens takes one pass. */

#include "tokenfs/base/jsonwriter.h"

#include <inttypes.h>
#include <string.h>

#include "tokenfs/base/clock.h"

static void begin(JsonWriter *writer, const char *key)
{
        if (!writer->is_first)
                (void)buf_append_char(writer->out, ',');
        if (writer->depth > 0)
                (void)buf_appendf(writer->out, "\n%*s", (int)writer->depth * 2, "");
        writer->is_first = false;
        if (!key)
                return;
        (void)buf_append_json(writer->out, key, strlen(key));
        (void)buf_append_str(writer->out, ": ");
}

void json_write_open(JsonWriter *writer, const char *key, char bracket)
{
        begin(writer, key);
        (void)buf_append_char(writer->out, bracket);
        writer->depth++;
        writer->is_first = true;
}

void json_write_close(JsonWriter *writer, char bracket)
{
        writer->depth--;
        if (!writer->is_first)
                (void)buf_appendf(writer->out, "\n%*s", (int)writer->depth * 2, "");
        (void)buf_append_char(writer->out, bracket);
        writer->is_first = false;
        if (writer->depth == 0)
                (void)buf_append_char(writer->out, '\n');
}

void json_write_string(JsonWriter *writer, const char *key, const char *value)
{
        begin(writer, key);
        if (value)
                (void)buf_append_json(writer->out, value, strlen(value));
        else
                (void)buf_append_str(writer->out, "null");
}

void json_write_uint(JsonWriter *writer, const char *key, uint64_t value)
{
        begin(writer, key);
        (void)buf_appendf(writer->out, "%" PRIu64, value);
}

void json_write_int(JsonWriter *writer, const char *key, int64_t value)
{
        begin(writer, key);
        (void)buf_appendf(writer->out, "%" PRId64, value);
}

void json_write_bool(JsonWriter *writer, const char *key, bool value)
{
        begin(writer, key);
        (void)buf_append_str(writer->out, value ? "true" : "false");
}

void json_write_seconds(JsonWriter *writer, const char *key, uint64_t ns)
{
        begin(writer, key);
        if (ns == CLOCK_NEVER)
                (void)buf_append_str(writer->out, "null");
        else
                (void)buf_appendf(writer->out, "%" PRIu64 ".%03u", ns / NS_PER_S,
                        (unsigned)(ns % NS_PER_S / NS_PER_MS));
}

void json_write_time(JsonWriter *writer, const char *key, int64_t wall_ns, int64_t none)
{
        char text[32];
        bool has_text = wall_ns != none && clock_format_utc(wall_ns, text) == 0;
        json_write_string(writer, key, has_text ? text : NULL);
}
