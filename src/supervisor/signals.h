#pragma once
/* The signals that the supervisor handles: SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD. */

/* Blocks those that mean something to a serving supervisor alone (SIGHUP, SIGUSR1, SIGUSR2): the start isn't ended by them. */
void signals_block_requests(void);
/* Blocks all: from now on there is something to undo. What comes waits for signals_open. */
void signals_block(void);
/* A descriptor that they are read from, nonblocking. 0 or a negative errno. */
int signals_open(int *ret_fd);
/* In a child that is executed: none is blocked. */
void signals_unblock(void);
