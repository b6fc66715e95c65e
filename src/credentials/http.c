/* Common parts of providers: a call with attempts, a JSON document with keys, a small file.
 *
 * The provider keeps the strings of the request, as its state outlives the call: a further attempt copies nothing. */

#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"

static bool is_transient(const HttpResponse *response)
{
        switch (response->error) {
        case HTTP_OK: return response->status >= 500 || response->status == 429;
        case HTTP_E_RESOLVE:
        case HTTP_E_CONNECT:
        case HTTP_E_TIMEOUT:
        case HTTP_E_PROTOCOL: return true;
        default: return false;
        }
}

static void call_end(ProviderCall *call, const HttpResponse *response)
{
        loop_timer_cancel(&call->timer);
        call->handler(response, call->userdata);
}

static void call_on_response(const HttpResponse *response, void *userdata)
{
        ProviderCall *call = userdata;
        call->call = NULL;
        ProviderCallRules *rules = &call->rules;
        bool is_repeated =
                is_transient(response) || (response->error == HTTP_OK && rules->is_worth_repeating &&
                                                  rules->is_worth_repeating(response));
        if (rules->attempts > 0 && is_repeated &&
                loop_timer_set(&call->timer, clock_add_ns(clock_now_ns(), rules->pause_ns)) == 0) {
                rules->pause_ns *= 2;
                return;
        }
        call_end(call, response);
}

static int call_attempt(ProviderCall *call)
{
        call->rules.attempts--;
        return http_start(call->context->http, &call->request, call_on_response, call, &call->call);
}

static void call_on_timer(LoopTimer *timer, void *userdata)
{
        (void)timer;
        ProviderCall *call = userdata;
        int r = call->rules.renew ? call->rules.renew(call->userdata) : 0;
        if (r == 0)
                r = call_attempt(call);
        if (r < 0)
                call_end(call, &(HttpResponse){.error = HTTP_E_MEMORY, .detail = "out of memory"});
}

int provider_call_start(ProviderCall *call, const ProviderContext *context, const HttpRequest *request,
        const ProviderCallRules *rules, ProviderCallHandler *handler, void *userdata)
{
        *call = (ProviderCall){
                .context = context,
                .request = *request,
                .rules = *rules,
                .handler = handler,
                .userdata = userdata,
        };
        loop_timer_init(&call->timer, context->loop, call_on_timer, call);
        return call_attempt(call);
}

void provider_call_stop(ProviderCall *call)
{
        call->call = http_cancel(call->call);
        loop_timer_cancel(&call->timer);
}

bool provider_answer_is_json(const HttpResponse *response)
{
        CLEANUP(json_free_p) cJSON *json = NULL;
        return json_parse(buf_str(&response->body), response->body.len, 8, &json) == 0;
}

int provider_fail_call(ProviderRun *run, const char *what, const HttpResponse *response)
{
        static const char *const reasons[] = {
                [HTTP_OK] = "answered with a failure",
                [HTTP_E_INVALID] = "has an address that is refused",
                [HTTP_E_RESOLVE] = "can't be found: the name look-up failed",
                [HTTP_E_CONNECT] = "can't be reached: check network, proxy and firewall",
                [HTTP_E_TIMEOUT] = "doesn't answer in time: check network, proxy and firewall",
                [HTTP_E_TLS] = "isn't trusted: TLS failed; check ca_bundle and the clock",
                [HTTP_E_TOO_LARGE] = "sent too large an answer",
                [HTTP_E_PROTOCOL] = "sent no valid HTTP",
                [HTTP_E_MEMORY] = "can't be called: out of memory",
        };
        CredentialsError error =
                response->error == HTTP_E_INVALID ? CREDENTIALS_E_INVALID : CREDENTIALS_E_FAILED;
        const char *detail = response->detail ? response->detail : "";
        return provider_fail(
                run, error, "%.200s %s%s%.120s", what, reasons[response->error], *detail ? ": " : "", detail);
}

int provider_found_json(
        ProviderRun *run, const char *origin, const cJSON *json, const char *token_key, bool is_all_needed)
{
        const char *access_key_id = json_string(json, "AccessKeyId");
        const char *secret = json_string(json, "SecretAccessKey");
        const char *token = json_string(json, token_key);
        const char *expiration = json_string(json, "Expiration");
        const char *missing = !access_key_id                 ? "AccessKeyId"
                              : !secret                      ? "SecretAccessKey"
                              : is_all_needed && !token      ? token_key
                              : is_all_needed && !expiration ? "Expiration"
                                                             : NULL;
        if (missing)
                return provider_fail(run, CREDENTIALS_E_INVALID, "%s has no %s", origin, missing);
        int64_t expires_wall_ns = INT64_MAX;
        if (expiration && provider_parse_expiration(expiration, &expires_wall_ns) < 0)
                return provider_fail(run, CREDENTIALS_E_INVALID, "the Expiration in %s isn't a time", origin);
        return provider_found(run, origin, access_key_id, secret, token, expires_wall_ns);
}

static int read_all(int fd, Buf *out)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        for (;;) {
                char piece[4096];
                ssize_t len = read(fd, piece, sizeof(piece));
                if (len < 0 && errno == EINTR)
                        continue;
                if (len <= 0)
                        return len < 0 ? -errno : 0;
                int r = buf_append(out, piece, (size_t)len);
                if (r == 0 && memchr(piece, '\0', (size_t)len))
                        r = -EINVAL;
                secret_wipe(piece, sizeof(piece));
                if (r < 0)
                        return r;
        }
}

int provider_read_file(const char *path, Buf *out)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        int r = read_all(fd, out);
        cleanup_close(&fd);
        return r;
}
