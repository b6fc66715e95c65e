/* The API client while the service, the network, the clock or the credentials fail. */

#include "client_fixture.h"

static const Answer server_error = {.status = 500, .type = "InternalServerException"};
static const Answer throttled = {.status = 429, .type = "ThrottlingException"};
static const Answer refused = {.error = HTTP_E_CONNECT, .error_detail = "Connection refused"};

static ApiHealth health_now(void)
{
        ApiHealth health;
        api_client_health(client, &health);
        return health;
}

/* The circuit. */

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

static unsigned opened, closed;

static void on_health(const ApiHealth *health, void *userdata)
{
        assert_ptr_equal(userdata, &opened);
        if (health->error == API_OK)
                closed++;
        else
                opened++;
        assert_true((health->since_ns == 0) == (health->error == API_OK));
        assert_true((health->retry_at_ns == 0) == (health->error == API_OK));
}

static void test_throttling_opens_and_a_probe_closes(void **state)
{
        (void)state;
        Caller callers[30] = {{0}};
        opened = closed = 0;
        api_client_on_health(client, on_health, &opened);
        for (size_t i = 0; i < ARRAY_LEN(callers); i++)
                get(&callers[i], "at-1");
        turn();
        assert_int_equal(sent_count, 16);
        answer(0, (Answer){.status = 429, .type = "ThrottlingException", .retry_after = "2"});
        assert_int_equal(opened, 1);
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
        assert_int_equal(closed, 1);
        assert_int_equal(opened, 1);
        assert_int_equal(health_now().error, API_OK);
        assert_int_equal(sent_count, 16);
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
                if (sent_count == 0) /* the bucket is short for a moment */
                        pass_ns(NS_PER_S);
                assert_int_equal(sent_count, 1);
                /* the one that never was sent goes first; then by turns */
                assert_non_null(strstr(sent[0]->url, i % 2 ? "at-1" : "at-2"));
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

static Caller *victims;
static size_t victim_count;

static void cancel_victims(Caller *caller)
{
        (void)caller;
        for (size_t i = 0; i < victim_count; i++)
                victims[i].call = api_cancel(victims[i].call);
}

static void forget_all(Caller *caller)
{
        (void)caller;
        api_client_forget(client);
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
        api_client_forget(client);
        victims = &callers[0];
        victim_count = 1;
        callers[0].act = cancel_victims;
        get(&callers[0], "at-1");
        turn();
        answer(0, throttled);
        assert_null(callers[0].call);
        callers[0].act = NULL;

        /* one makes the client forget that it fails, while others are still to be told */
        callers[1].act = forget_all;
        get(&callers[1], "at-1");
        get(&callers[2], "at-1");
        callers[2].told = 0;
        turn();
        assert_int_equal(callers[2].told, 0);
        turn();
        assert_int_equal(sent_count, 2);
        callers[1].act = NULL;
        end(&callers[1]);
        end(&callers[2]);
}

static void test_forget(void **state)
{
        (void)state;
        Caller resting = {0}, waiting = {0};
        opened = closed = 0;
        api_client_on_health(client, on_health, &opened);
        get(&resting, "at-1");
        turn();
        answer(0, server_error);
        get(&waiting, "at-2");
        turn();
        answer(0, (Answer){.status = 429, .type = "ThrottlingException", .retry_after = "300"});
        turn();
        assert_int_equal(sent_count, 0);
        api_client_forget(client);
        assert_int_equal(closed, 0);
        turn();
        assert_int_equal(sent_count, 2);
        assert_int_equal(opened, 1);
        assert_int_equal(closed, 1);
        end(&resting);
        end(&waiting);
}

/* A hundred readers, each with a token of his own, who never give up: all is throttled for half a minute. */
static void test_a_storm_of_readers_costs_what_the_bucket_holds(void **state)
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
        assert_in_range(sent_total, 16 + 6, 16 + 20 + 30);
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

/* The clock. */

static void test_skew_is_corrected_once(void **state)
{
        (void)state;
        static const Answer too_late = {.status = 403,
                .type = "InvalidSignatureException",
                .date = "Thu, 01 Jan 2026 02:00:00 GMT",
                .body = "{\"message\":\"Signature expired: 20260101T000000Z is now earlier than …\"}"};
        Caller first = {0}, second = {0};
        get(&first, "at-1");
        get(&second, "at-2");
        turn();
        answer(0, too_late);
        assert_int_equal(api_client_skew_s(client), 7200);
        assert_int_equal(sent_count, 2);
        assert_int_equal(first.told + first.ended, 0);
        assert_string_equal(sent[1]->date, "20260101T020000Z");
        answer(0, (Answer){.status = 403,
                          .type = "InvalidSignatureException",
                          .date = "Thu, 01 Jan 2026 02:00:01 GMT",
                          .body = too_late.body});
        assert_int_equal(api_client_skew_s(client), 7200); /* a second is no news */
        assert_string_equal(sent[1]->date, "20260101T020000Z");
        answer_doc(0);
        assert_int_equal(first.error, API_OK);
        /* refused again, though signed by the server's own clock */
        answer(0, too_late);
        assert_int_equal(second.ended, 1);
        assert_int_equal(second.error, API_E_CREDENTIALS_REJECTED);
        assert_non_null(strstr(second.detail, "the clock of this machine is off"));
        assert_int_equal(chain.rejects, 0);
        assert_int_equal(sent_total, 4);
        /* the next is signed right from the start */
        get(&second, "at-2");
        turn();
        assert_string_equal(sent[0]->date, "20260101T020000Z");
        /* the clock was set right meanwhile: back again */
        clock_set_fake(clock_now_ns(), (WALL_S + 7200) * (int64_t)NS_PER_S);
        answer(0, (Answer){.status = 403,
                          .type = "RequestTimeTooSkewed",
                          .date = "Thu, 01 Jan 2026 02:00:05 GMT"});
        assert_int_equal(api_client_skew_s(client), 5);
        assert_string_equal(sent[0]->date, "20260101T020005Z");
        api_client_forget(client);
        assert_int_equal(api_client_skew_s(client), 0);
        end(&first);
        end(&second);
}

static void test_skew_that_a_date_does_not_show(void **state)
{
        (void)state;
        static const char *const dates[] = {NULL, "yesterday", "Thu, 01 Jan 2026 00:00:09 GMT"};
        for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
                Caller caller = {0};
                get(&caller, "at-1");
                turn();
                answer(0, (Answer){.status = 403, .type = "RequestTimeTooSkewed", .date = dates[i]});
                assert_int_equal(caller.ended, 1);
                assert_int_equal(caller.error, API_E_CREDENTIALS_REJECTED);
                assert_int_equal(api_client_skew_s(client), 0);
        }
        assert_int_equal(sent_total, 3);
}

