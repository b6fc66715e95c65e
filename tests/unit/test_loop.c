/* The loop: timers and their order, descriptors that come and go inside handlers, signals, and rest. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/net/loop.h"

#define START_NS (1000 * NS_PER_S)

static int setup(void **state)
{
        Loop *loop;
        clock_set_fake(START_NS, 0);
        if (loop_new(&loop) < 0)
                return -1;
        *state = loop;
        return 0;
}

static int teardown(void **state)
{
        (void)loop_free(*state);
        clock_unset_fake();
        return 0;
}

/* Timers. */

static char fired[256];
static size_t fired_len;

typedef struct TestTimer {
        LoopTimer timer;
        char name;
        LoopTimer *cancels;
        uint64_t again_ns;
} TestTimer;

static void on_timer(LoopTimer *timer, void *userdata)
{
        TestTimer *test = userdata;
        assert_ptr_equal(timer, &test->timer);
        assert_false(loop_timer_is_set(timer));
        fired[fired_len++] = test->name;
        fired[fired_len] = '\0';
        if (test->cancels)
                loop_timer_cancel(test->cancels);
        if (test->again_ns)
                assert_int_equal(loop_timer_set(timer, clock_add_ns(clock_now_ns(), test->again_ns - 1)), 0);
}

static void timers_make(Loop *loop, TestTimer *timers, size_t count)
{
        fired_len = 0;
        fired[0] = '\0';
        for (size_t i = 0; i < count; i++) {
                timers[i] = (TestTimer){.name = (char)('a' + i)};
                loop_timer_init(&timers[i].timer, loop, on_timer, &timers[i]);
        }
}

static void timer_at(TestTimer *timer, uint64_t after_ns)
{
        assert_int_equal(loop_timer_set(&timer->timer, START_NS + after_ns), 0);
}

static void test_timers_fire_in_order(void **state)
{
        Loop *loop = *state;
        TestTimer timers[4];
        timers_make(loop, timers, 4);
        timer_at(&timers[0], 30);
        timer_at(&timers[1], 10);
        timer_at(&timers[2], 40);
        timer_at(&timers[3], 20);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_string_equal(fired, "");
        clock_advance_fake(9);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_string_equal(fired, "");
        clock_advance_fake(1);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_string_equal(fired, "b");
        clock_advance_fake(100);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_string_equal(fired, "bdac");
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_string_equal(fired, "bdac");
}

static void test_timer_moves_and_cancels(void **state)
{
        Loop *loop = *state;
        TestTimer timers[3];
        timers_make(loop, timers, 3);
        loop_timer_cancel(&timers[0].timer); /* never set */
        timer_at(&timers[0], 10);
        timer_at(&timers[1], 20);
        timer_at(&timers[2], 30);
        timer_at(&timers[0], 25); /* later */
        timer_at(&timers[2], 5); /* earlier */
        assert_int_equal(loop_timer_set(&timers[1].timer, CLOCK_NEVER), 0); /* cancelled */
        assert_false(loop_timer_is_set(&timers[1].timer));
        clock_advance_fake(100);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_string_equal(fired, "ca");
        LoopTimer zeroed = {0};
        loop_timer_cancel(&zeroed);
        assert_false(loop_timer_is_set(&zeroed));
}

static void test_timer_cancelled_by_an_earlier_one(void **state)
{
        Loop *loop = *state;
        TestTimer timers[3];
        timers_make(loop, timers, 3);
        timers[0].cancels = &timers[1].timer;
        for (size_t i = 0; i < 3; i++)
                timer_at(&timers[i], 10 + i);
        clock_advance_fake(100);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_string_equal(fired, "ac");
}

static void test_timer_always_due_leaves_the_turn(void **state)
{
        Loop *loop = *state;
        TestTimer timers[1];
        timers_make(loop, timers, 1);
        timers[0].again_ns = 1;
        timer_at(&timers[0], 0);
        assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        assert_string_equal(fired, "a");
        assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        assert_string_equal(fired, "aa");
        loop_timer_cancel(&timers[0].timer);
}

static uint64_t last_ns;
static size_t many_fired;

static void on_many(LoopTimer *timer, void *userdata)
{
        (void)userdata;
        assert_true(timer->at_ns >= last_ns);
        assert_true(timer->at_ns <= clock_now_ns());
        last_ns = timer->at_ns;
        many_fired++;
}

