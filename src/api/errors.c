/* The meaning of an answer that is no success.
 *
 * The caller acts on a few kinds: whether a copy ends, whether a retry makes sense, which errno the reader gets. The
 * error type decides the kind. If there is none, the status decides, but only if the answer has the form of the API's
 * answers. The server's text is cut and cleaned before it goes into a log: some services answer a bad signature with
 * the headers of the request. */

#include "tokenfs/api/errors.h"

#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/parse.h"

#define BODY_MAX ((size_t)64 * 1024)
#define DEPTH_MAX 16
#define RETRY_AFTER_MAX_S UINT64_C(300)

const char *api_error_name(ApiError error)
{
        static const char *const names[API_ERROR_COUNT] = {
                [API_OK] = "ok",
                [API_E_NOT_FOUND] = "not_found",
                [API_E_REFUSED] = "refused",
                [API_E_ACCESS_DENIED] = "access_denied",
                [API_E_NO_CREDENTIALS] = "no_credentials",
                [API_E_CREDENTIALS_EXPIRED] = "credentials_expired",
                [API_E_CREDENTIALS_REJECTED] = "credentials_rejected",
                [API_E_THROTTLED] = "throttled",
                [API_E_SERVER] = "server",
                [API_E_TIMEOUT] = "timeout",
                [API_E_UNREACHABLE] = "unreachable",
                [API_E_TLS] = "tls",
                [API_E_TOO_MANY] = "too_many_tokens",
                [API_E_MALFORMED] = "malformed",
                [API_E_MEMORY] = "memory",
        };
        return names[error];
}

bool api_error_ends_copy(ApiError error)
{
        return error == API_E_NOT_FOUND || error == API_E_ACCESS_DENIED ||
               error == API_E_CREDENTIALS_REJECTED;
}

bool api_error_is_transient(ApiError error)
{
        return error == API_E_THROTTLED || error == API_E_SERVER || error == API_E_TIMEOUT ||
               error == API_E_UNREACHABLE;
}

static ApiError kind_of_transport(HttpError error)
{
        switch (error) {
        case HTTP_E_INVALID:
        case HTTP_E_RESOLVE:
        case HTTP_E_CONNECT: return API_E_UNREACHABLE;
        case HTTP_E_TIMEOUT: return API_E_TIMEOUT;
        case HTTP_E_TLS: return API_E_TLS;
        case HTTP_E_MEMORY: return API_E_MEMORY;
        case HTTP_E_TOO_LARGE:
        case HTTP_E_PROTOCOL:
        case HTTP_OK: break;
        }
        return API_E_MALFORMED;
}

/* The types that the API documents, the common errors of AWS services, and older spellings; all without the suffix
 * "Exception". */
static const struct {
        const char *type;
        ApiError error;
} kinds[] = {
        {"ResourceNotFound", API_E_NOT_FOUND},
        {"Validation", API_E_REFUSED},
        {"ValidationError", API_E_REFUSED},
        {"AccessDenied", API_E_ACCESS_DENIED},
        {"NotAuthorized", API_E_ACCESS_DENIED},
        {"OptInRequired", API_E_ACCESS_DENIED},
        {"SubscriptionRequired", API_E_ACCESS_DENIED},
        {"UnauthorizedOperation", API_E_ACCESS_DENIED},
        {"ExpiredToken", API_E_CREDENTIALS_EXPIRED},
        {"AuthFailure", API_E_CREDENTIALS_REJECTED},
        {"IncompleteSignature", API_E_CREDENTIALS_REJECTED},
        {"InvalidAccessKeyId", API_E_CREDENTIALS_REJECTED},
        {"InvalidClientTokenId", API_E_CREDENTIALS_REJECTED},
        {"InvalidSignature", API_E_CREDENTIALS_REJECTED},
        {"InvalidToken", API_E_CREDENTIALS_REJECTED},
        {"MissingAuthenticationToken", API_E_CREDENTIALS_REJECTED},
        {"RequestExpired", API_E_CREDENTIALS_REJECTED},
        {"RequestTimeTooSkewed", API_E_CREDENTIALS_REJECTED},
        {"SignatureDoesNotMatch", API_E_CREDENTIALS_REJECTED},
        {"UnrecognizedClient", API_E_CREDENTIALS_REJECTED},
        {"BandwidthLimitExceeded", API_E_THROTTLED},
        {"PriorRequestNotComplete", API_E_THROTTLED},
        {"RequestLimitExceeded", API_E_THROTTLED},
        {"RequestThrottled", API_E_THROTTLED},
        {"SlowDown", API_E_THROTTLED},
        {"Throttled", API_E_THROTTLED},
        {"Throttling", API_E_THROTTLED},
        {"TooManyRequests", API_E_THROTTLED},
        {"RequestTimeout", API_E_TIMEOUT},
        {"InternalError", API_E_SERVER},
        {"InternalFailure", API_E_SERVER},
        {"InternalServer", API_E_SERVER},
        {"InternalServerError", API_E_SERVER},
        {"ServiceUnavailable", API_E_SERVER},
};

