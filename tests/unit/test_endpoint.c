/* Endpoints: the names that botocore's rules give (endpoint_vectors.py), what is asked in which order, what is refused,
 * and URLs taken apart. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/aws/endpoint.h"
#include "tokenfs/base/cleanup.h"
#include "vectors.h"

static const char *const variables[] = {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER",
        "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_SSO", "AWS_ENDPOINT_URL_SSO_OIDC",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"};

static int setup(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(variables); i++)
                unsetenv(variables[i]);
        return 0;
}

/* The configuration that a config file of this text gives. */
static AwsConfig *config_of(const char *text)
{
        char path[] = "/tmp/test-endpoint-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
        AwsConfig *config = NULL;
        Buf error = BUF_INIT(1000);
        assert_int_equal(aws_config_load(&(AwsConfigPaths){path, "/nonexistent", NULL}, &error, &config), 0);
        buf_deinit(&error);
        unlink(path);
        return config;
}

static void expect(const AwsEndpoint *endpoint, const char *url, const char *region, const char *origin)
{
        assert_string_equal(endpoint->url, url);
        assert_string_equal(endpoint->region, region);
        assert_string_equal(endpoint->origin, origin);
}

/* The resolver's endpoint with these options is this URL, from there. */
static void expect_resolver(
        const AwsEndpointOptions *options, const AwsConfig *config, const char *url, const char *origin)
{
        AwsEndpoint endpoint;
        Buf error = BUF_INIT(1000);
        if (aws_endpoint_resolver(options, config, &error, &endpoint) < 0)
                fail_msg("%s", buf_str(&error));
        expect(&endpoint, url, options->region ? options->region : "us-east-2", origin);
        aws_endpoint_deinit(&endpoint);
        buf_deinit(&error);
}

/* It is refused, and the message says this. */
static void expect_refused(const AwsEndpointOptions *options, const AwsConfig *config, const char *message)
{
        AwsEndpoint endpoint;
        CLEANUP(buf_deinit) Buf error = BUF_INIT(1000);
        assert_int_equal(aws_endpoint_resolver(options, config, &error, &endpoint), -EINVAL);
        if (!strstr(buf_str(&error), message))
                fail_msg("\"%s\" doesn't say \"%s\"", buf_str(&error), message);
}

static void expect_service(
        const char *service, const char *region, const AwsConfig *config, const char *url, const char *origin)
{
        AwsEndpoint endpoint;
        Buf error = BUF_INIT(1000);
        if (aws_endpoint_service(service, region, false, config, &error, &endpoint) < 0)
                fail_msg("%s", buf_str(&error));
        expect(&endpoint, url, region, origin);
        aws_endpoint_deinit(&endpoint);
        buf_deinit(&error);
}

static int refused_service(const char *service, const char *region, const AwsConfig *config)
{
        AwsEndpoint endpoint;
        CLEANUP(buf_deinit) Buf error = BUF_INIT(1000);
        int r = aws_endpoint_service(service, region, false, config, &error, &endpoint);
        if (r == 0)
                aws_endpoint_deinit(&endpoint);
        else
                assert_true(error.len > 0);
        return r;
}

static const AwsEndpointOptions nothing;

/* --- The services' own names -------------------------------------------------------------------------------- */

static void check_vector(char *line)
{
        char *fields[5];
        for (size_t i = 0; i < 5; i++) {
                fields[i] = line;
                line += strcspn(line, " ");
                if (*line)
                        *line++ = '\0';
        }
        setenv("AWS_USE_FIPS_ENDPOINT", *fields[2] == '1' ? "true" : "false", 1);
        setenv("AWS_USE_DUALSTACK_ENDPOINT", *fields[3] == '1' ? "true" : "false", 1);
        if (strcmp(fields[4], "-") == 0)
                assert_int_equal(refused_service(fields[0], fields[1], NULL), -EINVAL);
        else
                expect_service(fields[0], fields[1], NULL, fields[4], "default");
}

static void test_names_are_those_of_botocore(void **state)
{
        (void)state;
        Vectors vectors;
        size_t checked = 0;
        vectors_open(&vectors, TESTS_DIR "/endpoint_vectors.py");
        for (; vectors_next(&vectors); checked++)
                check_vector(vectors.line);
        vectors_close(&vectors);
        assert_true(checked > 130);
}

