#pragma once
/* The steps of --check about names. */

#include <stdint.h>

#include "check-report.h"
#include "tokenfs/api/client.h"
#include "tokenfs/net/loop.h"
#include "tokenfs/options/options.h"

/* Looks every watched name up, as a mount does, and tells which token it means. Names are told as skipped that haven't been
 * found by the deadline. 0 or a negative errno. */
int check_names(
        CheckReport *report, const Options *options, Loop *loop, ApiClient *client, uint64_t deadline_ns);
/* Tells the same steps as skipped. */
void check_names_skip(CheckReport *report, const Options *options, const char *why);
