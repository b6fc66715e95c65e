#pragma once
/* A program that runs beside the loop: its output is read; its time and output are limited; nothing waits for it. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/net/loop.h"

typedef struct Runner Runner;

typedef struct RunnerLimits {
        uint64_t timeout_ns;
        size_t output_max; /* bytes on standard output */
} RunnerLimits;

typedef enum RunnerEnd {
        RUNNER_EXITED, /* `status` is its exit status */
        RUNNER_SIGNALLED, /* `status` is the signal's number */
        RUNNER_TIMED_OUT,
        RUNNER_TOO_MUCH, /* it printed more than output_max */
        RUNNER_LOST, /* it can't be read or waited for; `status` is an errno */
        RUNNER_NOT_STARTED, /* the helper failed to start it; `status` is the errno */
} RunnerEnd;

typedef struct RunnerResult {
        RunnerEnd end;
        int status;
        const Buf *output; /* its output so far */
} RunnerResult;

/* Called once, from the loop; the process and its result are gone on return. */
typedef void RunnerHandler(const RunnerResult *result, void *userdata);

/* Starts a program as spawn_program does. 0, or a negative errno: those of spawn_program, -ENOMEM, -ENOSYS (no
 * pidfd). */
int runner_start(Loop *loop, char *const argv[], const RunnerLimits *limits, RunnerHandler *handler,
        void *userdata, Runner **ret_runner);
/* The same for the credential_process of a profile, whose words are `argv`. If the launcher's helper runs, it starts
 * the program, and reads the words itself. */
int runner_start_of_profile(Loop *loop, const char *profile, char *const argv[], const RunnerLimits *limits,
        RunnerHandler *handler, void *userdata, Runner **ret_runner);
/* Kills the process group without calling the handler. NULL does nothing. Returns NULL. */
Runner *runner_cancel(Runner *runner);