static void test_resolver_names(void **state)
{
        (void)state;
        setenv("AWS_REGION", "eu-west-1", 1);
        setenv("AWS_USE_DUALSTACK_ENDPOINT", "false", 1);
        AwsConfig *config = config_of("[default]\nregion = eu-west-1\n");
        expect_resolver(&nothing, config, "https://route53globalresolver.us-east-2.api.aws", "default");
        aws_config_free(config);
        expect_resolver(&(AwsEndpointOptions){.region = "eu-west-3"}, NULL,
                "https://route53globalresolver.eu-west-3.api.aws", "default");
        expect_resolver(&(AwsEndpointOptions){.region = "cn-north-1"}, NULL,
                "https://route53globalresolver.cn-north-1.api.amazonwebservices.com.cn", "default");
        expect_resolver(&(AwsEndpointOptions){.use_fips = true}, NULL,
                "https://route53globalresolver-fips.us-east-2.api.aws", "default");
        static const char *const isolated[][2] = {
                {"us-iso-east-1", "api.aws.ic.gov"},
                {"us-isob-east-1", "api.aws.scloud"},
                {"eu-isoe-west-1", "api.cloud-aws.adc-e.uk"},
                {"us-isof-south-1", "api.aws.hci.ic.gov"},
        };
        for (size_t i = 0; i < ARRAY_LEN(isolated); i++) {
                char url[200];
                (void)snprintf(url, sizeof url, "https://route53globalresolver.%s.%s", isolated[i][0],
                        isolated[i][1]);
                expect_resolver(&(AwsEndpointOptions){.region = isolated[i][0]}, NULL, url, "default");
        }
}

/* The rules of the service's own model, newer than many a botocore. */
static void test_sign_in_names(void **state)
{
        (void)state;
        static const struct {
                const char *region, *fips, *url;
        } cases[] = {
                {"eu-central-1", "false", "https://eu-central-1.signin.aws.amazon.com"},
                {"cn-north-1", "false", "https://cn-north-1.signin.amazonaws.cn"},
                {"us-gov-west-1", "false", "https://us-gov-west-1.signin.amazonaws-us-gov.com"},
                {"us-iso-east-1", "false", "https://us-iso-east-1.signin.c2shome.ic.gov"},
                {"us-isob-east-1", "false", "https://us-isob-east-1.signin.sc2shome.sgov.gov"},
                {"eu-isoe-west-1", "false", "https://eu-isoe-west-1.signin.csphome.adc-e.uk"},
                {"us-isof-south-1", "false", "https://us-isof-south-1.signin.csphome.hci.ic.gov"},
                {"eusc-de-east-1", "false", "https://eusc-de-east-1.signin.amazonaws-eusc.eu"},
                {"us-gov-west-1", "true", "https://signin-fips.amazonaws-us-gov.com"},
                {"us-gov-east-1", "true", "https://us-gov-east-1.signin-fips.amazonaws-us-gov.com"},
                {"us-east-1", "true", "https://signin-fips.us-east-1.amazonaws.com"},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                setenv("AWS_USE_FIPS_ENDPOINT", cases[i].fips, 1);
                expect_service("signin", cases[i].region, NULL, cases[i].url, "default");
        }
        setenv("AWS_USE_FIPS_ENDPOINT", "false", 1);
        setenv("AWS_ENDPOINT_URL_SIGNIN", "https://own", 1);
        expect_service("signin", "eu-central-1", NULL, "https://own", "AWS_ENDPOINT_URL_SIGNIN");
        unsetenv("AWS_ENDPOINT_URL_SIGNIN");
        AwsConfig *config =
                config_of("[default]\nservices = x\n[services x]\nsignin =\n  endpoint_url = https://its\n");
        expect_service(
                "signin", "eu-central-1", config, "https://its", "the [services] section of the config file");
        aws_config_free(config);
}

