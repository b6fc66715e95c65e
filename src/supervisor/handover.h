#pragma once
/* What one binary of the supervisor hands to the next one that takes its place (the process stays the same). */

#include <stdbool.h>
#include <sys/types.h>

#include "tokenfs/base/buf.h"

typedef struct Handover {
        bool is_probe; /* only try whether it would work */
        bool is_background;
        int fuse_fd; /* the connection to the kernel */
        int init_fd; /* a memfd: the INIT message as it was received */
        int slots_fd;
        pid_t worker_pid; /* 0: none lives */
        int worker_control; /* our end of its control socket; -1 */
        char *mountpoint; /* as resolved; owned by who read it */
} Handover;

#define HANDOVER_INIT ((Handover){.fuse_fd = -1, .init_fd = -1, .slots_fd = -1, .worker_control = -1})

/* The text that goes into the environment, and its way back. 0, -ENOMEM, -EPROTONOSUPPORT (another version of the
 * text), -EINVAL (damaged). */
int handover_write(const Handover *handover, Buf *out);
int handover_read(const char *text, Handover *ret_handover);
/* Closes the descriptors and frees. */
void handover_deinit(Handover *handover);

/* True if this process was started with a hand-over that it hasn't received yet. */
bool handover_is_offered(void);
/* The hand-over that this process was started with, taken out of the environment. 0 (ret is_probe etc. set), -ENOENT
 * (none: a start by a user), or as handover_read. */
int handover_receive(Handover *ret_handover);
/* Executes `program` with it. The descriptors are duplicated for the new program; returns only on failure, with a
 * negative errno and nothing changed. */
int handover_exec(const Handover *handover, const char *program, char *const argv[]);

/* A memfd with these bytes, and its content again (to be freed; at most 16 MiB). 0 or a negative errno. */
int handover_store(const void *data, size_t len, int *ret_fd);
int handover_load(int fd, void **ret_data, size_t *ret_len);
