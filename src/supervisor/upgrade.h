#pragma once
/* The hot upgrade: going on with the binary that is installed now. */

#include "handover.h"
#include "mount.h"
#include "timers.h"

typedef struct Upgrade {
        char *const *argv; /* as main got it; borrowed */
        char *program; /* the binary that is executed; NULL: unknown */
        char *start_directory; /* where relative paths of the command line start; NULL: unknown */
        Timers *timers; /* TIMER_PROBE */
        pid_t probe; /* 0: none runs */
} Upgrade;

/* Notes where program and directory are: call it before the directory changes. */
void upgrade_init(Upgrade *upgrade, char *const *argv, Timers *timers);
void upgrade_deinit(Upgrade *upgrade);

/* What is handed over of a mount, with our end of its worker's control socket; all borrowed. */
Handover upgrade_offer(const Mount *mount, int control_fd);

/* Starts the probe: the installed binary tries whether it could go on. What fails is logged. */
void upgrade_start_probe(Upgrade *upgrade, const Handover *offer);
void upgrade_kill_probe(Upgrade *upgrade);
/* The probe has ended. True if it can go on; else the log says why not. */
bool upgrade_probe_ended(Upgrade *upgrade, int wait_status);
/* Executes the installed binary. Returns only on failure, logged. */
void upgrade_execute(const Upgrade *upgrade, const Handover *offer);

/* In the new binary. Takes the hand-over's descriptors. 0 or a negative errno, logged. */
int upgrade_adopt(const Options *options, Handover *handover, Mount *ret_mount);
/* The exit status of a process that was started as the probe. */
int upgrade_probe_run(const Options *options, Handover *handover);
