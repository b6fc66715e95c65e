#pragma once
/* The start of a program. */

#include <sys/types.h>

/* Starts argv[0] (looked up in PATH) in a process group of its own, with this process's environment, without any of its
 * other file descriptors, with default signal dispositions, /dev/null for input and errors, and `output_fd` (borrowed)
 * as standard output. 0, or the errno of why it can't: -ENOENT, -EACCES, -ENOMEM … */
int spawn_program(char *const argv[], int output_fd, pid_t *ret_pid);
