#pragma once
/* When a worker that doesn't answer counts as hanging. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Watchdog {
        uint64_t limit_ns; /* 0: off */
        uint64_t look_ns; /* when to look again; CLOCK_NEVER: off */
        bool is_asked; /* an answer is due by then */
} Watchdog;

typedef enum WatchdogVerdict {
        WATCHDOG_FINE,
        WATCHDOG_ASK, /* ask the worker, if requests wait for it; then watchdog_asked */
        WATCHDOG_HANGS, /* it was asked, and hasn't answered for the limit's half */
} WatchdogVerdict;

void watchdog_init(Watchdog *watchdog, uint64_t limit_ns);
/* A worker was started, or is no longer to be watched (is_watched false). */
void watchdog_start(Watchdog *watchdog, bool is_watched);
/* It is `look_ns`, or later. */
WatchdogVerdict watchdog_look(Watchdog *watchdog);
void watchdog_asked(Watchdog *watchdog);
void watchdog_answered(Watchdog *watchdog);
/* True while a debugger holds the process. */
bool watchdog_is_traced(pid_t pid);
