/* The API client while the service or the network fails: retries, the circuit, and those who wait. */

#include "client_fixture.h"

#include "api/pace.h"
#include "api/retry.h"

static const Answer server_error = {.status = 500, .type = "InternalServerException"};
static const Answer throttled = {.status = 429, .type = "ThrottlingException"};
static const Answer refused = {.error = HTTP_E_CONNECT, .error_detail = "Connection refused"};

static ApiHealth health_now(void)
{
        ApiHealth health;
        api_client_health(client, &health);
        return health;
}

static void test_a_server_error_is_retried_by_its_call_alone(void **state)
{
        (void)state;
        Caller caller = {0}, other = {0};
        get(&caller, "at-1");
        turn();
        answer(0, server_error);
        assert_int_equal(caller.told, 1);
        assert_int_equal(caller.ended, 0);
        assert_int_equal(caller.error, API_E_SERVER);
        assert_string_equal(caller.detail, "GetAccessToken: InternalServerException, HTTP 500");
        assert_in_range(caller.retry_at_ns, NOW_NS + 20 * NS_PER_MS, NOW_NS + 100 * NS_PER_MS);
        assert_int_equal(health_now().error, API_OK);
        assert_int_equal(health_now().queued, 1);
        get(&other, "at-2");
        turn();
        assert_int_equal(sent_count, 1);
        answer_doc(0);
        assert_int_equal(other.ended, 1);
        pass_ns(caller.retry_at_ns - NOW_NS - 1);
        assert_int_equal(sent_count, 0);
        pass_ns(1);
        assert_int_equal(sent_count, 1);
        answer_doc(0);
        assert_int_equal(caller.ended, 1);
        assert_int_equal(caller.error, API_OK);
        assert_int_equal(api_client_counters(client)->retries, 1);
        end(&caller);
        end(&other);
}

static void test_retry_after_of_a_server_error(void **state)
{
        (void)state;
        Caller caller = {0};
        get(&caller, "at-1");
        turn();
        answer(0, (Answer){.status = 503, .retry_after = "7"});
        assert_int_equal(caller.retry_at_ns, NOW_NS + 7 * NS_PER_S);
        pass_ns(7 * NS_PER_S - 1);
        assert_int_equal(sent_count, 0);
        pass_ns(1);
        assert_int_equal(sent_count, 1);
        end(&caller);
        assert_int_equal(cancelled, 1);
}

static void test_a_resting_call_can_be_cancelled(void **state)
{
        (void)state;
        Caller caller = {0};
        get(&caller, "at-1");
        turn();
        answer(0, server_error);
        end(&caller);
        assert_int_equal(health_now().queued, 0);
        pass_ns(10 * NS_PER_S);
        assert_int_equal(sent_count, 0);
}