/* botocore would look for its FIPS and dual-stack names in a region aws-global, where there are none. */
static void test_sts_without_a_region(void **state)
{
        (void)state;
        static const struct {
                const char *variable, *value, *url;
        } cases[] = {
                {"AWS_ENDPOINT_URL_STS", "", "https://sts.amazonaws.com"},
                {"AWS_ENDPOINT_URL_STS", "https://own", "https://own"},
                {"AWS_USE_FIPS_ENDPOINT", "true", "https://sts-fips.us-east-1.amazonaws.com"},
                {"AWS_USE_DUALSTACK_ENDPOINT", "true", "https://sts.us-east-1.api.aws"},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                AwsEndpoint endpoint;
                CLEANUP(buf_deinit) Buf error = BUF_INIT(1000);
                setenv(cases[i].variable, cases[i].value, 1);
                assert_int_equal(
                        aws_endpoint_service("sts", "aws-global", false, NULL, &error, &endpoint), 0);
                assert_string_equal(endpoint.url, cases[i].url);
                assert_string_equal(endpoint.region, "us-east-1");
                aws_endpoint_deinit(&endpoint);
                unsetenv(cases[i].variable);
        }
}

static void test_fips_names_of_identity_center_in_govcloud(void **state)
{
        (void)state;
        setenv("AWS_USE_FIPS_ENDPOINT", "true", 1);
        expect_service(
                "sso", "us-gov-west-1", NULL, "https://portal.sso.us-gov-west-1.amazonaws.com", "default");
        expect_service(
                "sso-oidc", "us-gov-east-1", NULL, "https://oidc.us-gov-east-1.amazonaws.com", "default");
}

/* --- Order -------------------------------------------------------------------------------------------------- */

/* Takes away one after the other, from the first that is asked. */
static void test_order(void **state)
{
        (void)state;
        setenv("AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER", "https://two", 1);
        setenv("AWS_ENDPOINT_URL", "https://three", 1);
        setenv("AWS_ENDPOINT_URL_STS", "https://sts-two", 1);
        AwsConfig *config =
                config_of("[default]\nservices = local\nendpoint_url = https://five\n"
                          "[services local]\nroute53globalresolver =\n  endpoint_url = https://four\n"
                          "sso_oidc =\n  endpoint_url = https://oidc-four\n");
        expect_resolver(
                &(AwsEndpointOptions){.endpoint_url = "https://one"}, config, "https://one", "endpoint_url=");
        expect_resolver(&nothing, config, "https://two", "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER");
        expect_service("sts", "r-1", config, "https://sts-two", "AWS_ENDPOINT_URL_STS");
        unsetenv("AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER");
        expect_resolver(&nothing, config, "https://three", "AWS_ENDPOINT_URL");
        expect_service("sso-oidc", "r-1", config, "https://three", "AWS_ENDPOINT_URL");
        setenv("AWS_ENDPOINT_URL", "", 1);
        expect_resolver(&nothing, config, "https://four", "the [services] section of the config file");
        expect_service(
                "sso-oidc", "r-1", config, "https://oidc-four", "the [services] section of the config file");
        expect_service("sso", "r-1", config, "https://five", "endpoint_url of the profile");
        aws_config_free(config);

        config = config_of("[default]\nendpoint_url = https://five\n");
        expect_resolver(&nothing, config, "https://five", "endpoint_url of the profile");
        aws_config_free(config);
        config = config_of("[default]\nendpoint_url =\n[profile other]\nendpoint_url = https://other\n");
        expect_resolver(&nothing, config, "https://route53globalresolver.us-east-2.api.aws", "default");
        aws_config_free(config);
}

static void test_configured_urls_can_be_ignored(void **state)
{
        (void)state;
        const char *own = "https://route53globalresolver.us-east-2.api.aws";
        setenv("AWS_ENDPOINT_URL", "https://three", 1);
        AwsConfig *config =
                config_of("[default]\nignore_configured_endpoint_urls = TRUE\nendpoint_url = https://five\n");
        expect_resolver(&nothing, config, own, "default");
        expect_service("sts", "us-east-1", config, "https://sts.us-east-1.amazonaws.com", "default");
        expect_resolver(
                &(AwsEndpointOptions){.endpoint_url = "https://one"}, config, "https://one", "endpoint_url=");
        setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false", 1);
        expect_resolver(&nothing, config, "https://three", "AWS_ENDPOINT_URL");
        aws_config_free(config);
        setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1);
        expect_resolver(&nothing, NULL, own, "default");
}

