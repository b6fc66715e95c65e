#pragma once
/* The start of credential_process for a process in a sandbox: by a helper that was forked before. */

/* Forks the helper, which from now on runs credential_process as the configuration has it then. To be called before
 * there are threads and secrets. The helper ends with this process, or by launcher_stop. 0 or a negative errno. */
int launcher_start(void);
void launcher_stop(void);
