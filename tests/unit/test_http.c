/* HTTP calls against servers that answer well, badly, too much, late or not at all. */

#include "http_fixture.h"

#include <errno.h>
#include <poll.h>

static Outcome get(const char *path)
{
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "plain", path);
        return fetch(&request);
}

/* Connections accepted, requests served and requests waiting at once, and the number of the connection that was used, as
 * the server counts them. */
typedef struct Counts {
        unsigned connections, requests, waiting_max, number;
} Counts;

static Counts counts(void)
{
        Counts counts;
        Outcome outcome = get("/counts");
        assert_int_equal(sscanf(outcome.body, "%u %u %u %u", &counts.connections, &counts.requests,
                                 &counts.waiting_max, &counts.number),
                4);
        return counts;
}

/* What is sent. */

static void test_get_sends_what_it_was_given(void **state)
{
        (void)state;
        char url[512];
        HttpRequest request =
                request_of(url, sizeof url, "http", "plain", "/echo//a/../b%2F%2F/./c?x=1&y=a%20b+c*'()");
        HttpHeader headers[] = {{"Authorization", "AWS4-HMAC-SHA256 abc"}, {"X-Nothing", ""}};
        request.headers = headers;
        request.header_count = 2;
        Outcome outcome = fetch(&request);
        assert_int_equal(outcome.error, HTTP_OK);
        assert_int_equal(outcome.status, 200);
        assert_string_equal(outcome.detail, "");
        assert_true(outcome.started_ns <= outcome.ended_ns);
        assert_memory_equal(outcome.body, "GET /echo//a/../b%2F%2F/./c?x=1&y=a%20b+c*'() HTTP/1.1\r\n", 55);
        assert_non_null(strstr(outcome.body, "\r\nAuthorization: AWS4-HMAC-SHA256 abc\r\n"));
        assert_non_null(strstr(outcome.body, "\r\nX-Nothing:\r\n"));
        assert_non_null(strstr(outcome.body, "\r\nUser-Agent: tokenfs-test/1\r\n"));
        assert_null(strcasestr(outcome.body, "\nExpect:"));
        assert_null(strcasestr(outcome.body, "\nAccept-Encoding:"));
        assert_null(strcasestr(outcome.body, "\nContent-Type:"));
        assert_null(strcasestr(outcome.body, "\nContent-Length:"));
        assert_null(strcasestr(outcome.body, "\nUpgrade:"));
}

static void test_post_and_put_send_their_body(void **state)
{
        (void)state;
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "plain", "/echo");
        static char body[2500], large[1200000];
        memset(body, 'b', sizeof body);
        memset(large, 'l', sizeof large);
        HttpHeader header = {"Content-Type", "application/json"};
        request.method = "POST";
        request.body = body;
        request.body_len = sizeof body;
        request.headers = &header;
        request.header_count = 1;
        Outcome outcome = fetch(&request);
        assert_memory_equal(outcome.body, "POST /echo HTTP/1.1\r\n", 21);
        assert_non_null(strstr(outcome.body, "\r\nContent-Type: application/json\r\n"));
        assert_non_null(strstr(outcome.body, "\r\nContent-Length: 2500\r\n"));
        assert_true(outcome.body_len > sizeof body);
        assert_memory_equal(outcome.body + outcome.body_len - sizeof body, body, sizeof body);

        /* From 1 MiB on libcurl would ask with Expect: first. */
        request.body = large;
        request.body_len = sizeof large;
        request.response_max = 2 * sizeof large;
        outcome = fetch(&request);
        assert_int_equal(outcome.status, 200);
        assert_true(outcome.body_len > sizeof large);
        assert_null(strcasestr(outcome.body, "\nExpect:"));

        request = request_of(url, sizeof url, "http", "plain", "/echo");
        request.method = "PUT";
        outcome = fetch(&request);
        assert_memory_equal(outcome.body, "PUT /echo HTTP/1.1\r\n", 20);
        assert_non_null(strstr(outcome.body, "\r\nContent-Length: 0\r\n"));
        assert_null(strcasestr(outcome.body, "\nContent-Type:"));
}