static void test_missing_services_section(void **state)
{
        (void)state;
        AwsConfig *config = config_of("[default]\nservices = nowhere\n[services local]\nx = y\n");
        expect_refused(&nothing, config, "[services nowhere]");
        assert_int_equal(refused_service("sts", "us-east-1", config), -EINVAL);
        setenv("AWS_ENDPOINT_URL", "https://three", 1);
        expect_resolver(&nothing, config, "https://three", "AWS_ENDPOINT_URL");
        aws_config_free(config);
}

/* --- FIPS and dual-stack ------------------------------------------------------------------------------------ */

static void test_flags_come_from_everywhere(void **state)
{
        (void)state;
        const char *fips = "https://route53globalresolver-fips.us-east-2.api.aws";
        AwsConfig *config = config_of("[default]\nuse_fips_endpoint = true\nuse_dualstack_endpoint = true\n");
        expect_resolver(&nothing, config, fips, "default");
        expect_service("sts", "us-east-1", config, "https://sts-fips.us-east-1.api.aws", "default");
        setenv("AWS_USE_FIPS_ENDPOINT", "false", 1);
        expect_service("sts", "us-east-1", config, "https://sts.us-east-1.api.aws", "default");
        expect_resolver(&(AwsEndpointOptions){.use_fips = true}, config, fips, "default");
        aws_config_free(config);
        setenv("AWS_USE_FIPS_ENDPOINT", "True", 1);
        expect_resolver(&nothing, NULL, fips, "default");
        setenv("AWS_USE_FIPS_ENDPOINT", "ture", 1);
        expect_refused(&nothing, NULL, "AWS_USE_FIPS_ENDPOINT must be true or false");
}

static void test_use_fips_is_for_all_services(void **state)
{
        (void)state;
        AwsEndpoint endpoint;
        CLEANUP(buf_deinit) Buf error = BUF_INIT(1000);
        assert_int_equal(aws_endpoint_service("sts", "us-east-1", true, NULL, &error, &endpoint), 0);
        expect(&endpoint, "https://sts-fips.us-east-1.amazonaws.com", "us-east-1", "default");
        aws_endpoint_deinit(&endpoint);
        setenv("AWS_ENDPOINT_URL_STS", "https://two", 1);
        assert_int_equal(aws_endpoint_service("sts", "us-east-1", true, NULL, &error, &endpoint), -EINVAL);
        assert_string_equal(buf_str(&error),
                "AWS_ENDPOINT_URL_STS and use_fips exclude each other; leave one of them out");
}

static void test_own_url_with_fips_or_dual_stack(void **state)
{
        (void)state;
        expect_refused(&(AwsEndpointOptions){.endpoint_url = "https://one", .use_fips = true}, NULL,
                "endpoint_url= and use_fips exclude each other");
        setenv("AWS_USE_FIPS_ENDPOINT", "true", 1);
        expect_refused(&(AwsEndpointOptions){.endpoint_url = "https://one"}, NULL, "AWS_USE_FIPS_ENDPOINT");
        AwsConfig *config = config_of("[default]\nendpoint_url = https://five\n");
        expect_refused(&nothing, config, "endpoint_url of the profile and AWS_USE_FIPS_ENDPOINT");
        assert_int_equal(refused_service("sts", "us-east-1", config), -EINVAL);
        unsetenv("AWS_USE_FIPS_ENDPOINT");
        setenv("AWS_USE_DUALSTACK_ENDPOINT", "true", 1);
        assert_int_equal(refused_service("sts", "us-east-1", config), -EINVAL);
        expect_resolver(&nothing, config, "https://five", "endpoint_url of the profile");
        aws_config_free(config);
}

/* --- What is refused ---------------------------------------------------------------------------------------- */

