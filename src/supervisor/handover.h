#pragma once
/* The descriptors that a binary of the supervisor passes to the next one; the process stays the same. */

#include <stdbool.h>

typedef struct Handover {
        bool is_probe; /* only try whether it would work */
        int fuse_fd; /* the connection to the kernel */
        int slots_fd;
        int state_fd; /* the memfd of state.h */
        int control_fd; /* our end of the worker's control socket; -1: no worker lives */
        int reload_fd; /* where clients of --reload come; -1: none are expected */
} Handover;

#define HANDOVER_INIT                                                                                        \
        ((Handover){.fuse_fd = -1, .slots_fd = -1, .state_fd = -1, .control_fd = -1, .reload_fd = -1})

/* Closes the descriptors. */
void handover_deinit(Handover *handover);

/* True if another binary executed this one, and handover_receive wasn't called yet. */
bool handover_is_offered(void);
/* Takes the hand-over, and replaces the environment with the one that the binary before had. The process must be
 * undumpable already. 0; -ENOENT: a user or a service manager started the program; -EPROTONOSUPPORT: another version of
 * tokenfs offers it; -EPROTO: it broke off; or another negative errno. */
int handover_receive(Handover *ret_handover);
/* Executes `program` with it. `environment` is what the next binary shall have. Returns only on failure, with a negative
 * errno and nothing changed. */
int handover_exec(
        const Handover *handover, const char *program, char *const argv[], char *const environment[]);
