/* The Security Token Service: a signed form, and an XML document as the answer.
 *
 * The region is AWS_REGION, AWS_DEFAULT_REGION, or the profile's; else us-east-2, the region of the control plane that
 * the credentials are for. If the answer to a refused signature shows that the clock is off, the request is signed
 * once more with the service's time. The end of validity is then given in the time of this machine's clock. */

#include "sts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/parse.h"
#include "xml.h"

#define STS_REGION_DEFAULT "us-east-2"
#define STS_FORM_MAX ((size_t)256 * 1024)

void sts_init(StsCall *sts, const char *action)
{
        sts->action = action;
        sts->form = BUF_INIT(STS_FORM_MAX);
        (void)buf_appendf(&sts->form, "Action=%s&Version=2011-06-15", action);
}

void sts_add(StsCall *sts, const char *name, const char *value)
{
        (void)buf_appendf(&sts->form, "&%s=", name);
        (void)buf_append_uri(&sts->form, value, strlen(value), "");
}

void sts_session_name(char ret_name[static 32])
{
        (void)snprintf(ret_name, 32, "tokenfs-%lld", (long long)(clock_wall_ns() / (int64_t)NS_PER_S));
}

static const char *sts_region(const AwsConfig *config)
{
        const char *const found[] = {
                secure_getenv("AWS_REGION"),
                secure_getenv("AWS_DEFAULT_REGION"),
                aws_config_get(config, aws_config_profile(config), "region"),
        };
        for (size_t i = 0; i < ARRAY_LEN(found); i++)
                if (found[i] && *found[i])
                        return found[i];
        return STS_REGION_DEFAULT;
}

static int fail(StsCall *sts, CredentialsError error, const char *problem, const char *remedy)
{
        return provider_fail(sts->run, error, "%s at %.100s (region %.40s): %.300s%s%s", sts->action,
                sts->service.endpoint.host, sts->service.endpoint.region, problem, *remedy ? "; " : "",
                remedy);
}

static CredentialsError classify(const char *code, int status, const char **ret_remedy)
{
        static const struct {
                const char *code;
                CredentialsError error;
                const char *remedy;
        } known[] = {
                {"AccessDenied", CREDENTIALS_E_REJECTED,
                        "check the role's trust policy and who may assume it"},
                {"AccessDeniedException", CREDENTIALS_E_REJECTED,
                        "check the role's trust policy and who may assume it"},
                {"InvalidClientTokenId", CREDENTIALS_E_REJECTED, "check the access key that is used for it"},
                {"UnrecognizedClientException", CREDENTIALS_E_REJECTED,
                        "check the access key that is used for it"},
                {"SignatureDoesNotMatch", CREDENTIALS_E_REJECTED,
                        "check the secret access key that is used for it"},
                {"InvalidIdentityToken", CREDENTIALS_E_REJECTED,
                        "check the token file and the role's identity provider"},
                {"IDPRejectedClaim", CREDENTIALS_E_REJECTED,
                        "check the token file and the role's identity provider"},
                {"RegionDisabledException", CREDENTIALS_E_REJECTED,
                        "STS is not active in that region: set another"},
                {"ExpiredToken", CREDENTIALS_E_EXPIRED, "renew the credentials that are used for it"},
                {"ExpiredTokenException", CREDENTIALS_E_EXPIRED, "renew the token that is used for it"},
                {"IDPCommunicationError", CREDENTIALS_E_FAILED, ""},
                {"RequestLimitExceeded", CREDENTIALS_E_FAILED, ""},
                {"ValidationError", CREDENTIALS_E_INVALID,
                        "check role_arn, role_session_name, external_id, duration_seconds"},
        };
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
                if (strcmp(code, known[i].code) == 0) {
                        *ret_remedy = known[i].remedy;
                        return known[i].error;
                }
        *ret_remedy = "";
        if (status >= 500 || status == 429 || strncmp(code, "Throttl", 7) == 0)
                return CREDENTIALS_E_FAILED;
        return status == 401 || status == 403 ? CREDENTIALS_E_REJECTED : CREDENTIALS_E_INVALID;
}

/* True for an error code in the form of STS: other text of the answer doesn't go into the log. */
static bool is_code(const char *text)
{
        size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.");
        return len > 0 && len <= 64 && !text[len];
}

static int sts_send(StsCall *sts);

static bool is_of_signature_time(const char *code)
{
        return strcmp(code, "SignatureDoesNotMatch") == 0 || strcmp(code, "RequestExpired") == 0 ||
               strcmp(code, "RequestTimeTooSkewed") == 0 || strcmp(code, "InvalidSignatureException") == 0;
}

