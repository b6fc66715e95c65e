/* The supervisor's signals.
 *
 * Until there is a mount, signals end the program as they end any other: files of the configuration may lie on a
 * filesystem that hangs. From the mount on they wait until the loop takes them. */

#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "tokenfs/base/cleanup.h"

static void collect(sigset_t *signals)
{
        static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
        (void)sigemptyset(signals);
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
                (void)sigaddset(signals, numbers[i]);
}

void signals_block_requests(void)
{
        sigset_t signals;
        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGHUP);
        (void)sigaddset(&signals, SIGUSR1);
        (void)sigaddset(&signals, SIGUSR2);
        (void)sigprocmask(SIG_BLOCK, &signals, NULL);
}

void signals_block(void)
{
        sigset_t signals;
        collect(&signals);
        (void)sigprocmask(SIG_SETMASK, &signals, NULL);
        (void)signal(SIGPIPE, SIG_IGN);
        /* Children have process groups of their own: a terminal must not stop one that logs. */
        (void)signal(SIGTTOU, SIG_IGN);
        (void)signal(SIGTTIN, SIG_IGN);
}

int signals_open(int *ret_fd)
{
        sigset_t signals;
        collect(&signals);
        *ret_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        return *ret_fd < 0 ? -errno : 0;
}

void signals_unblock(void)
{
        sigset_t none;
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}