static ApiError kind_of_type(const char *type)
{
        size_t len = strlen(type);
        static const char suffix[] = "Exception";
        size_t suffix_len = sizeof suffix - 1;
        if (len > suffix_len && strcmp(type + len - suffix_len, suffix) == 0)
                len -= suffix_len;
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                if (strlen(kinds[i].type) == len && memcmp(kinds[i].type, type, len) == 0)
                        return kinds[i].error;
        return API_OK;
}

static ApiError kind_of_status(int status, bool has_type)
{
        if (status >= 500)
                return API_E_SERVER;
        switch (status) {
        case 400: return has_type ? API_E_MALFORMED : API_E_REFUSED;
        case 401: return API_E_CREDENTIALS_REJECTED;
        case 403: return API_E_ACCESS_DENIED;
        case 404: return has_type ? API_E_MALFORMED : API_E_NOT_FOUND;
        case 408: return API_E_TIMEOUT;
        case 429: return API_E_THROTTLED;
        default: return API_E_MALFORMED;
        }
}

/* "ns#Name:https://…" is Name. Reads only characters of a name. */
static void read_type(const char *text, char type[static 64])
{
        const char *end = strchrnul(text, ':');
        const char *hash = memchr(text, '#', (size_t)(end - text));
        if (hash)
                text = hash + 1;
        size_t len = 0;
        for (; text < end && len < 63; text++) {
                bool is_name = (*text >= 'A' && *text <= 'Z') || (*text >= 'a' && *text <= 'z') ||
                               (*text >= '0' && *text <= '9') || *text == '.' || *text == '_' || *text == '-';
                if (!is_name)
                        break;
                type[len++] = *text;
        }
        type[len] = '\0';
}

/* The first line of the server's text, without echoes of the request's headers. */
static void read_message(const char *text, char message[static 200])
{
        static const char *const echoes[] = {"Authorization", "authorization",
                "Credential=", "Signature=", "Canonical String", "String-to-Sign", "X-Amz-", "x-amz-"};
        const char *end = text + strcspn(text, "\r\n");
        for (size_t i = 0; i < ARRAY_LEN(echoes); i++) {
                const char *echo = memmem(text, (size_t)(end - text), echoes[i], strlen(echoes[i]));
                if (echo)
                        end = echo;
        }
        size_t len = 0;
        for (; text < end && len < 199; text++)
                message[len++] = *text >= 0x20 && *text <= 0x7e ? *text : '?';
        while (len > 0 && message[len - 1] == ' ')
                len--;
        message[len] = '\0';
}

static const char *first_string(const cJSON *object, const char *const keys[], size_t count)
{
        for (size_t i = 0; i < count; i++) {
                const char *string = json_string(object, keys[i]);
                if (string)
                        return string;
        }
        return NULL;
}

