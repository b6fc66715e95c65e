#pragma once
/* --wait: returns once a file's content has changed. */

#include "tokenfs/options/options.h"

#define WAIT_TIMED_OUT 2

/* Exit status: 0 once the content of options->wait_path has changed; WAIT_TIMED_OUT; or EXIT_FAILURE, logged, if it
 * can't be read at the start. */
int wait_run(const Options *options);
