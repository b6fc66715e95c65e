/* Walks that are long, in items or in time, and what comes of one that fails. */

#include "listing_fixture.h"

static const FakeToken abc[] = {{.id = "b"}, {.id = "a"}, {.id = "c"}};

static void make_view_listing(void)
{
        static const char *const views[] = {"dnsv-1"};
        make_listing((ScopeIds){.dns_view_ids = views, .dns_view_id_count = 1});
}

static int get(ListingAnswer *ret_answer)
{
        FakeReader reader;
        fake_reader_init(&reader);
        *ret_answer = (ListingAnswer){0};
        int r = listing_get(listing, clock_now_ns(), false, &reader.wait, ret_answer);
        cache_wait_cancel(&reader.wait);
        return r;
}

static void assert_listed(void)
{
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_OK);
        assert_int_equal(items_count(answer.items), 3);
}

static void assert_listing_waits(void)
{
        ListingAnswer answer;
        assert_int_equal(get(&answer), -EINPROGRESS);
}

/* A long listing is sorted a slice a turn: until it is done, readers have the old one, or wait. */
static void test_long_listing_in_slices(void **state)
{
        enum { PAGE = 1000, PAGES = 20 };
        (void)state;
        make_view_listing();
        assert_listing_waits();
        FakeToken *items = calloc(PAGE, sizeof *items);
        char(*ids)[16] = calloc(PAGE, sizeof *ids);
        for (unsigned page = 0; page < PAGES; page++) {
                for (unsigned i = 0; i < PAGE; i++) {
                        (void)snprintf(
                                ids[i], sizeof ids[i], "t-%u", (page * PAGE + i) * 7919 % (PAGE * PAGES));
                        items[i].id = ids[i];
                }
                char next[16];
                (void)snprintf(next, sizeof next, "%u", page);
                fake_answer_tokens(&fake, NULL, items, PAGE, page + 1 < PAGES ? next : NULL);
        }
        assert_int_equal(fake.running, 0);
        assert_listing_waits();
        assert_true(settle_listing() > 10);
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(items_count(answer.items), PAGE * PAGES);
        for (size_t i = 1; i < PAGE * PAGES; i++)
                assert_true(strcmp(items_id(answer.items, i - 1), items_id(answer.items, i)) < 0);
        clock_advance_fake(TTL_NS);
        assert_listing_waits();
        fake_answer_tokens(&fake, NULL, items, PAGE, "more");
        listing = listing_free(listing); /* in the middle */
        free(items);
        free(ids);
}

/* A walk that takes as long as ttl isn't due when it arrives: else each reader of a name would wait. */
static void test_walk_longer_than_ttl(void **state)
{
        (void)state;
        make_view_listing();
        assert_listing_waits();
        clock_advance_fake(2 * TTL_NS);
        fake_answer_tokens(&fake, NULL, abc, 3, NULL);
        for (int i = 0; i < 5; i++) {
                assert_listed();
                assert_int_equal(fake.running, 0);
                clock_advance_fake(TTL_NS / 2);
                assert_listed();
                assert_int_equal(fake.running, 1); /* the next one begins early enough */
                clock_advance_fake(2 * TTL_NS);
                assert_listed();
                fake_answer_tokens(&fake, NULL, abc, 3, NULL);
        }
        clock_advance_fake(3 * TTL_NS);
        assert_listing_waits();
        fake_answer_tokens(&fake, NULL, abc, 3, NULL);
}

/* A short walk changes nothing about ttl; one that takes longer than a quarter of it begins earlier. */
static void test_refresh_begins_in_time(void **state)
{
        (void)state;
        make_view_listing();
        assert_listing_waits();
        clock_advance_fake(TTL_NS / 10 * 4);
        fake_answer_tokens(&fake, NULL, abc, 3, NULL);
        clock_advance_fake(TTL_NS / 10 - 1); /* half of ttl is over, and a walk takes 40 % of it */
        assert_listed();
        assert_int_equal(fake.running, 0);
        clock_advance_fake(1);
        assert_listed();
        assert_int_equal(fake.running, 1);
        clock_advance_fake(TTL_NS / 2);
        assert_listing_waits();
        fake_answer_tokens(&fake, NULL, abc, 3, NULL);
}

/* A walk may be thousands of calls: an answer that the next one would get as well is held for ttl. */
static void test_permanent_error_is_held(void **state)
{
        (void)state;
        static const ApiError errors[] = {API_E_MALFORMED, API_E_REFUSED};
        make_view_listing();
        for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
                ListingAnswer answer;
                assert_listing_waits();
                size_t started = fake.started;
                fake_answer_error(fake_call(&fake, API_LIST_ACCESS_TOKENS, NULL), errors[i]);
                clock_advance_fake(TTL_NS - 1);
                assert_int_equal(get(&answer), 0);
                assert_int_equal(answer.error, errors[i]);
                assert_int_equal(fake.started, started);
                clock_advance_fake(1);
        }
        /* Credentials are asked for without a call: mended ones are found at once. */
        ListingAnswer answer;
        assert_listing_waits();
        fake_answer_error(fake_call(&fake, API_LIST_ACCESS_TOKENS, NULL), API_E_NO_CREDENTIALS);
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_NO_CREDENTIALS);
        clock_advance_fake(NS_PER_S);
        assert_listing_waits();
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up_listing, tear_down_listing)
        const struct CMUnitTest tests[] = {
                TEST(test_long_listing_in_slices),
                TEST(test_walk_longer_than_ttl),
                TEST(test_refresh_begins_in_time),
                TEST(test_permanent_error_is_held),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
