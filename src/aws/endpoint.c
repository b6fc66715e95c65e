/* Which endpoint a service is called at.
 *
 * The first of these counts: the option, the service's variable, AWS_ENDPOINT_URL, the profile's `[services]` section,
 * the profile's endpoint_url. AWS_IGNORE_CONFIGURED_ENDPOINT_URLS turns off all but the option. A custom endpoint
 * together with FIPS is an error, as nothing shows that it has FIPS; so is dual-stack, for services with both kinds of
 * names. Otherwise the name consists of the service, the region and the partition's suffix, by the rules of the SDKs.
 *
 * The resolver's names exist in the dual-stack zone only, and its control plane in one region. So AWS_REGION and a
 * profile's `region`, which are for other services, don't count for it. STS also has an endpoint without a region, for
 * the pseudo region aws-global, which is signed for us-east-1.
 *
 * A region becomes part of a host name that secrets are sent to: anything but letters, digits and hyphens is
 * refused. */

#include "tokenfs/aws/endpoint.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/aws/environment.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/net/http.h"

#define RESOLVER_REGION "us-east-2"
#define GLOBAL_REGION "aws-global"
#define GLOBAL_SIGNING_REGION "us-east-1"

typedef struct Service {
        const char *name;
        const char *host, *fips_host; /* first labels of its host names */
        const char *variable;
        const char *config_key; /* in a [services] section */
        bool has_dual_stack_only; /* else it has both kinds of names */
        const char *global_url; /* of the endpoint without a region; NULL: none */
        bool is_sign_in; /* has the partition's `sign_in` names */
} Service;

static const Service services[] = {
        {"route53globalresolver", "route53globalresolver", "route53globalresolver-fips",
                "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER", "route53globalresolver", true, NULL, false},
        {"sts", "sts", "sts-fips", "AWS_ENDPOINT_URL_STS", "sts", false, "https://sts.amazonaws.com", false},
        {"sso", "portal.sso", "portal.sso-fips", "AWS_ENDPOINT_URL_SSO", "sso", false, NULL, false},
        {"sso-oidc", "oidc", "oidc-fips", "AWS_ENDPOINT_URL_SSO_OIDC", "sso_oidc", false, NULL, false},
        {"signin", "signin", "signin-fips", "AWS_ENDPOINT_URL_SIGNIN", "signin", false, NULL, true},
};

/* The partition of all regions with this prefix; the last has all other regions. */
typedef struct Partition {
        const char *region_prefix;
        const char *suffix, *dual_stack_suffix;
        const char *sign_in, *sign_in_fips; /* NULL: named like other services */
        bool is_all_fips; /* the ordinary names are the FIPS names */
} Partition;

static const Partition partitions[] = {
        {"cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn", "signin.amazonaws.cn", NULL, false},
        {"us-gov-", "amazonaws.com", "api.aws", "signin.amazonaws-us-gov.com",
                "signin-fips.amazonaws-us-gov.com", true},
        {"us-iso-", "c2s.ic.gov", "api.aws.ic.gov", "signin.c2shome.ic.gov", NULL, false},
        {"us-isob-", "sc2s.sgov.gov", "api.aws.scloud", "signin.sc2shome.sgov.gov", NULL, false},
        {"us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov", "signin.csphome.hci.ic.gov", NULL, false},
        {"eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk", "signin.csphome.adc-e.uk", NULL, false},
        {"eusc-", "amazonaws.eu", "api.amazonwebservices.eu", "signin.amazonaws-eusc.eu", NULL, false},
        {"", "amazonaws.com", "api.aws", "signin.aws.amazon.com", NULL, false},
};

/* A flag, and the setting that it comes from; NULL: no setting. */
typedef struct Flag {
        bool is_set;
        const char *origin;
} Flag;

/* A custom URL; NULL: none. */
typedef struct OwnUrl {
        const char *url, *origin;
} OwnUrl;

