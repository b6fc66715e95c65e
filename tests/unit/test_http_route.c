/* The way that a call takes: plain http or not, through which proxy, and by which address.
 *
 * Names are looked up by the getaddrinfo below, which libcurl finds before the C library's: so nothing asks a real
 * server, and a look-up can hang for as long as a test wants. */

#include <dlfcn.h>
#include <netdb.h>
#include <semaphore.h>

#include "http_fixture.h"

typedef int GetAddrInfo(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static sem_t hang_begun, hang_ended;

__attribute__((visibility("default"))) int getaddrinfo(
        const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_result)
{
        GetAddrInfo *original;
        *(void **)&original = dlsym(RTLD_NEXT, "getaddrinfo");
        if (node && strcmp(node, "hung.test") == 0) {
                sem_post(&hang_begun);
                sem_wait(&hang_ended);
                return EAI_AGAIN;
        }
        if (node && strcmp(node, "named.test") == 0)
                return original("127.0.0.1", service, hints, ret_result);
        struct addrinfo numeric = *hints;
        numeric.ai_flags |= AI_NUMERICHOST;
        return original(node, service, &numeric, ret_result);
}

static HttpRequest request_for(char *url, size_t size, const char *scheme, const char *host)
{
        HttpRequest request = request_of(url, size, scheme, "plain", "/echo");
        (void)snprintf(url, size, "%s://%s:%u/echo", scheme, host, port_of("plain"));
        return request;
}

static int clear_environment(void **state)
{
        static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                "ALL_PROXY", "no_proxy", "NO_PROXY", "HTTP_PROXY"};
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (unsetenv(names[i]) < 0)
                        return -1;
        return fixture_open(state);
}

static void set_proxies(const char *server)
{
        char url[64];
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", port_of(server));
        assert_int_equal(setenv("http_proxy", url, 1), 0);
        assert_int_equal(setenv("https_proxy", url, 1), 0);
        assert_int_equal(setenv("all_proxy", url, 1), 0);
}

/* Plain http. */

static void test_plain_http_is_for_loopback_only(void **state)
{
        (void)state;
        char url[512];
        static const char *const refused[] = {
                "named.test", "192.0.2.1", "0.0.0.0", "127.0.0.1.named.test", "[::2]"};
        for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
                HttpRequest request = request_for(url, sizeof url, "http", refused[i]);
                Outcome outcome = fetch(&request);
                assert_int_equal(outcome.error, HTTP_E_INVALID);
                assert_non_null(strstr(outcome.detail, "https"));
                assert_string_equal(outcome.peer, "");
        }
        static const char *const accepted[] = {"127.0.0.1", "localhost", "127.1", "0x7f000001"};
        for (size_t i = 0; i < ARRAY_LEN(accepted); i++) {
                HttpRequest request = request_for(url, sizeof url, "http", accepted[i]);
                assert_int_equal(fetch(&request).status, 200);
        }
        HttpRequest request = request_for(url, sizeof url, "http", "named.test");
        request.allow_plain = true;
        assert_int_equal(fetch(&request).status, 200);
}

static void test_other_schemes_are_refused(void **state)
{
        (void)state;
        static const char *const urls[] = {
                "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "httpx://a/"};
        for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
                HttpRequest request = {
                        .method = "GET", .url = urls[i], .timeout_ns = NS_PER_S, .allow_plain = true};
                assert_int_equal(fetch(&request).error, HTTP_E_INVALID);
        }
}

/* Proxies. */

static void test_the_environment_names_a_proxy(void **state)
{
        (void)state;
        char url[512], expected[600];
        set_proxies("plain");
        HttpRequest request = request_for(url, sizeof url, "http", "named.test");
        request.allow_plain = true;
        (void)snprintf(expected, sizeof expected, "proxied %s", url);
        assert_string_equal(fetch(&request).body, expected);
        request.proxy = HTTP_PROXY_NONE;
        assert_memory_equal(fetch(&request).body, "GET /echo HTTP/1.1", 18);
        assert_int_equal(setenv("no_proxy", "named.test", 1), 0);
        request.proxy = HTTP_PROXY_ENVIRONMENT;
        assert_memory_equal(fetch(&request).body, "GET /echo HTTP/1.1", 18);
}

static void test_loopback_is_never_asked_through_a_proxy(void **state)
{
        (void)state;
        char url[512];
        set_proxies("plain");
        static const char *const hosts[] = {"127.0.0.1", "localhost"};
        for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
                HttpRequest request = request_for(url, sizeof url, "http", hosts[i]);
                assert_memory_equal(fetch(&request).body, "GET /echo HTTP/1.1", 18);
        }
}

static void test_a_proxy_that_refuses(void **state)
{
        (void)state;
        char url[512];
        set_proxies("refused");
        HttpRequest request = request_for(url, sizeof url, "https", "named.test");
        Outcome outcome = fetch(&request);
        assert_int_equal(outcome.error, HTTP_E_CONNECT);
        assert_int_equal(setenv("https_proxy", "http://user:verysecret@missing.test:1", 1), 0);
        outcome = fetch(&request);
        assert_int_equal(outcome.error, HTTP_E_RESOLVE);
        assert_null(strstr(outcome.detail, "verysecret"));
}

/* Names. */

static void test_a_name_that_does_not_exist(void **state)
{
        (void)state;
        char url[512];
        HttpRequest request = request_for(url, sizeof url, "https", "missing.test");
        Outcome outcome = fetch(&request);
        assert_int_equal(outcome.error, HTTP_E_RESOLVE);
        assert_non_null(strstr(outcome.detail, "missing.test"));
}

/* The look-ups below end only after everything else has; a call that waited for one would hang. */
static void test_a_look_up_that_hangs_holds_nobody_up(void **state)
{
        (void)state;
        char url[512], other_url[512];
        HttpRequest hung = request_for(url, sizeof url, "https", "hung.test");
        HttpRequest other = request_for(other_url, sizeof other_url, "http", "127.0.0.1");
        Outcome outcome = {0};
        HttpCall *call;

        /* One that times out, */
        hung.timeout_ns = 100 * NS_PER_MS;
        assert_int_equal(fetch(&hung).error, HTTP_E_TIMEOUT);
        sem_wait(&hang_begun);
        /* one that is cancelled, */
        hung.timeout_ns = 20 * NS_PER_S;
        assert_int_equal(http_start(fixture.http, &hung, on_outcome, &outcome, &call), 0);
        assert_int_equal(fetch(&other).status, 200);
        sem_wait(&hang_begun);
        call = http_cancel(call);
        assert_int_equal(fetch(&other).status, 200);
        assert_int_equal(outcome.calls, 0);
        /* and the end of everything. */
        fixture.http = http_free(fixture.http);
        fixture.loop = loop_free(fixture.loop);

        for (int i = 0; i < 2; i++)
                sem_post(&hang_ended);
        assert_int_equal(usleep(50000), 0); /* the threads free what is theirs */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, clear_environment, fixture_close)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_plain_http_is_for_loopback_only),
                TEST(test_other_schemes_are_refused),
                TEST(test_the_environment_names_a_proxy),
                TEST(test_loopback_is_never_asked_through_a_proxy),
                TEST(test_a_proxy_that_refuses),
                TEST(test_a_name_that_does_not_exist),
                TEST(test_a_look_up_that_hangs_holds_nobody_up),
        };
        sem_init(&hang_begun, 0, 0);
        sem_init(&hang_ended, 0, 0);
        if (http_global_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, servers_start, servers_stop);
}
