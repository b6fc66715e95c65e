/* The API client while the clock or the credentials are wrong. */

#include "client_fixture.h"

static ApiHealth health_now(void)
{
        ApiHealth health;
        api_client_health(client, &health);
        return health;
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
        end(&first);
        end(&second);
}

static void test_a_server_whose_clock_runs_away(void **state)
{
        (void)state;
        Caller caller = {0};
        get(&caller, "at-1");
        turn();
        answer(0, (Answer){.status = 403, .type = "RequestExpired", .date = "Thu, 01 Jan 2026 02:00:00 GMT"});
        assert_int_equal(sent_count, 1);
        answer(0, (Answer){.status = 403, .type = "RequestExpired", .date = "Thu, 01 Jan 2026 04:00:00 GMT"});
        assert_int_equal(caller.ended, 1);
        assert_int_equal(sent_total, 2);
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
                        "secret, its session token and the region signed for (region=)"},
                {{.status = 403, .type = "ExpiredTokenException"}, API_E_CREDENTIALS_EXPIRED,
                        "GetAccessToken: ExpiredTokenException, HTTP 403; the credentials must be renewed"},
                {{.status = 403,
                         .type = "SignatureDoesNotMatch",
                         .body = "{\"message\":\"No. The Canonical String: " SESSION_TOKEN "\"}"},
                        API_E_CREDENTIALS_REJECTED,
                        "GetAccessToken: SignatureDoesNotMatch, HTTP 403: No. The; check the access key, its "
                        "secret, its session token and the region signed for (region=)"},
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
                assert_int_equal(health_now().refusal, all[i].error);
        }
        assert_int_equal(sent_total, 3);
        /* an answer that doesn't look at the signature changes nothing; one that took it does, whatever it says */
        static const struct {
                Answer answer;
                ApiError refusal;
        } later[] = {
                {{.status = 500}, API_E_CREDENTIALS_REJECTED},
                {{.status = 403, .type = "AccessDeniedException"}, API_OK},
        };
        for (size_t i = 0; i < ARRAY_LEN(later); i++) {
                Caller caller = {0};
                get(&caller, "at-1");
                turn();
                answer(0, later[i].answer);
                assert_int_equal(health_now().refusal, later[i].refusal);
                end(&caller);
                client_renew();
        }
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
        /* these are refused as well: enough, even if there were others by now */
        set_key("AKIDTHIRD");
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
                client_test(test_skew_is_corrected_once),
                client_test(test_a_server_whose_clock_runs_away),
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
