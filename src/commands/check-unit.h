#pragma once
/* --check --unit NAME: the check of what tokenfs@NAME.service would do. */

#include "check-report.h"
#include "tokenfs/options/options.h"

/* Reads the unit's settings, and puts this process in the unit's place: its environment, and its view of files where this
 * process may change that. *ret_options are the unit's, with what `options` say of the check itself; the caller's to
 * free. Reports the step "unit". 0; -EINVAL: the step failed; or another negative errno. */
int check_unit_load(CheckReport *report, const Options *options, Options *ret_options);
