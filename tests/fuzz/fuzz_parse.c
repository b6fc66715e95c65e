/* The readers of the base library, on any text; and what the encoders make of it. */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

static void check_readers(const char *text)
{
        uint64_t value = 0;
        int64_t time = 0;
        bool flag;
        if (parse_uint(text, 1000, &value) == 0)
                require(value <= 1000 && text[strspn(text, "0123456789")] == '\0');
        if (parse_octal(text, 0777, &value) == 0)
                require(value <= 0777 && text[strspn(text, "01234567")] == '\0');
        if (parse_iso8601(text, &time) == 0)
                require(time >= 0);
        if (parse_http_date(text, &time) == 0)
                require(time >= 0 && time < INT64_C(7289740800));
        if (parse_bool(text, &flag) == 0)
                require(strlen(text) <= 5);
}

/* A JSON string made of any bytes is JSON, and says what went in, as far as that can be said. */
static void check_json_string(const char *data, size_t size)
{
        Buf out = BUF_INIT(1 << 22);
        require(buf_append_json(&out, data, size) == 0);
        cJSON *json = NULL;
        int r = json_parse(out.data, out.len, 1, &json);
        if (memchr(data, '\0', size))
                require(r == -EINVAL);
        else
                require(r == 0 && cJSON_IsString(json));
        if (r == 0 && parse_is_utf8(data, size))
                require(strlen(json->valuestring) == size && memcmp(json->valuestring, data, size) == 0);
        json_free(json);
        buf_deinit(&out);
}

static void check_json(const char *data, size_t size)
{
        cJSON *json = NULL;
        int r = json_parse(data, size, 8, &json);
        require(r == 0 || r == -EINVAL || r == -E2BIG);
        if (r < 0)
                return;
        require(parse_is_utf8(data, size) && !memchr(data, '\0', size));
        uint64_t number;
        (void)json_uint(json, "a", &number);
        (void)json_string(json, "a");
        json_free(json);
}

static void check_uri(const char *data, size_t size)
{
        Buf out = BUF_INIT(1 << 22);
        require(buf_append_uri(&out, data, size, "/") == 0);
        size_t at = 0;
        for (size_t i = 0; i < size; i++) {
                unsigned value = (unsigned char)out.data[at];
                if (value == '%') {
                        char hex[3] = {out.data[at + 1], out.data[at + 2], '\0'};
                        value = (unsigned)strtoul(hex, NULL, 16);
                        at += 2;
                }
                require(value == (unsigned char)data[i]);
                at++;
        }
        require(at == out.len);
        buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text = malloc(size + 1);
        require(text);
        if (size)
                memcpy(text, data, size);
        text[size] = '\0';
        check_readers(text);
        check_json(text, size);
        if (size < 100000) {
                check_json_string(text, size);
                check_uri(text, size);
        }
        free(text);
        return 0;
}
