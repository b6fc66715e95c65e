/* tokenfs: access tokens of Amazon Route 53 Global Resolver as files. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/log.h"
#include "tokenfs/commands/check.h"
#include "tokenfs/options/options.h"
#include "tokenfs/commands/wait.h"
#include "tokenfs/supervisor/mount-only.h"
#include "tokenfs/supervisor/reload.h"
#include "tokenfs/supervisor/supervisor.h"
#include "tokenfs/worker/privileges.h"

/* Where a standard stream is closed, the next descriptor that is opened takes its number: the connection to the kernel,
 * in which the log would be written then. */
static void open_standard_streams(void)
{
        for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
                if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) == stream)
                        (void)fcntl(stream, F_SETFD, 0); /* what we start has it too */
}

/* Inherited SIGCHLD=SIG_IGN breaks waitpid(); a blocked signal never arrives. A successor's signals stay blocked until its
 * loop takes them. A file-size limit (ulimit -f) is to fail a call with EFBIG, which the log can name, not to kill. */
static void reset_signals(void)
{
        sigset_t none;
        (void)signal(SIGCHLD, SIG_DFL);
        (void)signal(SIGXFSZ, SIG_IGN);
        (void)sigemptyset(&none);
        if (!supervisor_is_successor())
                (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int print(void (*write_text)(Buf *out))
{
        Buf text = BUF_INIT(64 * 1024);
        write_text(&text);
        bool is_printed = text.error == 0 && fputs(buf_str(&text), stdout) >= 0 && fflush(stdout) == 0;
        buf_deinit(&text);
        return is_printed ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(const Options *options, int argc, char **argv)
{
        switch (options->action) {
        case OPTIONS_HELP: return print(options_help);
        case OPTIONS_VERSION: return print(options_version);
        case OPTIONS_NOTHING: return EXIT_SUCCESS;
        case OPTIONS_CHECK: return check_run(options);
        case OPTIONS_WAIT: return wait_run(options);
        case OPTIONS_MOUNT_ONLY: return mount_only_run(options);
        case OPTIONS_RELOAD: return reload_run(options, argc, argv);
        case OPTIONS_MOUNT: return supervisor_run(options, argv);
        }
        return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
        privileges_hide(); /* first: until then any process of the same user may look into this one */
        open_standard_streams();
        reset_signals();
        Options options;
        Buf error = BUF_INIT(1024);
        int r = options_parse(argc, argv, &error, &options);
        if (r < 0) {
                log_open(LOG_LEVEL_INFO, supervisor_is_successor());
                const char *text = r == -ENOMEM ? "out of memory" : buf_str(&error);
                bool is_check = check_is_asked(argc, argv);
                int status = is_check ? check_refused(argc, argv, text) : EXIT_FAILURE;
                if (!is_check)
                        log_error("%s", text);
                buf_deinit(&error);
                return status;
        }
        buf_deinit(&error);
        int status = run(&options, argc, argv);
        options_deinit(&options);
        return status;
}