static void test_what_cannot_be_sent_is_refused(void **state)
{
        (void)state;
        HttpCall *call = NULL;
        Outcome outcome = {0};
        static const char *const urls[] = {"", "nothing", "http://", "//127.0.0.1/",
                "http://127.0.0.1:99999/", "http://user:password@127.0.0.1/", "http://127.0.0.1/a b",
                "http://127.0.0.1/\r\nX: y"};
        for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
                HttpRequest request = {.method = "GET", .url = urls[i], .timeout_ns = NS_PER_S};
                assert_int_equal(http_start(fixture.http, &request, on_outcome, &outcome, &call), -EINVAL);
        }
        static const HttpHeader headers[] = {
                {"X-A", "a\r\nX-B: b"}, {"X-A", "a\nb"}, {"X A", "a"}, {"X-A:", "a"}, {"", "a"}};
        for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
                HttpRequest request = {.method = "GET", .url = "http://127.0.0.1/", .timeout_ns = NS_PER_S};
                request.headers = &headers[i];
                request.header_count = 1;
                assert_int_equal(http_start(fixture.http, &request, on_outcome, &outcome, &call), -EINVAL);
        }
        static char token[66000];
        memset(token, 't', sizeof token - 1);
        HttpRequest large = {.method = "GET", .url = "http://127.0.0.1/", .timeout_ns = NS_PER_S};
        large.headers = &(HttpHeader){"X-Token", token};
        large.header_count = 1;
        assert_int_equal(http_start(fixture.http, &large, on_outcome, &outcome, &call), -EMSGSIZE);
        HttpRequest request = {.method = "GET /\r\n", .url = "http://127.0.0.1/", .timeout_ns = NS_PER_S};
        assert_int_equal(http_start(fixture.http, &request, on_outcome, &outcome, &call), -EINVAL);
        assert_int_equal(loop_turn(fixture.loop, 0), 0);
        assert_int_equal(outcome.calls, 0);
        assert_null(call);
}

/* What is received. */

static void test_headers_of_the_answer(void **state)
{
        (void)state;
        Outcome outcome = get("/echo");
        assert_string_equal(outcome.peer, "127.0.0.1");
        assert_string_equal(outcome.first, "one");
        assert_string_equal(outcome.empty, "");
        assert_string_equal(outcome.space, "a b");
        assert_string_equal(outcome.missing, "(none)");
        assert_int_equal(outcome.header_count, 5);
        outcome = get("/interim");
        assert_int_equal(outcome.status, 200);
        assert_string_equal(outcome.body, "final");
        assert_int_equal(outcome.header_count, 2); /* not those of the 103 */
}

static void test_any_status_is_an_answer(void **state)
{
        (void)state;
        static const int statuses[] = {200, 204, 304, 400, 403, 404, 429, 500, 503};
        for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
                char path[32];
                (void)snprintf(path, sizeof path, "/status/%d", statuses[i]);
                Outcome outcome = get(path);
                assert_int_equal(outcome.error, HTTP_OK);
                assert_int_equal(outcome.status, statuses[i]);
        }
        Outcome outcome = get("/redirect");
        assert_int_equal(outcome.status, 302);
        assert_string_equal(outcome.body, "moved");
        outcome = get("/gzip");
        assert_int_equal(outcome.error, HTTP_OK);
        assert_memory_equal(outcome.body, "\x1f\x8b not decoded", 14);
}

