#pragma once
/* --wait: returns once a file's content has changed. */

#include "tokenfs/options/options.h"

#define WAIT_TIMED_OUT 2

/* Exit status: 0 once the content of options->wait_path is another than at the start, WAIT_TIMED_OUT, or EXIT_FAILURE
 * with the reason logged if it can't be read at the start. */
int wait_run(const Options *options);