static void test_regions_stay_one_label(void **state)
{
        (void)state;
        static const char *const bad[] = {"", "us-east-2.evil.example", "us-east-2/", "evil.example#", "a@b",
                "a:1", "-a", "a-", "12", "us east", "us-east-2\n", "\xc3\xa9", "us_east",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                expect_refused(&(AwsEndpointOptions){.region = bad[i]}, NULL, "is no region");
                expect_refused(&(AwsEndpointOptions){.region = bad[i], .endpoint_url = "https://one"}, NULL,
                        "is no region");
                assert_int_equal(refused_service("sts", bad[i], NULL), -EINVAL);
        }
        assert_int_equal(refused_service("s3", "us-east-1", NULL), -EINVAL);
}

static void test_plain_http(void **state)
{
        (void)state;
        static const char *const loopback[] = {
                "http://localhost", "http://127.0.0.1:8080", "http://[::1]:8080/x"};
        for (size_t i = 0; i < ARRAY_LEN(loopback); i++)
                expect_resolver(&(AwsEndpointOptions){.endpoint_url = loopback[i]}, NULL, loopback[i],
                        "endpoint_url=");
        expect_refused(
                &(AwsEndpointOptions){.endpoint_url = "http://localhost.example"}, NULL, "allow_plain_http");
        expect_refused(&(AwsEndpointOptions){.endpoint_url = "http://[::2]"}, NULL, "allow_plain_http");
        setenv("AWS_ENDPOINT_URL", "http://10.0.0.1:80", 1);
        expect_refused(&nothing, NULL, "AWS_ENDPOINT_URL: http://");
        expect_resolver(
                &(AwsEndpointOptions){.allow_plain_http = true}, NULL, "http://10.0.0.1", "AWS_ENDPOINT_URL");
}

/* --- URLs --------------------------------------------------------------------------------------------------- */

static void test_urls_are_taken_apart(void **state)
{
        (void)state;
        static const struct {
                const char *given, *url, *host, *base;
                bool is_plain;
        } cases[] = {
                {"https://a.example", "https://a.example", "a.example", "", false},
                {"HTTPS://A.Example/", "https://a.example", "a.example", "", false},
                {"https://a.example:443", "https://a.example", "a.example", "", false},
                {"https://a.example:80/x", "https://a.example:80/x", "a.example:80", "/x", false},
                {"http://a.example:80", "http://a.example", "a.example", "", true},
                {"http://a.example:443", "http://a.example:443", "a.example:443", "", true},
                {"https://a.example:", "https://a.example", "a.example", "", false},
                {"https://a.example:08443", "https://a.example:8443", "a.example:8443", "", false},
                {"https://a.example//x//", "https://a.example//x", "a.example", "//x", false},
                {"https://a.example/X/%2fy/~z", "https://a.example/X/%2Fy/~z", "a.example", "/X/%2Fy/~z",
                        false},
                {"https://a_b-c.example.", "https://a_b-c.example.", "a_b-c.example.", "", false},
                {"https://[::1]", "https://[::1]", "[::1]", "", false},
                {"https://[2001:DB8::1]:8443/x/", "https://[2001:db8::1]:8443/x", "[2001:db8::1]:8443", "/x",
                        false},
                {"https://127.0.0.1:65535", "https://127.0.0.1:65535", "127.0.0.1:65535", "", false},
                {"https://[0:0:0:0:0:0:0:1]:8443", "https://[::1]:8443", "[::1]:8443", "", false},
                {"https://[::FFFF:7F00:1]", "https://[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]", "", false},
                {"https://[2001:0db8:0:0:1::]", "https://[2001:db8:0:0:1::]", "[2001:db8:0:0:1::]", "",
                        false},
                {"http://127.1:8080", "http://127.0.0.1:8080", "127.0.0.1:8080", "", true},
                {"http://0x7F.010.1", "http://127.8.0.1", "127.8.0.1", "", true},
                {"http://1.2.3.256", "http://1.2.3.256", "1.2.3.256", "", true},
                {"http://1.2.3.08", "http://1.2.3.08", "1.2.3.08", "", true},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                AwsEndpoint endpoint;
                Buf error = BUF_INIT(1000);
                assert_int_equal(aws_endpoint_parse(cases[i].given, &error, &endpoint), 0);
                expect(&endpoint, cases[i].url, "", "endpoint_url=");
                assert_string_equal(endpoint.host, cases[i].host);
                assert_string_equal(endpoint.base, cases[i].base);
                assert_int_equal(endpoint.is_plain, cases[i].is_plain);
                aws_endpoint_deinit(&endpoint);
                assert_null(endpoint.url);
                aws_endpoint_deinit(&endpoint);
        }
}

