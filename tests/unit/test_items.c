/* The packed items of a listing: two orders, repeats, changes, the bound, and sorting that stops at any step. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/cache/items-build.h"

#define COUNT 3000

static uint32_t random_state;

static uint32_t random_below(uint32_t bound)
{
        random_state = random_state * 1664525u + 1013904223u;
        return (random_state >> 8) % bound;
}

static TokenItem make_item(uint32_t number)
{
        TokenItem item = {.status = (TokenStatus)(number % 4),
                .created_wall_ns = number % 7,
                .updated_wall_ns = number,
                .expires_wall_ns = INT64_MAX - number};
        (void)snprintf(item.id, sizeof item.id, "at-%u", number);
        if (number % 5)
                (void)snprintf(item.name, sizeof item.name, "name %u", number % 50);
        (void)snprintf(item.dns_view_id, sizeof item.dns_view_id, "dnsv-%u", number % 20);
        if (number % 3)
                (void)snprintf(item.global_resolver_id, sizeof item.global_resolver_id, "gr-%u", number % 3);
        return item;
}

static Items *make(const TokenItem *given, size_t count)
{
        Items *items = NULL;
        assert_int_equal(items_new(&items), 0);
        for (size_t i = 0; i < count; i++)
                assert_int_equal(items_append(items, &given[i]), 0);
        return items;
}

static void settle(Items *items, const Items *before, size_t steps)
{
        int r = -EAGAIN;
        for (size_t turns = 0; r == -EAGAIN; turns++) {
                assert_true(turns < (size_t)100 * COUNT);
                r = items_settle(items, before, steps);
        }
        assert_int_equal(r, 0);
}

static int compare_ids(const void *a, const void *b)
{
        return strcmp(((const TokenItem *)a)->id, ((const TokenItem *)b)->id);
}

static int compare_names(const void *a, const void *b)
{
        int order = strcmp(((const TokenItem *)a)->name, ((const TokenItem *)b)->name);
        return order ? order : items_compare_age(a, b);
}

static void assert_items(const Items *items, TokenItem *expected, size_t count)
{
        TokenItem got;
        size_t position;
        assert_int_equal(items_count(items), count);
        qsort(expected, count, sizeof *expected, compare_ids);
        for (size_t i = 0; i < count; i++) {
                items_get(items, i, &got);
                assert_memory_equal(&got, &expected[i], sizeof got);
                assert_string_equal(items_id(items, i), expected[i].id);
                assert_int_equal(items_find(items, expected[i].id, &position), 0);
                assert_int_equal(position, i);
        }
        qsort(expected, count, sizeof *expected, compare_names);
        for (size_t i = 0; i < count; i++) {
                items_get_at(items, i, &got);
                assert_memory_equal(&got, &expected[i], sizeof got);
                assert_string_equal(items_name_at(items, i), expected[i].name);
                bool is_first = i == 0 || strcmp(expected[i].name, expected[i - 1].name) != 0;
                if (is_first)
                        assert_int_equal(items_find_name(items, expected[i].name), i);
        }
        assert_int_equal(items_find(items, "at-", &position), -ENOENT);
        assert_int_equal(items_find_name(items, "zzz"), count);
}

/* All sizes around a power of two, and steps that stop everywhere. */
static void test_orders(void **state)
{
        (void)state;
        static const size_t counts[] = {0, 1, 2, 3, 7, 8, 9, 100, 1023, 1024, 1025, COUNT};
        static const size_t steps[] = {1, 3, 1000, SIZE_MAX};
        TokenItem *given = calloc(COUNT, sizeof *given);
        for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
                for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
                        for (uint32_t i = 0; i < counts[c]; i++)
                                given[i] = make_item(i);
                        for (size_t i = counts[c]; i > 1; i--) {
                                size_t other = random_below((uint32_t)i);
                                TokenItem swapped = given[i - 1];
                                given[i - 1] = given[other];
                                given[other] = swapped;
                        }
                        Items *items = make(given, counts[c]);
                        settle(items, NULL, steps[s]);
                        assert_items(items, given, counts[c]);
                        assert_int_equal(items_have_changed(items), counts[c] > 0);
                        items_free(items);
                }
        }
        free(given);
}

static void test_repeats(void **state)
{
        (void)state;
        TokenItem given[300];
        for (uint32_t i = 0; i < 300; i++)
                given[i] = make_item(i % 100);
        Items *items = make(given, 300);
        settle(items, NULL, 7);
        assert_items(items, given, 100);
        items_free(items);
}

/* Each member is part of what has changed; the order of pages is not. */
static void test_changes(void **state)
{
        (void)state;
        TokenItem given[50];
        for (uint32_t i = 0; i < 50; i++)
                given[i] = make_item(i);
        Items *before = make(given, 50);
        settle(before, NULL, 10);
        TokenItem moved = given[3];
        given[3] = given[40];
        given[40] = moved;
        Items *same = make(given, 50);
        settle(same, before, 10);
        assert_false(items_have_changed(same));
        items_free(same);
        for (int member = 0; member < 8; member++) {
                const TokenItem kept = given[20];
                TokenItem *item = &given[20];
                switch (member) {
                case 0: item->id[0] = 'x'; break;
                case 1: item->name[0] = 'x'; break;
                case 2: item->dns_view_id[0] = 'x'; break;
                case 3: item->global_resolver_id[0] = 'x'; break;
                case 4: item->status = TOKEN_DELETING; break;
                case 5: item->created_wall_ns++; break;
                case 6: item->updated_wall_ns++; break;
                default: item->expires_wall_ns--; break;
                }
                Items *after = make(given, 50);
                settle(after, before, 10);
                assert_true(items_have_changed(after));
                items_free(after);
                given[20] = kept;
        }
        Items *fewer = make(given, 49);
        settle(fewer, before, 10);
        assert_true(items_have_changed(fewer));
        items_free(fewer);
        items_free(before);
}

static void test_bound(void **state)
{
        (void)state;
        Items *items = NULL;
        size_t count = 0;
        int r = items_new(&items);
        for (; r == 0; count++) {
                TokenItem item = {.created_wall_ns = 1};
                (void)snprintf(item.id, sizeof item.id, "%064zu", count);
                (void)snprintf(item.name, sizeof item.name, "%032zu", count);
                r = items_append(items, &item);
        }
        assert_int_equal(r, -EFBIG);
        assert_true(count > 500000); /* the longest ids and names; with usual ones over a million */
        items_free(items);
}

/* Freed wherever the sort has come to. */
static void test_free_in_the_middle(void **state)
{
        (void)state;
        TokenItem given[100];
        for (uint32_t i = 0; i < 100; i++)
                given[i] = make_item(99 - i);
        int r = -EAGAIN;
        for (size_t turns = 0; r == -EAGAIN; turns++) {
                Items *items = make(given, 100);
                r = -EAGAIN;
                for (size_t i = 0; i < turns && r == -EAGAIN; i++)
                        r = items_settle(items, NULL, 10);
                items_free(items);
        }
        assert_int_equal(r, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_orders),
                cmocka_unit_test(test_repeats),
                cmocka_unit_test(test_changes),
                cmocka_unit_test(test_bound),
                cmocka_unit_test(test_free_in_the_middle),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
