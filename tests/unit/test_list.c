/* The linked list. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tokenfs/base/list.h"

typedef struct Item {
        char name;
        ListLink link;
} Item;

static Item items[5];
static ListLink head;

static int setup(void **state)
{
        (void)state;
        list_init(&head);
        for (size_t i = 0; i < ARRAY_LEN(items); i++)
                items[i] = (Item){.name = (char)('a' + i)};
        return 0;
}

/* Walks it both ways. */
static void assert_list(ListLink *list, const char *names)
{
        ListLink *link = list;
        for (const char *c = names; *c; c++) {
                link = link->next;
                assert_ptr_not_equal(link, list);
                assert_int_equal(list_entry(link, Item, link)->name, *c);
                assert_ptr_equal(link->next->prev, link);
                assert_ptr_equal(link->prev->next, link);
                assert_true(list_is_linked(link));
        }
        assert_ptr_equal(link->next, list);
        assert_ptr_equal(list->prev, link);
        assert_int_equal(list_is_empty(list), !*names);
        Item *first = list_first(list, Item, link);
        assert_int_equal(first ? first->name : '\0', names[0]);
}

static void append_all(ListLink *list, size_t from, size_t to)
{
        for (size_t i = from; i < to; i++)
                list_append(list, &items[i].link);
}

static void test_append_and_unlink(void **state)
{
        (void)state;
        assert_list(&head, "");
        append_all(&head, 0, 5);
        assert_list(&head, "abcde");
        list_unlink(&items[2].link);
        assert_list(&head, "abde");
        assert_false(list_is_linked(&items[2].link));
        list_unlink(&items[0].link);
        list_unlink(&items[4].link);
        assert_list(&head, "bd");
        list_append(&head, &items[0].link);
        assert_list(&head, "bda");
        list_unlink(&items[1].link);
        list_unlink(&items[3].link);
        list_unlink(&items[0].link);
        assert_list(&head, "");
}

static void test_unlinked_elements(void **state)
{
        (void)state;
        assert_false(list_is_linked(&items[0].link)); /* zeroed */
        list_unlink(&items[0].link);
        assert_false(list_is_linked(&items[0].link)); /* linked to itself */
        list_unlink(&items[0].link);
        list_append(&head, &items[0].link);
        assert_list(&head, "a");
}

static void test_splice(void **state)
{
        (void)state;
        ListLink other;
        list_init(&other);
        list_splice(&head, &other);
        assert_list(&head, "");
        append_all(&head, 0, 2);
        list_splice(&head, &other);
        assert_list(&head, "ab");
        append_all(&other, 2, 5);
        list_splice(&head, &other);
        assert_list(&head, "abcde");
        assert_list(&other, "");
        list_splice(&other, &head);
        assert_list(&head, "");
        assert_list(&other, "abcde");
        list_unlink(&items[4].link);
        assert_list(&other, "abcd");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_append_and_unlink, setup),
                cmocka_unit_test_setup(test_unlinked_elements, setup),
                cmocka_unit_test_setup(test_splice, setup),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
