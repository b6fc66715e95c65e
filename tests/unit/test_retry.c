/* The shared backoff: what opens and closes the circuit, who may go out when, and how many calls a storm is at most. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/retry.h"
#include "tokenfs/base/cleanup.h"

#define T0 (1000 * NS_PER_S)

static uint32_t next_random;

static uint32_t random_set(void *userdata)
{
        assert_ptr_equal(userdata, &next_random);
        return next_random;
}

static uint32_t random_lcg(void *userdata)
{
        (void)userdata;
        return next_random = next_random * UINT32_C(1664525) + UINT32_C(1013904223);
}

static Retry fresh(void)
{
        Retry retry;
        next_random = UINT32_MAX; /* the longest delays */
        retry_init(&retry, random_set, &next_random);
        return retry;
}

static bool is_ready(const Retry *retry, uint64_t now_ns)
{
        return retry_ready_ns(retry, now_ns) <= now_ns;
}

static void test_closed_lets_all_go(void **state)
{
        (void)state;
        Retry retry = fresh();
        for (int i = 0; i < 100; i++) {
                assert_true(is_ready(&retry, T0));
                (void)retry_send(&retry, T0);
        }
        assert_false(retry_is_open(&retry));
}

static void test_what_opens(void **state)
{
        (void)state;
        for (ApiError error = API_OK; error < API_ERROR_COUNT; error++) {
                bool opens = error == API_E_THROTTLED || error == API_E_TIMEOUT ||
                             error == API_E_UNREACHABLE || error == API_E_TLS;
                Retry retry = fresh();
                uint32_t pass = retry_send(&retry, T0);
                retry_report(&retry, pass, error, 0, T0 + 1);
                assert_int_equal(retry_is_open(&retry), opens);
                if (opens) {
                        assert_int_equal(retry.error, error);
                        assert_int_equal(retry.since_ns, T0 + 1);
                        assert_false(is_ready(&retry, T0 + 1));
                        assert_false(is_ready(&retry, T0 + 1));
                }
        }
}

static void test_server_errors_open_after_three_in_a_row(void **state)
{
        (void)state;
        Retry retry = fresh();
        static const ApiError alive[] = {API_OK, API_E_NOT_FOUND, API_E_ACCESS_DENIED, API_E_MALFORMED};
        for (size_t i = 0; i < ARRAY_LEN(alive); i++) {
                retry_report(&retry, retry_send(&retry, T0), API_E_SERVER, 0, T0);
                retry_report(&retry, retry_send(&retry, T0), API_E_SERVER, 0, T0);
                assert_false(retry_is_open(&retry));
                retry_report(&retry, retry_send(&retry, T0), alive[i], 0, T0);
        }
        for (int i = 0; i < 3; i++) {
                assert_false(retry_is_open(&retry));
                /* short of memory: says nothing of the endpoint */
                retry_report(&retry, retry_send(&retry, T0), API_E_MEMORY, 0, T0);
                retry_report(&retry, retry_send(&retry, T0), API_E_SERVER, 0, T0);
        }
        assert_int_equal(retry.error, API_E_SERVER);
}

static void open_circuit(Retry *retry, uint64_t now_ns)
{
        retry_report(retry, retry_send(retry, now_ns), API_E_THROTTLED, 0, now_ns);
        assert_true(retry_is_open(retry));
}

static void test_one_probe_a_step(void **state)
{
        (void)state;
        Retry retry = fresh();
        open_circuit(&retry, T0);
        uint64_t now = T0, step = RETRY_BASE_NS;
        for (int i = 0; i < 8; i++) {
                uint64_t at = retry_ready_ns(&retry, now);
                assert_in_range(at, now + step - 2000, now + step);
                assert_int_equal(retry_ready_ns(&retry, now), at);
                assert_false(is_ready(&retry, at - 1));
                uint32_t pass = retry_send(&retry, at);
                assert_false(is_ready(&retry, at));
                assert_false(is_ready(&retry, at + NS_PER_MS));
                now = at + 50 * NS_PER_MS;
                retry_report(&retry, pass, API_E_UNREACHABLE, 0, now);
                assert_int_equal(retry.error, API_E_UNREACHABLE);
                assert_int_equal(retry.since_ns, T0);
                step = step * 2 < RETRY_CAP_NS ? step * 2 : RETRY_CAP_NS;
        }
}

