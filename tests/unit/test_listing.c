/* The listing: walks over the API, whole or denied or failing, and what is served meanwhile. */

#include "listing_fixture.h"

#include "api/page.h"

static const char *const one_view[] = {"dnsv-1"};
static const char *const two_views[] = {"dnsv-1", "dnsv-2"};

static void make_view_listing(size_t views)
{
        make_listing((ScopeIds){.dns_view_ids = two_views, .dns_view_id_count = views});
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

static void assert_ids(const ListingAnswer *answer, const char *expected)
{
        char ids[1024] = "";
        for (size_t i = 0; i < items_count(answer->items); i++) {
                size_t len = strlen(ids);
                (void)snprintf(ids + len, sizeof ids - len, "%s%s", i ? " " : "", items_id(answer->items, i));
        }
        assert_string_equal(ids, expected);
}

static void assert_listed(const char *expected)
{
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_OK);
        assert_true(answer.complete);
        assert_ids(&answer, expected);
}

static void assert_listing_waits(void)
{
        ListingAnswer answer;
        assert_int_equal(get(&answer), -EINPROGRESS);
}

static const FakeToken abc[] = {{.id = "b"}, {.id = "a", .name = "web"}, {.id = "c"}};

static void test_walks_everything(void **state)
{
        (void)state;
        make_listing((ScopeIds){0});
        FakeReader reader;
        ListingAnswer answer;
        fake_reader_init(&reader);
        assert_int_equal(listing_get(listing, clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        assert_listing_waits();
        assert_int_equal(fake.started, 2); /* one walk, however many wait */
        fake_answer_ids(&fake, API_LIST_SHARED_DNS_VIEWS, "", (const char *const[]){"shared"}, 1, NULL);
        fake_answer_ids(&fake, API_LIST_GLOBAL_RESOLVERS, "", (const char *const[]){"gr-1"}, 1, "more");
        ApiCall *call = fake_call(&fake, API_LIST_GLOBAL_RESOLVERS, NULL);
        assert_string_equal(call->next_token, "more");
        fake_answer_ids(&fake, API_LIST_GLOBAL_RESOLVERS, "", (const char *const[]){"gr-2"}, 1, NULL);
        fake_answer_ids(&fake, API_LIST_DNS_VIEWS, "gr-1", two_views, 2, NULL);
        fake_answer_ids(&fake, API_LIST_DNS_VIEWS, "gr-2", NULL, 0, NULL);
        fake_answer_tokens(&fake, "dnsv-1", abc, 3, "page-2");
        assert_string_equal(fake_call(&fake, API_LIST_ACCESS_TOKENS, "dnsv-1")->next_token, "page-2");
        fake_answer_tokens(&fake, "dnsv-1", &(FakeToken){.id = "d"}, 1, NULL);
        assert_int_equal(reader.woken, 0);
        listing_peek(listing, &answer);
        assert_int_equal(items_count(answer.items), 0); /* whole or not at all */
        fake_answer_tokens(&fake, "dnsv-2", &(FakeToken){.id = "0"}, 1, NULL);
        fake_answer_tokens(&fake, "shared", &(FakeToken){.id = "s"}, 1, NULL);
        assert_int_equal(reader.woken, 1);
        assert_listed("0 a b c d s");
        assert_int_equal(get(&answer), 0);
        size_t position;
        TokenItem item;
        assert_int_equal(items_find(answer.items, "a", &position), 0);
        items_get(answer.items, position, &item);
        assert_string_equal(item.name, "web");
        assert_int_equal(items_find(answer.items, "e", &position), -ENOENT);
        assert_int_equal(items_find(answer.items,
                                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                 &position),
                -ENOENT);
        ListingStatus status;
        listing_status(listing, &status);
        assert_int_equal(status.resolvers, 2);
        assert_int_equal(status.dns_views, 3);
        assert_int_equal(status.tokens, 6);
        assert_string_equal(status.state, "fresh");
        assert_true(status.complete);
}

static void test_nothing_there(void **state)
{
        (void)state;
        make_listing((ScopeIds){0});
        assert_listing_waits();
        fake_answer_ids(&fake, API_LIST_GLOBAL_RESOLVERS, NULL, NULL, 0, NULL);
        assert_listing_waits();
        fake_answer_ids(&fake, API_LIST_SHARED_DNS_VIEWS, NULL, NULL, 0, NULL);
        assert_listed("");
        assert_int_equal(fake.started, 2);
}

static void test_few_calls_at_a_time(void **state)
{
        (void)state;
        char ids[40][16];
        const char *pointers[40];
        for (int i = 0; i < 40; i++) {
                (void)snprintf(ids[i], sizeof ids[i], "v-%02d", i);
                pointers[i] = ids[i];
        }
        make_listing((ScopeIds){.dns_view_ids = pointers, .dns_view_id_count = 40});
        assert_listing_waits();
        for (int i = 0; i < 40; i++) {
                assert_in_range(fake.running, 1, 4);
                FakeToken one = {.id = ids[i]};
                fake_answer_tokens(&fake, NULL, &one, 1, NULL);
        }
        assert_int_equal(fake.running, 0);
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(items_count(answer.items), 40);
}

static void test_freshness(void **state)
{
        (void)state;
        make_view_listing(1);
        assert_listing_waits();
        clock_advance_fake(NS_PER_S);
        fake_answer_tokens(&fake, NULL, abc, 3, NULL);
        clock_advance_fake(TTL_NS / 100 * 74 - NS_PER_S);
        assert_listed("a b c");
        assert_int_equal(fake.started, 1);
        clock_advance_fake(TTL_NS / 100 * 12);
        for (int i = 0; i < 5; i++)
                assert_listed("a b c"); /* ageing: one walk, nobody waits */
        assert_int_equal(fake.started, 2);
        fake_answer_tokens(&fake, NULL, abc, 2, NULL);
        assert_listed("a b");
        clock_advance_fake(TTL_NS);
        assert_listing_waits();
        fake_answer_tokens(&fake, NULL, abc, 3, NULL);
        assert_listed("a b c");
}

static void test_version(void **state)
{
        (void)state;
        make_view_listing(1);
        ListingAnswer answer;
        assert_listing_waits();
        fake_answer_tokens(&fake, NULL, abc, 3, NULL);
        assert_int_equal(get(&answer), 0);
        uint64_t version = answer.version;
        static const FakeToken reordered[] = {
                {.id = "c"}, {.id = "a", .name = "web"}, {.id = "b"}, {.id = "b"}};
        clock_advance_fake(TTL_NS);
        assert_listing_waits();
        fake_answer_tokens(&fake, NULL, reordered, 4, NULL);
        assert_int_equal(get(&answer), 0);
        assert_ids(&answer, "a b c"); /* repeats are dropped */
        assert_int_equal(answer.version, version);
        clock_advance_fake(TTL_NS);
        assert_listing_waits();
        static const FakeToken renamed[] = {{.id = "c"}, {.id = "a", .name = "mail"}, {.id = "b"}};
        fake_answer_tokens(&fake, NULL, renamed, 3, NULL);
        assert_int_equal(get(&answer), 0);
        assert_true(answer.version > version);
        assert_true(answer.version != 0);
}

/* Items that say the same are the same bytes, whatever lay in the memory before. */
static void test_items_are_comparable(void **state)
{
        (void)state;
        char detail[128], body[512];
        int len = snprintf(body, sizeof body,
                "{\"accessTokens\":[{\"id\":\"at-1\",\"arn\":\"arn:x\",\"createdAt\":\"2026-01-02T03:04:"
                "05Z\","
                "\"dnsViewId\":\"v\",\"expiresAt\":\"2026-12-31T00:00:00Z\",\"globalResolverId\":\"g\","
                "\"status\":\"OPERATIONAL\",\"updatedAt\":\"2026-01-03T00:00:00Z\"}]}");
        TokenItem seen[2];
        for (int i = 0; i < 2; i++) {
                void *dirt = malloc(1000 * sizeof(TokenItem));
                memset(dirt, i ? 0x55 : 0xaa, 1000 * sizeof(TokenItem));
                free(dirt);
                ApiPage page;
                assert_int_equal(
                        api_page_parse(API_LIST_ACCESS_TOKENS, NULL, NULL, body, (size_t)len, detail, &page),
                        API_OK);
                seen[i] = page.items[0];
                api_page_deinit(&page);
        }
        assert_memory_equal(&seen[0], &seen[1], sizeof seen[0]);
        TokenItem item;
        memset(&item, 0xaa, sizeof item);
        fake_item(&(FakeToken){.id = "at-1"}, &item);
        TokenItem again;
        memset(&again, 0x55, sizeof again);
        fake_item(&(FakeToken){.id = "at-1"}, &again);
        assert_memory_equal(&item, &again, sizeof item);
}

static void test_next_token_that_repeats(void **state)
{
        (void)state;
        make_view_listing(1);
        assert_listing_waits();
        fake_answer_tokens(&fake, NULL, abc, 3, "again");
        fake_answer_tokens(&fake, NULL, abc, 3, "again");
        assert_int_equal(fake.running, 0);
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_MALFORMED);
        assert_int_equal(items_count(answer.items), 0);
}

static void test_pages_without_end(void **state)
{
        (void)state;
        make_view_listing(1);
        assert_listing_waits();
        while (fake.running) {
                char next[16];
                assert_true(fake.started < 5000);
                (void)snprintf(next, sizeof next, "%zu", fake.started % 2); /* goes round */
                fake_answer_tokens(&fake, NULL, abc, 1, next);
        }
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_MALFORMED);
}

