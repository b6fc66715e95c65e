/* The queue of calls: users take turns, reads and refreshes do, guesses come last. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/queue.h"

static ApiQueue queue;

static int setup(void **state)
{
        (void)state;
        api_queue_init(&queue);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        assert_true(list_is_empty(&queue.lanes));
        for (size_t i = 0; i < API_PURPOSE_COUNT; i++)
                assert_true(list_is_empty(&queue.turns[i]));
        return 0;
}

static void join(ApiTicket *ticket, ApiPurpose purpose, uint32_t uid)
{
        assert_int_equal(api_queue_join(&queue, ticket, purpose, uid), 0);
        api_queue_append(&queue, ticket);
}

static void expect(bool reads_first, bool allow_guesses, ApiTicket *expected)
{
        ApiTicket *next = api_queue_next(&queue, reads_first, allow_guesses);
        assert_ptr_equal(next, expected);
        if (!next)
                return;
        api_queue_take(&queue, next);
        api_queue_leave(&queue, next);
}

static void test_users_take_turns(void **state)
{
        (void)state;
        ApiTicket flood[5], one, other[2];
        for (size_t i = 0; i < 5; i++)
                join(&flood[i], API_FOR_GUESS, 1000);
        join(&one, API_FOR_GUESS, 1001);
        join(&other[0], API_FOR_GUESS, 1002);
        join(&other[1], API_FOR_GUESS, 1002);
        ApiTicket *order[] = {
                &flood[0], &one, &other[0], &flood[1], &other[1], &flood[2], &flood[3], &flood[4]};
        for (size_t i = 0; i < ARRAY_LEN(order); i++)
                expect(false, true, order[i]);
        expect(false, true, NULL);
}

static void test_guesses_come_last(void **state)
{
        (void)state;
        ApiTicket guess, read, refresh;
        join(&guess, API_FOR_GUESS, 1);
        join(&refresh, API_FOR_REFRESH, 1);
        join(&read, API_FOR_READ, 2);
        expect(false, true, &read);
        expect(false, true, &refresh);
        expect(false, false, NULL);
        expect(false, true, &guess);
}

static void test_reads_and_refreshes_take_turns(void **state)
{
        (void)state;
        ApiTicket reads[4], refreshes[3];
        for (size_t i = 0; i < 4; i++)
                join(&reads[i], API_FOR_READ, (uint32_t)i);
        for (size_t i = 0; i < 3; i++)
                join(&refreshes[i], API_FOR_REFRESH, 7);
        expect(false, true, &reads[0]);
        expect(false, true, &refreshes[0]);
        expect(false, true, &reads[1]);
        /* while the API throttles, reads go first */
        expect(true, true, &reads[2]);
        expect(true, true, &reads[3]);
        expect(true, true, &refreshes[1]);
        expect(true, true, &refreshes[2]);
}

static void test_a_ticket_leaves_in_every_state(void **state)
{
        (void)state;
        ApiTicket never = {0}, first, second, third;
        api_queue_leave(&queue, &never);
        join(&first, API_FOR_READ, 1);
        join(&second, API_FOR_READ, 1);
        join(&third, API_FOR_READ, 2);
        api_queue_leave(&queue, &first); /* the head of a lane */
        api_queue_take(&queue, &second); /* under way: it belongs to its lane and doesn't wait */
        assert_ptr_equal(api_queue_next(&queue, false, true), &third);
        api_queue_prepend(&queue, &second); /* again, first among its user's */
        expect(false, true, &third);
        expect(false, true, &second);
        api_queue_leave(&queue, &second);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_users_take_turns, setup, teardown),
                cmocka_unit_test_setup_teardown(test_guesses_come_last, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reads_and_refreshes_take_turns, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_ticket_leaves_in_every_state, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
