#pragma once
/* Whether a worker could use the configuration as it is now. */

#include <stdbool.h>
#include <sys/types.h>

#include "timers.h"
#include "tokenfs/options/options.h"

/* Reads the configuration as a worker would, and waits for the end of that. 0; -EINVAL: the configuration can't be used,
 * and the log says why; or another negative errno, logged. */
int config_probe_run(const Options *options);

/* The same beside a worker that serves. */
typedef struct ConfigProbe {
        const Options *options;
        Timers *timers; /* TIMER_RELOAD */
        pid_t pid; /* 0: none runs */
} ConfigProbe;

/* Starts one; one that runs is killed, as what it has read may have changed. If no process can be made, TIMER_RELOAD
 * tries again. */
void config_probe_start(ConfigProbe *probe);
void config_probe_cancel(ConfigProbe *probe);
/* Its process has ended. True if a worker could use the configuration. */
bool config_probe_ended(ConfigProbe *probe, int wait_status);
/* TIMER_RELOAD. True if the probe is given up: the configuration can't be read. */
bool config_probe_is_late(ConfigProbe *probe);
