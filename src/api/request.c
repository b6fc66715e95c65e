/* The request of an operation, and the words for its failure.
 *
 * An operation is a row of a table: its name, which is also its IAM action, and its path. The client checks ids before;
 * they are percent-encoded all the same, so that the signed path is the path that is sent. */

#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tokenfs/base/secret.h"

#include "page.h"

#define SERVICE "route53globalresolver"
#define PAGE_SIZE "100"
#define TOKEN_BODY_MAX ((size_t)64 * 1024)
#define URL_MAX ((size_t)16 * 1024)

static const struct {
        const char *name, *path;
        bool has_id, has_pages;
} operations[API_OPERATION_COUNT] = {
        [API_GET_ACCESS_TOKEN] = {"GetAccessToken", "/tokens/", true, false},
        [API_LIST_ACCESS_TOKENS] = {"ListAccessTokens", "/tokens/dns-view/", true, true},
        [API_LIST_DNS_VIEWS] = {"ListDNSViews", "/dns-views/resolver/", true, true},
        [API_LIST_SHARED_DNS_VIEWS] = {"ListSharedDNSViews", "/shared-dns-views", false, true},
        [API_LIST_GLOBAL_RESOLVERS] = {"ListGlobalResolvers", "/global-resolver", false, true},
        [API_GET_GLOBAL_RESOLVER] = {"GetGlobalResolver", "/global-resolver/", true, false},
};

const char *api_operation_name(ApiOperation operation)
{
        return operations[operation].name;
}

bool api_operation_has_id(ApiOperation operation)
{
        return operations[operation].has_id;
}

ApiError api_operation_error(ApiOperation operation, const ApiFailure *failure)
{
        bool is_list = operations[operation].has_pages;
        if (!is_list)
                return failure->error == API_E_REFUSED ? API_E_NOT_FOUND : failure->error;
        if (operation == API_LIST_SHARED_DNS_VIEWS && strcmp(failure->type, "UnknownOperationException") == 0)
                return API_OK;
        bool is_branch_gone =
                operations[operation].has_id && strncmp(failure->type, "ResourceNotFound", 16) == 0;
        return failure->error == API_E_NOT_FOUND && !is_branch_gone ? API_E_REFUSED : failure->error;
}

size_t api_operation_response_max(ApiOperation operation)
{
        return operations[operation].has_pages ? PAGE_BODY_MAX : TOKEN_BODY_MAX;
}

/* The path below the endpoint's base, and the query. */
static int append_target(
        ApiOperation operation, const char *id, const char *next_token, Buf *path, Buf *query)
{
        (void)buf_append_str(path, operations[operation].path);
        if (operations[operation].has_id)
                (void)buf_append_uri(path, id, strlen(id), "");
        if (operations[operation].has_pages) {
                (void)buf_append_str(query, "max_results=" PAGE_SIZE);
                if (next_token) {
                        (void)buf_append_str(query, "&next_token=");
                        (void)buf_append_uri(query, next_token, strlen(next_token), "");
                }
        }
        return path->error ? path->error : query->error;
}

int api_request_build(ApiOperation operation, const AwsEndpoint *endpoint, const char *id,
        const char *next_token, const AwsKeys *keys, int64_t time_s, ApiRequest *ret_request)
{
        CLEANUP(buf_deinit) Buf path = BUF_INIT(URL_MAX);
        CLEANUP(buf_deinit) Buf query = BUF_INIT(URL_MAX);
        CLEANUP(buf_deinit) Buf url = BUF_INIT(URL_MAX);
        (void)buf_append_str(&path, endpoint->base);
        int r = append_target(operation, id, next_token, &path, &query);
        if (r < 0)
                return r;
        /* The endpoint's URL ends with its base, which the signed path begins with. */
        (void)buf_appendf(&url, "%s%s", endpoint->url, buf_str(&path) + strlen(endpoint->base));
        if (query.len)
                (void)buf_appendf(&url, "?%s", buf_str(&query));
        if (url.error)
                return url.error;

        ApiRequest request = {0};
        r = sigv4_sign(
                &(SigV4Request){
                        .method = "GET",
                        .host = endpoint->host,
                        .path = buf_str(&path),
                        .query = query.len ? buf_str(&query) : NULL,
                        .region = endpoint->region,
                        .service = SERVICE,
                        .time_s = time_s,
                },
                keys, &request.signature);
        if (r < 0)
                return r;
        request.url = url;
        url = BUF_INIT(0);
        *ret_request = request;
        HttpHeader *headers = ret_request->headers;
        headers[0] = (HttpHeader){"Authorization", buf_str(&ret_request->signature.authorization)};
        headers[1] = (HttpHeader){"X-Amz-Date", ret_request->signature.date};
        headers[2] = (HttpHeader){"X-Amz-Security-Token", keys->session_token.data};
        ret_request->header_count = keys->session_token.data ? 3 : 2;
        return 0;
}