static void test_many_timers_against_a_plain_count(void **state)
{
        Loop *loop = *state;
        enum { COUNT = 2000 };
        LoopTimer *timers = calloc(COUNT, sizeof *timers);
        assert_non_null(timers);
        uint64_t random = 12345;
        for (size_t i = 0; i < COUNT; i++)
                loop_timer_init(&timers[i], loop, on_many, NULL);
        for (size_t i = 0; i < 5 * COUNT; i++) {
                random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                LoopTimer *timer = &timers[(random >> 33) % COUNT];
                if ((random >> 20) % 4 == 0)
                        loop_timer_cancel(timer);
                else
                        assert_int_equal(loop_timer_set(timer, START_NS + (random >> 40) % 1000), 0);
        }
        size_t due_first = 0, set = 0;
        for (size_t i = 0; i < COUNT; i++)
                if (loop_timer_is_set(&timers[i])) {
                        set++;
                        due_first += timers[i].at_ns <= START_NS + 500;
                }
        last_ns = 0;
        many_fired = 0;
        clock_advance_fake(500);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(many_fired, due_first);
        clock_advance_fake(500);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(many_fired, set);
        free(timers);
}

/* With the real clock: the turn doesn't end before the timer is due, so no turn is wasted. */
static void test_no_turn_is_wasted_before_a_timer(void **state)
{
        Loop *loop = *state;
        TestTimer timers[1];
        timers_make(loop, timers, 1);
        clock_unset_fake();
        size_t turns = 0;
        for (int i = 0; i < 20; i++) {
                size_t before = fired_len;
                assert_int_equal(loop_timer_set(&timers[0].timer, clock_now_ns() + NS_PER_MS + 123456), 0);
                for (; fired_len == before; turns++)
                        assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        }
        assert_int_equal(turns, 20);
}

/* Descriptors. */

typedef struct Pipe {
        int fds[2];
        LoopFd *source;
        size_t calls;
        short revents;
        bool drain;
        struct Pipe *frees; /* another (or itself), in the handler */
        struct Pipe *makes; /* another, in the handler */
        Loop *loop;
} Pipe;

static void on_pipe(int fd, short revents, void *userdata);

static void pipe_watch(Pipe *p, short events)
{
        assert_int_equal(loop_fd_new(p->loop, p->fds[0], events, on_pipe, p, &p->source), 0);
}

static void on_pipe(int fd, short revents, void *userdata)
{
        Pipe *p = userdata;
        assert_int_equal(fd, p->fds[0]);
        p->calls++;
        p->revents = revents;
        char c[16];
        if (p->drain)
                assert_true(read(fd, c, sizeof c) >= 0);
        if (p->frees)
                p->frees->source = loop_fd_free(p->frees->source);
        if (p->makes && !p->makes->source)
                pipe_watch(p->makes, POLLIN);
}

static void pipe_make(Pipe *p, Loop *loop)
{
        *p = (Pipe){.loop = loop};
        assert_int_equal(pipe2(p->fds, O_CLOEXEC | O_NONBLOCK), 0);
}

static void pipe_fill(Pipe *p)
{
        assert_int_equal(write(p->fds[1], "x", 1), 1);
}

static void pipe_end(Pipe *p)
{
        p->source = loop_fd_free(p->source);
        cleanup_close(&p->fds[0]);
        cleanup_close(&p->fds[1]);
}

static void test_fd_ready_and_not(void **state)
{
        Loop *loop = *state;
        Pipe p;
        pipe_make(&p, loop);
        pipe_watch(&p, POLLIN);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(p.calls, 0);
        pipe_fill(&p);
        assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        assert_int_equal(p.calls, 1);
        assert_int_equal(p.revents, POLLIN);
        loop_fd_set_events(p.source, 0);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(p.calls, 1);
        loop_fd_set_events(p.source, POLLIN);
        assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        assert_int_equal(p.calls, 2);
        pipe_end(&p);
        assert_null(loop_fd_free(NULL));
}

static void test_fd_freed_in_its_own_handler(void **state)
{
        Loop *loop = *state;
        Pipe p;
        pipe_make(&p, loop);
        pipe_watch(&p, POLLIN);
        p.frees = &p;
        pipe_fill(&p);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(p.calls, 1);
        pipe_end(&p);
}

static void test_fd_freed_while_its_event_is_pending(void **state)
{
        Loop *loop = *state;
        Pipe a, b, c;
        pipe_make(&a, loop);
        pipe_make(&b, loop);
        pipe_make(&c, loop);
        pipe_watch(&a, POLLIN);
        pipe_watch(&b, POLLIN);
        a.frees = &b;
        a.makes = &c; /* takes b's slot, and must not get b's event */
        b.frees = &a;
        pipe_fill(&a);
        pipe_fill(&b);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(a.calls, 1);
        assert_int_equal(b.calls, 0);
        assert_int_equal(c.calls, 0);
        pipe_fill(&c);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(b.calls, 0);
        assert_int_equal(c.calls, 1);
        pipe_end(&a);
        pipe_end(&b);
        pipe_end(&c);
}

