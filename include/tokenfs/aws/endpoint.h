#pragma once
/* Which endpoint is called, and which region is signed for. Rules and order: design §2; those of the AWS SDKs. */

#include <stdbool.h>

#include "tokenfs/aws/config.h"
#include "tokenfs/base/buf.h"

typedef struct AwsEndpoint {
        char *url;    /* "https://host[:port][/base]", without a trailing slash */
        char *host;   /* as it goes into Host: with the port unless it is the scheme's own */
        char *base;   /* path prefix, "" if none */
        char *region; /* signing region */
        bool is_plain; /* http:// */
        const char *origin; /* what chose it, for people: "endpoint_url=", "AWS_ENDPOINT_URL", "default" … */
} AwsEndpoint;

/* What the user asked for; NULL / false where nothing. Borrowed. */
typedef struct AwsEndpointOptions {
        const char *region;       /* option; AWS_REGION doesn't count for the resolver's control plane */
        const char *endpoint_url; /* option */
        bool use_fips;            /* option; AWS_USE_FIPS_ENDPOINT and use_fips_endpoint in the config count too */
        bool allow_plain_http;    /* http:// to a host that isn't loopback */
} AwsEndpointOptions;

/* The endpoint of route53globalresolver. Returns 0, -ENOMEM, -EINVAL with `error` saying what was wrong and what to
 * do (a malformed URL, a custom endpoint with FIPS, plain http to a host that isn't loopback, a bad region). */
int aws_endpoint_resolver(const AwsEndpointOptions *options, const AwsConfig *config, Buf *error,
        AwsEndpoint *ret_endpoint);
/* The endpoint of another service ("sts", "sso", "sso-oidc") in `region`: AWS_ENDPOINT_URL_STS and so on, the shared
 * config's, else the service's own (FIPS and dual-stack respected). Errors as above. */
int aws_endpoint_service(const char *service, const char *region, const AwsConfig *config, Buf *error,
        AwsEndpoint *ret_endpoint);
/* Splits a URL into an endpoint (origin "endpoint_url="). -EINVAL with `error` if it is none. */
int aws_endpoint_parse(const char *url, Buf *error, AwsEndpoint *ret_endpoint);
void aws_endpoint_deinit(AwsEndpoint *endpoint);
