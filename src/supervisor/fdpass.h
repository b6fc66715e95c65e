#pragma once
/* Messages with descriptors, over a unix socket. */

#include <stddef.h>
#include <sys/types.h>

#define FDPASS_MAX 5 /* descriptors in a message */

/* One message with `count` descriptors (1 to FDPASS_MAX), which stay the caller's. 0 or a negative errno. */
int fdpass_send(int socket_fd, const void *data, size_t len, const int *fds, size_t count);
/* Returns the length of the message (0: the end) or a negative errno; `*ret_count` descriptors, close-on-exec, the
 * caller's to close, and the sender's pid where the socket passes it on (SO_PASSCRED; else 0). */
ssize_t fdpass_receive(int socket_fd, void *data, size_t size, int fds[static FDPASS_MAX], size_t *ret_count,
        pid_t *ret_sender);
void fdpass_close(int *fds, size_t count);
