/* From names to documents: rejected tokens, scopes, and list calls that hang. */

#include "listing_fixture.h"

#include "tokenfs/cache/resolve.h"

static const char *const views[] = {"v-1"};
static FakeReader reader;

static void list(const FakeToken *items, size_t count)
{
        ListingAnswer answer;
        FakeReader walker;
        make_listing((ScopeIds){.dns_view_ids = views, .dns_view_id_count = 1});
        fake_reader_init(&walker);
        fake_reader_init(&reader);
        assert_int_equal(listing_get(listing, clock_now_ns(), false, &walker.wait, &answer), -EINPROGRESS);
        fake_answer_tokens(&fake, NULL, items, count, NULL);
}

static int resolve(bool is_late, TokenAnswer *ret_token)
{
        *ret_token = (TokenAnswer){.error = API_E_MALFORMED};
        const ResolveReader asks = {.since_ns = clock_now_ns(), .is_late = is_late, .wait = &reader.wait};
        int r = resolve_name(&cache, "web", &asks, ret_token);
        cache_wait_cancel(&reader.wait);
        return r;
}

static void assert_resolved(const char *id)
{
        TokenAnswer got;
        TokenItem item;
        assert_int_equal(resolve(false, &got), 0);
        assert_int_equal(got.error, API_OK);
        token_item_from_doc(got.doc, &item);
        assert_string_equal(item.id, id);
}

static const FakeToken two[] = {{.id = "old", .name = "web", .dns_view_id = "v-1", .created_s = 1},
        {.id = "new", .name = "web", .dns_view_id = "v-1", .created_s = 2}};

static void test_name_to_document(void **state)
{
        (void)state;
        TokenAnswer got;
        list(two, 2);
        assert_int_equal(resolve(false, &got), -EINPROGRESS);
        assert_int_equal(fake.running, 1);
        fake_answer_token(&fake, &two[1]);
        assert_resolved("new");
        assert_int_equal(resolve(false, &got), 0);
        assert_true(got.keep_ns > 0 && got.due_ns == FAKE_NOW_NS + TTL_NS);
}

/* The newest is gone, though list calls still name it: the next is chosen once a listing was fetched after that. */
static void test_rejected(void **state)
{
        (void)state;
        TokenAnswer got;
        list(two, 2);
        clock_advance_fake(1);
        assert_int_equal(resolve(false, &got), -EINPROGRESS);
        fake_answer_error(fake_get_call(&fake, "new"), API_E_NOT_FOUND);
        assert_int_equal(resolve(false, &got), -EINPROGRESS); /* for the listing */
        fake_answer_tokens(&fake, NULL, two, 2, NULL);
        assert_int_equal(resolve(false, &got), -EINPROGRESS);
        fake_answer_token(&fake, &two[0]);
        assert_resolved("old");
}

static void test_all_gone(void **state)
{
        (void)state;
        TokenAnswer got;
        list(two, 2);
        for (size_t i = 2; i-- > 0;) {
                clock_advance_fake(1);
                assert_int_equal(resolve(false, &got), -EINPROGRESS);
                fake_answer_error(fake_get_call(&fake, two[i].id), API_E_NOT_FOUND);
                assert_int_equal(resolve(false, &got), -EINPROGRESS);
                fake_answer_tokens(&fake, NULL, two, 2, NULL);
        }
        assert_int_equal(resolve(false, &got), 0);
        assert_int_equal(got.error, API_E_NOT_FOUND);
        assert_null(got.doc);
}

/* A document says that its token has left the scope: it is as good as gone. */
static void test_document_out_of_scope(void **state)
{
        (void)state;
        TokenAnswer got;
        list(two, 1);
        clock_advance_fake(1);
        assert_int_equal(resolve(false, &got), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "old", .name = "web", .dns_view_id = "v-2"});
        assert_int_equal(resolve(false, &got), -EINPROGRESS);
        fake_answer_tokens(&fake, NULL, NULL, 0, NULL);
        assert_int_equal(resolve(false, &got), 0);
        assert_int_equal(got.error, API_E_NOT_FOUND);
        TokenAnswer by_id;
        assert_int_equal(tokens_get(tokens, "old", clock_now_ns(), false, NULL, &by_id), 0);
        assert_int_equal(by_id.error, API_OK); /* it is held */
}

/* List calls that hang have only their share of a reader's time: then the old listing will do. */
static void test_late(void **state)
{
        (void)state;
        TokenAnswer got;
        list(two, 1);
        assert_int_equal(resolve(false, &got), -EINPROGRESS);
        fake_answer_token(&fake, &two[0]);
        clock_advance_fake(TTL_NS);
        assert_int_equal(resolve(false, &got), -EINPROGRESS);
        assert_int_equal(fake.running, 1); /* the listing alone */
        assert_int_equal(resolve(true, &got), -EINPROGRESS);
        fake_answer_token(&fake, &two[0]);
        assert_int_equal(resolve(true, &got), 0);
        assert_int_equal(got.error, API_OK);
        assert_int_equal(got.keep_ns, 0); /* nobody knows how long the name means it */
        assert_non_null(fake_call(&fake, API_LIST_ACCESS_TOKENS, NULL));
}

/* Without an old listing a name has to wait, for an id the document decides. */
static void test_late_without_a_listing(void **state)
{
        (void)state;
        TokenAnswer got;
        make_listing((ScopeIds){.dns_view_ids = views, .dns_view_id_count = 1});
        fake_reader_init(&reader);
        assert_int_equal(resolve(true, &got), -EINPROGRESS);
        assert_int_equal(fake.running, 1);
        const ResolveReader asks = {.since_ns = clock_now_ns(), .is_late = true, .wait = &reader.wait};
        assert_int_equal(resolve_id(&cache, "old", &asks, &got), -EINPROGRESS);
        fake_answer_token(&fake, &two[0]);
        assert_int_equal(resolve_id(&cache, "old", &asks, &got), 0);
        assert_int_equal(got.error, API_OK);
        cache_wait_cancel(&reader.wait);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up_listing, tear_down_listing)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_name_to_document),
                TEST(test_rejected),
                TEST(test_all_gone),
                TEST(test_document_out_of_scope),
                TEST(test_late),
                TEST(test_late_without_a_listing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
