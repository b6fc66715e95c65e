#pragma once
/* A program run beside the loop: what it prints is read, its time and output are limited, nothing waits for it. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/net/loop.h"

typedef struct Process Process;

typedef struct ProcessLimits {
        uint64_t timeout_ns;
        size_t output_max; /* bytes on standard output */
} ProcessLimits;

typedef enum ProcessEnd {
        PROCESS_EXITED, /* by itself; `status` is its exit status */
        PROCESS_SIGNALLED, /* `status` is the signal's number */
        PROCESS_TIMED_OUT,
        PROCESS_TOO_MUCH, /* printed more than output_max */
        PROCESS_LOST, /* can't be read or waited for; `status` is an errno */
        PROCESS_NOT_STARTED, /* by the helper; `status` is the errno of why */
} ProcessEnd;

typedef struct ProcessResult {
        ProcessEnd end;
        int status;
        const Buf *output; /* what it printed until then */
} ProcessResult;

/* Called once, from the loop; the process and its result are gone when it returns. */
typedef void ProcessHandler(const ProcessResult *result, void *userdata);

/* Starts argv[0] (looked up in PATH) in a process group of its own, with this environment, without any of our file
 * descriptors, and with /dev/null for input and errors. 0, or the errno of why it can't: -ENOENT, -EACCES, -ENOMEM,
 * -ENOSYS (no pidfd) … */
int process_start(Loop *loop, char *const argv[], const ProcessLimits *limits, ProcessHandler *handler,
        void *userdata, Process **ret_process);
/* The same for the credential_process of a profile, whose words are `argv`: by the launcher's helper, if one is there
 * (which reads the words by itself), else right here. */
int process_start_of_profile(Loop *loop, const char *profile, char *const argv[], const ProcessLimits *limits,
        ProcessHandler *handler, void *userdata, Process **ret_process);
/* Kills the group without calling the handler. NULL does nothing. Returns NULL. */
Process *process_cancel(Process *process);

/* The start alone, as process_start describes it: standard output goes to `output_fd`. 0 or a negative errno. */
int process_spawn(char *const argv[], int output_fd, pid_t *ret_pid);