/* The credentials. */

static void credentials_come(CredentialsError error, const char *detail)
{
        CredentialWait *wait = chain.wait;
        assert_non_null(wait);
        chain.wait = NULL;
        chain.is_ready = error == CREDENTIALS_OK;
        wait->handler(wait, error, detail, wait->userdata);
}

static const Answer unknown_key = {.status = 403,
        .type = "UnrecognizedClientException",
        .body = "{\"message\":\"The token is invalid.\"}"};

static void test_waits_for_credentials(void **state)
{
        (void)state;
        chain.is_ready = false;
        Caller first = {0}, second = {0};
        get(&first, "at-1");
        get(&second, "at-2");
        turn();
        assert_int_equal(sent_count, 0);
        assert_int_equal(chain.gets, 1);
        get(&(Caller){0}, ".."); /* what needs none doesn't wait */
        turn();
        end(&first);
        credentials_come(CREDENTIALS_OK, "");
        assert_int_equal(sent_count, 1);
        answer_doc(0);
        assert_int_equal(second.error, API_OK);
        end(&second);
        chain.is_ready = false;
        get(&first, "at-1");
        turn();
        assert_non_null(chain.wait);
        end(&first); /* the client is freed while it waits */
}

static void test_credential_errors(void **state)
{
        (void)state;
        static const struct {
                CredentialsError error;
                ApiError expected;
        } all[] = {
                {CREDENTIALS_E_NONE, API_E_NO_CREDENTIALS},
                {CREDENTIALS_E_INVALID, API_E_NO_CREDENTIALS},
                {CREDENTIALS_E_EXPIRED, API_E_CREDENTIALS_EXPIRED},
                {CREDENTIALS_E_REJECTED, API_E_CREDENTIALS_REJECTED},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                Caller callers[20] = {{0}};
                chain.is_ready = false;
                for (size_t k = 0; k < ARRAY_LEN(callers); k++)
                        get(&callers[k], "at-1");
                turn();
                credentials_come(all[i].error, "profile \"web\": do this");
                for (size_t k = 0; k < ARRAY_LEN(callers); k++) {
                        assert_int_equal(callers[k].ended, 1);
                        assert_int_equal(callers[k].error, all[i].expected);
                        assert_string_equal(callers[k].detail, "credentials: profile \"web\": do this");
                }
        }
        assert_int_equal(health_now().error, API_OK);
        assert_int_equal(sent_total, 0);
}

static void test_credentials_that_fail_for_now(void **state)
{
        (void)state;
        chain.is_ready = false;
        Caller caller = {0}, late = {0};
        get(&caller, "at-1");
        turn();
        credentials_come(CREDENTIALS_E_FAILED, "sts: no answer");
        assert_int_equal(caller.told, 1);
        assert_int_equal(caller.error, API_E_UNREACHABLE);
        assert_string_equal(caller.detail, "credentials: sts: no answer");
        assert_int_equal(health_now().error, API_E_UNREACHABLE);
        get(&late, "at-2");
        turn();
        assert_int_equal(late.told, 1);
        unsigned gets = chain.gets;
        turn();
        assert_int_equal(chain.gets, gets); /* not asked again before its time */
        pass_ns(100 * NS_PER_MS);
        assert_int_equal(chain.gets, gets + 1);
        credentials_come(CREDENTIALS_E_FAILED, "sts: no answer");
        pass_ns(200 * NS_PER_MS);
        credentials_come(CREDENTIALS_OK, "");
        assert_int_equal(sent_count, 1); /* the probe */
        answer_doc(0);
        assert_int_equal(sent_count, 1);
        answer_doc(0);
        assert_int_equal(caller.error, API_OK);
        assert_int_equal(late.error, API_OK);
        end(&caller);
        end(&late);
}