static void test_bodies_up_to_the_limit(void **state)
{
        (void)state;
        static const struct {
                const char *path;
                size_t max;
                HttpError error;
        } cases[] = {
                {"/bytes/10000", 10000, HTTP_OK},
                {"/bytes/10001", 10000, HTTP_E_TOO_LARGE},
                {"/chunked/10000", 10000, HTTP_OK},
                {"/chunked/10001", 10000, HTTP_E_TOO_LARGE},
                {"/unbounded", 100000, HTTP_E_TOO_LARGE},
                {"/bytes/0", 0, HTTP_OK},
                {"/bytes/1", 0, HTTP_E_TOO_LARGE},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                char url[512];
                HttpRequest request = request_of(url, sizeof url, "http", "plain", cases[i].path);
                request.response_max = cases[i].max;
                Outcome outcome = fetch(&request);
                assert_int_equal(outcome.error, cases[i].error);
                assert_true(outcome.body_len <= cases[i].max);
                assert_true(outcome.error == HTTP_OK || *outcome.detail);
                if (outcome.error == HTTP_OK)
                        assert_int_equal(outcome.body_len, cases[i].max);
        }
}

static void test_headers_up_to_the_limit(void **state)
{
        (void)state;
        assert_int_equal(get("/headers/63/10").header_count, 64);
        assert_int_equal(get("/headers/64/10").error, HTTP_E_TOO_LARGE);
        assert_int_equal(get("/headers/60/1000").error, HTTP_OK);
        assert_int_equal(get("/headers/60/1100").error, HTTP_E_TOO_LARGE);
        assert_int_equal(get("/headers/1/64000").error, HTTP_OK);
        assert_int_equal(get("/headers/1/66000").error, HTTP_E_TOO_LARGE);
        assert_int_equal(get("/headers/1/200000").error, HTTP_E_TOO_LARGE); /* beyond libcurl's limit too */
}

/* What goes wrong. */

static void test_answers_that_are_broken(void **state)
{
        (void)state;
        static const struct {
                const char *path;
                HttpError error;
        } cases[] = {
                {"/cut", HTTP_E_CONNECT},
                {"/cut_chunk", HTTP_E_CONNECT},
                {"/cut_header", HTTP_E_PROTOCOL},
                {"/reset", HTTP_E_CONNECT},
                {"/nothing", HTTP_E_CONNECT},
                {"/garbage", HTTP_E_PROTOCOL},
                {"/bad_length", HTTP_E_PROTOCOL},
                {"/status/20000", HTTP_E_PROTOCOL},
                {"/status/20", HTTP_E_PROTOCOL},
                {"/status/2x0", HTTP_E_PROTOCOL},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Outcome outcome = get(cases[i].path);
                if (outcome.error != cases[i].error)
                        fail_msg("%s: %d (%s)", cases[i].path, (int)outcome.error, outcome.detail);
                assert_true(*outcome.detail);
                assert_int_equal(get("/status/200").status, 200);
        }
}

static void test_time_limits(void **state)
{
        (void)state;
        static const char *const paths[] = {"/hang", "/hang_in_body"};
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
                char url[512];
                HttpRequest request = request_of(url, sizeof url, "http", "plain", paths[i]);
                request.timeout_ns = 100 * NS_PER_MS;
                Outcome outcome = fetch(&request);
                assert_int_equal(outcome.error, HTTP_E_TIMEOUT);
                assert_true(outcome.ended_ns - outcome.started_ns >= 100 * NS_PER_MS);
                assert_true(*outcome.detail);
        }
}

static void test_refused_connections(void **state)
{
        (void)state;
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "refused", "/x?token=verysecret");
        Outcome outcome = fetch(&request);
        assert_int_equal(outcome.error, HTTP_E_CONNECT);
        assert_int_equal(outcome.status, 0);
        assert_non_null(strstr(outcome.detail, "127.0.0.1"));
        assert_null(strstr(outcome.detail, "verysecret"));
}

/* libcurl's texts hold the host; should that be what a header says, the text isn't told. */
static void test_details_do_not_tell_what_headers_say(void **state)
{
        (void)state;
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "refused", "/x");
        HttpHeader header = {"X-Secret", "127.0.0.1"};
        request.headers = &header;
        request.header_count = 1;
        Outcome outcome = fetch(&request);
        assert_int_equal(outcome.error, HTTP_E_CONNECT);
        assert_null(strstr(outcome.detail, "127.0.0.1"));
        assert_true(*outcome.detail);
}

