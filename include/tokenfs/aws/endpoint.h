#pragma once
/* Which endpoint is called, and which region is signed for. Rules and order: design §2; those of the AWS SDKs.
 *
 * What is asked, in this order      | origin
 * ----------------------------------|----------------------------------------------------------------
 * the option (resolver only)        | "endpoint_url="
 * AWS_ENDPOINT_URL_<SERVICE>        | the variable's name
 * AWS_ENDPOINT_URL                  | "AWS_ENDPOINT_URL"
 * the profile's `services = NAME`   | "the [services] section of the config file"
 * the profile's `endpoint_url`      | "endpoint_url of the profile"
 * service, region and partition     | "default"
 *
 * AWS_IGNORE_CONFIGURED_ENDPOINT_URLS (or ignore_configured_endpoint_urls in the profile) turns off all but the first
 * and the last. FIPS: the option, AWS_USE_FIPS_ENDPOINT, the profile's use_fips_endpoint; dual-stack (STS, SSO):
 * AWS_USE_DUALSTACK_ENDPOINT, use_dualstack_endpoint. Variables that are empty count as unset. */

#include <stdbool.h>

#include "tokenfs/aws/config.h"
#include "tokenfs/base/buf.h"

typedef struct AwsEndpoint {
        char *url; /* "https://host[:port][/base]", without a trailing slash */
        char *host; /* as it goes into Host: with the port unless it is the scheme's own */
        char *base; /* path prefix, "" if none */
        char *region; /* signing region */
        bool is_plain; /* http:// */
        const char *origin; /* what chose it, for people; a constant: see above */
} AwsEndpoint;

/* What the user asked for; NULL / false where nothing. Borrowed. */
typedef struct AwsEndpointOptions {
        const char *region; /* option; AWS_REGION doesn't count for the resolver's control plane */
        const char *endpoint_url; /* option */
        bool use_fips; /* option; AWS_USE_FIPS_ENDPOINT and use_fips_endpoint in the config count too */
        bool allow_plain_http; /* http:// to a host that isn't loopback */
} AwsEndpointOptions;

/* The endpoint of route53globalresolver. `config` may be NULL: none. Returns 0, -ENOMEM, -EINVAL with `error` saying
 * what was wrong and what to do (a malformed URL, which isn't quoted; a custom endpoint with FIPS; plain http to a host
 * that isn't loopback; a bad region; a flag that is neither true nor false; a services section that isn't there). */
int aws_endpoint_resolver(
        const AwsEndpointOptions *options, const AwsConfig *config, Buf *error, AwsEndpoint *ret_endpoint);
/* The endpoint of another service ("sts", "sso", "sso-oidc", "signin") in `region`: AWS_ENDPOINT_URL_STS and so on, the shared
 * config's, else the service's own (FIPS and dual-stack respected; `use_fips` as above). Errors as above, but plain http
 * isn't refused here: HttpRequest.allow_plain says whether the call may be made. */
int aws_endpoint_service(const char *service, const char *region, bool use_fips, const AwsConfig *config,
        Buf *error, AwsEndpoint *ret_endpoint);
/* Splits a URL into an endpoint (origin "endpoint_url=", region ""). 0, -ENOMEM, -EINVAL with `error` if it is none. */
int aws_endpoint_parse(const char *url, Buf *error, AwsEndpoint *ret_endpoint);
/* Right on zeroed memory too. */
void aws_endpoint_deinit(AwsEndpoint *endpoint);