/* Sets the outcome, or sends the call again and returns -EINPROGRESS. */
static int read_failure(StsCall *sts, const HttpResponse *response)
{
        XmlWanted wanted[] = {{.path = "ErrorResponse/Error/Code", .text = BUF_INIT(256)}};
        int r = xml_read(buf_str(&response->body), response->body.len, wanted, ARRAY_LEN(wanted));
        char code[65];
        (void)snprintf(code, sizeof(code), "%s",
                r == 0 && is_code(buf_str(&wanted[0].text)) ? buf_str(&wanted[0].text) : "");
        buf_deinit(&wanted[0].text);

        int64_t skew_s =
                sts->keys && !sts->skew_s && is_of_signature_time(code) ? service_call_skew_s(response) : 0;
        if (skew_s) {
                sts->skew_s = skew_s;
                return sts_send(sts);
        }
        const char *remedy;
        CredentialsError error = classify(code, response->status, &remedy);
        char problem[100];
        (void)snprintf(problem, sizeof(problem), "refused with %s%sstatus %d", code, *code ? ", " : "",
                response->status);
        return fail(sts, error, problem, remedy);
}

static int read_success(StsCall *sts, const HttpResponse *response)
{
        static const char *const names[] = {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"};
        char paths[ARRAY_LEN(names)][128];
        XmlWanted wanted[ARRAY_LEN(names)];
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                (void)snprintf(paths[i], sizeof(paths[i]), "%sResponse/%sResult/Credentials/%s", sts->action,
                        sts->action, names[i]);
                wanted[i] = (XmlWanted){.path = paths[i], .text = BUF_INIT(PROVIDER_ANSWER_MAX)};
        }
        int r = xml_read(buf_str(&response->body), response->body.len, wanted, ARRAY_LEN(wanted));
        bool is_whole = r == 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                is_whole = is_whole && wanted[i].text.len > 0;
        int64_t expires_wall_ns = 0;
        if (r == -ENOMEM)
                (void)provider_no_memory(sts->run);
        else if (!is_whole || provider_parse_expiration(buf_str(&wanted[3].text), &expires_wall_ns) < 0)
                (void)fail(
                        sts, CREDENTIALS_E_INVALID, "the answer isn't what STS sends", "check the endpoint");
        else
                (void)provider_found(sts->run, "the answer of STS", buf_str(&wanted[0].text),
                        buf_str(&wanted[1].text), buf_str(&wanted[2].text),
                        expires_wall_ns == INT64_MAX ? INT64_MAX
                                                     : expires_wall_ns - sts->skew_s * (int64_t)NS_PER_S);
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                buf_deinit(&wanted[i].text);
        return 0;
}

static void on_response(const HttpResponse *response, void *userdata)
{
        StsCall *sts = userdata;
        int r = 0;
        if (response->error != HTTP_OK)
                r = provider_fail_call(sts->run, sts->service.endpoint.host, response);
        else if (response->status == 200)
                r = read_success(sts, response);
        else
                r = read_failure(sts, response);
        if (r != -EINPROGRESS)
                provider_finish(sts->run);
}

static int sts_sign(StsCall *sts)
{
        HttpHeader *headers = sts->headers;
        headers[0] = (HttpHeader){"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"};
        sts->header_count = 1;
        if (!sts->keys)
                return 0;
        sigv4_headers_deinit(&sts->signature);
        Buf path = BUF_INIT(2048);
        (void)buf_appendf(&path, "%s/", sts->service.endpoint.base);
        int r = path.error;
        if (r == 0)
                r = sigv4_sign(
                        &(SigV4Request){
                                .method = "POST",
                                .host = sts->service.endpoint.host,
                                .path = buf_str(&path),
                                .headers = headers,
                                .header_count = 1,
                                .body = buf_str(&sts->form),
                                .body_len = sts->form.len,
                                .region = sts->service.endpoint.region,
                                .service = "sts",
                                .time_s = clock_wall_ns() / (int64_t)NS_PER_S + sts->skew_s,
                        },
                        sts->keys, &sts->signature);
        buf_deinit(&path);
        if (r < 0)
                return r;
        headers[sts->header_count++] = (HttpHeader){"Authorization", buf_str(&sts->signature.authorization)};
        headers[sts->header_count++] = (HttpHeader){"X-Amz-Date", sts->signature.date};
        if (sts->keys->session_token.data)
                headers[sts->header_count++] =
                        (HttpHeader){"X-Amz-Security-Token", sts->keys->session_token.data};
        return 0;
}

static int sts_send(StsCall *sts)
{
        int r = sts_sign(sts);
        if (r == -ENOMEM)
                return provider_no_memory(sts->run);
        if (r < 0)
                return fail(sts, CREDENTIALS_E_INVALID, "the call can't be signed",
                        "check the keys that are used for it");
        const ServiceRequest request = {
                .method = "POST",
                .headers = sts->headers,
                .header_count = sts->header_count,
                .body = &sts->form,
        };
        return service_call_send(&sts->service, &request, on_response, sts);
}

int sts_start(StsCall *sts, ProviderRun *run, const AwsKeys *keys)
{
        sts->run = run;
        sts->keys = keys;
        if (service_call_find(&sts->service, run, "sts", sts_region(run->context->config), "/") == 0)
                return 0;
        if (sts->form.error)
                return fail(sts, CREDENTIALS_E_INVALID, "a parameter is too long", "");
        return sts_send(sts);
}

void sts_stop(StsCall *sts)
{
        service_call_stop(&sts->service);
        sigv4_headers_deinit(&sts->signature);
        buf_deinit(&sts->form);
}