void api_request_deinit(ApiRequest *request)
{
        buf_deinit(&request->url);
        sigv4_headers_deinit(&request->signature);
}

uint64_t api_keys_fingerprint(const AwsKeys *keys)
{
        CLEANUP(buf_deinit) Buf text = BUF_INIT((size_t)64 * 1024);
        unsigned char digest[32];
        uint64_t fingerprint;
        (void)buf_append(&text, keys->access_key_id, strlen(keys->access_key_id) + 1);
        (void)buf_append(&text, keys->secret_access_key.data, keys->secret_access_key.len);
        (void)buf_append_char(&text, '\0');
        (void)buf_append(&text, keys->session_token.data, keys->session_token.len);
        if (text.error || sigv4_sha256(text.data, text.len, digest) < 0)
                return 0;
        memcpy(&fingerprint, digest, sizeof fingerprint);
        return fingerprint | 1;
}

static const char *remedy(ApiError error, int status, bool is_skew)
{
        switch (error) {
        case API_E_ACCESS_DENIED: return "the credentials' policy must allow the IAM action " SERVICE ":";
        case API_E_CREDENTIALS_EXPIRED: return "the credentials must be renewed";
        case API_E_CREDENTIALS_REJECTED:
                return is_skew ? "the clock of this machine is off: set it right"
                               : "check the access key, its secret, its session token and the region signed "
                                 "for (region=)";
        case API_E_REFUSED: return "check endpoint_url=, region= and the release of this program";
        case API_E_THROTTLED: return "fewer tokens or a longer ttl= mean fewer calls";
        case API_E_UNREACHABLE: return "check network, name service, proxy and endpoint_url=";
        case API_E_TLS: return "check the endpoint, ca_bundle= and the clock of this machine";
        case API_E_MALFORMED:
                return status == 200 ? "" : "this isn't the service: check endpoint_url= and the proxy";
        default: return "";
        }
}

void api_explain(ApiOperation operation, ApiError error, int status, const ApiFailure *failure,
        const char *what, char text[static API_DETAIL_MAX])
{
        bool is_skew = failure && failure->is_skew;
        const char *type = failure ? failure->type : "", *message = failure ? failure->message : "";
        const char *todo = remedy(error, status, is_skew);
        CLEANUP(buf_deinit) Buf line = BUF_INIT(API_DETAIL_MAX - 1);
        (void)buf_append_str(&line, operations[operation].name);
        if (*type)
                (void)buf_appendf(&line, ": %s", type);
        if (status && status != 200)
                (void)buf_appendf(&line, "%s HTTP %d", *type ? "," : ":", status);
        if (*message)
                (void)buf_appendf(&line, ": %s", message);
        if (failure && *failure->reason)
                (void)buf_appendf(&line, " (%s)", failure->reason);
        if (*what)
                (void)buf_appendf(&line, ": %.200s", what);
        if (*todo)
                (void)buf_appendf(&line, "; %s%s", todo,
                        error == API_E_ACCESS_DENIED ? operations[operation].name : "");
        (void)snprintf(text, API_DETAIL_MAX, "%s", buf_str(&line));
}