static void test_throttling_opens_and_a_probe_closes(void **state)
{
        (void)state;
        Caller callers[30] = {{0}};
        for (size_t i = 0; i < ARRAY_LEN(callers); i++)
                get(&callers[i], "at-1");
        turn();
        assert_int_equal(sent_count, 16);
        answer(0, (Answer){.status = 429, .type = "ThrottlingException", .retry_after = "2"});
        assert_int_equal(health_now().error, API_E_THROTTLED);
        assert_int_equal(health_now().since_ns, NOW_NS);
        assert_int_equal(health_now().retry_at_ns, NOW_NS + 2 * NS_PER_S);
        assert_int_equal(sent_count, 15);
        assert_int_equal(callers[0].told, 1);
        /* those that wait are told at once, those under way aren't */
        for (size_t i = 1; i < ARRAY_LEN(callers); i++) {
                assert_int_equal(callers[i].told, i >= 16);
                if (i >= 16) {
                        assert_int_equal(callers[i].error, API_E_THROTTLED);
                        assert_non_null(strstr(callers[i].detail, "ThrottlingException, HTTP 429"));
                        assert_int_equal(callers[i].retry_at_ns, NOW_NS + 2 * NS_PER_S);
                }
        }
        while (sent_count > 0)
                answer(0, throttled);
        turn();
        assert_int_equal(sent_count, 0);
        assert_int_equal(health_now().queued, 30);
        for (size_t i = 0; i < ARRAY_LEN(callers); i++)
                assert_int_equal(callers[i].told, 1);
        /* one that comes now is told as well */
        Caller late = {0};
        get(&late, "at-2");
        turn();
        assert_int_equal(late.told, 1);
        pass_ns(2 * NS_PER_S - 1);
        assert_int_equal(sent_count, 0);
        pass_ns(1);
        assert_int_equal(sent_count, 1);
        assert_int_equal(callers[16].ended, 0);
        answer_doc(0);
        assert_int_equal(callers[16].ended, 1); /* the oldest that hadn't been sent yet */
        assert_int_equal(health_now().error, API_OK);
        assert_int_equal(health_now().since_ns, 0);
        assert_int_equal(health_now().retry_at_ns, 0);
        assert_int_equal(sent_count,
                16 / 2 + 1); /* a throttled burst halves the calls in flight, a success adds one */
        while (sent_count > 0)
                answer_doc(0);
        for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
                assert_int_equal(callers[i].ended, 1);
                assert_int_equal(callers[i].error, API_OK);
                end(&callers[i]);
        }
        assert_int_equal(late.ended, 1);
        end(&late);
}

static void test_retry_after_of_a_guess_is_for_guesses(void **state)
{
        (void)state;
        Caller guesses[3] = {
                {.purpose = API_FOR_GUESS}, {.purpose = API_FOR_GUESS}, {.purpose = API_FOR_GUESS}};
        get(&guesses[0], "at-made-up");
        turn();
        answer(0, (Answer){.status = 429, .type = "ThrottlingException", .retry_after = "2"});
        assert_int_equal(guesses[0].told, 1);
        assert_int_equal(guesses[0].error, API_E_THROTTLED);
        Caller read = {0}, refresh = {.purpose = API_FOR_REFRESH};
        get(&read, "at-1");
        get(&refresh, "at-2");
        get(&guesses[1], "at-another");
        get(&guesses[2], "at-third");
        pass_ns(RETRY_BASE_NS);
        assert_int_equal(sent_count, 1); /* it shows that the API answers others */
        answer_doc(0);
        assert_int_equal(sent_count, 1);
        answer_doc(0);
        assert_int_equal(read.ended + refresh.ended, 2);
        pass_ns(2 * NS_PER_S - RETRY_BASE_NS - 1);
        assert_int_equal(sent_count, 0);
        /* then one after the other */
        for (size_t i = 0; i < ARRAY_LEN(guesses); i++) {
                pass_ns(i == 0 ? 1 : PACE_GUESS_GAP_FIRST_NS);
                assert_int_equal(sent_count, 1);
                answer(0, (Answer){.status = 404, .type = "ResourceNotFoundException"});
        }
        for (size_t i = 0; i < ARRAY_LEN(guesses); i++)
                end(&guesses[i]);
        end(&read);
        end(&refresh);
}

static void test_probes_back_off_and_take_turns(void **state)
{
        (void)state;
        Caller first = {0}, second = {0};
        get(&first, "at-1");
        turn();
        answer(0, refused);
        assert_int_equal(first.error, API_E_UNREACHABLE);
        assert_string_equal(first.detail,
                "GetAccessToken: Connection refused; check network, name service, proxy and endpoint_url=");
        get(&second, "at-2");
        turn();
        assert_int_equal(second.told, 1);
        uint64_t longest = 100 * NS_PER_MS;
        for (int i = 0; i < 10; i++) {
                uint64_t at = health_now().retry_at_ns;
                assert_in_range(at, clock_now_ns() + 20 * NS_PER_MS, clock_now_ns() + longest);
                pass_ns(at - clock_now_ns());
                assert_int_equal(sent_count, 1);
                /* by turns */
                assert_non_null(strstr(sent[0]->url, i % 2 ? "at-2" : "at-1"));
                answer(0, refused);
                turn();
                assert_int_equal(sent_count, 0);
                longest = longest * 2 < 5 * NS_PER_S ? longest * 2 : 5 * NS_PER_S;
        }
        assert_int_equal(health_now().since_ns, NOW_NS);
        end(&first);
        end(&second);
}

