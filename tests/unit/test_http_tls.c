/* HTTP calls over TLS: whose certificate is trusted, and what is said of one that isn't.
 *
 * The certificates are made with the openssl command; where it is missing, these tests are skipped. */

#include "http_fixture.h"

static char ca_bundle[64];

static int open_with_bundle(void **state)
{
        (void)state;
        (void)snprintf(ca_bundle, sizeof ca_bundle, "%s/ca.pem", servers.directory);
        return fixture_open_with(ca_bundle, 16);
}

static int open_with_missing_bundle(void **state)
{
        (void)state;
        return fixture_open_with("/nonexistent/bundle.pem", 16);
}

static int open_with_broken_bundle(void **state)
{
        (void)state;
        (void)snprintf(ca_bundle, sizeof ca_bundle, "%s/ca.key", servers.directory);
        return fixture_open_with(ca_bundle, 16);
}

static void need_openssl(void)
{
        if (port_of("good"))
                return;
        print_message("SKIPPED: there is no openssl command to make certificates with\n");
        skip();
}

static Outcome get_tls(const char *server, const char *path)
{
        char url[512];
        need_openssl();
        HttpRequest request = request_of(url, sizeof url, "https", server, path);
        return fetch(&request);
}

static void assert_refused(const char *server, const char *reason)
{
        Outcome outcome = get_tls(server, "/echo?token=verysecret");
        if (outcome.error != HTTP_E_TLS || !strstr(outcome.detail, reason))
                fail_msg("%s: %d (%s)", server, (int)outcome.error, outcome.detail);
        assert_int_equal(outcome.status, 0);
        assert_string_equal(outcome.peer, "127.0.0.1");
        assert_int_equal(outcome.body_len, 0);
        assert_null(strstr(outcome.detail, "verysecret"));
}

static void test_the_bundle_is_trusted(void **state)
{
        (void)state;
        Outcome outcome = get_tls("good", "/echo");
        assert_string_equal(outcome.detail, "");
        assert_int_equal(outcome.error, HTTP_OK);
        assert_int_equal(outcome.status, 200);
}

static void test_nothing_but_the_bundle_is_trusted(void **state)
{
        (void)state;
        assert_refused("untrusted", "unable to get local issuer certificate");
}

static void test_without_bundle_the_test_authority_is_unknown(void **state)
{
        (void)state;
        assert_refused("good", "unable to get local issuer certificate");
}

static void test_expired_and_wrong_host_are_told_apart(void **state)
{
        (void)state;
        assert_refused("expired", "certificate has expired");
        assert_refused("wrong_host", "no alternative certificate subject name matches");
        assert_refused("wrong_host", "127.0.0.1");
}

static void test_old_versions_are_refused(void **state)
{
        (void)state;
        assert_refused("old", "version");
}

static void test_no_tls_at_all(void **state)
{
        (void)state;
        assert_refused("talk", "wrong version number");
}

static void test_a_bundle_that_cannot_be_read(void **state)
{
        (void)state;
        assert_refused("good", "/nonexistent/bundle.pem");
}

static void test_a_bundle_without_certificates(void **state)
{
        (void)state;
        assert_refused("good", "ca.key");
}

static void copy_file(const char *from, const char *to)
{
        char data[8192];
        FILE *in = fopen(from, "re"), *out = fopen(to, "we");
        assert_non_null(in);
        assert_non_null(out);
        size_t len = fread(data, 1, sizeof data, in);
        assert_int_equal(fwrite(data, 1, len, out), len);
        assert_int_equal(fclose(out), 0);
        assert_int_equal(fclose(in), 0);
}

static int open_with_copied_bundle(void **state)
{
        (void)state;
        (void)snprintf(ca_bundle, sizeof ca_bundle, "%s/copied.pem", servers.directory);
        return fixture_open_with(ca_bundle, 16);
}

/* The bundle is parsed once and kept, but not for longer than it helps. */
static void test_a_bundle_that_is_mended(void **state)
{
        (void)state;
        char known[64], unknown[64];
        need_openssl();
        (void)snprintf(known, sizeof known, "%s/ca.pem", servers.directory);
        (void)snprintf(unknown, sizeof unknown, "%s/other.pem", servers.directory);
        copy_file(unknown, ca_bundle);
        assert_refused("good", "unable to get local issuer certificate");
        copy_file(known, ca_bundle);
        assert_int_equal(get_tls("good", "/echo").status, 200);
        /* Replaced once more, it counts for new connections after SIGHUP. */
        copy_file(unknown, ca_bundle);
        http_forget_connections(fixture.http);
        assert_refused("good", "unable to get local issuer certificate");
}

