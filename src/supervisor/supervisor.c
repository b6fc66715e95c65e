/* The supervisor.
 *
 * Why: a mount whose daemon dies is a broken directory in every container that binds it, until each is restarted. So
 * the process that owns the mount does next to nothing: it has no network, parses nothing from outside, and can hardly
 * die; all that can is in the worker, which it replaces.
 *
 * How: one loop that waits for signals and for the worker's line, and a table of what is due when. Everything that
 * happens ends up in one of the functions below, each of which leaves a state that is right:
 *   no worker, a start planned → worker started → worker ready → (dies, is told to leave, hangs) → no worker … */

#include "supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tokenfs/base/daemonize.h"
#include "tokenfs/worker/control.h"
#include "tokenfs/fuse/mounts.h"
#include "tokenfs/fuse/notify.h"
#include "hook.h"
#include "tokenfs/fuse/refuse.h"
#include "tokenfs/worker/status.h"
#include "sdnotify.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/supervisor/supervisor.h"
#include "tokenfs/worker/worker.h"

#define LEAVE_NS NS_PER_S
#define NOTIFIER_NS (10 * NS_PER_S)
#define CONFIGURATION_NS (20 * NS_PER_S) /* to read it; it may lie on a filesystem that hangs */
#define NO_PROCESS_NS NS_PER_S /* until a process that couldn't be made is tried again */

void supervisor_plan(Supervisor *supervisor, Due due, uint64_t in_ns)
{
        supervisor->due_ns[due] = clock_add_ns(clock_now_ns(), in_ns);
}

static void end(Supervisor *supervisor, int status)
{
        supervisor->is_done = true;
        supervisor->status = status;
}

/* The worker's process; doesn't return. */
static void be_worker(Supervisor *supervisor, int control, int watch)
{
        sigset_t handled;
        (void)close(supervisor->signals);
        cleanup_close(&supervisor->report);
        cleanup_close(&supervisor->watch); /* the worker's before */
        /* What its loop takes up stays blocked until then: a signal that comes early isn't lost. */
        (void)sigemptyset(&handled);
        (void)sigaddset(&handled, SIGTERM);
        (void)sigaddset(&handled, SIGINT);
        (void)signal(SIGHUP, SIG_IGN); /* the supervisor's, though it may be sent to all (pkill -HUP) */
        (void)signal(SIGUSR2, SIG_IGN);
        (void)sigprocmask(SIG_SETMASK, &handled, NULL);
        const WorkerSettings settings = {
                .options = supervisor->options,
                .session = supervisor->session,
                .slots = supervisor->slots,
                .control = control,
                .watch = watch,
                .is_replacement = supervisor->had_worker,
                .detach = supervisor->is_background && !supervisor->had_worker,
                .warm = supervisor->options->token_ids.count > 0 && !supervisor->notify_ready_sent &&
                        sdnotify_is_listening(),
                .can_resend = supervisor->can_resend,
        };
        exit(worker_run(&settings));
}

static int start_worker(Supervisor *supervisor)
{
        int ends[2], watch_ends[2] = {-1, -1};
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, watch_ends) < 0)
                log_warning("on_change: no line to the worker: %s", strerror(errno));
        pid_t pid = fork();
        if (pid < 0) {
                int r = -errno;
                for (int i = 0; i < 2; i++) {
                        (void)close(ends[i]);
                        cleanup_close(&watch_ends[i]);
                }
                return r;
        }
        if (pid == 0) {
                (void)close(ends[0]);
                cleanup_close(&watch_ends[0]);
                be_worker(supervisor, ends[1], watch_ends[1]);
        }
        (void)close(ends[1]);
        cleanup_close(&watch_ends[1]);
        cleanup_close(&supervisor->watch);
        supervisor->worker = pid;
        supervisor->control = ends[0];
        supervisor->watch = watch_ends[0];
        supervisor->worker_is_odd = false;
        supervisor->worker_is_ready = false;
        supervisor->worker_started_ns = clock_now_ns();
        supervisor->due_ns[DUE_RECOVERY] =
                backoff_recovers_ns(&supervisor->backoff, supervisor->worker_started_ns);
        watchdog_start(&supervisor->watchdog, true);
        supervisor->due_ns[DUE_LOOK] = supervisor->watchdog.look_ns;
        return 0;
}

/* Tells the worker to leave by `number`, and makes sure that it does. */
static void dismiss_worker(Supervisor *supervisor, int number)
{
        (void)kill(supervisor->worker, number);
        supervisor_plan(supervisor, DUE_KILL, LEAVE_NS);
}

