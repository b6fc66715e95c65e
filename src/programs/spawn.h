#pragma once
/* The start of a program. */

#include <sys/types.h>

/* Starts argv[0] (looked up in PATH) in a process group of its own, with this process's environment and default signal
 * dispositions. Standard output is `output_fd` (borrowed), input and errors are /dev/null; it gets no other descriptor.
 * 0, or the errno of why it can't: -ENOENT, -EACCES, -ENOMEM … */
int spawn_program(char *const argv[], int output_fd, pid_t *ret_pid);