static void test_a_hanging_probe_lets_others_try(void **state)
{
        (void)state;
        Caller hanging = {0}, fine = {0};
        get(&hanging, "at-1");
        turn();
        pass_ns(10 * NS_PER_S);
        answer(0, (Answer){.error = HTTP_E_TIMEOUT, .error_detail = "Timeout was reached"});
        assert_int_equal(hanging.error, API_E_TIMEOUT);
        pass_ns(100 * NS_PER_MS);
        assert_int_equal(sent_count, 1); /* the same one, as a probe */
        get(&fine, "at-2");
        turn();
        assert_int_equal(sent_count, 1);
        assert_int_equal(fine.told, 1);
        pass_ns(NS_PER_S);
        assert_int_equal(sent_count, 2);
        answer_doc(1);
        assert_int_equal(fine.error, API_OK);
        assert_int_equal(health_now().error, API_OK);
        /* its time-out then says nothing new of the endpoint; the call waits by itself */
        answer(0, (Answer){.error = HTTP_E_TIMEOUT, .error_detail = "Timeout was reached"});
        assert_int_equal(health_now().error, API_OK);
        assert_int_equal(hanging.told, 2);
        end(&hanging);
        end(&fine);
}

static void test_a_cancelled_probe_is_followed_by_another(void **state)
{
        (void)state;
        Caller first = {0}, second = {0};
        get(&first, "at-1");
        turn();
        answer(0, refused);
        pass_ns(100 * NS_PER_MS);
        assert_int_equal(sent_count, 1);
        end(&first);
        get(&second, "at-2");
        pass_ns(NS_PER_S);
        assert_int_equal(sent_count, 1);
        answer_doc(0);
        assert_int_equal(second.error, API_OK);
        end(&second);
}

static void test_tls_failures_end_all_at_once(void **state)
{
        (void)state;
        static const Answer untrusted = {.error = HTTP_E_TLS, .error_detail = "self-signed certificate"};
        Caller callers[20] = {{0}};
        for (size_t i = 0; i < ARRAY_LEN(callers); i++)
                get(&callers[i], "at-1");
        turn();
        answer(0, untrusted);
        for (size_t i = 0; i < ARRAY_LEN(callers); i++)
                assert_int_equal(callers[i].ended, i == 0 || i >= 16);
        assert_int_equal(callers[19].error, API_E_TLS);
        assert_string_equal(callers[19].detail, "GetAccessToken: self-signed certificate; check the "
                                                "endpoint, ca_bundle= and the clock of this "
                                                "machine");
        while (sent_count > 0)
                answer(0, untrusted);
        /* until the next probe may go out, there is no need to wait for its answer */
        Caller late = {0};
        get(&late, "at-1");
        turn();
        assert_int_equal(late.ended, 1);
        assert_int_equal(late.error, API_E_TLS);
        assert_int_equal(late.told, 0);
        pass_ns(100 * NS_PER_MS);
        get(&late, "at-1");
        turn();
        assert_int_equal(sent_count, 1);
        answer_doc(0);
        assert_int_equal(late.error, API_OK);
        assert_int_equal(health_now().error, API_OK);
        end(&late);
}

static void test_tls_failures_end_what_waits_for_its_retry(void **state)
{
        (void)state;
        Caller retried = {0}, other = {0};
        get(&retried, "at-1");
        turn();
        answer(0, throttled);
        get(&other, "at-2");
        pass_ns(100 * NS_PER_MS);
        assert_int_equal(sent_count, 1);
        answer(0, (Answer){.error = HTTP_E_TLS, .error_detail = "expired"});
        assert_int_equal(other.ended, 1);
        assert_int_equal(retried.ended, 1);
        assert_int_equal(retried.error, API_E_TLS);
}

