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
        char *host; /* for the Host header: with the port, unless it is the scheme's default */
        char *base; /* path prefix, "" if none */
        char *region; /* signing region */
        bool is_plain; /* http:// */
        const char *origin; /* the setting that names it, for people; a constant: see above */
} AwsEndpoint;

/* The options of the user; NULL or false: not given. Borrowed. */
typedef struct AwsEndpointOptions {
        const char *region; /* option; AWS_REGION doesn't count for the resolver's control plane */
        const char *endpoint_url; /* option */
        bool use_fips; /* option; AWS_USE_FIPS_ENDPOINT and use_fips_endpoint in the config count too */
        bool allow_plain_http; /* http:// to a host that isn't loopback */
} AwsEndpointOptions;

/* The endpoint of route53globalresolver. `config` NULL: none. Returns 0, -ENOMEM, or -EINVAL, and `error` names the
 * fault and the remedy. Faults: a malformed URL (which is not quoted), a custom endpoint with FIPS, plain http beyond
 * loopback, a bad region. Also a flag that is neither true nor false, and a missing services section. */
int aws_endpoint_resolver(
        const AwsEndpointOptions *options, const AwsConfig *config, Buf *error, AwsEndpoint *ret_endpoint);
/* The endpoint of another service ("sts", "sso", "sso-oidc", "signin") in `region`: of AWS_ENDPOINT_URL_STS and its
 * like, of the shared config, else the service's default name. FIPS and dual-stack count; `use_fips` as above. Errors
 * as above, but plain http is not refused: HttpRequest.allow_plain decides about it. */
int aws_endpoint_service(const char *service, const char *region, bool use_fips, const AwsConfig *config,
        Buf *error, AwsEndpoint *ret_endpoint);
/* Parses a URL into an endpoint with origin "endpoint_url=" and region "". 0, -ENOMEM, or -EINVAL, and `error` names
 * the fault. */
int aws_endpoint_parse(const char *url, Buf *error, AwsEndpoint *ret_endpoint);
/* 0 or -ENOMEM. */
int aws_endpoint_copy(const AwsEndpoint *endpoint, AwsEndpoint *ret_endpoint);
/* Also valid on zeroed memory. */
void aws_endpoint_deinit(AwsEndpoint *endpoint);
