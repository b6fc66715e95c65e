#pragma once
/* The helper's requests and reports. */

#include <stdbool.h>

#include "tokenfs/programs/launcher.h"

bool launcher_is_running(void);

/* The end of a process: one message on its lifeline. */
typedef struct LauncherReport {
        int error; /* the errno of a failed start; 0: it was started */
        int code; /* CLD_EXITED, CLD_KILLED, CLD_DUMPED */
        int status; /* its exit status, or the signal's number */
} LauncherReport;

/* Asks the helper to run the credential_process of this profile, with `output_fd` (borrowed) as its standard output.
 * The lifeline becomes readable with the report, or ends with the helper; closing it kills the process. 0 or a
 * negative errno. If the helper is gone, this process exits: a new worker has a new helper. */
int launcher_run(const char *profile, int output_fd, int *ret_lifeline);
