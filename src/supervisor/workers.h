#pragma once
/* The worker: started, watched, replaced. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "backoff.h"
#include "mount.h"
#include "timers.h"
#include "tokenfs/worker/control.h"
#include "watchdog.h"

/* A worker that takes no more requests, answers what it took, and leaves. */
typedef struct WorkersLeaving {
        pid_t pid; /* 0: none */
        uint64_t until_ns; /* its last request has ended by then */
} WorkersLeaving;

typedef struct Workers {
        const Options *options;
        const Mount *mount;
        Timers *timers; /* TIMER_RESTART, _RECOVERY, _WATCHDOG, _LEAVE */
        pid_t pid; /* 0: none */
        int control; /* to it; -1 */
        uint64_t started_ns;
        bool is_ready; /* it serves */
        bool is_replacing; /* it was asked to leave; the next starts at once */
        uint64_t until_ns; /* it has left by then; CLOCK_NEVER: it wasn't asked to */
        WorkersLeaving leaving[STATE_LEAVING_MAX];
        bool has_served; /* one of them did: the next takes over */
        Backoff backoff;
        Watchdog watchdog;
} Workers;

/* How the worker ended. */
typedef enum WorkersEnd {
        WORKERS_UNMOUNTED, /* the kernel unmounted */
        WORKERS_FAILED, /* none has ever served: the log says why */
        WORKERS_RESTART, /* it died, or left as it was asked to: the next start is set */
} WorkersEnd;

/* What a new worker's process needs to know beside the mount. */
typedef struct WorkersStart {
        bool detach; /* go to the background once ready */
        bool warm; /* fetch the tokens of the scopes, and say so */
        int close_fds[5]; /* the supervisor's own; -1: none */
} WorkersStart;

/* Borrows all; takes over the worker of the mount. */
void workers_init(Workers *workers, const Options *options, Mount *mount, Timers *timers);
void workers_deinit(Workers *workers);

/* Writes the worker that serves, and those that leave, into the state. */
void workers_describe(const Workers *workers, State *state);

/* Starts one. 0 and our end of its line of watched names (-1: there is none), or a negative errno. */
int workers_start(Workers *workers, const WorkersStart *start, int *ret_line);
/* Asks the worker to leave by a signal, and kills it if it doesn't. */
void workers_dismiss(Workers *workers, int number);
/* The same, and starts the next one: as soon as the worker has left, so that the kernel sends the next one what it left
 * unanswered. Where the kernel can't do that, the next one starts now, and the worker answers what it took. */
void workers_replace(Workers *workers);
/* True if a worker still answers what it took, though the next one serves. */
bool workers_are_leaving(const Workers *workers);
/* The process `pid` has ended. True if it was one of those that leave. */
bool workers_leaving_ended(Workers *workers, pid_t pid, int wait_status);
/* TIMER_LEAVE: kills those that have had their time. */
void workers_kill_late(Workers *workers);
/* At once. */
void workers_kill(Workers *workers);
/* The next message of the worker; 0: there is none. */
int workers_receive(Workers *workers);
/* The worker serves from now on. True if it is the first. */
bool workers_ready(Workers *workers);
/* The process `pid` has ended. */
WorkersEnd workers_ended(Workers *workers, int wait_status);

/* None could be started: sets the next try. */
void workers_start_failed(Workers *workers, int error);
/* TIMER_WATCHDOG: asks the worker, or kills one that hangs. */
void workers_look(Workers *workers);
/* TIMER_RECOVERY: the worker lives. True if that ends a crash loop. */
bool workers_recovered(Workers *workers);
/* True while no worker serves, and waiting requests are to be refused. */
bool workers_are_hopeless(const Workers *workers);
