#pragma once
/* What the helper is asked, and how it answers. */

#include <stdbool.h>

#include "tokenfs/credentials/launcher.h"

bool launcher_is_running(void);

/* How a launched process ended: one message on its lifeline. */
typedef struct LauncherReport {
        int error; /* why it couldn't be started; 0: it was */
        int code; /* CLD_EXITED, CLD_KILLED, CLD_DUMPED */
        int status; /* its exit status, or the signal's number */
} LauncherReport;

/* Asks for the credential_process of this profile, its standard output going to `output_fd` (borrowed). The lifeline
 * becomes readable with the report, or at its end if the helper is gone; closing it kills the process. 0 or a negative
 * errno. Ends this process if the helper has gone before: nobody could run anything any more. */
int launcher_run(const char *profile, int output_fd, int *ret_lifeline);
