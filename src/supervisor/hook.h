#pragma once
/* on_change=: the part of the supervisor that runs the command. */

#include "supervisor.h"

/* The worker's line has something to say, or has ended. */
void hook_listen(Supervisor *supervisor);
/* Runs the command for what is still to be told, unless it runs. */
void hook_run(Supervisor *supervisor);
/* The command has had its time; it has ended. */
void hook_late(Supervisor *supervisor);
void hook_ended(Supervisor *supervisor, int wait_status);
/* Kills it and frees what is known. */
void hook_stop(Supervisor *supervisor);

/* From binary to binary, through a descriptor that the environment names: what was told, and the command that runs. 0
 * (the caller closes the descriptor if the next binary can't be executed) or a negative errno. */
int hook_pass_on(const Supervisor *supervisor, int *ret_fd);
void hook_forget_passed(void);
void hook_take_over(Supervisor *supervisor);
