#pragma once
/* The supervisor's state, in a memfd that outlives it: a hot upgrade passes it to the next binary, and the service
 * manager keeps it for the successor of a killed supervisor. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define STATE_LEAVING_MAX 8

typedef struct State {
        bool is_background;
        bool is_kept; /* by the service manager */
        bool is_reloading; /* the kernel is to forget, once the next worker serves */
        bool audit, newline; /* these options, which the mount was made with */
        pid_t worker; /* 0: none */
        pid_t leaving[STATE_LEAVING_MAX]; /* workers that answer what they took, and leave; 0: none */
        pid_t command; /* that of on_change; 0: none runs */
        const char *mountpoint; /* resolved */
        const void *init; /* the kernel's INIT message, as it was received */
        size_t init_len;
        const char *changes; /* what on_change's command got last: changes_write's text */
        void *memory; /* after state_read: what the pointers point into */
} State;

/* An empty memfd, close-on-exec. 0 or a negative errno. */
int state_new(int *ret_fd);
/* Replaces the content of the memfd. 0 or a negative errno. */
int state_write(int fd, const State *state);
/* Reads it; any process may, and more than once. 0, -EPROTONOSUPPORT (another version of tokenfs wrote it), -EINVAL
 * (damaged), -ENOMEM or another negative errno. Damaged `changes` are left out: "" then. */
int state_read(int fd, State *ret_state);
void state_deinit(State *state);
