/* Which token a name means: over rotation, expiry, rejection and scopes. */

#include "listing_fixture.h"

static const char *const view[] = {"dnsv-1"};
static const char *const token_ids[] = {"t-1", "t-2"};

static void make(size_t view_count, size_t token_count)
{
        make_listing((ScopeIds){.dns_view_ids = view,
                .dns_view_id_count = view_count,
                .token_ids = token_ids,
                .token_id_count = token_count});
}

static int get_since(const char *name, uint64_t since_ns, NameAnswer *ret_answer)
{
        FakeReader reader;
        fake_reader_init(&reader);
        *ret_answer = (NameAnswer){0};
        int r = names_get(cache.names, name, since_ns, false, &reader.wait, ret_answer);
        cache_wait_cancel(&reader.wait);
        return r;
}

static int get(const char *name, NameAnswer *ret_answer)
{
        return get_since(name, clock_now_ns(), ret_answer);
}

static void list(const FakeToken *items, size_t count)
{
        NameAnswer answer;
        make(1, 0);
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        fake_answer_tokens(&fake, NULL, items, count, NULL);
        settle_listing();
}

static void assert_means(const char *name, const char *id)
{
        NameAnswer answer;
        assert_int_equal(get(name, &answer), 0);
        assert_int_equal(answer.error, API_OK);
        assert_string_equal(answer.id, id);
}

static void assert_missing(const char *name, ApiError error)
{
        NameAnswer answer;
        assert_int_equal(get(name, &answer), 0);
        assert_int_equal(answer.error, error);
        assert_string_equal(answer.id, "");
}

static void test_rules(void **state)
{
        (void)state;
        static const struct {
                FakeToken items[4];
                const char *chosen;
        } rows[] = {
                {{{.id = "a", .created_s = -20}, {.id = "b", .created_s = -10},
                         {.id = "c", .created_s = -30}},
                        "b"},
                {{{.id = "a", .created_s = -20}, {.id = "b", .created_s = -10, .status = "CREATING"}}, "a"},
                {{{.id = "a", .created_s = -20}, {.id = "b", .created_s = -10, .status = "DELETING"}}, "a"},
                {{{.id = "a", .created_s = -20}, {.id = "b", .created_s = -10, .status = "NEWER"}}, "a"},
                /* The newest has expired already. */
                {{{.id = "a", .created_s = -20}, {.id = "b", .created_s = -10, .expires_s = -5}}, "a"},
                /* None is good: the newest OPERATIONAL, then the newest. */
                {{{.id = "a", .created_s = -20, .expires_s = -5},
                         {.id = "b", .created_s = -10, .expires_s = -5},
                         {.id = "c", .created_s = -1, .status = "CREATING"}},
                        "b"},
                {{{.id = "a", .created_s = -20, .status = "DELETING"},
                         {.id = "b", .created_s = -10, .status = "CREATING"}},
                        "b"},
                /* Equally new: the greater id. */
                {{{.id = "a", .created_s = -10}, {.id = "c", .created_s = -10},
                         {.id = "b", .created_s = -10}},
                        "c"},
                {{{.id = "a", .created_s = -10}, {.id = "A", .created_s = -10}}, "a"},
        };
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                FakeToken items[6];
                size_t count = 0;
                for (; count < 4 && rows[i].items[count].id; count++) {
                        items[count] = rows[i].items[count];
                        items[count].name = "web";
                }
                items[count++] = (FakeToken){.id = "z", .name = "wea", .created_s = -1};
                items[count++] = (FakeToken){.id = "zz", .name = "webb", .created_s = -1};
                list(items, count);
                assert_means("web", rows[i].chosen);
        }
}

static void test_missing_names(void **state)
{
        (void)state;
        static const FakeToken items[] = {{.id = "a", .name = "b"}, {.id = "b"}, {.id = "c", .name = "d"}};
        list(items, 3);
        static const char *const names[] = {"", "a", "bb", "c", "e", "zzzz"};
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (*names[i])
                        assert_missing(names[i], API_E_NOT_FOUND);
        NameAnswer answer;
        assert_int_equal(get("e", &answer), 0);
        assert_true(answer.keep_ns <= negative_ttl_ns);
        assert_means("b", "a");
        assert_means("d", "c");
}

