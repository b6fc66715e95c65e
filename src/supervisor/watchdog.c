/* The watchdog's judgement.
 *
 * At rest it wakes up the supervisor alone, twice in the limit. The supervisor asks the worker only when a request
 * waits for it. Any answer is good enough: a slow API is no hanging worker. It asks after half of the limit, and gives
 * the worker up after the other half, so a hanging worker is replaced within the limit. A supervisor that looks much
 * later than planned was itself not running (suspended, frozen, starved): then the worker wasn't either, and gets its
 * time again. */

#include "watchdog.h"

#include <stdio.h>
#include <string.h>

#include "tokenfs/base/clock.h"

#define LATE_NS NS_PER_S

void watchdog_init(Watchdog *watchdog, uint64_t limit_ns)
{
        *watchdog = (Watchdog){.limit_ns = limit_ns, .look_ns = CLOCK_NEVER};
}

static void look_again(Watchdog *watchdog)
{
        watchdog->look_ns = clock_add_ns(clock_now_ns(), watchdog->limit_ns / 2);
}

void watchdog_start(Watchdog *watchdog, bool is_watched)
{
        watchdog->is_asked = false;
        watchdog->look_ns = CLOCK_NEVER;
        if (is_watched && watchdog->limit_ns > 0)
                look_again(watchdog);
}

WatchdogVerdict watchdog_look(Watchdog *watchdog)
{
        bool is_late = clock_now_ns() >= clock_add_ns(watchdog->look_ns, LATE_NS);
        look_again(watchdog);
        if (watchdog->is_asked)
                return is_late ? WATCHDOG_FINE : WATCHDOG_HANGS;
        return WATCHDOG_ASK;
}

void watchdog_asked(Watchdog *watchdog)
{
        watchdog->is_asked = true;
}

void watchdog_answered(Watchdog *watchdog)
{
        watchdog->is_asked = false;
}

bool watchdog_is_traced(pid_t pid)
{
        char path[40], line[256];
        bool is_traced = false;
        (void)snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file))
                if (strncmp(line, "TracerPid:\t", 11) == 0)
                        is_traced = line[11] != '0';
        if (file)
                (void)fclose(file);
        return is_traced;
}
