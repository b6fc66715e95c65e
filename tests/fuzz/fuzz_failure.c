/* Answers that are no success: two bytes of status, then a line each for x-amzn-ErrorType, Retry-After and Date, then the
 * body. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/request.h"
#include "tokenfs/base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

static bool is_printable(const char *text)
{
        for (; *text; text++)
                if (*text < 0x20 || *text > 0x7e)
                        return false;
        return true;
}

/* Takes a line off *text, as a string of its own. */
static char *take_line(char **text, const char *end)
{
        char *line = *text;
        char *feed = memchr(line, '\n', (size_t)(end - line));
        if (!feed)
                return NULL;
        *feed = '\0';
        *text = feed + 1;
        return line;
}

static void check_explained(const HttpResponse *response, const ApiFailure *failure)
{
        char text[API_DETAIL_MAX];
        for (ApiOperation operation = 0; operation < API_OPERATION_COUNT; operation++) {
                (void)api_operation_error(operation, failure);
                api_explain(operation, failure->error, response->status, failure, "", text);
                require(strlen(text) < sizeof text && is_printable(text));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const names[] = {"X-Amzn-ErrorType", "Retry-After", "Date"};
        if (size < 2)
                return 0;
        clock_set_fake(NS_PER_S, INT64_C(1767225600) * (int64_t)NS_PER_S);
        char *text = malloc(size);
        require(text);
        memcpy(text, data, size);
        char *rest = text + 2, *end = text + size;
        HttpHeader headers[3];
        HttpResponse response = {
                .detail = "",
                .status = data[0] << 8 | data[1],
                .body = BUF_INIT(1 << 20),
                .headers = headers,
        };
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                char *line = take_line(&rest, end);
                if (line && *line)
                        headers[response.header_count++] = (HttpHeader){names[i], line};
        }
        (void)buf_append(&response.body, rest, (size_t)(end - rest));

        ApiFailure failure;
        memset(&failure, 0xaa, sizeof failure);
        api_failure_parse(&response, &failure);
        require(failure.error > API_OK && failure.error < API_ERROR_COUNT && failure.error != API_E_MEMORY);
        require(failure.retry_after_ns <= 300 * NS_PER_S && failure.server_wall_s >= 0);
        require(strlen(failure.type) < sizeof failure.type && is_printable(failure.type));
        require(strlen(failure.message) < sizeof failure.message && is_printable(failure.message));
        require(strlen(failure.reason) < sizeof failure.reason && is_printable(failure.reason));
        require(!failure.is_skew || failure.error == API_E_CREDENTIALS_REJECTED);
        require(!strstr(failure.message, "Credential=") && !strstr(failure.message, "Signature="));
        if (response.status < 400 || response.status > 599)
                require(failure.error == API_E_MALFORMED);
        check_explained(&response, &failure);
        buf_deinit(&response.body);
        free(text);
        return 0;
}