static void test_expiry_ends_the_choice(void **state)
{
        (void)state;
        static const FakeToken items[] = {{.id = "new", .name = "web", .created_s = -10, .expires_s = 20},
                {.id = "old", .name = "web", .created_s = -20}};
        list(items, 2);
        NameAnswer answer;
        assert_int_equal(get("web", &answer), 0);
        assert_string_equal(answer.id, "new");
        assert_int_equal(answer.keep_ns, 20 * NS_PER_S);
        assert_int_equal(answer.due_ns, clock_now_ns() + 20 * NS_PER_S);
        clock_advance_fake(20 * NS_PER_S - 1);
        assert_means("web", "new");
        clock_advance_fake(1);
        assert_means("web", "old");
        assert_int_equal(fake.started, 1);
        /* By the wall clock, which may jump. */
        clock_set_fake(clock_now_ns(), FAKE_WALL_NS);
        assert_means("web", "new");
}

static void test_denied_listing(void **state)
{
        (void)state;
        NameAnswer answer;
        make(1, 0);
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        fake_answer_error(fake_call(&fake, API_LIST_ACCESS_TOKENS, NULL), API_E_ACCESS_DENIED);
        assert_missing("web", API_E_ACCESS_DENIED);
}

static void test_failing_listing(void **state)
{
        (void)state;
        static const FakeToken items[] = {{.id = "a", .name = "web"}};
        list(items, 1);
        clock_advance_fake(TTL_NS);
        NameAnswer answer;
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        fake_answer_retry(
                fake_call(&fake, API_LIST_ACCESS_TOKENS, NULL), API_E_SERVER, clock_now_ns() + NS_PER_S);
        assert_int_equal(get("web", &answer), 0);
        assert_string_equal(answer.id, "a");
        assert_int_equal(answer.keep_ns, 0);
        assert_int_equal(answer.due_ns, clock_now_ns());
        /* What an old listing doesn't name may be there. */
        assert_missing("mail", API_E_SERVER);
}

/* Gone, though still listed: left out, and the listing fetched anew; after negative_ttl it is believed again. */
static void test_rejection(void **state)
{
        (void)state;
        static const FakeToken items[] = {{.id = "new", .name = "web", .created_s = -10},
                {.id = "old", .name = "web", .created_s = -20}};
        list(items, 2);
        assert_means("web", "new");
        clock_advance_fake(NS_PER_S);
        names_reject(cache.names, "new");
        NameAnswer answer;
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        names_reject(cache.names, "new"); /* by another reader, in vain */
        assert_int_equal(fake.running, 1);
        fake_answer_tokens(&fake, NULL, items, 2, NULL);
        assert_means("web", "old");
        assert_int_equal(fake.started, 2);
        clock_advance_fake(negative_ttl_ns - 1);
        assert_means("web", "old");
        clock_advance_fake(1);
        assert_means("web", "new");
}

static void test_rejection_of_the_only_one(void **state)
{
        (void)state;
        static const FakeToken items[] = {{.id = "a", .name = "web"}};
        list(items, 1);
        clock_advance_fake(1);
        names_reject(cache.names, "a");
        NameAnswer answer;
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        fake_answer_tokens(&fake, NULL, NULL, 0, NULL);
        assert_missing("web", API_E_NOT_FOUND);
}

/* A reader for whom every choice turned out to be gone comes to an end, even if nothing is remembered. */
static void test_rejections_come_to_an_end(void **state)
{
        (void)state;
        negative_ttl_ns = 0;
        static const FakeToken items[] = {{.id = "a", .name = "web"}, {.id = "b", .name = "web"}};
        list(items, 2);
        uint64_t came_ns = clock_now_ns();
        NameAnswer answer;
        int rounds = 0;
        for (; rounds < 20; rounds++) {
                clock_advance_fake(NS_PER_MS);
                while (get_since("web", came_ns, &answer) == -EINPROGRESS) {
                        fake_answer_tokens(&fake, NULL, items, 2, NULL);
                        clock_advance_fake(NS_PER_MS);
                }
                if (answer.error != API_OK)
                        break;
                names_reject(cache.names, answer.id);
        }
        assert_int_equal(rounds, 2);
        assert_int_equal(answer.error, API_E_NOT_FOUND);
        /* The next reader asks anew. */
        clock_advance_fake(NS_PER_MS);
        assert_means("web", "b");
}

/* More tokens were found gone than are remembered: the latest are. */
static void test_many_rejections(void **state)
{
        (void)state;
        FakeToken items[200];
        char ids[200][16];
        for (int i = 0; i < 200; i++) {
                (void)snprintf(ids[i], sizeof ids[i], "t-%03d", i);
                items[i] = (FakeToken){.id = ids[i], .name = "web"};
        }
        list(items, 200);
        for (int i = 199; i >= 136; i--)
                names_reject(cache.names, ids[i]);
        clock_advance_fake(1);
        NameAnswer answer;
        uint64_t came_ns = clock_now_ns();
        if (get(items[0].name, &answer) == -EINPROGRESS)
                fake_answer_tokens(&fake, NULL, items, 200, NULL);
        assert_int_equal(get_since("web", came_ns, &answer), 0);
        assert_string_equal(answer.id, "t-135");
        names_reject(cache.names, "t-135");
        names_reject(cache.names,
                "an-id-that-is-far-too-long-an-id-that-is-far-too-long-an-id-that-is-far-too-long");
        if (get_since("web", came_ns, &answer) == -EINPROGRESS)
                fake_answer_tokens(&fake, NULL, items, 200, NULL);
        assert_int_equal(get_since("web", clock_now_ns(), &answer), 0);
        assert_string_equal(answer.id, "t-199"); /* the oldest was forgotten */
}

