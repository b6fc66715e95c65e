#pragma once
/* --reload: gives a service that runs other options, without an end of its mount. */

#include "tokenfs/options/options.h"

/* Gives the supervisor options->reload_pid this command line (with -f in the place of --reload) and this environment.
 * Returns the exit status: EXIT_SUCCESS once it goes on with them; else the log says why it doesn't. */
int reload_run(const Options *options, int argc, char **argv);
