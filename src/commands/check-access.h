#pragma once
/* The signed calls of --check: whether the service accepts the credentials, and what they may see. */

#include <stdint.h>

#include "check-report.h"
#include "tokenfs/api/client.h"
#include "tokenfs/options/options.h"
#include "tokenfs/net/loop.h"

/* Makes them and reports their steps: of the token that the command line names, else of the scopes, else of listing all.
 * 0 or -ENOMEM. */
int check_access(
        CheckReport *report, const Options *options, Loop *loop, ApiClient *client, uint64_t deadline_ns);
/* Reports the same steps as skipped. */
void check_access_skip(CheckReport *report, const Options *options, const char *why);

/* Formats a time as 2030-01-31T12:00:00Z (in 3 days), or (2 hours ago). */
void check_format_time(int64_t wall_ns, char ret_text[static 64]);