/* No list call covers token= scopes: their documents say their names. */
static void test_token_scopes(void **state)
{
        (void)state;
        make(0, 2);
        NameAnswer answer;
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        assert_int_equal(fake.running, 2); /* together, not one after the other */
        fake_answer_token(&fake, &(FakeToken){.id = "t-1", .name = "web", .created_s = -20});
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "t-2", .name = "web", .created_s = -10});
        assert_means("web", "t-2");
        assert_missing("mail", API_E_NOT_FOUND);
        assert_int_equal(get("web", &answer), 0);
        assert_in_range(answer.keep_ns, TTL_NS / 100 * 75, TTL_NS / 100 * 85);
        assert_int_equal(answer.due_ns, clock_now_ns() + TTL_NS);
        assert_int_equal(fake.started, 2);
}

static void test_token_scope_that_is_gone(void **state)
{
        (void)state;
        make(0, 2);
        NameAnswer answer;
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "t-1", .name = "web"});
        fake_answer_error(fake_get_call(&fake, "t-2"), API_E_NOT_FOUND);
        assert_means("web", "t-1");
        assert_missing("mail", API_E_NOT_FOUND);
}

static void test_token_scope_that_fails(void **state)
{
        (void)state;
        make(0, 2);
        NameAnswer answer;
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "t-1", .name = "web"});
        fake_answer_error(fake_get_call(&fake, "t-2"), API_E_ACCESS_DENIED);
        assert_means("web", "t-1");
        assert_missing("mail", API_E_ACCESS_DENIED); /* it may be t-2's */
        assert_int_equal(get("web", &answer), 0);
        assert_int_equal(answer.keep_ns, negative_ttl_ns);
        assert_int_equal(answer.due_ns, clock_now_ns() + negative_ttl_ns);
}

/* With ttl=0 and no stale copies all documents must be at hand at once, though none of them is kept. */
static void test_token_scopes_with_ttl_zero(void **state)
{
        (void)state;
        tokens = tokens_free(tokens);
        TokensSettings settings = {.loop = loop,
                .policy = {.source = fake_source(&fake), .timeout_ns = TIMEOUT_NS},
                .max_tokens = 100};
        assert_int_equal(tokens_new(&settings, &tokens), 0);
        make(0, 2);
        NameAnswer answer;
        uint64_t came_ns = clock_now_ns();
        assert_int_equal(get_since("web", came_ns, &answer), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "t-1", .name = "web"});
        clock_advance_fake(50 * NS_PER_MS);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(get_since("web", came_ns, &answer), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "t-2", .name = "mail"});
        assert_int_equal(get_since("web", came_ns, &answer), 0);
        assert_string_equal(answer.id, "t-1");
        assert_int_equal(fake.started, 2);
}

/* Tokens of a view and of a token= scope share the names. */
static void test_both_kinds(void **state)
{
        (void)state;
        make(1, 1);
        NameAnswer answer;
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        static const FakeToken items[] = {{.id = "a", .name = "web", .created_s = -20}};
        fake_answer_tokens(&fake, NULL, items, 1, NULL);
        assert_int_equal(get("web", &answer), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "t-1", .name = "web", .created_s = -10});
        assert_means("web", "t-1");
        names_reject(cache.names, "t-1");
        clock_advance_fake(1);
        if (get("web", &answer) == -EINPROGRESS)
                fake_answer_tokens(&fake, NULL, items, 1, NULL);
        assert_means("web", "a");
}

#define NAMES_MAX 256

static void note_name(const char *name, void *userdata)
{
        char *names = userdata;
        size_t len = strlen(names);
        if (!name)
                *names = '\0'; /* the visit begins */
        else
                (void)snprintf(names + len, NAMES_MAX - len, "%s|", name);
}

static int visit(NamesCursor *cursor, char *names)
{
        FakeReader reader;
        ApiError error = API_E_MALFORMED;
        fake_reader_init(&reader);
        int r = names_visit(cache.names, &(NamesReader){clock_now_ns(), false, &reader.wait}, cursor,
                note_name, names, &error);
        cache_wait_cancel(&reader.wait);
        if (r != -EINPROGRESS)
                assert_int_equal(error, API_OK);
        return r;
}