/* A connection that is lost in the handshake is no fault of the certificate: it is worth another try. */
static void test_handshakes_that_are_cut(void **state)
{
        (void)state;
        static const char *const names[] = {"cut", "reset"};
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                Outcome outcome = get_tls(names[i], "/echo");
                if (outcome.error != HTTP_E_CONNECT || !*outcome.detail)
                        fail_msg("%s: %d (%s)", names[i], (int)outcome.error, outcome.detail);
        }
}

static void test_a_handshake_that_hangs(void **state)
{
        (void)state;
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "https", "silent", "/");
        request.timeout_ns = 100 * NS_PER_MS;
        assert_int_equal(fetch(&request).error, HTTP_E_TIMEOUT);
}

static void test_connections_are_kept_and_forgotten(void **state)
{
        (void)state;
        unsigned before, after, requests, waiting;
        assert_int_equal(
                sscanf(get_tls("good", "/counts").body, "%u %u %u", &before, &requests, &waiting), 3);
        assert_int_equal(get_tls("good", "/last").status, 200);
        assert_int_equal(get_tls("good", "/status/204").status, 204); /* the kept one had died */
        assert_int_equal(get_tls("good", "/last_silently").status, 200);
        assert_int_equal(get_tls("good", "/status/204").status, 204);
        http_forget_connections(fixture.http);
        assert_int_equal(sscanf(get_tls("good", "/counts").body, "%u %u %u", &after, &requests, &waiting), 3);
        assert_int_equal(after, before + 3);
}

static unsigned connections(void)
{
        unsigned count;
        assert_int_equal(sscanf(get_tls("good", "/counts").body, "%u", &count), 1);
        return count;
}

/* Has two connections, then a call on one of them that times out; returns how many new ones the next call made. */
static unsigned connections_after_time_out(const char *meeting, const char *path)
{
        char url[512];
        Outcome outcomes[2] = {0};
        HttpCall *call;
        need_openssl();
        HttpRequest request = request_of(url, sizeof url, "https", "good", meeting);
        for (size_t i = 0; i < 2; i++)
                assert_int_equal(http_start(fixture.http, &request, on_outcome, &outcomes[i], &call), 0);
        while (!outcomes[0].calls || !outcomes[1].calls)
                assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
        unsigned before = connections();
        request = request_of(url, sizeof url, "https", "good", path);
        request.timeout_ns = 100 * NS_PER_MS;
        assert_int_equal(fetch(&request).error, HTTP_E_TIMEOUT);
        return connections() - before;
}

/* Calls go out at once, each over its own connection. */
static void test_calls_at_once(void **state)
{
        (void)state;
        char url[512];
        Outcome outcomes[4] = {{0}};
        HttpCall *call;
        need_openssl();
        HttpRequest request = request_of(url, sizeof url, "https", "good", "/meet/tls/4");
        for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
                assert_int_equal(http_start(fixture.http, &request, on_outcome, &outcomes[i], &call), 0);
        for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
                while (!outcomes[i].calls)
                        assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
                assert_string_equal(outcomes[i].body, "met");
        }
}

/* Idle connections of the same peer would take the next calls. */
static void test_connections_that_fell_silent_are_forgotten(void **state)
{
        (void)state;
        assert_int_equal(connections_after_time_out("/meet/silent/2", "/hang"), 1);
        assert_int_equal(connections_after_time_out("/meet/slow/2", "/hang_in_body"), 0);
}

static void test_broken_answers_over_tls(void **state)
{
        (void)state;
        assert_int_equal(get_tls("good", "/cut").error, HTTP_E_CONNECT);
        assert_int_equal(get_tls("good", "/nothing").error, HTTP_E_CONNECT);
        assert_int_equal(get_tls("good", "/reset").error, HTTP_E_CONNECT);
}

#define TEST_WITH(open, function) cmocka_unit_test_setup_teardown(function, open, fixture_close)
#define TEST(function) TEST_WITH(open_with_bundle, function)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_the_bundle_is_trusted),
                TEST(test_nothing_but_the_bundle_is_trusted),
                TEST_WITH(fixture_open, test_without_bundle_the_test_authority_is_unknown),
                TEST(test_expired_and_wrong_host_are_told_apart),
                TEST(test_old_versions_are_refused),
                TEST(test_no_tls_at_all),
                TEST_WITH(open_with_missing_bundle, test_a_bundle_that_cannot_be_read),
                TEST_WITH(open_with_broken_bundle, test_a_bundle_without_certificates),
                TEST_WITH(open_with_copied_bundle, test_a_bundle_that_is_mended),
                TEST(test_handshakes_that_are_cut),
                TEST(test_a_handshake_that_hangs),
                TEST(test_connections_are_kept_and_forgotten),
                TEST(test_calls_at_once),
                TEST(test_connections_that_fell_silent_are_forgotten),
                TEST(test_broken_answers_over_tls),
        };
        if (http_global_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, servers_start, servers_stop);
}
