#pragma once
/* The worker: the process that serves, talks and parses. */

#include <stdbool.h>

#include "tokenfs/options/options.h"
#include "tokenfs/fuse/session.h"
#include "tokenfs/fuse/nodes.h"

/* How a worker ends by itself. */
enum {
        WORKER_UNMOUNTED = 0, /* the kernel unmounted */
        WORKER_LEFT = 40, /* it was told to leave */
        WORKER_UNUSABLE = 41, /* it can't serve: the log says why */
};

typedef struct WorkerSettings {
        const Options *options;
        Session *session;
        Nodes *slots;
        const char *mountpoint; /* absolute, without links */
        int control; /* our end of the control socket */
        int watch; /* our end of the line for watched names; -1: none */
        bool is_replacement; /* another worker was there before: take up what it left */
        bool detach; /* go to the background once ready */
        bool warm; /* fetch the tokens of the scopes, and say so */
        bool can_resend; /* the kernel gives the next worker what this one leaves unanswered */
} WorkerSettings;

/* Serves. Runs in a process of its own, whose exit status it returns. Signals: SIGTERM
 * leaves quietly, with waiting requests left to the next worker; SIGINT answers them (EINTR) and leaves. */
int worker_run(const WorkerSettings *settings);