/* Pages that give nothing, each with another token, come to an end. */
static void test_empty_pages_without_end(void **state)
{
        (void)state;
        make_view_listing(1);
        assert_listing_waits();
        while (fake.running) {
                char next[24];
                assert_true(fake.started < 100);
                (void)snprintf(next, sizeof next, "%zu", fake.started);
                fake_answer_tokens(&fake, NULL, NULL, 0, next);
        }
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_MALFORMED);
}

static void test_more_than_can_be(void **state)
{
        (void)state;
        make_listing((ScopeIds){0});
        assert_listing_waits();
        char(*ids)[16] = calloc(1000, sizeof *ids);
        const char **pointers = calloc(1000, sizeof *pointers);
        for (int i = 0; i < 1000; i++) {
                (void)snprintf(ids[i], sizeof ids[i], "gr-%d", i);
                pointers[i] = ids[i];
        }
        fake_answer_ids(&fake, API_LIST_GLOBAL_RESOLVERS, NULL, pointers, 1000, NULL);
        while (fake_call(&fake, API_LIST_DNS_VIEWS, NULL)) {
                assert_true(fake.started < 100);
                fake_answer_ids(&fake, API_LIST_DNS_VIEWS, NULL, pointers, 1000, NULL);
        }
        assert_int_equal(fake.running, 0);
        free(ids);
        free(pointers);
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_TOO_MANY);
}

