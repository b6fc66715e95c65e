#pragma once
/* The worker: the process that serves, talks and parses. */

#include <stdbool.h>

#include "tokenfs/options/options.h"
#include "tokenfs/fuse/session.h"
#include "tokenfs/fuse/nodes.h"

/* How a worker ends by itself. */
enum {
        WORKER_UNMOUNTED = 0, /* the kernel unmounted */
        WORKER_LEFT = 40, /* a signal asked it to leave */
        WORKER_UNUSABLE = 41, /* it can't serve: the log says why */
};

typedef struct WorkerSettings {
        const Options *options;
        Session *session;
        Nodes *slots;
        const char *mountpoint; /* absolute, without links */
        int control; /* the worker's end of the control socket */
        int watch; /* the worker's end of the socket for watched names; -1: none */
        bool is_replacement; /* another worker served before: take over its requests */
        bool detach; /* go to the background once it serves */
        bool warm; /* fetch the tokens of the scopes, then send CONTROL_WARM */
        bool can_resend; /* the kernel sends the requests that this worker leaves unanswered to the next one */
} WorkerSettings;

/* Serves, in a process of its own, whose exit status it returns. Signals: after SIGTERM the worker leaves its waiting requests
 * to the next one and ends; where the kernel can't send them to the next one, it takes no more, answers them, and ends.
 * After SIGINT it answers them with EINTR and ends. */
int worker_run(const WorkerSettings *settings);
