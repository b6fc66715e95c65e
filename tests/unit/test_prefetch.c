/* Scans are seen, and fetched ahead of; single reads aren't. */

#include "listing_fixture.h"

#include "tokenfs/cache/prefetch.h"

#define COUNT 100

static Prefetch prefetch;
static char ids[COUNT][16];

static void list(int first, int count)
{
        FakeToken *items = calloc((size_t)count, sizeof *items);
        for (int i = 0; i < count; i++)
                items[i].id = ids[first + i];
        FakeReader reader;
        ListingAnswer answer;
        fake_reader_init(&reader);
        assert_int_equal(listing_get(listing, clock_now_ns(), false, &reader.wait, &answer), -EINPROGRESS);
        fake_answer_tokens(&fake, NULL, items, (size_t)count, NULL);
        free(items);
}

static int set_up_scan(void **state)
{
        static const char *const views[] = {"v-1"};
        prefetch = (Prefetch){0};
        for (int i = 0; i < COUNT; i++)
                (void)snprintf(ids[i], sizeof ids[i], "t-%03d", i);
        (void)set_up_listing(state);
        make_listing((ScopeIds){.dns_view_ids = views, .dns_view_id_count = 1});
        list(0, COUNT);
        return 0;
}

static uint64_t prefetched(void)
{
        return tokens_counters(tokens)->prefetches;
}

static void note(int index)
{
        prefetch_note(&prefetch, tokens, listing, ids[index]);
}

/* A cold read, as the filesystem makes it: true if it had to wait. */
static bool read_token(int index)
{
        FakeReader reader;
        TokenAnswer answer;
        fake_reader_init(&reader);
        uint64_t came_ns = clock_now_ns();
        int r = tokens_get(tokens, ids[index], came_ns, false, &reader.wait, &answer);
        if (r == -EINPROGRESS || answer.hit == CACHE_HIT_PREFETCHED)
                note(index);
        if (r == 0)
                return false;
        cache_wait_cancel(&reader.wait);
        return true;
}

static void answer_all(void)
{
        ApiCall *call;
        while ((call = fake_call(&fake, API_GET_ACCESS_TOKEN, NULL))) {
                TokenDoc *doc = fake_doc(&(FakeToken){.id = call->id});
                fake_answer_doc(call, doc);
                token_doc_unref(doc);
        }
}

static void test_single_reads(void **state)
{
        (void)state;
        note(5);
        assert_int_equal(prefetched(), 0);
        note(5); /* other files of the same token */
        note(5);
        assert_int_equal(prefetched(), 0);
        note(7);
        note(3);
        note(1);
        assert_int_equal(prefetched(), 0);
        prefetch_note(&prefetch, tokens, listing, "unknown");
        assert_int_equal(prefetched(), 0);
}

static void test_window_grows(void **state)
{
        (void)state;
        uint64_t ahead_max = 0;
        for (int i = 10; i < 40; i++) {
                note(i);
                uint64_t reached = prefetch.ahead;
                uint64_t expected = i == 10 ? 0 : i - 11 < 4 ? UINT64_C(1) << (i - 11) : API_IN_FLIGHT_FIRST;
                assert_int_equal(reached, expected);
                ahead_max = reached > ahead_max ? reached : ahead_max;
        }
        assert_int_equal(ahead_max, API_IN_FLIGHT_FIRST);
}

static void test_scan(void **state)
{
        (void)state;
        int waited = 0;
        for (int i = 0; i < COUNT; i++) {
                waited += read_token(i);
                answer_all();
        }
        assert_in_range(waited, 2, 3);
        assert_int_equal(fake.started, 1 + COUNT); /* each once, and none past the end */
        assert_int_equal(tokens_counters(tokens)->prefetches_wasted, 0);
}

/* As a shell's glob goes. */
static void test_scan_backwards(void **state)
{
        (void)state;
        int waited = 0;
        for (int i = COUNT - 1; i >= 0; i--) {
                waited += read_token(i);
                answer_all();
        }
        assert_in_range(waited, 2, 3);
        assert_int_equal(fake.started, 1 + COUNT);
        assert_int_equal(tokens_counters(tokens)->prefetches_wasted, 0);
}

/* To and fro between two tokens is no scan. */
static void test_turning_back(void **state)
{
        (void)state;
        note(5);
        note(6);
        uint64_t before = prefetched();
        for (int i = 0; i < 10; i++)
                note(5 + i % 2);
        assert_int_equal(prefetched(), before);
}

static void test_scan_that_stops(void **state)
{
        (void)state;
        for (int i = 0; i < 20; i++) {
                (void)read_token(i);
                answer_all();
        }
        size_t started = fake.started;
        clock_advance_fake(NS_PER_S);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(fake.started, started);
        assert_true(started <= 1 + 20 + API_IN_FLIGHT_FIRST);
        clock_advance_fake(TTL_NS + STALE_NS);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(tokens_counters(tokens)->prefetches_wasted, started - 21);
}

static void test_end_of_the_listing(void **state)
{
        (void)state;
        for (int i = COUNT - 3; i < COUNT; i++)
                note(i);
        assert_int_equal(prefetched(), 1);
        note(COUNT - 1);
        assert_int_equal(prefetch.ahead, 0);
}

/* Positions of another listing mean nothing. */
static void test_listing_changes(void **state)
{
        (void)state;
        note(1);
        clock_advance_fake(TTL_NS);
        list(1, COUNT - 1);
        note(3); /* the position after the one before, in another listing */
        assert_int_equal(prefetched(), 0);
        note(4);
        assert_int_equal(prefetched(), 1);
        clock_advance_fake(TTL_NS);
        list(0, 2);
        note(1);
        note(0);
        assert_int_equal(prefetched(), 1);
}

static void test_failing_endpoint(void **state)
{
        (void)state;
        fake.health = (ApiHealth){
                .error = API_E_UNREACHABLE, .since_ns = clock_now_ns(), .queued = API_IN_FLIGHT_FIRST};
        for (int i = 0; i < 50; i++)
                note(i);
        assert_int_equal(prefetched(), 0);
        assert_int_equal(fake.running, 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up_scan, tear_down_listing)
        const struct CMUnitTest tests[] = {
                TEST(test_single_reads),
                TEST(test_window_grows),
                TEST(test_scan),
                TEST(test_scan_backwards),
                TEST(test_turning_back),
                TEST(test_scan_that_stops),
                TEST(test_end_of_the_listing),
                TEST(test_listing_changes),
                TEST(test_failing_endpoint),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