static void stop(Supervisor *supervisor)
{
        if (supervisor->is_stopping) { /* asked twice: at once, then */
                if (supervisor->worker)
                        (void)kill(supervisor->worker, SIGKILL);
                return;
        }
        supervisor->is_stopping = true;
        sdnotify_notify("STOPPING=1\nSTATUS=Unmounting");
        log_info("unmounting %s", supervisor->mountpoint);
        supervisor_probe_kill(supervisor);
        session_unmount(supervisor->session);
        if (supervisor->worker)
                dismiss_worker(supervisor, SIGINT);
        else
                end(supervisor, EXIT_SUCCESS);
}

static void tell_service_manager(Supervisor *supervisor)
{
        supervisor->notify_ready_sent = true;
        sdnotify_notify("READY=1\nMAINPID=%ld\nSTATUS=Serving %s", (long)getpid(), supervisor->mountpoint);
}

/* The kernel may hold answers of before the SIGHUP. */
static void notify_kernel(Supervisor *supervisor)
{
        if (supervisor->notifier)
                (void)kill(supervisor->notifier, SIGKILL);
        supervisor->notifier = 0;
        int r = notify_start(supervisor->session, supervisor->slots, &supervisor->notifier);
        if (r < 0)
                log_error("can't tell the kernel to forget: %s: trying again", strerror(-r));
        supervisor_plan(supervisor, DUE_NOTIFIER, r < 0 ? NO_PROCESS_NS : NOTIFIER_NS);
}

static void notifier_ended(Supervisor *supervisor)
{
        supervisor->notifier = 0;
        supervisor->due_ns[DUE_NOTIFIER] = CLOCK_NEVER;
        if (supervisor->is_reloading)
                log_info("SIGHUP: done, the next read asks the API");
        supervisor->is_reloading = false;
        if (!supervisor->is_stopping)
                tell_service_manager(supervisor);
}

static void worker_ready(Supervisor *supervisor)
{
        bool is_first = !supervisor->had_worker;
        supervisor->worker_is_ready = true;
        supervisor->had_worker = true;
        if (supervisor->report >= 0) {
                daemonize_detach(supervisor->options->log_level);
                if (daemonize_report(&supervisor->report, EXIT_SUCCESS) < 0) {
                        stop(supervisor); /* who started us has given up */
                        return;
                }
        }
        if (is_first && supervisor->is_kept)
                supervisor_keep(supervisor);
        if (is_first)
                log_info("serving %s", supervisor->mountpoint);
        if (supervisor->is_reloading)
                notify_kernel(supervisor);
        else if (!supervisor->notify_ready_sent && supervisor->options->token_ids.count == 0)
                tell_service_manager(supervisor);
}

static void worker_said(Supervisor *supervisor, char message)
{
        switch (message) {
        case CONTROL_READY: worker_ready(supervisor); break;
        case CONTROL_WARM: tell_service_manager(supervisor); break;
        case CONTROL_PONG: watchdog_answered(&supervisor->watchdog); break;
        default: break; /* a worker that was taken over may say anything */
        }
}

static void listen_to_worker(Supervisor *supervisor)
{
        char messages[16];
        ssize_t len = recv(supervisor->control, messages, sizeof messages, MSG_DONTWAIT);
        if (len == 0)
                cleanup_close(&supervisor->control); /* it has died; the signal says how */
        for (ssize_t i = 0; i < len; i++)
                worker_said(supervisor, messages[i]);
}

/* One that was started then serves no more, or couldn't be started: for how long there will be none; who waits is
 * refused if that is hopeless. */
static uint64_t worker_is_missing(Supervisor *supervisor, uint64_t started_ns, const char *why)
{
        uint64_t delay_ns = backoff_death(&supervisor->backoff, started_ns);
        if (backoff_is_loop(&supervisor->backoff) && !supervisor->shared->crash_loop) {
                supervisor->shared->crash_loop = 1;
                log_error("workers die again and again; the last by %s", why);
                sdnotify_notify("STATUS=Workers die again and again: see the log");
        }
        supervisor_plan(supervisor, DUE_RESTART, delay_ns);
        /* What the last one had taken isn't seen on the connection until it is asked for again. */
        if (backoff_is_hopeless(&supervisor->backoff, supervisor->options->timeout_ns))
                (void)refuse_waiting(supervisor->session);
        return delay_ns;
}

