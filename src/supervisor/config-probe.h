#pragma once
/* Whether a worker could use the configuration as it is now. */

#include <sys/types.h>

#include "tokenfs/options/options.h"

/* Starts a process that reads the configuration as a worker would. It ends with EXIT_SUCCESS if a worker could use it;
 * else the log says what is wrong. 0 or a negative errno, logged. */
int config_probe_start(const Options *options, pid_t *ret_pid);
/* The same, and waits for its end. 0; -EINVAL: the configuration can't be used; or another negative errno. */
int config_probe_run(const Options *options);