static void test_denied(void **state)
{
        (void)state;
        make_listing((ScopeIds){0});
        assert_listing_waits();
        fake_answer_error(fake_call(&fake, API_LIST_GLOBAL_RESOLVERS, NULL), API_E_ACCESS_DENIED);
        fake_answer_error(fake_call(&fake, API_LIST_SHARED_DNS_VIEWS, NULL), API_E_ACCESS_DENIED);
        ListingAnswer answer;
        for (int i = 0; i < 5; i++) {
                assert_int_equal(get(&answer), 0);
                assert_int_equal(answer.error, API_E_ACCESS_DENIED);
                assert_int_equal(items_count(answer.items), 0);
                assert_false(answer.complete);
        }
        assert_int_equal(fake.started, 2); /* remembered as long as a listing */
        clock_advance_fake(TTL_NS);
        assert_listing_waits();
        fake_answer_ids(&fake, API_LIST_GLOBAL_RESOLVERS, NULL, NULL, 0, NULL);
        fake_answer_error(fake_call(&fake, API_LIST_SHARED_DNS_VIEWS, NULL), API_E_ACCESS_DENIED);
        assert_listed(""); /* few policies allow to ask for shared views: without them it is complete */
}

static void test_partly_denied(void **state)
{
        (void)state;
        make_view_listing(2);
        assert_listing_waits();
        fake_answer_error(fake_call(&fake, API_LIST_ACCESS_TOKENS, "dnsv-1"), API_E_ACCESS_DENIED);
        fake_answer_tokens(&fake, "dnsv-2", abc, 3, NULL);
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_ACCESS_DENIED);
        assert_ids(&answer, "a b c");
        assert_false(answer.complete);
        assert_true(answer.keep_ns > 0);
}

