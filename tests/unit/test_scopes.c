/* The scopes: which tokens exist for a mount. */

#include "listing_fixture.h"

#include "tokenfs/cache/items-build.h"
#include "tokenfs/cache/resolve.h"

static int admits(const char *id, bool give_up, ApiError *ret_error)
{
        FakeReader reader;
        fake_reader_init(&reader);
        *ret_error = API_E_MALFORMED;
        int r = resolve_admits(&cache, id,
                &(ResolveReader){.since_ns = clock_now_ns(), .gives_up = give_up, .wait = &reader.wait},
                ret_error);
        cache_wait_cancel(&reader.wait);
        return r;
}

static void assert_admits(const char *id, ApiError expected)
{
        ApiError error;
        assert_int_equal(admits(id, false, &error), 0);
        assert_int_equal(error, expected);
}

static bool admits_doc(FakeToken given)
{
        TokenDoc *doc = fake_doc(&given);
        bool admitted = scopes_admit_doc(cache.scopes, doc);
        token_doc_unref(doc);
        return admitted;
}

static void test_none(void **state)
{
        (void)state;
        make_listing((ScopeIds){0});
        assert_true(scopes_are_open(cache.scopes));
        assert_admits("anything", API_OK);
        assert_int_equal(fake.started, 0); /* any id is reached without a right to list */
        assert_true(admits_doc((FakeToken){.id = "a"}));
        assert_int_equal(scopes_ids(cache.scopes).token_id_count, 0);
}

static void test_tokens(void **state)
{
        (void)state;
        char first[] = "t-1", second[] = "t-2";
        const char *ids[] = {first, second};
        make_listing((ScopeIds){.token_ids = ids, .token_id_count = 2});
        memset(first, 'x', 3); /* scopes are copied */
        assert_false(scopes_are_open(cache.scopes));
        assert_admits("t-1", API_OK);
        assert_admits("t-2", API_OK);
        assert_admits("t-3", API_E_NOT_FOUND);
        assert_admits("t-", API_E_NOT_FOUND);
        assert_admits("t-11", API_E_NOT_FOUND);
        assert_true(admits_doc((FakeToken){.id = "t-1"}));
        assert_false(admits_doc((FakeToken){.id = "t-3"}));
        ListingAnswer answer;
        FakeReader reader;
        fake_reader_init(&reader);
        assert_int_equal(listing_get(listing, clock_now_ns(), false, &reader.wait, &answer), 0);
        assert_true(answer.complete);
        assert_int_equal(items_count(answer.items), 0);
        listing_peek(listing, &answer);
        assert_true(answer.complete);
        assert_int_equal(fake.started, 0);
        assert_string_equal(scopes_ids(cache.scopes).token_ids[1], "t-2");
        assert_int_equal(scopes_ids(cache.scopes).token_id_count, 2);
}

static void test_view(void **state)
{
        (void)state;
        static const char *const views[] = {"dnsv-7"};
        make_listing((ScopeIds){.dns_view_ids = views, .dns_view_id_count = 1});
        ApiError error;
        assert_int_equal(admits("a", false, &error), -EINPROGRESS);
        assert_string_equal(fake_call(&fake, API_LIST_ACCESS_TOKENS, NULL)->id, "dnsv-7");
        assert_int_equal(fake.running, 1);
        static const FakeToken items[] = {{.id = "a", .dns_view_id = "dnsv-7"}};
        fake_answer_tokens(&fake, NULL, items, 1, NULL);
        assert_admits("a", API_OK);
        assert_admits("b", API_E_NOT_FOUND);
        assert_true(admits_doc((FakeToken){.id = "b", .dns_view_id = "dnsv-7"}));
        assert_false(admits_doc((FakeToken){.id = "b", .dns_view_id = "dnsv-8"}));
        assert_false(
                admits_doc((FakeToken){.id = "dnsv-7", .dns_view_id = "x", .global_resolver_id = "dnsv-7"}));
}

static void test_resolver(void **state)
{
        (void)state;
        static const char *const resolvers[] = {"gr-7"};
        make_listing((ScopeIds){.resolver_ids = resolvers, .resolver_id_count = 1});
        ApiError error;
        assert_int_equal(admits("a", false, &error), -EINPROGRESS);
        fake_answer_ids(&fake, API_LIST_DNS_VIEWS, "gr-7", (const char *const[]){"v-1"}, 1, NULL);
        static const FakeToken items[] = {{.id = "a"}};
        fake_answer_tokens(&fake, "v-1", items, 1, NULL);
        assert_admits("a", API_OK);
        assert_admits("b", API_E_NOT_FOUND);
        assert_true(admits_doc((FakeToken){.id = "b", .global_resolver_id = "gr-7"}));
        assert_false(admits_doc((FakeToken){.id = "b", .global_resolver_id = "gr-77"}));
}

