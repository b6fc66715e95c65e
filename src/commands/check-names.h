#pragma once
/* The steps of --check about names. */

#include <stdint.h>

#include "check-report.h"
#include "tokenfs/api/client.h"
#include "tokenfs/net/loop.h"
#include "tokenfs/options/options.h"

/* Looks every watched name up, as a mount does, and reports which token it means. Names are reported as skipped that haven't been
 * found by the deadline. 0 or a negative errno. */
int check_names(
        CheckReport *report, const Options *options, Loop *loop, ApiClient *client, uint64_t deadline_ns);
/* Reports the same steps as skipped. */
void check_names_skip(CheckReport *report, const Options *options, const char *why);