/* Connections that are kept. */

static void fetch_with(const char *method, const char *path, int status, const char *body)
{
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "plain", path);
        request.method = method;
        request.body = *method == 'P' ? "data" : NULL;
        request.body_len = *method == 'P' ? 4 : 0;
        Outcome outcome = fetch(&request);
        if (outcome.error)
                fail_msg("%s %s: %d (%s)", method, path, (int)outcome.error, outcome.detail);
        assert_int_equal(outcome.status, status);
        if (body)
                assert_string_equal(outcome.body, body);
}

static void test_connections_are_kept(void **state)
{
        (void)state;
        Counts before = counts();
        for (int i = 0; i < 10; i++)
                assert_int_equal(get("/status/200").status, 200);
        Counts after = counts();
        assert_int_equal(after.connections, before.connections);
        assert_int_equal(after.requests, before.requests + 11);
}

static void test_connections_that_died_while_idle(void **state)
{
        (void)state;
        static const char *const paths[] = {"/last", "/last_silently", "/last_reset"};
        static const char *const methods[] = {"GET", "POST", "PUT"};
        for (size_t i = 0; i < ARRAY_LEN(paths); i++)
                for (size_t k = 0; k < ARRAY_LEN(methods); k++) {
                        fetch_with("GET", paths[i], 200, "last");
                        Counts before = counts(); /* on the dead connection already */
                        fetch_with("GET", paths[i], 200, "last");
                        fetch_with(methods[k], "/status/201", 201, "status");
                        assert_int_equal(counts().connections, before.connections + 1);
                }
}

static void test_forgotten_connections_are_not_used_again(void **state)
{
        (void)state;
        Counts before = counts();
        http_forget_connections(fixture.http);
        Counts after = counts();
        assert_int_equal(after.connections, before.connections + 1);

        /* A call under way ends in peace, but its connection isn't used for another. */
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "plain", "/meet/forget/2");
        Outcome first = {0}, second = {0};
        HttpCall *call;
        before = after;
        assert_int_equal(http_start(fixture.http, &request, on_outcome, &first, &call), 0);
        assert_int_equal(loop_turn(fixture.loop, 0), 0);
        http_forget_connections(fixture.http);
        assert_int_equal(http_start(fixture.http, &request, on_outcome, &second, &call), 0);
        while (!first.calls || !second.calls)
                assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
        assert_string_equal(first.body, "met");
        assert_string_equal(second.body, "met");
        after = counts();
        assert_int_equal(after.connections, before.connections + 1);
        assert_int_equal(after.number, before.number + 1);
}

/* Many at once. */

static void test_parallel_calls_within_the_limit_of_connections(void **state)
{
        (void)state;
        enum { CALLS = 20 };
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "plain", "/meet/many/16");
        Outcome outcomes[CALLS] = {0};
        HttpCall *calls[CALLS];
        Counts before = counts();
        for (size_t i = 0; i < CALLS; i++)
                assert_int_equal(http_start(fixture.http, &request, on_outcome, &outcomes[i], &calls[i]), 0);
        for (size_t i = 0; i < CALLS; i++)
                while (!outcomes[i].calls)
                        assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
        for (size_t i = 0; i < CALLS; i++) {
                assert_int_equal(outcomes[i].calls, 1);
                assert_string_equal(outcomes[i].body, "met");
        }
        Counts after = counts();
        assert_int_equal(after.waiting_max, 16);
        assert_int_equal(after.requests, before.requests + CALLS + 1);
        assert_true(after.connections - before.connections <= 16);
}

/* Cancelling. */

typedef struct Canceller {
        int calls;
        HttpCall **victims;
        size_t count;
        bool frees_http;
} Canceller;

