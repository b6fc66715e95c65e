/* Calls of providers to AWS services: STS, Identity Center, the sign-in service.
 *
 * A reader may wait for such a call, so one attempt is shorter than the default time-out of a read. There is no shorter
 * limit for connecting, as libcurl counts the look-up of the name for it: the C library waits 5 s for a name server that is
 * dead before it asks the next one. */

#include "service-call.h"

#include <errno.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/parse.h"

#define SERVICE_TIMEOUT_NS (8 * NS_PER_S)
#define SERVICE_ATTEMPTS 3
#define SERVICE_PAUSE_NS (300 * NS_PER_MS)
#define SERVICE_SKEW_MIN_S 240 /* signatures are valid for 5 minutes */

int service_call_find(
        ServiceCall *service, ProviderRun *run, const char *name, const char *region, const char *path)
{
        CLEANUP(buf_deinit) Buf error = BUF_INIT(PROVIDER_DETAIL_MAX / 2);
        service_call_stop(service);
        service->run = run;
        service->url = BUF_INIT(4096);
        int r = aws_endpoint_service(
                name, region, run->context->use_fips, run->context->config, &error, &service->endpoint);
        if (r == -EINVAL)
                return provider_fail(
                        run, CREDENTIALS_E_INVALID, "the endpoint of %s: %.300s", name, buf_str(&error));
        if (r == 0)
                r = buf_appendf(&service->url, "%s%s", service->endpoint.url, path);
        if (r == -EMSGSIZE)
                return provider_fail(
                        run, CREDENTIALS_E_INVALID, "a parameter of the call of %s is too long", name);
        return r == 0 ? 1 : provider_no_memory(run);
}

int service_call_send(
        ServiceCall *service, const ServiceRequest *request, ProviderCallHandler *handler, void *userdata)
{
        const ProviderContext *context = service->run->context;
        int r = provider_call_start(&service->call, context,
                &(HttpRequest){
                        .method = request->method,
                        .url = buf_str(&service->url),
                        .headers = request->headers,
                        .header_count = request->header_count,
                        .body = request->body ? buf_str(request->body) : NULL,
                        .body_len = request->body ? request->body->len : 0,
                        .timeout_ns = SERVICE_TIMEOUT_NS,
                        .response_max = PROVIDER_ANSWER_MAX,
                        .allow_plain = context->allow_plain_http,
                },
                &(ProviderCallRules){SERVICE_ATTEMPTS, SERVICE_PAUSE_NS, NULL, request->renew}, handler,
                userdata);
        if (r == -ENOMEM)
                return provider_no_memory(service->run);
        if (r < 0)
                return provider_fail(service->run, CREDENTIALS_E_INVALID,
                        "%.100s can't be called: %s; check the endpoint, and the keys or sign-in for it",
                        service->endpoint.host, strerrordesc_np(-r));
        return -EINPROGRESS;
}

int64_t service_call_skew_s(const HttpResponse *response)
{
        int64_t server_s = 0;
        const char *date = http_response_header(response, "Date");
        if (!date || parse_http_date(date, &server_s) < 0)
                return 0;
        int64_t skew_s = server_s - clock_wall_ns() / (int64_t)NS_PER_S;
        return skew_s > SERVICE_SKEW_MIN_S || skew_s < -SERVICE_SKEW_MIN_S ? skew_s : 0;
}

void service_call_stop(ServiceCall *service)
{
        provider_call_stop(&service->call);
        aws_endpoint_deinit(&service->endpoint);
        buf_deinit(&service->url);
}
