/* credential_process: a program of the user that prints credentials as JSON.
 *
 * It runs without a shell, without this process's descriptors, for at most a minute. Its standard error is dropped:
 * such programs print tokens there, and a log is no place for them. So the remedy is to run it by hand. If it fails,
 * there are no credentials (ENOKEY); that says nothing about the API's endpoint. */

#include "provider.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/programs/runner.h"
#include "http.h"
#include "tokenfs/base/shellwords.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/secret.h"

#define PROCESS_TIMEOUT_NS (60 * NS_PER_S)
#define HINT "run it by hand to see why"

typedef struct ProcessState {
        Runner *runner;
} ProcessState;

static void read_output(ProviderRun *run, const Buf *output)
{
        CLEANUP(json_free_p) cJSON *json = NULL;
        int r = json_parse(buf_str(output), output->len, 8, &json);
        uint64_t version = 0;
        if (r == -ENOMEM)
                (void)provider_no_memory(run);
        else if (r < 0)
                (void)provider_fail(
                        run, CREDENTIALS_E_INVALID, "what credential_process printed is no JSON; " HINT);
        else if (json_uint(json, "Version", &version) < 0 || version != 1)
                (void)provider_fail(run, CREDENTIALS_E_INVALID,
                        "what credential_process printed has no Version 1, the only one known; " HINT);
        else
                (void)provider_found_json(
                        run, "what credential_process printed", json, "SessionToken", false);
}

static int not_started(ProviderRun *run, int error)
{
        return provider_fail(run, CREDENTIALS_E_INVALID,
                "credential_process can't be started: %s; check its path", strerrordesc_np(error));
}

static void on_end(const RunnerResult *result, void *userdata)
{
        ProviderRun *run = userdata;
        ProcessState *state = run->state;
        state->runner = NULL;
        if (result->end == RUNNER_TIMED_OUT)
                (void)provider_fail(run, CREDENTIALS_E_INVALID,
                        "credential_process took over 60 seconds and was ended; " HINT);
        else if (result->end == RUNNER_TOO_MUCH)
                (void)provider_fail(
                        run, CREDENTIALS_E_INVALID, "credential_process printed over 64 KiB; " HINT);
        else if (result->end == RUNNER_SIGNALLED)
                (void)provider_fail(run, CREDENTIALS_E_INVALID, "credential_process died of signal %d; " HINT,
                        result->status);
        else if (result->end == RUNNER_NOT_STARTED)
                (void)not_started(run, result->status);
        else if (result->end == RUNNER_LOST)
                (void)provider_fail(run, CREDENTIALS_E_INVALID, "credential_process can't be read: %s",
                        strerrordesc_np(result->status));
        else if (result->status != 0)
                (void)provider_fail(run, CREDENTIALS_E_INVALID,
                        "credential_process exited with status %d; " HINT, result->status);
        else
                read_output(run, result->output);
        provider_finish(run);
}

static int process_provider_start(ProviderRun *run)
{
        const char *line = aws_config_get(run->context->config, run->profile, "credential_process");
        if (!line)
                return 0;
        CLEANUP(secret_free_p) char **argv = NULL;
        int r = shellwords_split(line, &argv);
        if (r == -ENOMEM)
                return provider_no_memory(run);
        if (r < 0)
                return provider_fail(run, CREDENTIALS_E_INVALID,
                        "credential_process is empty, or has a quote or backslash without its end");
        ProcessState *state = calloc(1, sizeof(*state));
        if (!state)
                return provider_no_memory(run);
        run->state = state;
        r = runner_start_of_profile(run->context->loop, run->profile, argv,
                &(RunnerLimits){PROCESS_TIMEOUT_NS, PROVIDER_ANSWER_MAX}, on_end, run, &state->runner);
        return r < 0 ? not_started(run, -r) : -EINPROGRESS;
}

static void process_provider_stop(ProviderRun *run)
{
        ProcessState *state = run->state;
        runner_cancel(state->runner);
        free(state);
}

const Provider provider_process = {
        .name = "credential_process",
        .is_of_profile = true,
        .start = process_provider_start,
        .stop = process_provider_stop,
};