static void on_cancel(const HttpResponse *response, void *userdata)
{
        Canceller *canceller = userdata;
        canceller->calls++;
        for (size_t i = 0; i < canceller->count; i++)
                canceller->victims[i] = http_cancel(canceller->victims[i]);
        if (canceller->frees_http)
                fixture.http = http_free(fixture.http);
        assert_int_equal(response->status, 200); /* still there */
        assert_string_equal(buf_str(&response->body), "status");
}

static void test_cancelled_calls_are_not_heard_of(void **state)
{
        (void)state;
        char url[512], hang_url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "plain", "/status/200");
        HttpRequest hang = request_of(hang_url, sizeof hang_url, "http", "plain", "/hang");
        Outcome outcome = {0};
        HttpCall *call;
        assert_null(http_cancel(NULL));
        assert_int_equal(http_start(fixture.http, &request, on_outcome, &outcome, &call), 0);
        assert_null(http_cancel(call)); /* before it began */
        assert_int_equal(http_start(fixture.http, &hang, on_outcome, &outcome, &call), 0);
        for (int i = 0; i < 20; i++)
                assert_int_equal(loop_turn(fixture.loop, NS_PER_MS), 0);
        assert_null(http_cancel(call)); /* while it waits */
        hang.url = "http://192.0.2.1/";
        assert_int_equal(http_start(fixture.http, &hang, on_outcome, &outcome, &call), 0);
        assert_null(http_cancel(call)); /* a refused one */
        assert_int_equal(get("/status/200").status, 200);
        assert_int_equal(outcome.calls, 0);
}

static void test_cancel_inside_handlers(void **state)
{
        (void)state;
        enum { CALLS = 8 };
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "plain", "/status/200");
        HttpCall *calls[CALLS];
        Canceller canceller = {.victims = calls, .count = CALLS, .frees_http = true};
        for (size_t i = 0; i < CALLS; i++)
                assert_int_equal(http_start(fixture.http, &request, on_cancel, &canceller, &calls[i]), 0);
        while (!canceller.calls) {
                /* Time for all of them to be answered, so that they end in one turn. */
                assert_int_equal(usleep(50000), 0);
                assert_int_equal(loop_turn(fixture.loop, 0), 0);
        }
        for (int i = 0; i < 20; i++)
                assert_int_equal(loop_turn(fixture.loop, NS_PER_MS), 0);
        assert_int_equal(canceller.calls, 1);
}

/* A handler that starts the next call. */
typedef struct Chain {
        HttpRequest request;
        int left;
        bool failed;
} Chain;

static void on_chain(const HttpResponse *response, void *userdata)
{
        Chain *chain = userdata;
        HttpCall *call;
        chain->failed |= response->status != 200;
        if (--chain->left > 0)
                chain->failed |= http_start(fixture.http, &chain->request, on_chain, chain, &call) < 0;
}

static void test_calls_started_inside_handlers(void **state)
{
        (void)state;
        char url[512];
        Chain chain = {.request = request_of(url, sizeof url, "http", "plain", "/status/200"), .left = 5};
        HttpCall *call;
        assert_int_equal(http_start(fixture.http, &chain.request, on_chain, &chain, &call), 0);
        while (chain.left > 0 && !chain.failed)
                assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
        assert_false(chain.failed);
}

/* The loop beside a call. */

static void on_pipe(int fd, short revents, void *userdata)
{
        char c;
        *(short *)userdata = revents;
        assert_true(read(fd, &c, 1) >= 0);
}

static void on_timer(LoopTimer *timer, void *userdata)
{
        (void)timer;
        ++*(int *)userdata;
}

