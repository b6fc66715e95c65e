#pragma once
/* The hot upgrade: going on with the binary that is installed now. */

#include "handover.h"
#include "mount.h"
#include "reload.h"
#include "timers.h"

typedef struct Upgrade {
        char *const *argv; /* as main got it; borrowed */
        ReloadRequest reload; /* the command line and environment to go on with; client_fd -1: our own */
        char *program; /* the binary that is executed; NULL: unknown */
        char *start_directory; /* where relative paths of the command line start; NULL: unknown */
        Timers *timers; /* TIMER_PROBE */
        pid_t probe; /* 0: none runs */
} Upgrade;

/* Notes where program and directory are: call it before the directory changes. */
void upgrade_init(Upgrade *upgrade, char *const *argv, Timers *timers);
void upgrade_deinit(Upgrade *upgrade);

/* Takes what a client of --reload asks for. True if the probe is to be started with it; else the client gets the reason:
 * `why_not` (NULL: an upgrade can be made), or what can't change. */
bool upgrade_take_request(Upgrade *upgrade, const Options *options, int reload_fd, const char *why_not);
/* Starts the probe: the installed binary tries whether it could go on. Failures are logged. */
void upgrade_start_probe(Upgrade *upgrade, const Mount *mount);
void upgrade_kill_probe(Upgrade *upgrade);
/* The probe has ended. True if it can go on; else the log says why not. */
bool upgrade_probe_ended(Upgrade *upgrade, int wait_status);
/* Executes the installed binary, with the mount, our end of its worker's control socket, and the socket of reload_listen.
 * Returns only on failure, logged. */
void upgrade_execute(Upgrade *upgrade, const Mount *mount, int control_fd, int reload_fd);

/* In the new binary. Takes the hand-over's descriptors. 0 or a negative errno, logged. */
int upgrade_adopt(const Options *options, Handover *handover, Mount *ret_mount);
/* The exit status of a process that was started as the probe. */
int upgrade_probe_run(const Options *options, Handover *handover);