/* A view that was deleted during the walk isn't missed. */
static void test_vanished_branch(void **state)
{
        (void)state;
        make_view_listing(2);
        assert_listing_waits();
        fake_answer_error(fake_call(&fake, API_LIST_ACCESS_TOKENS, "dnsv-1"), API_E_NOT_FOUND);
        fake_answer_tokens(&fake, "dnsv-2", abc, 3, NULL);
        assert_listed("a b c");
}

static void test_malformed_items_make_it_incomplete(void **state)
{
        (void)state;
        make_view_listing(1);
        assert_listing_waits();
        TokenItem item;
        fake_item(&(FakeToken){.id = "a"}, &item);
        fake_answer_page(fake_call(&fake, API_LIST_ACCESS_TOKENS, NULL),
                &(ApiPage){.items = &item, .item_count = 1, .skipped = 2});
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_OK);
        assert_false(answer.complete);
}

static void test_failing_walk_keeps_the_old(void **state)
{
        (void)state;
        make_view_listing(2);
        assert_listing_waits();
        fake_answer_tokens(&fake, "dnsv-1", abc, 3, NULL);
        fake_answer_tokens(&fake, "dnsv-2", NULL, 0, NULL);
        ListingAnswer answer;
        assert_int_equal(get(&answer), 0);
        uint64_t version = answer.version;
        clock_advance_fake(TTL_NS);

        FakeReader reader;
        fake_reader_init(&reader);
        assert_int_equal(listing_get(listing, clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        fake_answer_tokens(&fake, "dnsv-2", &(FakeToken){.id = "x"}, 1, NULL);
        fake_answer_retry(
                fake_call(&fake, API_LIST_ACCESS_TOKENS, "dnsv-1"), API_E_SERVER, clock_now_ns() + NS_PER_S);
        assert_int_equal(reader.woken, 1);
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_SERVER);
        assert_ids(&answer, "a b c");
        assert_false(answer.complete);
        assert_int_equal(answer.keep_ns, 0);
        assert_int_equal(answer.version, version);
        assert_int_equal(fake.running, 1);
        fake_answer_error(fake_call(&fake, API_LIST_ACCESS_TOKENS, "dnsv-1"), API_E_MALFORMED);
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_MALFORMED);
        assert_ids(&answer, "a b c");
        size_t started = fake.started;
        for (int i = 0; i < 10; i++)
                assert_int_equal(get(&answer), 0);
        assert_int_equal(fake.started, started); /* no storm of walks */

        clock_advance_fake(STALE_NS);
        assert_listing_waits();
        fake_answer_error(fake_call(&fake, API_LIST_ACCESS_TOKENS, "dnsv-1"), API_E_TLS);
        assert_int_equal(fake.running, 0); /* the rest of the walk ends with it */
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_TLS);
        assert_int_equal(items_count(answer.items), 0);
        assert_int_equal(answer.version, 0);
}

