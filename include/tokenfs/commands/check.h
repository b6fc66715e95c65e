#pragma once
/* --check: says what works and what doesn't, and changes nothing. */

#include <stdbool.h>

#include "tokenfs/options/options.h"

/* Goes through all that a mount needs, one step after the other, and writes what was found to standard output. Returns
 * the exit status: 0 if a mount would work. It takes a few times `timeout=` at most. */
int check_run(const Options *options);

/* True if this command line, which options_parse refused, asks for a check. */
bool check_is_asked(int argc, char **argv);
/* The check of such a command line: its first step fails with `error`. Returns the exit status. */
int check_refused(int argc, char **argv, const char *error);
