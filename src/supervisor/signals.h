#pragma once
/* The signals that the supervisor handles: SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD. */

/* Blocks those that only a serving supervisor handles (SIGHUP, SIGUSR1, SIGUSR2): they don't end the start. */
void signals_block_requests(void);
/* Blocks all: from now on there is something to undo. Signals wait for signals_open. */
void signals_block(void);
/* A descriptor that they are read from, nonblocking. 0 or a negative errno. */
int signals_open(int *ret_fd);
/* In a child that is executed: none is blocked. */
void signals_unblock(void);