/* Scopes add up; a token= scope needs no listing. */
static void test_mixed(void **state)
{
        (void)state;
        static const char *const ids[] = {"t-1"}, *const views[] = {"v-1"}, *const resolvers[] = {"gr-1"};
        make_listing((ScopeIds){.token_ids = ids,
                .token_id_count = 1,
                .dns_view_ids = views,
                .dns_view_id_count = 1,
                .resolver_ids = resolvers,
                .resolver_id_count = 1});
        assert_admits("t-1", API_OK);
        assert_int_equal(fake.started, 0);
        ApiError error;
        assert_int_equal(admits("a", false, &error), -EINPROGRESS);
        assert_int_equal(fake.running, 2);
        fake_answer_ids(&fake, API_LIST_DNS_VIEWS, "gr-1", (const char *const[]){"v-1", "v-2"}, 2, NULL);
        while (fake.running)
                fake_answer_tokens(&fake, NULL, (const FakeToken[]){{.id = "a"}}, 1, NULL);
        assert_admits("a", API_OK);
        assert_admits("b", API_E_NOT_FOUND);
        assert_true(admits_doc((FakeToken){.id = "x", .dns_view_id = "v-1", .global_resolver_id = "o"}));
        assert_true(admits_doc((FakeToken){.id = "x", .dns_view_id = "o", .global_resolver_id = "gr-1"}));
        assert_false(admits_doc((FakeToken){.id = "x", .dns_view_id = "o", .global_resolver_id = "o"}));
}

/* A listing that can't settle it leaves it to the document. */
static void test_listing_does_not_tell(void **state)
{
        (void)state;
        static const char *const views[] = {"v-1", "v-2"};
        static const ApiError errors[] = {API_E_ACCESS_DENIED, API_E_MALFORMED, API_E_SERVER};
        for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
                make_listing((ScopeIds){.dns_view_ids = views, .dns_view_id_count = 2});
                ApiError error;
                assert_int_equal(admits("b", false, &error), -EINPROGRESS);
                fake_answer_tokens(&fake, "v-1", (const FakeToken[]){{.id = "a"}}, 1, NULL);
                fake_answer_error(fake_call(&fake, API_LIST_ACCESS_TOKENS, "v-2"), errors[i]);
                assert_admits("b", API_OK);
        }
        /* Nor does one that never comes. */
        make_listing((ScopeIds){.dns_view_ids = views, .dns_view_id_count = 2});
        ApiError error;
        assert_int_equal(admits("b", true, &error), 0);
        assert_int_equal(error, API_OK);
}

/* A listing of an earlier process, which had other scopes. */
static void test_restored_listing(void **state)
{
        (void)state;
        static const char *const ids[] = {"t-1"}, *const views[] = {"v-1"}, *const resolvers[] = {"gr-1"};
        static const FakeToken tokens_then[] = {
                {.id = "t-1", .dns_view_id = "v-9", .global_resolver_id = "gr-9"},
                {.id = "t-2", .dns_view_id = "v-1", .global_resolver_id = "gr-9"},
                {.id = "t-3", .dns_view_id = "v-9", .global_resolver_id = "gr-1"},
                {.id = "t-4", .dns_view_id = "v-9", .global_resolver_id = "gr-9"},
        };
        const struct {
                ScopeIds scopes;
                const char *there; /* digits of the ids */
        } cases[] = {
                {{0}, "1234"},
                {{.token_ids = ids, .token_id_count = 1, .dns_view_ids = views, .dns_view_id_count = 1},
                        "12"},
                {{.resolver_ids = resolvers, .resolver_id_count = 1}, "3"},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Items *items;
                TokenItem item;
                ListingAnswer answer;
                make_listing(cases[i].scopes);
                assert_int_equal(items_new(&items), 0);
                for (size_t k = 0; k < ARRAY_LEN(tokens_then); k++) {
                        fake_item(&tokens_then[k], &item);
                        assert_int_equal(items_append(items, &item), 0);
                }
                assert_int_equal(items_settle(items, NULL, SIZE_MAX), 0);
                listing_restore(listing, items, clock_wall_ns(), clock_wall_ns());
                listing_peek(listing, &answer);
                assert_int_equal(items_count(answer.items), strlen(cases[i].there));
                for (size_t k = 0; k < items_count(answer.items); k++) {
                        items_get(answer.items, k, &item);
                        assert_int_equal(item.id[2], cases[i].there[k]);
                }
        }
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up_listing, tear_down_listing)
        const struct CMUnitTest tests[] = {
                TEST(test_none),
                TEST(test_tokens),
                TEST(test_view),
                TEST(test_resolver),
                TEST(test_mixed),
                TEST(test_restored_listing),
                TEST(test_listing_does_not_tell),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
