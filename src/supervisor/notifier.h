#pragma once
/* Has the kernel forget what it holds, by a process that may hang (fuse/notify.h). */

#include <stdbool.h>
#include <sys/types.h>

#include "mount.h"
#include "timers.h"

typedef struct Notifier {
        const Mount *mount;
        Timers *timers; /* TIMER_NOTIFIER */
        pid_t pid; /* 0: none runs */
} Notifier;

/* Starts one; one that runs is killed. If no process can be made, TIMER_NOTIFIER tries again. */
void notifier_start(Notifier *notifier);
void notifier_kill(Notifier *notifier);
/* TIMER_NOTIFIER. True if the process is given up: the kernel forgets when its own time-outs end. */
bool notifier_is_late(Notifier *notifier);
/* Its process has ended. */
void notifier_ended(Notifier *notifier);