static int fail(Buf *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(Buf *error, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        (void)buf_vappendf(error, format, args);
        va_end(args);
        return -EINVAL;
}

static const char *comment_hint(const char *value)
{
        return aws_value_has_comment(value) ? "; the AWS tools take a comment behind a value as part of it"
                                            : "";
}

/* --- What is configured ------------------------------------------------------------------------------------- */

/* The value of a key of the chosen profile; NULL: none, or empty. */
static const char *profile_get(const AwsConfig *config, const char *key)
{
        const char *value = config ? aws_config_get(config, aws_config_profile(config), key) : NULL;
        return value && *value ? value : NULL;
}

/* The variable, else the profile's key. Any word but yes and no is refused: a typing error must not turn FIPS off. */
static int read_flag(
        const char *variable, const char *key, const AwsConfig *config, Buf *error, Flag *ret_flag)
{
        const char *value = environment_get(variable), *origin = variable;
        if (!value) {
                value = profile_get(config, key);
                origin = key;
        }
        Flag flag = {.origin = origin};
        if (value && parse_bool(value, &flag.is_set) < 0)
                return fail(error, "%s must be true or false%s", origin, comment_hint(value));
        *ret_flag = flag;
        return 0;
}

/* A services section that the profile names must exist: without it, the calls would go elsewhere. */
static int find_in_services(const Service *service, const AwsConfig *config, Buf *error, OwnUrl *ret_own)
{
        const char *name = profile_get(config, "services");
        if (!name)
                return 0;
        if (!aws_config_has_services(config, name))
                return fail(error,
                        "the profile says services = %.64s, but there is no section [services %.64s] in %s",
                        name, name, aws_config_config_file(config));
        const char *url = aws_config_get_service(config, name, service->config_key, "endpoint_url");
        if (url && *url)
                *ret_own = (OwnUrl){url, "the [services] section of the config file"};
        return 0;
}

static int find_own_url(const Service *service, const AwsConfig *config, Buf *error, OwnUrl *ret_own)
{
        Flag ignore = {false, NULL};
        int r = read_flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls", config,
                error, &ignore);
        OwnUrl own = {NULL, NULL};
        if (r == 0 && !ignore.is_set) {
                own = (OwnUrl){environment_get(service->variable), service->variable};
                if (!own.url)
                        own = (OwnUrl){environment_get("AWS_ENDPOINT_URL"), "AWS_ENDPOINT_URL"};
                if (!own.url)
                        r = find_in_services(service, config, error, &own);
                if (r == 0 && !own.url)
                        own = (OwnUrl){profile_get(config, "endpoint_url"), "endpoint_url of the profile"};
        }
        if (r == 0)
                *ret_own = own;
        return r;
}

/* --- Making an endpoint ------------------------------------------------------------------------------------- */

static bool is_region(const char *region)
{
        size_t len = strlen(region);
        bool only_digits = true;
        for (const char *c = region; *c; c++) {
                bool is_letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
                if (!is_letter && !(*c >= '0' && *c <= '9') && *c != '-')
                        return false;
                only_digits &= *c >= '0' && *c <= '9';
        }
        return len >= 1 && len <= 63 && !only_digits && *region != '-' && region[len - 1] != '-';
}

static const Partition *partition_of(const char *region)
{
        const Partition *partition = partitions;
        while (strncmp(region, partition->region_prefix, strlen(partition->region_prefix)) != 0)
                partition++;
        return partition;
}

/* The name of the FIPS endpoint of this region has no region. */
#define SIGN_IN_FIPS_REGION "us-gov-west-1"

static int append_own_name(
        const Service *service, const char *region, bool use_fips, bool use_dual_stack, Buf *url)
{
        const Partition *partition = partition_of(region);
        use_dual_stack |= service->has_dual_stack_only;
        const char *suffix = use_dual_stack ? partition->dual_stack_suffix : partition->suffix;
        const char *sign_in = use_fips ? partition->sign_in_fips : partition->sign_in;
        if (service->is_sign_in && sign_in && !use_dual_stack) {
                bool has_region = !use_fips || strcmp(region, SIGN_IN_FIPS_REGION) != 0;
                return buf_appendf(
                        url, "https://%s%s%s", has_region ? region : "", has_region ? "." : "", sign_in);
        }
        bool has_fips_name = use_dual_stack || !partition->is_all_fips;
        return buf_appendf(url, "https://%s.%s.%s",
                use_fips && has_fips_name ? service->fips_host : service->host, region, suffix);
}

