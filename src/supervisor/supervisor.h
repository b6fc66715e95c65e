#pragma once
/* The supervisor's state, shared by its parts: the loop (supervisor.c), the start (start.c), the hot upgrade
 * (upgrade.c). */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backoff.h"
#include "changes.h"
#include "handover.h"
#include "tokenfs/options/options.h"
#include "tokenfs/fuse/session.h"
#include "tokenfs/fuse/nodes.h"
#include "watchdog.h"

/* What is to happen at a time: one of each. */
typedef enum Due {
        DUE_RESTART, /* start a worker */
        DUE_RECOVERY, /* the worker has lived long enough to count as well */
        DUE_LOOK, /* the watchdog looks */
        DUE_NOTIFIER, /* the notifier has had its time */
        DUE_PROBE, /* the new binary has had its time to say whether it works */
        DUE_RELOAD, /* the configuration has had its time to be read; or no process could be made for it */
        DUE_KILL, /* the worker has had its time to leave */
        DUE_COMMAND, /* on_change's command may run again */
        DUE_COMMAND_LATE, /* it has had its time */
        DUE_ALIVE, /* the service manager is told that we are alive */
        DUE_COUNT,
} Due;

typedef struct Supervisor {
        const Options *options;
        char **argv;
        char *program; /* the binary that a hot upgrade executes */
        char *start_directory; /* where relative paths of the command line start */
        char *mountpoint; /* resolved */
        int connection; /* FUSE's number of it; -1: not known */
        Session *session;
        Nodes *slots;
        NodesShared *shared;
        int signals; /* signalfd */
        int report; /* to the process that the user started; -1: it isn't there (any more) */
        bool is_background;
        bool can_resend;

        pid_t worker; /* 0: none */
        int control; /* to it; -1 */
        int watch; /* what it says of watched names; -1 */
        bool worker_is_odd; /* it said there what it shouldn't */
        uint64_t worker_started_ns;
        bool worker_is_ready;
        bool is_replacing; /* it was told to leave; the next starts at once */
        bool had_worker; /* one has served: the next takes over */
        Backoff backoff;
        Watchdog watchdog;

        pid_t notifier, probe; /* 0: none */
        pid_t configuration_probe; /* reads the configuration before a worker is replaced; 0: none runs */
        pid_t command; /* on_change's; 0: none runs */
        Changes changes;
        bool is_reloading; /* SIGHUP: the kernel is to forget, once the next worker serves */
        bool notify_ready_sent; /* to the service manager */
        bool is_kept; /* the service manager is to keep the connection */
        bool is_revived; /* the supervisor before was killed */
        bool is_stopping; /* the worker's end is our end */
        bool is_done;
        int status;

        uint64_t due_ns[DUE_COUNT]; /* CLOCK_NEVER: not planned */
} Supervisor;

/* start.c: everything up to the first worker. 0, or a negative errno, logged; nothing is left mounted then. */
int supervisor_start(Supervisor *supervisor);
/* The same, taking over from another binary. */
int supervisor_go_on(Supervisor *supervisor, Handover *handover);
/* Starts a process that reads the configuration as a worker would, and ends with EXIT_SUCCESS if it can be used; what is
 * wrong is in the log. 0 or a negative errno. */
int supervisor_probe_configuration(const Options *options, pid_t *ret_pid);
/* kept.c: the same where the service manager kept the connection of a mount: one that --mount-only made, or that a
 * supervisor which was killed has left. -ENOENT: it kept none. */
int supervisor_start_kept(Supervisor *supervisor);
/* Once a worker serves: has the manager keep what a successor needs. */
void supervisor_keep(const Supervisor *supervisor);
int supervisor_start_on(Supervisor *supervisor, const char *where);
int supervisor_new_session(Supervisor *supervisor);
/* From now on signals wait for the loop, as there is something to undo; until then they end the program. */
int supervisor_open_signals(Supervisor *supervisor);
/* The session and the table that another binary left; takes the hand-over's descriptors. */
int supervisor_adopt(Supervisor *supervisor, Handover *handover);

/* upgrade.c: SIGUSR2. Starts the probe; supervisor_probe_ended goes on when it has ended, unless we are told to stop. */
void supervisor_upgrade(Supervisor *supervisor);
void supervisor_probe_kill(Supervisor *supervisor);
void supervisor_probe_ended(Supervisor *supervisor, int wait_status);
/* In a process that was started as the probe: its exit status. */
int supervisor_probe(const Options *options, Handover *handover);

void supervisor_plan(Supervisor *supervisor, Due due, uint64_t in_ns);