static Caller *victims;
static size_t victim_count;

static void cancel_victims(Caller *caller)
{
        (void)caller;
        for (size_t i = 0; i < victim_count; i++)
                victims[i].call = api_cancel(victims[i].call);
}

static void test_handlers_of_those_who_wait_may_do_what_they_like(void **state)
{
        (void)state;
        Caller callers[24] = {{0}};
        victims = callers;
        victim_count = ARRAY_LEN(callers);
        for (size_t i = 0; i < ARRAY_LEN(callers); i++)
                get(&callers[i], "at-1");
        turn();
        callers[18].act = cancel_victims;
        answer(0, throttled);
        assert_int_equal(callers[17].told, 1);
        assert_int_equal(callers[18].told, 1);
        assert_int_equal(callers[19].told, 0);
        assert_int_equal(sent_count, 0);
        assert_int_equal(health_now().queued, 0);
        assert_int_equal(health_now().error, API_E_THROTTLED);

        /* the one that fails cancels itself */
        client_renew();
        victims = &callers[0];
        victim_count = 1;
        callers[0].act = cancel_victims;
        get(&callers[0], "at-1");
        turn();
        answer(0, throttled);
        assert_null(callers[0].call);
        callers[0].act = NULL;
}

static Caller refused_caller;

static void start_refused(Caller *caller)
{
        caller->act = NULL;
        get(&refused_caller, "..");
}

static void test_a_call_that_cannot_be_sent_does_not_wait(void **state)
{
        (void)state;
        Caller first = {0}, second = {.act = start_refused};
        refused_caller = (Caller){0};
        get(&first, "at-1");
        turn();
        answer(0, throttled);
        get(&second, "at-2");
        turn();
        assert_int_equal(second.told, 1);
        assert_int_equal(refused_caller.ended, 1);
        assert_int_equal(refused_caller.error, API_E_NOT_FOUND);
        end(&first);
        end(&second);
}

/* A hundred readers, each with a token of his own, who never give up: all is throttled for half a minute. */
static void test_a_storm_of_readers_is_one_backoff(void **state)
{
        (void)state;
        Caller callers[100] = {{0}};
        for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
                char id[16];
                (void)snprintf(id, sizeof id, "at-%zu", i);
                get(&callers[i], id);
        }
        for (int ms = 0; ms < 30000; ms += 10) {
                pass_ns(10 * NS_PER_MS);
                while (sent_count > 0)
                        answer(0, throttled);
                /* a reader a turn comes back with a new call */
                Caller *caller = &callers[(size_t)(ms / 10) % ARRAY_LEN(callers)];
                end(caller);
                get(caller, "at-again");
        }
        assert_in_range(sent_total, 16 + 6, 16 + 40);
        /* it recovers: all are served within one step of the backoff */
        for (int ms = 0; ms < 5000; ms += 10) {
                pass_ns(10 * NS_PER_MS);
                while (sent_count > 0)
                        answer_doc(0);
        }
        for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
                assert_int_equal(callers[i].ended, 1);
                assert_int_equal(callers[i].error, API_OK);
                end(&callers[i]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                client_test(test_a_server_error_is_retried_by_its_call_alone),
                client_test(test_retry_after_of_a_server_error),
                client_test(test_a_resting_call_can_be_cancelled),
                client_test(test_throttling_opens_and_a_probe_closes),
                client_test(test_retry_after_of_a_guess_is_for_guesses),
                client_test(test_probes_back_off_and_take_turns),
                client_test(test_a_hanging_probe_lets_others_try),
                client_test(test_a_cancelled_probe_is_followed_by_another),
                client_test(test_tls_failures_end_all_at_once),
                client_test(test_tls_failures_end_what_waits_for_its_retry),
                client_test(test_handlers_of_those_who_wait_may_do_what_they_like),
                client_test(test_a_call_that_cannot_be_sent_does_not_wait),
                client_test(test_a_storm_of_readers_is_one_backoff),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
