#pragma once
/* The supervisor's timers: one of each kind. */

#include <stdbool.h>
#include <stdint.h>

typedef enum Timer {
        TIMER_RESTART, /* start a worker */
        TIMER_RECOVERY, /* the worker has lived long enough: the crash loop is over */
        TIMER_WATCHDOG, /* look at the worker */
        TIMER_LEAVE, /* the worker has had its time to leave */
        TIMER_NOTIFIER, /* the notifier has had its time */
        TIMER_RELOAD, /* the configuration has had its time to be read; or no process could be made for it */
        TIMER_PROBE, /* the new binary has had its time to say whether it works */
        TIMER_COMMAND, /* on_change's command may run again */
        TIMER_COMMAND_LATE, /* it has had its time */
        TIMER_ALIVE, /* the service manager expects a sign of life */
        TIMER_COUNT,
} Timer;

typedef struct Timers {
        uint64_t due_ns[TIMER_COUNT]; /* CLOCK_NEVER: not set */
} Timers;

/* None is set. */
void timers_init(Timers *timers);
/* From now on; replaces an earlier setting. */
void timers_set(Timers *timers, Timer timer, uint64_t in_ns);
/* At that time; CLOCK_NEVER clears it. */
void timers_set_at(Timers *timers, Timer timer, uint64_t at_ns);
void timers_clear(Timers *timers, Timer timer);
/* Milliseconds until the first is due, rounded up; -1: none is set. */
int timers_wait_ms(const Timers *timers);
/* True once `timer` is due; clears it. */
bool timers_take(Timers *timers, Timer timer);
