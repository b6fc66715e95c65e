#pragma once
/* A mount, as a supervisor begins to serve it: made new, or left by another one. */

#include <stdbool.h>
#include <sys/types.h>

#include "state.h"
#include "tokenfs/fuse/nodes.h"
#include "tokenfs/fuse/session.h"
#include "tokenfs/options/options.h"

typedef enum MountOrigin {
        MOUNT_NEW,
        MOUNT_PREPARED, /* --mount-only made it; the service manager kept its connection */
        MOUNT_REVIVED, /* a killed supervisor left it with the service manager */
        MOUNT_UPGRADED, /* another binary left it, and its worker serves */
} MountOrigin;

typedef struct Mount {
        MountOrigin origin;
        Session *session;
        Nodes *slots;
        char *path; /* resolved; /dev/fd/N where another program mounted */
        int connection; /* the kernel's number of the connection; -1: not known */
        bool can_resend; /* the kernel sends a new worker what a dead one left unanswered */
        int state_fd; /* the memfd of the state, for a successor */
        State left; /* the state that the supervisor before left; empty: there was none */
        int control; /* our end of the control socket of the worker that it left; -1: none */
} Mount;

#define MOUNT_INIT ((Mount){.connection = -1, .state_fd = -1, .control = -1})

/* A FUSE session with the options' settings. 0, or a negative errno, logged. */
int mount_new_session(const Options *options, Session **ret_session);
/* Changes what a relative path depends on: names in the environment become absolute, / the working directory.
 * 0 or -ENOMEM. May be called again. */
int mount_leave_directory(void);

/* Mounts on `where` (the mount point, or /dev/fd/N of a connection that no process serves yet), and answers the kernel's
 * INIT. `path` is taken on success. From the mount on, signals are blocked. 0, or a negative errno, logged: then
 * nothing is left mounted. */
int mount_make(const Options *options, char *path, const char *where, Mount *ret_mount);
/* The mount that another supervisor left: its session, table and state. Takes the three descriptors, and closes them on
 * failure. 0, or a negative errno, logged. */
int mount_adopt(const Options *options, MountOrigin origin, int fuse_fd, int slots_fd, int state_fd,
        Mount *ret_mount);
/* Frees without unmounting. */
void mount_deinit(Mount *mount);
