#pragma once
/* on_change=: runs the command when a watched name means another token. */

#include <stdbool.h>
#include <sys/types.h>

#include "changes.h"
#include "mount.h"
#include "timers.h"

typedef struct Hook {
        const Options *options;
        const Mount *mount;
        Timers *timers; /* TIMER_COMMAND, TIMER_COMMAND_LATE */
        Changes changes;
        int line; /* the worker reports watched names there; -1: none */
        bool line_is_odd; /* the worker sent what a sound worker doesn't */
        pid_t command; /* 0: none runs */
} Hook;

/* Borrows all. */
void hook_init(Hook *hook, const Options *options, const Mount *mount, Timers *timers);
/* Kills the command and frees what is known. */
void hook_deinit(Hook *hook);

/* A new worker's line, or -1; takes it, and closes the one before. */
void hook_set_line(Hook *hook, int line);
/* The line is readable, or has ended. */
void hook_listen(Hook *hook);
/* TIMER_COMMAND: runs the command for a change that it didn't get yet, unless it runs. True if it was started. */
bool hook_run(Hook *hook);
/* TIMER_COMMAND_LATE: kills the command. */
void hook_kill(Hook *hook);
void hook_ended(Hook *hook, int wait_status);

/* Writes the state of the mount, with the changes that the command got last, into its memfd. 0 or a negative errno. */
int hook_save(const Hook *hook, State *state);
/* For a successor: the changes that the command got last. `command`: the child of this process that runs it; 0: none. */
void hook_restore(Hook *hook, const char *changes, pid_t command);