static void test_a_slow_probe_does_not_hold_up_the_next(void **state)
{
        (void)state;
        Retry retry = fresh();
        open_circuit(&retry, T0);
        uint64_t at = retry_ready_ns(&retry, T0);
        uint32_t slow = retry_send(&retry, at);
        assert_int_equal(retry_ready_ns(&retry, at), at + RETRY_PROBE_NS);
        uint32_t quick = retry_send(&retry, at + RETRY_PROBE_NS);
        retry_report(&retry, quick, API_OK, 0, at + RETRY_PROBE_NS + 1);
        assert_false(retry_is_open(&retry));
        assert_int_equal(retry.since_ns, 0);
        assert_int_equal(retry.probe_at_ns, 0);
        /* the slow one then says nothing about now */
        retry_report(&retry, slow, API_E_TIMEOUT, 0, at + 10 * NS_PER_S);
        assert_false(retry_is_open(&retry));
}

static void test_any_answer_of_a_probe_closes(void **state)
{
        (void)state;
        for (ApiError error = API_OK; error < API_ERROR_COUNT; error++) {
                Retry retry = fresh();
                open_circuit(&retry, T0);
                uint64_t at = retry_ready_ns(&retry, T0);
                retry_report(&retry, retry_send(&retry, at), error, 0, at);
                bool stays = error == API_E_MEMORY || error == API_E_TLS || api_error_is_transient(error);
                assert_int_equal(retry_is_open(&retry), stays);
        }
}

static void test_what_was_sent_before_does_not_count(void **state)
{
        (void)state;
        Retry retry = fresh();
        uint32_t passes[16];
        for (size_t i = 0; i < ARRAY_LEN(passes); i++)
                passes[i] = retry_send(&retry, T0);
        retry_report(&retry, passes[0], API_E_THROTTLED, 0, T0);
        uint64_t at = retry_ready_ns(&retry, T0);
        for (size_t i = 1; i < 8; i++)
                retry_report(&retry, passes[i], API_E_THROTTLED, 0, T0);
        assert_int_equal(retry_ready_ns(&retry, T0), at); /* one step, not eight */
        retry_report(&retry, passes[8], API_OK, 0, T0);
        assert_true(retry_is_open(&retry));
        /* but when it says to stay away longer, that holds */
        retry_report(&retry, passes[9], API_E_THROTTLED, 3 * NS_PER_S, T0);
        assert_int_equal(retry_ready_ns(&retry, T0), T0 + 3 * NS_PER_S);
        retry_report(&retry, passes[10], API_E_THROTTLED, NS_PER_S, T0);
        assert_int_equal(retry_ready_ns(&retry, T0), T0 + 3 * NS_PER_S);
        at = T0 + 3 * NS_PER_S;
        retry_report(&retry, retry_send(&retry, at), API_OK, 0, at);
        assert_false(retry_is_open(&retry));
        retry_report(&retry, passes[11], API_E_THROTTLED, 9 * NS_PER_S, at);
        assert_false(retry_is_open(&retry));
        assert_true(is_ready(&retry, at));
}

static void test_retry_after_is_the_least(void **state)
{
        (void)state;
        Retry retry = fresh();
        retry_report(&retry, retry_send(&retry, T0), API_E_THROTTLED, 7 * NS_PER_S, T0);
        assert_int_equal(retry_ready_ns(&retry, T0), T0 + 7 * NS_PER_S);
        uint64_t at = T0 + 7 * NS_PER_S;
        retry_report(&retry, retry_send(&retry, at), API_E_SERVER, 40 * NS_PER_S, at);
        assert_int_equal(retry_ready_ns(&retry, at), at + 40 * NS_PER_S);

        retry = fresh();
        assert_int_equal(retry_delay_ns(&retry, 1, 9 * NS_PER_S), 9 * NS_PER_S);
        assert_in_range(retry_delay_ns(&retry, 8, 1), RETRY_CAP_NS - 2000, RETRY_CAP_NS);
}