static void test_refused_credentials_are_changed(void **state)
{
        (void)state;
        Caller first = {0}, second = {0};
        chain.key_after_reject = "AKIDSECOND";
        get(&first, "at-1");
        get(&second, "at-2");
        turn();
        answer(0, unknown_key);
        assert_int_equal(chain.rejects, 1);
        assert_int_equal(sent_count, 2);
        assert_non_null(strstr(sent[1]->authorization, "Credential=AKIDSECOND/"));
        /* the other was sent with the old ones, too: the new ones aren't to blame */
        answer(0, (Answer){.status = 403, .type = "ExpiredTokenException"});
        assert_int_equal(chain.rejects, 1);
        assert_non_null(strstr(sent[1]->authorization, "Credential=AKIDSECOND/"));
        answer_doc(0);
        answer_doc(0);
        assert_int_equal(first.error, API_OK);
        assert_int_equal(second.error, API_OK);
        assert_int_equal(first.told + second.told, 0);
        end(&first);
        end(&second);
}

static void test_refused_credentials_without_others(void **state)
{
        (void)state;
        static const struct {
                Answer answer;
                ApiError error;
                const char *detail;
        } all[] = {
                {{.status = 403, .type = "UnrecognizedClientException", .body = "{\"message\":\"invalid.\"}"},
                        API_E_CREDENTIALS_REJECTED,
                        "GetAccessToken: UnrecognizedClientException, HTTP 403: invalid.; check the access "
                        "key, its "
                        "secret, its session token and the region signed for"},
                {{.status = 403, .type = "ExpiredTokenException"}, API_E_CREDENTIALS_EXPIRED,
                        "GetAccessToken: ExpiredTokenException, HTTP 403; the credentials must be renewed"},
                {{.status = 403,
                         .type = "SignatureDoesNotMatch",
                         .body = "{\"message\":\"No. The Canonical String: " SESSION_TOKEN "\"}"},
                        API_E_CREDENTIALS_REJECTED,
                        "GetAccessToken: SignatureDoesNotMatch, HTTP 403: No. The; check the access key, its "
                        "secret, its session token and the region signed for"},
        };
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                Caller caller = {0};
                unsigned rejects = chain.rejects;
                get(&caller, "at-1");
                turn();
                answer(0, all[i].answer);
                assert_int_equal(chain.rejects, rejects + 1);
                assert_int_equal(caller.ended, 1);
                assert_int_equal(caller.error, all[i].error);
                assert_string_equal(caller.detail, all[i].detail);
        }
        assert_int_equal(sent_total, 3);
}

static void test_refused_credentials_are_waited_for(void **state)
{
        (void)state;
        chain.waits_after_reject = true;
        Caller caller = {0};
        get(&caller, "at-1");
        turn();
        answer(0, unknown_key);
        assert_int_equal(caller.ended, 0);
        assert_int_equal(chain.rejects, 1);
        assert_int_equal(sent_count, 0);
        set_key("AKIDSECOND");
        credentials_come(CREDENTIALS_OK, "");
        assert_int_equal(sent_count, 1);
        /* these are refused as well: enough */
        answer(0, unknown_key);
        assert_int_equal(caller.ended, 1);
        assert_int_equal(caller.error, API_E_CREDENTIALS_REJECTED);
        assert_int_equal(chain.rejects, 1);

        /* and with the same ones again nothing is sent */
        get(&caller, "at-1");
        turn();
        answer(0, unknown_key);
        assert_int_equal(chain.rejects, 2);
        credentials_come(CREDENTIALS_OK, "");
        assert_int_equal(caller.ended, 2);
        assert_int_equal(sent_count, 0);
        assert_int_equal(sent_total, 3);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                client_test(test_a_server_error_is_retried_by_its_call_alone),
                client_test(test_retry_after_of_a_server_error),
                client_test(test_a_resting_call_can_be_cancelled),
                client_test(test_throttling_opens_and_a_probe_closes),
                client_test(test_probes_back_off_and_take_turns),
                client_test(test_a_hanging_probe_lets_others_try),
                client_test(test_a_cancelled_probe_is_followed_by_another),
                client_test(test_tls_failures_end_all_at_once),
                client_test(test_handlers_of_those_who_wait_may_do_what_they_like),
                client_test(test_forget),
                client_test(test_a_storm_of_readers_costs_what_the_bucket_holds),
                client_test(test_skew_is_corrected_once),
                client_test(test_skew_that_a_date_does_not_show),
                client_test(test_waits_for_credentials),
                client_test(test_credential_errors),
                client_test(test_credentials_that_fail_for_now),
                client_test(test_refused_credentials_are_changed),
                client_test(test_refused_credentials_without_others),
                client_test(test_refused_credentials_are_waited_for),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
