#pragma once
/* The one loop: file descriptors, timers and libcurl's transfers, in a single thread on curl_multi_poll. */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tokenfs/base/cleanup.h"

typedef struct Loop Loop;

/* Returns 0 or -ENOMEM. */
int loop_new(Loop **ret_loop);
/* Frees the loop; every source, timer and HTTP call of it must be gone before. Returns NULL. */
Loop *loop_free(Loop *loop);
CLEANUP_DEFINE(Loop *, loop_free);

/* Serves until loop_quit. Returns the status given to loop_quit, or a negative errno. */
int loop_run(Loop *loop);
/* One turn: waits at most `max_wait_ns` (0: doesn't wait; CLOCK_NEVER: until something happens), then runs what is
 * due. Returns 0 or a negative errno. Tests drive the loop with it. */
int loop_turn(Loop *loop, uint64_t max_wait_ns);
void loop_quit(Loop *loop, int status);
/* Called at the end of each turn, before the loop waits again. NULL: nothing is. */
typedef void LoopTurnHandler(void *userdata);
void loop_on_turn_end(Loop *loop, LoopTurnHandler *handler, void *userdata);

/* A file descriptor that is watched. The handler gets the events of poll(2) that came. */
typedef struct LoopFd LoopFd;
typedef void LoopFdHandler(int fd, short revents, void *userdata);
/* Borrows `fd` (the caller closes it, after loop_fd_free). 0 or -ENOMEM. */
int loop_fd_new(
        Loop *loop, int fd, short events, LoopFdHandler *handler, void *userdata, LoopFd **ret_source);
void loop_fd_set_events(LoopFd *source, short events);
/* Safe inside any handler, its own included. NULL does nothing. Returns NULL. */
LoopFd *loop_fd_free(LoopFd *source);

/* A timer, embedded in its owner. It fires once; setting it again moves it. */
typedef struct LoopTimer LoopTimer;
typedef void LoopTimerHandler(LoopTimer *timer, void *userdata);
struct LoopTimer {
        Loop *loop;
        struct LoopTimers *timers; /* the loop's */
        LoopTimerHandler *handler;
        void *userdata;
        uint64_t at_ns; /* on clock_now_ns' clock */
        size_t heap_index; /* 0: not set */
};
void loop_timer_init(LoopTimer *timer, Loop *loop, LoopTimerHandler *handler, void *userdata);
/* 0 or -ENOMEM; only the first set of a timer can fail (a moved one has its place). CLOCK_NEVER cancels. */
int loop_timer_set(LoopTimer *timer, uint64_t at_ns);
/* Cancels; right in every state, after loop_timer_init or on zeroed memory. */
void loop_timer_cancel(LoopTimer *timer);
static inline bool loop_timer_is_set(const LoopTimer *timer)
{
        return timer->heap_index != 0;
}

/* Signals through a signalfd: blocks `signals` in this thread and calls the handler from the loop. One set a loop. */
typedef void LoopSignalHandler(int signal_number, void *userdata);
int loop_signals(Loop *loop, const sigset_t *signals, LoopSignalHandler *handler, void *userdata);