static void worker_died(Supervisor *supervisor, pid_t pid, int wait_status)
{
        char end_text[48];
        status_describe_end(wait_status, end_text);
        NodesShared *shared = supervisor->shared;
        shared->restarts++;
        shared->restart_wall_ns = clock_wall_ns();
        shared->restart_status = wait_status;
        uint64_t delay_ns = worker_is_missing(supervisor, supervisor->worker_started_ns, end_text);
        log_warning("worker %ld ended by %s: the next one starts in %g s", (long)pid, end_text,
                (double)delay_ns / (double)NS_PER_S);
}

/* The first worker has failed: there is nothing to go on with. */
static void give_up(Supervisor *supervisor)
{
        session_unmount(supervisor->session);
        end(supervisor, EXIT_MOUNT);
}

static void restart(Supervisor *supervisor)
{
        int r = start_worker(supervisor);
        if (r == 0)
                return;
        log_error("can't start a worker: %s", strerror(-r));
        if (supervisor->had_worker)
                (void)worker_is_missing(supervisor, clock_now_ns(), "want of a process");
        else
                give_up(supervisor);
}

static void worker_ended(Supervisor *supervisor, int wait_status)
{
        int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
        pid_t pid = supervisor->worker;
        supervisor->worker = 0;
        if (supervisor->control >= 0) /* its last words */
                listen_to_worker(supervisor);
        cleanup_close(&supervisor->control);
        hook_listen(supervisor);
        watchdog_start(&supervisor->watchdog, false);
        supervisor->due_ns[DUE_LOOK] = supervisor->due_ns[DUE_KILL] = supervisor->due_ns[DUE_RECOVERY] =
                CLOCK_NEVER;
        supervisor->worker_is_ready = false;

        if (supervisor->is_stopping) {
                end(supervisor, EXIT_SUCCESS);
        } else if (code == WORKER_UNMOUNTED && supervisor->had_worker) {
                log_info("%s was unmounted", supervisor->mountpoint);
                end(supervisor, EXIT_SUCCESS);
        } else if (!supervisor->had_worker) {
                if (code != WORKER_UNUSABLE) { /* that one has said why */
                        char end_text[48];
                        status_describe_end(wait_status, end_text);
                        log_error("the worker ended by %s before it served", end_text);
                }
                give_up(supervisor);
        } else if (supervisor->is_replacing) {
                supervisor_plan(supervisor, DUE_RESTART, 0);
        } else {
                worker_died(supervisor, pid, wait_status);
        }
        supervisor->is_replacing = false;
}

/* Replaces the worker, which is the way to have everything read again, if the configuration as it is now can be used. A
 * worker that isn't there, or is on its way out, is followed by one that reads it anyhow. */
static void replace_worker(Supervisor *supervisor)
{
        if (supervisor->configuration_probe) /* what it has read may have changed */
                (void)kill(supervisor->configuration_probe, SIGKILL);
        supervisor->configuration_probe = 0;
        supervisor->due_ns[DUE_RELOAD] = CLOCK_NEVER;
        if (!supervisor->worker || supervisor->is_replacing || supervisor->is_stopping)
                return;
        int r = supervisor_probe_configuration(supervisor->options, &supervisor->configuration_probe);
        supervisor_plan(supervisor, DUE_RELOAD, r < 0 ? NO_PROCESS_NS : CONFIGURATION_NS);
}

static void configuration_probe_ended(Supervisor *supervisor, int wait_status)
{
        supervisor->configuration_probe = 0;
        supervisor->due_ns[DUE_RELOAD] = CLOCK_NEVER;
        if (supervisor->is_stopping || !supervisor->worker || supervisor->is_replacing)
                return;
        if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_SUCCESS) {
                supervisor->is_replacing = true;
                dismiss_worker(supervisor, SIGTERM);
                return;
        }
        log_error("the configuration can't be used now: nothing is forgotten, the worker goes on with the "
                  "one before");
        if (supervisor->is_reloading)
                tell_service_manager(supervisor);
        supervisor->is_reloading = false;
}

static void configuration_is_late(Supervisor *supervisor)
{
        if (!supervisor->configuration_probe) { /* it couldn't be started */
                replace_worker(supervisor);
                return;
        }
        log_error("the configuration can't be read within %g s", (double)CONFIGURATION_NS / (double)NS_PER_S);
        (void)kill(supervisor->configuration_probe, SIGKILL);
        configuration_probe_ended(supervisor, SIGKILL); /* a hanging filesystem may delay its death */
}

static void reload(Supervisor *supervisor)
{
        log_info("SIGHUP: forgetting everything, reading the configuration again");
        supervisor->is_reloading = true;
        sdnotify_notify_reloading();
        replace_worker(supervisor);
}

