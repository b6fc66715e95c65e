/* The names of resolvers, over time and against a source that answers as it is told. */

#include "fake_source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tokenfs/base/log.h"
#include "tokenfs/cache/resolvers.h"

#define TTL_NS (100 * NS_PER_S)
#define STALE_NS (1000 * NS_PER_S)
#define NEGATIVE_TTL_NS (5 * NS_PER_S)
#define TIMEOUT_NS (10 * NS_PER_S)

static FakeSource fake;
static Resolvers *resolvers;
static FakeReader reader;

static int set_up(void **state)
{
        (void)state;
        fake_source_init(&fake);
        fake_reader_init(&reader);
        log_open(LOG_LEVEL_ERROR, false);
        const CachePolicy policy = {.source = fake_source(&fake),
                .ttl_ns = TTL_NS,
                .negative_ttl_ns = NEGATIVE_TTL_NS,
                .stale_ns = STALE_NS,
                .timeout_ns = TIMEOUT_NS};
        assert_int_equal(resolvers_new(&policy, &resolvers), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        cache_wait_cancel(&reader.wait);
        resolvers = resolvers_free(resolvers);
        fake_source_deinit(&fake);
        return 0;
}

static int ask(const char *id, ResolverAnswer *ret_answer)
{
        *ret_answer = (ResolverAnswer){0};
        return resolvers_get(resolvers, id, clock_now_ns(), false, &reader.wait, ret_answer);
}

static void answer(const char *id, const char *dns_name)
{
        ApiPage page = {0};
        (void)snprintf(page.dns_name, sizeof page.dns_name, "%s", dns_name);
        fake_answer_page(fake_call(&fake, API_GET_GLOBAL_RESOLVER, id), &page);
}

static void learn(const char *id, const char *dns_name)
{
        ResolverAnswer ignored;
        assert_int_equal(ask(id, &ignored), -EINPROGRESS);
        answer(id, dns_name);
}

static void expect_name(const char *id, const char *dns_name, bool is_kept)
{
        ResolverAnswer got;
        assert_int_equal(ask(id, &got), 0);
        assert_int_equal(got.error, API_OK);
        assert_string_equal(got.dns_name, dns_name);
        assert_int_equal(got.keep_ns > 0, is_kept);
}

static void expect_error(const char *id, ApiError error)
{
        ResolverAnswer got;
        assert_int_equal(ask(id, &got), 0);
        assert_int_equal(got.error, error);
        assert_null(resolvers_peek(resolvers, id));
}

static void test_one_call_for_all(void **state)
{
        (void)state;
        FakeReader other;
        ResolverAnswer got;
        fake_reader_init(&other);
        assert_null(resolvers_peek(resolvers, "gr-1"));
        assert_int_equal(fake.started, 0);
        assert_int_equal(ask("gr-1", &got), -EINPROGRESS);
        assert_int_equal(
                resolvers_get(resolvers, "gr-1", clock_now_ns(), false, &other.wait, &got), -EINPROGRESS);
        assert_int_equal(fake.started, 1);
        answer("gr-1", "a.example");
        assert_int_equal(reader.woken, 1);
        assert_int_equal(other.woken, 1);
        expect_name("gr-1", "a.example", true);
        assert_string_equal(resolvers_peek(resolvers, "gr-1"), "a.example");
        assert_null(resolvers_peek(resolvers, "gr-2"));
        assert_int_equal(fake.started, 1);
}

static void test_refreshed_before_it_is_due(void **state)
{
        (void)state;
        learn("gr-1", "a.example");
        clock_advance_fake(TTL_NS * 9 / 10);
        expect_name("gr-1", "a.example", false);
        assert_int_equal(fake.started, 2);
        expect_name("gr-1", "a.example", false);
        assert_int_equal(fake.started, 2);
        answer("gr-1", "b.example");
        expect_name("gr-1", "b.example", true);
}

static void test_due_waits(void **state)
{
        (void)state;
        ResolverAnswer got;
        learn("gr-1", "a.example");
        clock_advance_fake(TTL_NS);
        assert_int_equal(ask("gr-1", &got), -EINPROGRESS);
        answer("gr-1", "b.example");
        expect_name("gr-1", "b.example", true);
}

static void test_stale_while_the_api_fails(void **state)
{
        (void)state;
        ResolverAnswer got;
        learn("gr-1", "a.example");
        clock_advance_fake(TTL_NS);
        assert_int_equal(ask("gr-1", &got), -EINPROGRESS);
        fake_answer_retry(
                fake_call(&fake, API_GET_GLOBAL_RESOLVER, "gr-1"), API_E_SERVER, clock_now_ns() + NS_PER_S);
        assert_int_equal(reader.woken, 2);
        expect_name("gr-1", "a.example", false);
        assert_string_equal(resolvers_peek(resolvers, "gr-1"), "a.example");
        clock_advance_fake(STALE_NS);
        assert_null(resolvers_peek(resolvers, "gr-1"));
        assert_int_equal(ask("gr-1", &got), -EINPROGRESS);
        assert_int_equal(resolvers_get(resolvers, "gr-1", clock_now_ns(), true, &reader.wait, &got), 0);
        assert_int_equal(got.error, API_E_SERVER);
}

static void test_denied_ends_it(void **state)
{
        (void)state;
        ResolverAnswer got;
        learn("gr-1", "a.example");
        clock_advance_fake(TTL_NS);
        assert_int_equal(ask("gr-1", &got), -EINPROGRESS);
        fake_answer_error(fake_call(&fake, API_GET_GLOBAL_RESOLVER, "gr-1"), API_E_ACCESS_DENIED);
        expect_error("gr-1", API_E_ACCESS_DENIED);
        clock_advance_fake(NS_PER_S / 2);
        expect_error("gr-1", API_E_ACCESS_DENIED);
        assert_int_equal(fake.started, 2);
        clock_advance_fake(NS_PER_S);
        learn("gr-1", "a.example");
        expect_name("gr-1", "a.example", true);
}

static void test_not_found_is_remembered(void **state)
{
        (void)state;
        ResolverAnswer got;
        assert_int_equal(ask("gr-1", &got), -EINPROGRESS);
        fake_answer_error(fake_call(&fake, API_GET_GLOBAL_RESOLVER, "gr-1"), API_E_NOT_FOUND);
        clock_advance_fake(NEGATIVE_TTL_NS - 1);
        expect_error("gr-1", API_E_NOT_FOUND);
        clock_advance_fake(1);
        assert_int_equal(ask("gr-1", &got), -EINPROGRESS);
}

static void test_endpoint_that_fails_for_long(void **state)
{
        (void)state;
        fake.health = (ApiHealth){.error = API_E_UNREACHABLE, .since_ns = clock_now_ns()};
        clock_advance_fake(TIMEOUT_NS + 1);
        expect_error("gr-1", API_E_UNREACHABLE);
}

static void test_no_memory_for_a_call(void **state)
{
        (void)state;
        fake.start_result = -ENOMEM;
        ResolverAnswer got;
        assert_int_equal(ask("gr-1", &got), -ENOMEM);
        fake.start_result = 0;
}

/* However many resolvers there are: the least recently used go, but none that somebody waits for. */
static void test_bounded(void **state)
{
        (void)state;
        char id[32];
        ResolverAnswer got;
        FakeReader other;
        fake_reader_init(&other);
        assert_int_equal(resolvers_get(resolvers, "waited-for", clock_now_ns(), false, &other.wait, &got),
                -EINPROGRESS);
        for (int i = 0; i < 1000; i++) {
                (void)snprintf(id, sizeof id, "gr-%d", i);
                learn(id, "a.example");
        }
        assert_null(resolvers_peek(resolvers, "gr-0"));
        assert_non_null(resolvers_peek(resolvers, "gr-999"));
        assert_int_equal(fake.cancelled, 0);
        answer("waited-for", "b.example");
        assert_int_equal(other.woken, 1);
        expect_name("waited-for", "b.example", true);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_one_call_for_all, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refreshed_before_it_is_due, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_due_waits, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_stale_while_the_api_fails, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_denied_ends_it, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_not_found_is_remembered, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_endpoint_that_fails_for_long, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_memory_for_a_call, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bounded, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