static void test_urls_refused(void **state)
{
        (void)state;
        static const char *const bad[] = {"", "a.example", "//a.example", "ftp://a.example",
                "https:/a.example", "https://", "https:///x", "https://:443", "https://.", "https://a..b",
                "https://.a", "https://-a", "https://a-.b", "https://a b", "https://a\tb", "https://a\n",
                "https://\xc3\xa9", "https://a%41", "https://a/ b", "https://a/\\", "https://a/%4",
                "https://a/%zz", "https://a/\x7f", "https://a?x", "https://a/x?y", "https://a#x",
                "https://a/#", "https://user@a", "https://user:password@a", "https://a:0", "https://a:65536",
                "https://a:1x", "https://a:-1", "https://a:+1", "https://a:00000080", "https://[::1",
                "https://::1", "https://[]", "https://[::g]", "https://[::1]x", "https://[::1]x:1",
                "https://[::1%25eth0]", "https://[a]", "https://a:1:2", "https://a/[x]", " https://a"};
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                AwsEndpoint endpoint;
                Buf error = BUF_INIT(1000);
                if (aws_endpoint_parse(bad[i], &error, &endpoint) != -EINVAL)
                        fail_msg("accepted: %s", bad[i]);
                assert_true(error.len > 0);
                assert_null(strstr(buf_str(&error), "password"));
                buf_deinit(&error);
        }
}

static void test_url_lengths(void **state)
{
        (void)state;
        AwsEndpoint endpoint;
        Buf error = BUF_INIT(1000), url = BUF_INIT(4096);
        (void)buf_append_str(&url, "https://a.example/");
        while (url.len < 2048)
                (void)buf_append_char(&url, 'x');
        assert_int_equal(aws_endpoint_parse(url.data, &error, &endpoint), 0);
        aws_endpoint_deinit(&endpoint);
        (void)buf_append_char(&url, 'x');
        assert_int_equal(aws_endpoint_parse(url.data, &error, &endpoint), -EINVAL);

        buf_clear(&url);
        (void)buf_append_str(&url, "https://");
        for (size_t i = 0; i < 63; i++)
                (void)buf_append_char(&url, 'x');
        assert_int_equal(aws_endpoint_parse(url.data, &error, &endpoint), 0);
        aws_endpoint_deinit(&endpoint);
        (void)buf_append_char(&url, 'x');
        assert_int_equal(aws_endpoint_parse(url.data, &error, &endpoint), -EINVAL);
        while (url.len < 8 + 256)
                (void)buf_append_str(&url, ".x");
        assert_int_equal(aws_endpoint_parse(url.data, &error, &endpoint), -EINVAL);
        buf_deinit(&url);
        buf_deinit(&error);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_names_are_those_of_botocore, setup),
                cmocka_unit_test_setup(test_resolver_names, setup),
                cmocka_unit_test_setup(test_sign_in_names, setup),
                cmocka_unit_test_setup(test_sts_without_a_region, setup),
                cmocka_unit_test_setup(test_fips_names_of_identity_center_in_govcloud, setup),
                cmocka_unit_test_setup(test_order, setup),
                cmocka_unit_test_setup(test_configured_urls_can_be_ignored, setup),
                cmocka_unit_test_setup(test_missing_services_section, setup),
                cmocka_unit_test_setup(test_flags_come_from_everywhere, setup),
                cmocka_unit_test_setup(test_use_fips_is_for_all_services, setup),
                cmocka_unit_test_setup(test_own_url_with_fips_or_dual_stack, setup),
                cmocka_unit_test_setup(test_regions_stay_one_label, setup),
                cmocka_unit_test_setup(test_plain_http, setup),
                cmocka_unit_test_setup(test_urls_are_taken_apart, setup),
                cmocka_unit_test_setup(test_urls_refused, setup),
                cmocka_unit_test_setup(test_url_lengths, setup),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