static void test_visit(void **state)
{
        (void)state;
        make(1, 1);
        char names[NAMES_MAX] = "";
        NamesCursor cursor = {0};
        assert_int_equal(visit(&cursor, names), -EINPROGRESS);
        static const FakeToken items[] = {{.id = "a", .name = "web"}, {.id = "b", .name = "mail/x"},
                {.id = "c", .name = "web"}, {.id = "d"}};
        fake_answer_tokens(&fake, NULL, items, 4, NULL);
        assert_int_equal(visit(&cursor, names), -EINPROGRESS);
        assert_string_equal(names, "");
        fake_answer_token(&fake, &(FakeToken){.id = "t-1", .name = "dns"});
        assert_int_equal(visit(&cursor, names), 0);
        assert_string_equal(names, "dns|mail/x|web|");
        names[0] = '\0';
        assert_int_equal(visit(&cursor, names), 0); /* a scope's document may have another name by now */
        assert_string_equal(names, "dns|mail/x|web|");
}

/* Names of a scope's document that the listing has as well come once. */
static void test_visit_shared_name(void **state)
{
        (void)state;
        make(1, 1);
        char names[NAMES_MAX] = "";
        NamesCursor cursor = {0};
        assert_int_equal(visit(&cursor, names), -EINPROGRESS);
        static const FakeToken items[] = {{.id = "a", .name = "web"}, {.id = "b", .name = "dns"}};
        fake_answer_tokens(&fake, NULL, items, 2, NULL);
        assert_int_equal(visit(&cursor, names), -EINPROGRESS);
        fake_answer_token(&fake, &(FakeToken){.id = "t-1", .name = "web"});
        assert_int_equal(visit(&cursor, names), 0);
        assert_string_equal(names, "web|dns|");
}

static void count_name(const char *name, void *userdata)
{
        size_t *counts = userdata;
        counts[name ? 1 : 0]++;
}

/* Many names come in portions, and from the beginning when the listing is replaced in between. */
static void test_visit_many(void **state)
{
        enum { COUNT = 5000 };
        (void)state;
        make(1, 0);
        FakeToken *items = calloc(COUNT, sizeof *items);
        char(*texts)[16] = calloc(COUNT, sizeof *texts);
        for (size_t i = 0; i < COUNT; i++) {
                (void)snprintf(texts[i], sizeof texts[i], "n%05zu", i);
                items[i] = (FakeToken){.id = texts[i], .name = texts[i]};
        }
        list(items, COUNT);
        size_t counts[2] = {0}; /* beginnings, names */
        ApiError error;
        NamesCursor cursor = {0};
        const NamesReader now = {.since_ns = clock_now_ns(), .give_up = true};
        assert_int_equal(names_visit(cache.names, &now, &cursor, count_name, counts, &error), -EAGAIN);
        assert_true(counts[0] == 1 && counts[1] > 0 && counts[1] < COUNT);
        clock_advance_fake(TTL_NS);
        NameAnswer answer;
        assert_int_equal(get("n00001", &answer), -EINPROGRESS);
        fake_answer_tokens(&fake, NULL, items, COUNT - 1, NULL);
        settle_listing();
        int r = -EAGAIN;
        counts[1] = 0;
        for (int i = 0; i < COUNT && r == -EAGAIN; i++)
                r = names_visit(cache.names, &now, &cursor, count_name, counts, &error);
        assert_int_equal(r, 0);
        assert_int_equal(counts[0], 2);
        assert_int_equal(counts[1], COUNT - 1);
        assert_int_equal(names_visit(cache.names, &now, &cursor, count_name, counts, &error), 0);
        assert_int_equal(counts[1], COUNT - 1); /* nothing is new */
        free(items);
        free(texts);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up_listing, tear_down_listing)
        const struct CMUnitTest tests[] = {
                TEST(test_rules),
                TEST(test_missing_names),
                TEST(test_expiry_ends_the_choice),
                TEST(test_denied_listing),
                TEST(test_failing_listing),
                TEST(test_rejection),
                TEST(test_rejection_of_the_only_one),
                TEST(test_rejections_come_to_an_end),
                TEST(test_many_rejections),
                TEST(test_token_scopes),
                TEST(test_token_scope_that_is_gone),
                TEST(test_token_scope_that_fails),
                TEST(test_token_scopes_with_ttl_zero),
                TEST(test_both_kinds),
                TEST(test_visit),
                TEST(test_visit_shared_name),
                TEST(test_visit_many),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
