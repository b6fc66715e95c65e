#pragma once
/* Running credential_process for a process that locks itself in: a helper that is forked before does it. */

/* Forks the helper. From now on credential_process is run by it, as the configuration says at that time. Call it before
 * threads and secrets are there. The helper ends with this process, or by launcher_stop. 0 or a negative errno. */
int launcher_start(void);
void launcher_stop(void);
