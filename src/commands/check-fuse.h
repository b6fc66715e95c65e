#pragma once
/* The step of --check that asks whether this process may mount. */

#include <stdbool.h>

#include "check-report.h"
#include "tokenfs/options/options.h"

void check_fuse(CheckReport *report, const Options *options);

/* True if a text of /etc/fuse.conf lets users say allow_other. Lines are read as fusermount3 does. */
bool check_conf_allows_other(char *text);