static void reap(Supervisor *supervisor)
{
        pid_t pid;
        int wait_status;
        while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
                if (pid == supervisor->worker)
                        worker_ended(supervisor, wait_status);
                else if (pid == supervisor->notifier)
                        notifier_ended(supervisor);
                else if (pid == supervisor->configuration_probe)
                        configuration_probe_ended(supervisor, wait_status);
                else if (pid == supervisor->command)
                        hook_ended(supervisor, wait_status);
                else if (pid == supervisor->probe)
                        supervisor_probe_ended(supervisor, wait_status);
        }
}

static void take_signals(Supervisor *supervisor)
{
        struct signalfd_siginfo info;
        bool has_child = false;
        while (read(supervisor->signals, &info, sizeof info) == (ssize_t)sizeof info) {
                switch (info.ssi_signo) {
                case SIGTERM:
                case SIGINT: stop(supervisor); break;
                case SIGHUP: reload(supervisor); break;
                case SIGUSR2: supervisor_upgrade(supervisor); break;
                case SIGCHLD: has_child = true; break;
                default: break;
                }
        }
        if (has_child) /* after the others: a worker that ends while we are told to stop has not died */
                reap(supervisor);
}

static void look_at_worker(Supervisor *supervisor)
{
        int waiting = supervisor->connection >= 0 ? mounts_waiting((unsigned)supervisor->connection) : -1;
        switch (watchdog_look(&supervisor->watchdog)) {
        case WATCHDOG_ASK:
                if (supervisor->worker_is_ready && waiting == 0)
                        break; /* nobody waits for it */
                watchdog_asked(&supervisor->watchdog);
                control_send(supervisor->control, CONTROL_PING);
                break;
        case WATCHDOG_HANGS:
                if (watchdog_is_traced(supervisor->worker)) /* a debugger holds it */
                        break;
                log_error("worker %ld hangs: replacing it", (long)supervisor->worker);
                (void)kill(supervisor->worker, SIGKILL);
                break;
        case WATCHDOG_FINE: break;
        }
        supervisor->due_ns[DUE_LOOK] = supervisor->watchdog.look_ns;
}

static void worker_recovered(Supervisor *supervisor)
{
        backoff_recovered(&supervisor->backoff);
        if (!supervisor->shared->crash_loop)
                return;
        supervisor->shared->crash_loop = 0;
        log_info("worker %ld lives: all is well again", (long)supervisor->worker);
        tell_service_manager(supervisor);
}

static void notifier_is_late(Supervisor *supervisor)
{
        if (!supervisor->notifier) { /* it couldn't be started */
                notify_kernel(supervisor);
                return;
        }
        log_warning(
                "the kernel can't be told to forget as long as readers wait; it will when its time-outs end");
        (void)kill(supervisor->notifier, SIGKILL); /* reaped whenever it can die */
        notifier_ended(supervisor);
}

static void worker_is_late(Supervisor *supervisor)
{
        if (supervisor->worker)
                (void)kill(supervisor->worker, SIGKILL);
}

static void say_alive(Supervisor *supervisor)
{
        sdnotify_notify("WATCHDOG=1");
        supervisor_plan(supervisor, DUE_ALIVE, sdnotify_watchdog_ns() / 2);
}

static void do_what_is_due(Supervisor *supervisor)
{
        static void (*const actions[DUE_COUNT])(Supervisor *) = {
                [DUE_RESTART] = restart,
                [DUE_RECOVERY] = worker_recovered,
                [DUE_LOOK] = look_at_worker,
                [DUE_NOTIFIER] = notifier_is_late,
                [DUE_PROBE] = supervisor_probe_kill,
                [DUE_RELOAD] = configuration_is_late,
                [DUE_KILL] = worker_is_late,
                [DUE_COMMAND] = hook_run,
                [DUE_COMMAND_LATE] = hook_late,
                [DUE_ALIVE] = say_alive,
        };
        for (size_t i = 0; i < DUE_COUNT; i++) {
                if (supervisor->due_ns[i] > clock_now_ns())
                        continue;
                supervisor->due_ns[i] = CLOCK_NEVER;
                actions[i](supervisor);
        }
}

