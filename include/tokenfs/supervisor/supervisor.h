#pragma once
/* The supervisor: mounts, keeps a worker alive, hands over to another binary. */

#include <stdbool.h>

#include "tokenfs/options/options.h"

/* Mounts and serves until the mount ends. `argv` as main got it, for the next binary. Returns the exit status; in the
 * background, the parent exits by itself as soon as the mount answers. */
int supervisor_run(const Options *options, char **argv);
/* True if another binary of tokenfs executed this one to go on with its mount: then standard error leads nowhere. */
bool supervisor_is_successor(void);
