#pragma once
/* A program run beside the loop: what it prints is read, its time and output are limited, nothing waits for it. */

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
        RUNNER_EXITED, /* by itself; `status` is its exit status */
        RUNNER_SIGNALLED, /* `status` is the signal's number */
        RUNNER_TIMED_OUT,
        RUNNER_TOO_MUCH, /* printed more than output_max */
        RUNNER_LOST, /* can't be read or waited for; `status` is an errno */
        RUNNER_NOT_STARTED, /* by the helper; `status` is the errno of why */
} RunnerEnd;

typedef struct RunnerResult {
        RunnerEnd end;
        int status;
        const Buf *output; /* what it printed until then */
} RunnerResult;

/* Called once, from the loop; the process and its result are gone when it returns. */
typedef void RunnerHandler(const RunnerResult *result, void *userdata);

/* Starts argv[0] (looked up in PATH) in a process group of its own, with this environment, without any of our file
 * descriptors, and with /dev/null for input and errors. 0, or the errno of why it can't: -ENOENT, -EACCES, -ENOMEM,
 * -ENOSYS (no pidfd) … */
int runner_start(Loop *loop, char *const argv[], const RunnerLimits *limits, RunnerHandler *handler,
        void *userdata, Runner **ret_runner);
/* The same for the credential_process of a profile, whose words are `argv`: by the launcher's helper, if one is there
 * (which reads the words by itself), else right here. */
int runner_start_of_profile(Loop *loop, const char *profile, char *const argv[], const RunnerLimits *limits,
        RunnerHandler *handler, void *userdata, Runner **ret_runner);
/* Kills the group without calling the handler. NULL does nothing. Returns NULL. */
Runner *runner_cancel(Runner *runner);