static void test_the_loop_goes_on_while_a_call_waits(void **state)
{
        (void)state;
        char url[512];
        HttpRequest request = request_of(url, sizeof url, "http", "plain", "/hang");
        Outcome outcome = {0};
        HttpCall *call;
        assert_int_equal(http_start(fixture.http, &request, on_outcome, &outcome, &call), 0);
        for (int i = 0; i < 20; i++)
                assert_int_equal(loop_turn(fixture.loop, NS_PER_MS), 0);

        int fds[2];
        short revents = 0;
        LoopFd *source;
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(loop_fd_new(fixture.loop, fds[0], POLLIN, on_pipe, &revents, &source), 0);
        assert_int_equal(loop_turn(fixture.loop, 0), 0);
        assert_int_equal(revents, 0);
        assert_int_equal(write(fds[1], "x", 1), 1);
        assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
        assert_int_equal(revents, POLLIN);
        assert_int_equal(close(fds[1]), 0);
        assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
        assert_int_equal(revents, POLLHUP);
        loop_fd_set_events(source, 0);

        /* Turns end for a reason: the timer's, not for the hang-up, nor for a call that waits. */
        LoopTimer timer;
        int fired = 0, turns = 0;
        loop_timer_init(&timer, fixture.loop, on_timer, &fired);
        assert_int_equal(loop_timer_set(&timer, clock_now_ns() + 300 * NS_PER_MS), 0);
        while (!fired) {
                assert_int_equal(loop_turn(fixture.loop, CLOCK_NEVER), 0);
                turns++;
        }
        assert_true(turns < 10);
        assert_int_equal(outcome.calls, 0);
        (void)loop_fd_free(source);
        assert_int_equal(close(fds[0]), 0);
        call = http_cancel(call);
}

/* At rest. */

static void test_idle_connections_do_not_wake_the_loop(void **state)
{
        (void)state;
        assert_int_equal(get("/status/200").status, 200);
        /* The next turn ends by its own time limit: one turn, and nothing in between. */
        uint64_t start_ns = clock_now_ns();
        assert_int_equal(loop_turn(fixture.loop, 50 * NS_PER_MS), 0);
        assert_true(clock_now_ns() - start_ns >= 50 * NS_PER_MS);
}

static void test_hosts_that_are_loopback(void **state)
{
        (void)state;
        static const char *const yes[] = {
                "127.0.0.1", "127.255.0.3", "localhost", "LocalHost", "[::1]", "::1"};
        static const char *const no[] = {"", "128.0.0.1", "127.0.0.1.example.com", "localhost.example.com",
                "[::2]", "[::1", "127.1", "0x7f.0.0.1", "[]", "[", "10.0.0.1", "[::ffff:10.0.0.1]", "0.0.0.0",
                "[::]"};
        for (size_t i = 0; i < ARRAY_LEN(yes); i++)
                assert_true(http_host_is_loopback(yes[i]));
        for (size_t i = 0; i < ARRAY_LEN(no); i++)
                assert_false(http_host_is_loopback(no[i]));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_open, fixture_close)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_get_sends_what_it_was_given),
                TEST(test_post_and_put_send_their_body),
                TEST(test_what_cannot_be_sent_is_refused),
                TEST(test_headers_of_the_answer),
                TEST(test_any_status_is_an_answer),
                TEST(test_bodies_up_to_the_limit),
                TEST(test_headers_up_to_the_limit),
                TEST(test_answers_that_are_broken),
                TEST(test_time_limits),
                TEST(test_refused_connections),
                TEST(test_details_do_not_tell_what_headers_say),
                TEST(test_connections_are_kept),
                TEST(test_connections_that_died_while_idle),
                TEST(test_forgotten_connections_are_not_used_again),
                TEST(test_parallel_calls_within_the_limit_of_connections),
                TEST(test_cancelled_calls_are_not_heard_of),
                TEST(test_cancel_inside_handlers),
                TEST(test_calls_started_inside_handlers),
                TEST(test_the_loop_goes_on_while_a_call_waits),
                TEST(test_idle_connections_do_not_wake_the_loop),
                cmocka_unit_test(test_hosts_that_are_loopback),
        };
        if (http_global_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, servers_start, servers_stop);
}