static void test_deadline(void **state)
{
        (void)state;
        make_view_listing(1);
        FakeReader reader;
        ListingAnswer answer;
        uint64_t came_ns = clock_now_ns();
        fake_reader_init(&reader);
        assert_int_equal(listing_get(listing, came_ns, false, &reader.wait, &answer), -EINPROGRESS);
        clock_advance_fake(TIMEOUT_NS);
        cache_wait_cancel(&reader.wait);
        assert_int_equal(listing_get(listing, came_ns, true, &reader.wait, &answer), 0);
        assert_int_equal(answer.error, API_E_TIMEOUT);
        assert_int_equal(fake.running, 1);
        /* The endpoint is known to have failed for long: nobody waits. */
        fake.health = (ApiHealth){.error = API_E_UNREACHABLE, .since_ns = came_ns - 1};
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_UNREACHABLE);
}

/* A walk that fails goes on for a while for those who may come again, and not for ever. */
static void test_probe_ends(void **state)
{
        (void)state;
        make_view_listing(1);
        assert_listing_waits();
        int turns = 0;
        for (; fake.running && turns < 100; turns++) {
                fake_answer_retry(fake_call(&fake, API_LIST_ACCESS_TOKENS, NULL), API_E_SERVER,
                        clock_now_ns() + 10 * NS_PER_S);
                clock_advance_fake(10 * NS_PER_S);
        }
        assert_in_range(turns, 10, 14);
        assert_listing_waits();
}

static void test_no_call_can_start(void **state)
{
        (void)state;
        make_view_listing(1);
        fake.start_result = -ENOMEM;
        ListingAnswer answer;
        assert_int_equal(get(&answer), -ENOMEM);
        clock_advance_fake(NS_PER_S);
        fake.start_result = 0;
        assert_listing_waits();
        /* In the middle of a walk. */
        fake.start_result = -ENOMEM;
        fake_answer_tokens(&fake, NULL, abc, 3, "more");
        assert_int_equal(get(&answer), 0);
        assert_int_equal(answer.error, API_E_MEMORY);
}

static void test_wall_clock_does_not_matter(void **state)
{
        (void)state;
        make_view_listing(1);
        assert_listing_waits();
        fake_answer_tokens(&fake, NULL, abc, 3, NULL);
        clock_set_fake(FAKE_NOW_NS + 1, FAKE_WALL_NS + 1000 * 86400 * (int64_t)NS_PER_S);
        assert_listed("a b c");
        clock_set_fake(FAKE_NOW_NS + 1, 0);
        assert_listed("a b c");
}

static void test_free_in_the_middle(void **state)
{
        (void)state;
        make_listing((ScopeIds){.dns_view_ids = one_view, .dns_view_id_count = 1});
        assert_listing_waits();
        fake_answer_tokens(&fake, NULL, abc, 3, "more");
        assert_int_equal(fake.running, 1);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up_listing, tear_down_listing)
        const struct CMUnitTest tests[] = {
                TEST(test_walks_everything),
                TEST(test_nothing_there),
                TEST(test_few_calls_at_a_time),
                TEST(test_freshness),
                TEST(test_version),
                TEST(test_items_are_comparable),
                TEST(test_next_token_that_repeats),
                TEST(test_pages_without_end),
                TEST(test_empty_pages_without_end),
                TEST(test_more_than_can_be),
                TEST(test_denied),
                TEST(test_partly_denied),
                TEST(test_vanished_branch),
                TEST(test_malformed_items_make_it_incomplete),
                TEST(test_failing_walk_keeps_the_old),
                TEST(test_deadline),
                TEST(test_probe_ends),
                TEST(test_no_call_can_start),
                TEST(test_wall_clock_does_not_matter),
                TEST(test_free_in_the_middle),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