/* The member of a refused request, and the reason: "FIELD_VALIDATION_FAILED: max_results: must be at most 100". */
static void read_reason(const cJSON *json, char reason[static 200])
{
        CLEANUP(buf_deinit) Buf text = BUF_INIT(1024);
        const char *why = json_string(json, "reason");
        const cJSON *list = NULL, *field = NULL;
        if (why)
                (void)buf_append_str(&text, why);
        if (json_member(json, "fieldList", &list) == 0 && cJSON_IsArray(list))
                cJSON_ArrayForEach(field, list)
                {
                        const char *name = json_string(field, "name"),
                                   *message = json_string(field, "message");
                        if (name)
                                (void)buf_appendf(&text, "%s%.64s%s%.100s", text.len ? ": " : "", name,
                                        message ? ": " : "", message ? message : "");
                }
        read_message(buf_str(&text), reason);
}

/* Reads type, message and reason from the body. True if it is a JSON object. */
static bool read_body(const Buf *body, ApiFailure *failure)
{
        static const char *const type_keys[] = {"__type", "code", "Code"};
        static const char *const message_keys[] = {"message", "Message", "errorMessage"};
        CLEANUP(json_free_p) cJSON *json = NULL;
        if (body->len > BODY_MAX || json_parse(buf_str(body), body->len, DEPTH_MAX, &json) < 0 ||
                !cJSON_IsObject(json))
                return false;
        const char *type = first_string(json, type_keys, ARRAY_LEN(type_keys));
        if (type && !*failure->type)
                read_type(type, failure->type);
        const char *message = first_string(json, message_keys, ARRAY_LEN(message_keys));
        if (message)
                read_message(message, failure->message);
        read_reason(json, failure->reason);
        return true;
}

/* A date is compared with the server's clock, if the answer has it: this machine's may be off. */
static uint64_t read_retry_after(const char *text, int64_t server_wall_s)
{
        uint64_t seconds = 0;
        int64_t date;
        int r = parse_uint(text, RETRY_AFTER_MAX_S, &seconds);
        if (r < 0 && *text >= '0' && *text <= '9' && text[strspn(text, "0123456789")] == '\0')
                seconds = RETRY_AFTER_MAX_S;
        else if (r < 0 && parse_http_date(text, &date) == 0) {
                int64_t now = server_wall_s ? server_wall_s : clock_wall_ns() / (int64_t)NS_PER_S;
                seconds = date > now ? (uint64_t)(date - now) : 0;
        }
        return (seconds < RETRY_AFTER_MAX_S ? seconds : RETRY_AFTER_MAX_S) * NS_PER_S;
}

/* "Signature expired: … is now earlier than …", "Signature not yet current: … is still later than …". */
static bool is_about_time(const ApiFailure *failure)
{
        if (failure->error != API_E_CREDENTIALS_REJECTED)
                return false;
        return strncmp(failure->type, "RequestExpired", strlen("RequestExpired")) == 0 ||
               strncmp(failure->type, "RequestTimeTooSkewed", strlen("RequestTimeTooSkewed")) == 0 ||
               strcasestr(failure->message, "signature expired") ||
               strcasestr(failure->message, "not yet current");
}

void api_failure_parse(const HttpResponse *response, ApiFailure *ret_failure)
{
        ApiFailure failure = {.error = API_E_MALFORMED};
        const char *date = http_response_header(response, "Date");
        if (date)
                (void)parse_http_date(date, &failure.server_wall_s);
        if (response->error != HTTP_OK) {
                failure.error = kind_of_transport(response->error);
                *ret_failure = failure;
                return;
        }
        const char *retry_after = http_response_header(response, "Retry-After");
        if (retry_after)
                failure.retry_after_ns = read_retry_after(retry_after, failure.server_wall_s);

        const char *type = http_response_header(response, "x-amzn-ErrorType");
        if (type)
                read_type(type, failure.type);
        bool is_object = read_body(&response->body, &failure);
        bool is_refusal = response->status >= 400 && response->status < 600;
        bool is_ours = *failure.type || is_object || response->status >= 500 || response->status == 429;
        if (is_refusal && is_ours) {
                failure.error = kind_of_type(failure.type);
                if (failure.error == API_OK)
                        failure.error = kind_of_status(response->status, *failure.type);
        }
        failure.is_skew = is_about_time(&failure);
        *ret_failure = failure;
}