/* In milliseconds, rounded up; -1: nothing is due. */
static int time_to_wait(const Supervisor *supervisor)
{
        uint64_t first_ns = CLOCK_NEVER, now_ns = clock_now_ns();
        for (size_t i = 0; i < DUE_COUNT; i++)
                if (supervisor->due_ns[i] < first_ns)
                        first_ns = supervisor->due_ns[i];
        if (first_ns == CLOCK_NEVER)
                return -1;
        uint64_t wait_ms = first_ns > now_ns ? (first_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
        return wait_ms < 3600000 ? (int)wait_ms : 3600000;
}

static void supervisor_turn(Supervisor *supervisor)
{
        /* The connection is looked at only while no worker does: each request would wake us as well. */
        bool is_refusing = !supervisor->worker &&
                           backoff_is_hopeless(&supervisor->backoff, supervisor->options->timeout_ns);
        struct pollfd fds[] = {
                {.fd = supervisor->signals, .events = POLLIN},
                {.fd = supervisor->control, .events = POLLIN},
                {.fd = supervisor->worker ? -1 : session_fd(supervisor->session),
                        .events = is_refusing ? POLLIN : 0},
                {.fd = supervisor->watch, .events = POLLIN},
        };
        if (poll(fds, ARRAY_LEN(fds), time_to_wait(supervisor)) > 0) {
                if (fds[1].revents && supervisor->control >= 0)
                        listen_to_worker(supervisor);
                if (fds[3].revents)
                        hook_listen(supervisor);
                if (fds[0].revents)
                        take_signals(supervisor);
                if (fds[2].revents & POLLERR)
                        end(supervisor, EXIT_SUCCESS); /* unmounted */
                else if (fds[2].revents & POLLIN)
                        (void)refuse_waiting(supervisor->session);
        }
        if (!supervisor->is_done)
                do_what_is_due(supervisor);
}

static void supervisor_deinit(Supervisor *supervisor)
{
        if (supervisor->notifier)
                (void)kill(supervisor->notifier, SIGKILL);
        if (supervisor->configuration_probe)
                (void)kill(supervisor->configuration_probe, SIGKILL);
        supervisor_probe_kill(supervisor);
        hook_stop(supervisor);
        cleanup_close(&supervisor->watch);
        cleanup_close(&supervisor->control);
        cleanup_close(&supervisor->signals);
        cleanup_close(&supervisor->report);
        session_free(supervisor->session);
        nodes_free(supervisor->slots);
        free(supervisor->mountpoint);
        free(supervisor->start_directory);
        free(supervisor->program);
}

/* What runs under another binary's worker: that one leaves, and ours takes its place. */
static void take_over(Supervisor *supervisor)
{
        supervisor->shared->upgrades += !supervisor->is_revived;
        supervisor->shared->crash_loop = 0; /* that was the binary's before */
        log_info("tokenfs took over the mount of %s", supervisor->mountpoint);
        if (!supervisor->worker) {
                restart(supervisor);
                return;
        }
        supervisor->is_replacing = true;
        dismiss_worker(supervisor, SIGTERM);
        reap(supervisor); /* it may have ended in between */
}

static int serve(Supervisor *supervisor)
{
        backoff_init(&supervisor->backoff);
        watchdog_init(&supervisor->watchdog, supervisor->options->watchdog_ns);
        if (sdnotify_watchdog_ns() > 0)
                supervisor_plan(supervisor, DUE_ALIVE, 0);
        if (supervisor->had_worker)
                take_over(supervisor);
        else
                restart(supervisor);
        while (!supervisor->is_done)
                supervisor_turn(supervisor);
        return supervisor->status;
}

static void handover_is_strange(const Options *options, int error)
{
        log_open(options->log_level, !options->foreground);
        log_error("can't take over from the binary before: %s",
                error == -EPROTONOSUPPORT ? "it hands over as another version of tokenfs does"
                                          : strerror(-error));
}

bool supervisor_is_successor(void)
{
        return handover_is_offered();
}

int supervisor_run(const Options *options, char **argv)
{
        Supervisor supervisor = {
                .options = options, .argv = argv, .signals = -1, .report = -1, .control = -1, .watch = -1};
        changes_init(&supervisor.changes, options);
        Handover handover = HANDOVER_INIT;
        for (size_t i = 0; i < DUE_COUNT; i++)
                supervisor.due_ns[i] = CLOCK_NEVER;
        int r = handover_receive(&handover);
        if (r < 0 && r != -ENOENT)
                handover_is_strange(options, r);
        if (r == 0 && handover.is_probe) {
                log_open(options->log_level, handover.is_background);
                r = supervisor_probe(options, &handover);
                handover_deinit(&handover);
                supervisor_deinit(&supervisor);
                return r;
        }
        if (r == 0)
                r = supervisor_go_on(&supervisor, &handover);
        else if (r == -ENOENT)
                r = supervisor_start(&supervisor);
        handover_deinit(&handover);
        int status = r < 0 ? EXIT_MOUNT : serve(&supervisor);
        if (supervisor.report >= 0)
                (void)daemonize_report(&supervisor.report, status);
        supervisor_deinit(&supervisor);
        return status;
}