static void test_delays_are_jittered_and_bounded(void **state)
{
        (void)state;
        Retry retry = fresh();
        uint64_t limit = RETRY_BASE_NS;
        for (unsigned failures = 1; failures < 100; failures++) {
                next_random = 0;
                assert_int_equal(retry_delay_ns(&retry, failures, 0), RETRY_FLOOR_NS);
                next_random = UINT32_C(1) << 31;
                assert_in_range(retry_delay_ns(&retry, failures, 0), limit / 2 - 2000, limit / 2);
                next_random = UINT32_MAX;
                assert_in_range(retry_delay_ns(&retry, failures, 0), limit - 2000, limit);
                limit = limit * 2 < RETRY_CAP_NS ? limit * 2 : RETRY_CAP_NS;
        }
}

/* How long the endpoint failed is known when it answers again, until what waited for that has come. */
static void test_recovery_is_remembered(void **state)
{
        (void)state;
        Retry retry = fresh();
        open_circuit(&retry, T0);
        uint64_t back = T0 + 600 * NS_PER_S;
        retry_report(&retry, retry_send(&retry, back), API_OK, 0, back);
        assert_int_equal(retry.recovered_ns, back);
        assert_int_equal(retry.failed_ns, 600 * NS_PER_S);
        /* a short failure meanwhile */
        open_circuit(&retry, back + NS_PER_S);
        retry_report(&retry, retry_send(&retry, back + 2 * NS_PER_S), API_OK, 0, back + 2 * NS_PER_S);
        assert_int_equal(retry.recovered_ns, back);
        /* and one later */
        uint64_t later = back + 601 * NS_PER_S;
        open_circuit(&retry, later);
        retry_report(&retry, retry_send(&retry, later + NS_PER_S), API_OK, 0, later + NS_PER_S);
        assert_int_equal(retry.recovered_ns, later + NS_PER_S);
        assert_int_equal(retry.failed_ns, NS_PER_S);
}

/* Successes between failures: the backoff goes on where it was, and each success takes one step back. */
static void test_a_success_takes_one_step_back(void **state)
{
        (void)state;
        Retry retry = fresh();
        uint64_t now = T0;
        open_circuit(&retry, now);
        for (int i = 0; i < 4; i++) {
                now = retry_ready_ns(&retry, now);
                retry_report(&retry, retry_send(&retry, now), API_E_THROTTLED, 0, now);
        }
        unsigned step = retry.step;
        assert_int_equal(step, 5);
        now = retry_ready_ns(&retry, now);
        retry_report(&retry, retry_send(&retry, now), API_OK, 0, now);
        assert_int_equal(retry.step, step - 1);
        for (unsigned i = 0; i < 2 * step; i++)
                retry_report(&retry, retry_send(&retry, now), API_OK, 0, now);
        assert_int_equal(retry.step, 0);
}

/* A storm: everything fails for 30 s, and whoever may send does so every millisecond. The backoff bounds it. */
static void test_storm_is_bounded(void **state)
{
        (void)state;
        static const ApiError errors[] = {API_E_THROTTLED, API_E_SERVER, API_E_UNREACHABLE};
        for (size_t e = 0; e < ARRAY_LEN(errors); e++) {
                Retry retry;
                unsigned sent = 0;
                next_random = 17;
                retry_init(&retry, random_lcg, NULL);
                for (uint64_t now = T0; now < T0 + 30 * NS_PER_S; now += NS_PER_MS) {
                        if (is_ready(&retry, now)) {
                                sent++;
                                retry_report(&retry, retry_send(&retry, now), errors[e], 0, now);
                        }
                }
                assert_in_range(sent, 8, 40);
                /* and when it ends, the next probe is at most a step away */
                uint64_t end = T0 + 30 * NS_PER_S;
                assert_in_range(retry_ready_ns(&retry, end), end, end + RETRY_CAP_NS);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_closed_lets_all_go),
                cmocka_unit_test(test_what_opens),
                cmocka_unit_test(test_server_errors_open_after_three_in_a_row),
                cmocka_unit_test(test_one_probe_a_step),
                cmocka_unit_test(test_a_slow_probe_does_not_hold_up_the_next),
                cmocka_unit_test(test_any_answer_of_a_probe_closes),
                cmocka_unit_test(test_what_was_sent_before_does_not_count),
                cmocka_unit_test(test_retry_after_is_the_least),
                cmocka_unit_test(test_delays_are_jittered_and_bounded),
                cmocka_unit_test(test_recovery_is_remembered),
                cmocka_unit_test(test_a_success_takes_one_step_back),
                cmocka_unit_test(test_storm_is_bounded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