/* Parses a URL; the error names its origin. */
static int parse_from(
        const char *url, const char *origin, const char *region, Buf *error, AwsEndpoint *ret_endpoint)
{
        CLEANUP(buf_deinit) Buf detail = BUF_INIT(256);
        AwsEndpoint endpoint;
        int r = aws_endpoint_parse(url, &detail, &endpoint);
        if (r == -EINVAL)
                return fail(error, "%s: %s", origin, buf_str(&detail));
        if (r < 0)
                return r;
        free(endpoint.region);
        endpoint.region = strdup(region);
        endpoint.origin = origin;
        if (!endpoint.region) {
                aws_endpoint_deinit(&endpoint);
                return -ENOMEM;
        }
        *ret_endpoint = endpoint;
        return 0;
}

/* `own` has the option's URL; NULL: the configuration decides. `fips` likewise. */
static int resolve(const Service *service, const char *region, OwnUrl own, Flag fips, const AwsConfig *config,
        Buf *error, AwsEndpoint *ret_endpoint)
{
        if (!is_region(region))
                return fail(error, "'%.64s' is no region: letters, digits and hyphens, as in us-east-2%s",
                        region, comment_hint(region));
        Flag dual_stack = {false, NULL};
        int r = fips.is_set ? 0
                            : read_flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint", config, error, &fips);
        if (r == 0 && !service->has_dual_stack_only)
                r = read_flag(
                        "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint", config, error, &dual_stack);
        if (r == 0 && !own.url)
                r = find_own_url(service, config, error, &own);
        if (r < 0)
                return r;
        if (own.url && (fips.is_set || dual_stack.is_set))
                return fail(error, "%s and %s exclude each other; leave one of them out", own.origin,
                        fips.is_set ? fips.origin : dual_stack.origin);
        bool is_global = service->global_url && strcmp(region, GLOBAL_REGION) == 0;
        const char *signing_region = is_global ? GLOBAL_SIGNING_REGION : region;
        if (own.url)
                return parse_from(own.url, own.origin, signing_region, error, ret_endpoint);
        if (is_global && !fips.is_set && !dual_stack.is_set)
                return parse_from(service->global_url, "default", signing_region, error, ret_endpoint);

        CLEANUP(buf_deinit) Buf url = BUF_INIT(512);
        r = append_own_name(service, signing_region, fips.is_set, dual_stack.is_set, &url);
        return r < 0 ? r : parse_from(url.data, "default", signing_region, error, ret_endpoint);
}

static bool host_is_loopback(const AwsEndpoint *endpoint)
{
        const char *host = endpoint->host;
        size_t len = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
        char name[256];
        if (len >= sizeof name)
                return false;
        memcpy(name, host, len);
        name[len] = '\0';
        return http_host_is_loopback(name);
}

int aws_endpoint_resolver(
        const AwsEndpointOptions *options, const AwsConfig *config, Buf *error, AwsEndpoint *ret_endpoint)
{
        const char *region = options->region ? options->region : RESOLVER_REGION;
        AwsEndpoint endpoint = {0};
        int r = resolve(&services[0], region, (OwnUrl){options->endpoint_url, "endpoint_url="},
                (Flag){options->use_fips, "use_fips"}, config, error, &endpoint);
        if (r < 0)
                return r;
        if (endpoint.is_plain && !options->allow_plain_http && !host_is_loopback(&endpoint)) {
                (void)fail(error,
                        "%s: http:// beyond this host sends secrets unencrypted; use https://, or say "
                        "allow_plain_http",
                        endpoint.origin);
                aws_endpoint_deinit(&endpoint);
                return -EINVAL;
        }
        *ret_endpoint = endpoint;
        return 0;
}

int aws_endpoint_service(const char *service, const char *region, bool use_fips, const AwsConfig *config,
        Buf *error, AwsEndpoint *ret_endpoint)
{
        for (size_t i = 1; i < ARRAY_LEN(services); i++)
                if (strcmp(services[i].name, service) == 0)
                        return resolve(&services[i], region, (OwnUrl){NULL, NULL},
                                (Flag){use_fips, "use_fips"}, config, error, ret_endpoint);
        return fail(error, "no endpoint is known of a service %.64s", service);
}