static void test_fd_made_in_handlers_beyond_the_first_slots(void **state)
{
        Loop *loop = *state;
        enum { COUNT = 40 };
        Pipe pipes[COUNT];
        for (size_t i = 0; i < COUNT; i++) {
                pipe_make(&pipes[i], loop);
                pipe_fill(&pipes[i]);
                pipes[i].drain = true;
        }
        for (size_t i = 0; i + 1 < COUNT; i++)
                pipes[i].makes = &pipes[i + 1];
        pipe_watch(&pipes[0], POLLIN);
        for (size_t i = 0; i < COUNT; i++)
                assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        for (size_t i = 0; i < COUNT; i++)
                assert_int_equal(pipes[i].calls, 1);
        for (size_t i = 0; i < COUNT; i++)
                pipe_end(&pipes[i]);
}

static void test_fd_hangup_and_error_reach_the_handler(void **state)
{
        Loop *loop = *state;
        Pipe p;
        pipe_make(&p, loop);
        pipe_watch(&p, POLLIN);
        cleanup_close(&p.fds[1]);
        assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        assert_int_equal(p.revents, POLLHUP);
        assert_int_equal(p.calls, 1);
        /* One that wants no events is left in peace, though the hang-up lasts. */
        loop_fd_set_events(p.source, 0);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(p.calls, 1);
        pipe_end(&p);

        /* The writing end of a pipe without readers is in error. */
        pipe_make(&p, loop);
        int reader = p.fds[0];
        p.fds[0] = p.fds[1];
        p.fds[1] = -1;
        cleanup_close(&reader);
        pipe_watch(&p, POLLIN);
        assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        assert_int_equal(p.revents, POLLERR);
        pipe_end(&p);

        /* A descriptor closed too early is told, rather than waking for ever. */
        pipe_make(&p, loop);
        pipe_watch(&p, POLLIN);
        int closed = p.fds[0];
        assert_int_equal(close(closed), 0);
        assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        assert_int_equal(p.revents, POLLNVAL);
        p.fds[0] = -1;
        pipe_end(&p);
}

/* Signals. */

static int signals_seen[8];
static size_t signals_count;

static void on_signal(int signal_number, void *userdata)
{
        assert_string_equal(userdata, "data");
        signals_seen[signals_count++] = signal_number;
}

static void test_signals_come_from_the_loop(void **state)
{
        Loop *loop = *state;
        sigset_t signals, before;
        sigemptyset(&signals);
        sigaddset(&signals, SIGUSR1);
        sigaddset(&signals, SIGHUP);
        assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &before), 0);
        char data[] = "data";
        assert_int_equal(loop_signals(loop, &signals, on_signal, data), 0);
        assert_int_equal(loop_signals(loop, &signals, on_signal, data), -EBUSY);
        signals_count = 0;
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(signals_count, 0);
        assert_int_equal(raise(SIGUSR1), 0);
        assert_int_equal(raise(SIGHUP), 0);
        assert_int_equal(signals_count, 0); /* blocked: not yet */
        assert_int_equal(loop_turn(loop, CLOCK_NEVER), 0);
        assert_int_equal(signals_count, 2);
        assert_int_equal(signals_seen[0] + signals_seen[1], SIGUSR1 + SIGHUP);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(signals_count, 2);
        assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

/* Quitting. */

static void on_quit(LoopTimer *timer, void *userdata)
{
        loop_quit(timer->loop, *(int *)userdata);
}

static void test_run_ends_with_the_status(void **state)
{
        Loop *loop = *state;
        int status = 7;
        LoopTimer timer;
        loop_timer_init(&timer, loop, on_quit, &status);
        assert_int_equal(loop_timer_set(&timer, START_NS), 0);
        assert_int_equal(loop_run(loop), 7);
        loop_quit(loop, 3); /* before it runs */
        assert_int_equal(loop_run(loop), 3);
        assert_null(loop_free(NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_timers_fire_in_order, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer_moves_and_cancels, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer_cancelled_by_an_earlier_one, setup, teardown),
                cmocka_unit_test_setup_teardown(test_timer_always_due_leaves_the_turn, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_timers_against_a_plain_count, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_turn_is_wasted_before_a_timer, setup, teardown),
                cmocka_unit_test_setup_teardown(test_fd_ready_and_not, setup, teardown),
                cmocka_unit_test_setup_teardown(test_fd_freed_in_its_own_handler, setup, teardown),
                cmocka_unit_test_setup_teardown(test_fd_freed_while_its_event_is_pending, setup, teardown),
                cmocka_unit_test_setup_teardown(
                        test_fd_made_in_handlers_beyond_the_first_slots, setup, teardown),
                cmocka_unit_test_setup_teardown(test_fd_hangup_and_error_reach_the_handler, setup, teardown),
                cmocka_unit_test_setup_teardown(test_signals_come_from_the_loop, setup, teardown),
                cmocka_unit_test_setup_teardown(test_run_ends_with_the_status, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
