/* The supervisor.
 *
 * Why: a mount whose daemon dies is a broken directory in every container that binds it, until each is restarted. So
 * the process that owns the mount does little: it has no network and parses nothing from outside. The worker does that,
 * and the supervisor replaces a worker that dies.
 *
 * How: one loop waits for signals and for the worker's lines; timers are a table. Each event calls one of the functions
 * below, and each function leaves a valid state. */

#include "tokenfs/supervisor/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config-probe.h"
#include "fdstore.h"
#include "handover.h"
#include "hook.h"
#include "mount.h"
#include "notifier.h"
#include "reload.h"
#include "sdnotify.h"
#include "signals.h"
#include "start.h"
#include "state.h"
#include "timers.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/daemonize.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fuse/refuse.h"
#include "upgrade.h"
#include "workers.h"

typedef struct Supervisor {
        const Options *options;
        Mount mount;
        Timers timers;
        Workers workers;
        Hook hook;
        Upgrade upgrade;
        int signals; /* signalfd */
        int clock_watch; /* -1: none */
        int report; /* to the process that the user started; -1: it isn't there (any more) */
        bool is_background;
        bool is_kept; /* by the service manager */
        int reload_fd; /* clients of --reload; -1: none are expected */
        Notifier notifier;
        ConfigProbe config_probe; /* before a worker is replaced */
        bool is_reloading; /* SIGHUP: the kernel is to forget, once the next worker serves */
        bool is_announced; /* to the service manager */
        bool is_stopping; /* the worker's end is our end */
        bool is_leaving; /* the same, and the mount stays */
        bool is_done;
        int status;
} Supervisor;

static void end(Supervisor *supervisor, int status)
{
        supervisor->is_done = true;
        supervisor->status = status;
}

/* The first worker has failed: there is nothing to go on with. */
static void give_up(Supervisor *supervisor)
{
        session_unmount(supervisor->mount.session);
        end(supervisor, EXIT_MOUNT);
}

/* Writes down what a successor needs. 0 or a negative errno. */
static int save_state(const Supervisor *supervisor)
{
        State state = {
                .is_background = supervisor->is_background,
                .is_kept = supervisor->is_kept,
                .is_reloading = supervisor->is_reloading,
        };
        workers_describe(&supervisor->workers, &state);
        return hook_save(&supervisor->hook, &state);
}

/* --- The service manager and the kernel ---------------------------------------------------------------------- */

static void announce(Supervisor *supervisor)
{
        supervisor->is_announced = true;
        sdnotify_notify("READY=1\nMAINPID=%ld\nSTATUS=Serving %s", (long)getpid(), supervisor->mount.path);
}

static void say_alive(Supervisor *supervisor)
{
        sdnotify_notify("WATCHDOG=1");
        timers_set(&supervisor->timers, TIMER_ALIVE, sdnotify_watchdog_ns() / 2);
}

/* The kernel counts the time-outs of its entries and attributes in jiffies, which stand still during suspend. */
static void clock_was_set(Supervisor *supervisor)
{
        clock_watch_take(supervisor->clock_watch);
        log_info("the machine was suspended, or its clock was set: the kernel asks again, and connections "
                 "are renewed");
        if (supervisor->workers.control >= 0)
                control_send(supervisor->workers.control, CONTROL_RESUMED);
        if (!supervisor->is_stopping)
                notifier_start(&supervisor->notifier);
}

/* The kernel forgets once no worker is left that may answer with what it knew before the SIGHUP. */
static void finish_reload(Supervisor *supervisor)
{
        const Workers *workers = &supervisor->workers;
        if (supervisor->is_reloading && workers->is_ready && !workers_are_leaving(workers))
                notifier_start(&supervisor->notifier);
}

/* The next reads reach the API. */
static void kernel_forgot(Supervisor *supervisor)
{
        notifier_ended(&supervisor->notifier);
        if (supervisor->is_reloading)
                log_info("SIGHUP: done, the next read asks the API");
        supervisor->is_reloading = false;
        if (!supervisor->is_stopping)
                announce(supervisor);
}

/* --- Reload -------------------------------------------------------------------------------------------------- */

static bool has_worker_to_replace(const Supervisor *supervisor)
{
        const Workers *workers = &supervisor->workers;
        return workers->pid && !workers->is_replacing && !supervisor->is_stopping;
}

/* Replaces the worker, which is the way to have everything read again, if the configuration as it is now can be used. A
 * worker that isn't there, or is on its way out, is followed by one that reads it anyhow. */
static void replace_worker(Supervisor *supervisor)
{
        config_probe_cancel(&supervisor->config_probe);
        if (has_worker_to_replace(supervisor))
                config_probe_start(&supervisor->config_probe);
}

static void configuration_was_read(Supervisor *supervisor, bool is_usable)
{
        if (!has_worker_to_replace(supervisor))
                return;
        if (is_usable) {
                workers_replace(&supervisor->workers);
                return;
        }
        log_error("the configuration can't be used now: nothing is forgotten, the worker goes on with the "
                  "one before");
        if (supervisor->is_reloading)
                announce(supervisor);
        supervisor->is_reloading = false;
}

static void reload(Supervisor *supervisor)
{
        log_info("SIGHUP: forgetting everything, reading the configuration again");
        supervisor->is_reloading = true;
        sdnotify_notify_reloading();
        replace_worker(supervisor);
}

/* --- The worker ---------------------------------------------------------------------------------------------- */

static void stop(Supervisor *supervisor)
{
        if (supervisor->is_leaving)
                return;
        if (supervisor->is_stopping) { /* asked twice: at once, then */
                workers_kill(&supervisor->workers);
                return;
        }
        supervisor->is_stopping = true;
        sdnotify_notify("STOPPING=1\nSTATUS=Unmounting");
        log_info("unmounting %s", supervisor->mount.path);
        upgrade_kill_probe(&supervisor->upgrade);
        session_unmount(supervisor->mount.session);
        if (supervisor->workers.pid)
                workers_dismiss(&supervisor->workers, SIGINT);
        else
                end(supervisor, EXIT_SUCCESS);
}

/* The service restarts: the manager keeps the mount, and the next process serves it. */
static void leave(Supervisor *supervisor)
{
        if (supervisor->is_stopping)
                return;
        if (!supervisor->is_kept || !supervisor->workers.has_served || save_state(supervisor) < 0) {
                log_warning("SIGUSR1: no service manager keeps this mount for a successor");
                return;
        }
        supervisor->is_stopping = supervisor->is_leaving = true;
        sdnotify_notify("STOPPING=1\nSTATUS=Leaving the mount to the next process");
        log_info("leaving %s to the next process", supervisor->mount.path);
        upgrade_kill_probe(&supervisor->upgrade);
        if (supervisor->workers.pid)
                workers_dismiss(&supervisor->workers, SIGTERM);
        else
                end(supervisor, EXIT_SUCCESS);
}

static void start_worker(Supervisor *supervisor)
{
        bool has_served = supervisor->workers.has_served;
        const WorkersStart start = {
                .detach = supervisor->is_background && !has_served,
                .warm = supervisor->options->token_ids.count > 0 && !supervisor->is_announced &&
                        sdnotify_is_listening(),
                .close_fds = {supervisor->signals, supervisor->report, supervisor->hook.line,
                        supervisor->clock_watch, supervisor->reload_fd},
        };
        int line = -1;
        int r = workers_start(&supervisor->workers, &start, &line);
        if (r == 0) {
                hook_set_line(&supervisor->hook, line);
                return;
        }
        if (has_served) {
                workers_start_failed(&supervisor->workers, r);
                return;
        }
        log_error("can't start a worker: %s", strerror(-r));
        give_up(supervisor);
}

static void first_worker_ready(Supervisor *supervisor)
{
        if (supervisor->is_kept && save_state(supervisor) == 0)
                fdstore_save(&supervisor->mount);
        log_info("serving %s", supervisor->mount.path);
}

static void worker_ready(Supervisor *supervisor)
{
        bool is_first = workers_ready(&supervisor->workers);
        if (supervisor->report >= 0) {
                daemonize_detach(supervisor->options->log_level);
                if (daemonize_report(&supervisor->report, EXIT_SUCCESS) < 0) {
                        stop(supervisor); /* the process that started us has given up */
                        return;
                }
        }
        if (is_first)
                first_worker_ready(supervisor);
        if (supervisor->is_reloading)
                finish_reload(supervisor);
        else if (!supervisor->is_announced && supervisor->options->token_ids.count == 0)
                announce(supervisor);
}

static void listen_to_worker(Supervisor *supervisor)
{
        int message;
        while ((message = workers_receive(&supervisor->workers)) != 0)
                switch (message) { /* a worker that was broken into may send anything */
                case CONTROL_READY: worker_ready(supervisor); break;
                case CONTROL_WARM: announce(supervisor); break;
                case CONTROL_OUTDATED: replace_worker(supervisor); break;
                case CONTROL_REPAIRED: notifier_start(&supervisor->notifier); break;
                }
}

static void worker_ended(Supervisor *supervisor, int wait_status)
{
        listen_to_worker(supervisor); /* its last words */
        hook_listen(&supervisor->hook);
        if (supervisor->is_stopping) {
                supervisor->workers.pid = 0;
                end(supervisor, EXIT_SUCCESS);
                return;
        }
        WorkersEnd how = workers_ended(&supervisor->workers, wait_status);
        if (how == WORKERS_FAILED)
                give_up(supervisor);
        if (how == WORKERS_UNMOUNTED) {
                log_info("%s was unmounted", supervisor->mount.path);
                end(supervisor, EXIT_SUCCESS);
        }
}

/* --- Upgrade ------------------------------------------------------------------------------------------------- */

static const char *why_no_upgrade(const Supervisor *supervisor)
{
        if (!supervisor->upgrade.program)
                return "it isn't known where the binary is";
        if (supervisor->is_stopping)
                return "the mount ends";
        if (supervisor->upgrade.probe)
                return "one is under way";
        if (!supervisor->workers.has_served) /* the process that started us still waits for it */
                return "no worker has served yet";
        if (save_state(supervisor) < 0)
                return "the state can't be written down";
        return NULL;
}

static void begin_upgrade(Supervisor *supervisor)
{
        const char *why_not = why_no_upgrade(supervisor);
        if (why_not)
                log_warning("no upgrade now: %s", why_not);
        else
                upgrade_start_probe(&supervisor->upgrade, &supervisor->mount);
}

/* Other options are an upgrade to the same binary. */
static void take_options(Supervisor *supervisor)
{
        if (upgrade_take_request(&supervisor->upgrade, supervisor->options, supervisor->reload_fd,
                    why_no_upgrade(supervisor)))
                upgrade_start_probe(&supervisor->upgrade, &supervisor->mount);
}

static void probe_ended(Supervisor *supervisor, int wait_status)
{
        if (supervisor->is_stopping || supervisor->is_done) { /* another binary would know nothing of it */
                supervisor->upgrade.probe = 0;
                return;
        }
        if (!upgrade_probe_ended(&supervisor->upgrade, wait_status))
                return;
        if (supervisor->upgrade.reload.client_fd >= 0) {
                supervisor->is_reloading = true;
                sdnotify_notify_reloading();
        }
        int r = save_state(supervisor);
        if (r < 0) {
                log_error("no upgrade: the state can't be written down: %s", strerror(-r));
                return;
        }
        notifier_kill(&supervisor->notifier);
        upgrade_execute(
                &supervisor->upgrade, &supervisor->mount, supervisor->workers.control, supervisor->reload_fd);
}

/* --- The loop ------------------------------------------------------------------------------------------------ */

static void reap(Supervisor *supervisor)
{
        pid_t pid;
        int wait_status;
        while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
                if (pid == supervisor->workers.pid)
                        worker_ended(supervisor, wait_status);
                else if (workers_leaving_ended(&supervisor->workers, pid, wait_status))
                        finish_reload(supervisor);
                else if (pid == supervisor->notifier.pid)
                        kernel_forgot(supervisor);
                else if (pid == supervisor->config_probe.pid)
                        configuration_was_read(
                                supervisor, config_probe_ended(&supervisor->config_probe, wait_status));
                else if (pid == supervisor->hook.command)
                        hook_ended(&supervisor->hook, wait_status);
                else if (pid == supervisor->upgrade.probe)
                        probe_ended(supervisor, wait_status);
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
                case SIGUSR1: leave(supervisor); break;
                case SIGUSR2: begin_upgrade(supervisor); break;
                case SIGCHLD: has_child = true; break;
                default: break;
                }
        }
        if (has_child) /* after the others: a worker that ends during a stop has not died */
                reap(supervisor);
}

static void run_command(Supervisor *supervisor)
{
        if (supervisor->is_stopping || !hook_run(&supervisor->hook) || !supervisor->is_kept)
                return;
        int r = save_state(supervisor); /* a successor must not run it again */
        if (r < 0)
                log_warning("the state can't be written down: %s", strerror(-r));
}

static void run_timer(Supervisor *supervisor, Timer timer)
{
        switch (timer) {
        case TIMER_RESTART: start_worker(supervisor); break;
        case TIMER_RECOVERY:
                if (workers_recovered(&supervisor->workers))
                        announce(supervisor);
                break;
        case TIMER_WATCHDOG: workers_look(&supervisor->workers); break;
        case TIMER_LEAVE: workers_kill_late(&supervisor->workers); break;
        case TIMER_NOTIFIER:
                if (notifier_is_late(&supervisor->notifier))
                        kernel_forgot(supervisor);
                break;
        case TIMER_RELOAD:
                if (config_probe_is_late(&supervisor->config_probe))
                        configuration_was_read(supervisor, false);
                break;
        case TIMER_PROBE: upgrade_kill_probe(&supervisor->upgrade); break;
        case TIMER_COMMAND: run_command(supervisor); break;
        case TIMER_COMMAND_LATE: hook_kill(&supervisor->hook); break;
        case TIMER_ALIVE: say_alive(supervisor); break;
        case TIMER_COUNT: break;
        }
}

static void run_timers(Supervisor *supervisor)
{
        for (int i = 0; i < TIMER_COUNT; i++)
                if (timers_take(&supervisor->timers, (Timer)i))
                        run_timer(supervisor, (Timer)i);
}

static void turn(Supervisor *supervisor)
{
        /* The connection is looked at only while no worker does: each request would wake us as well. */
        bool has_worker = supervisor->workers.pid != 0;
        struct pollfd fds[] = {
                {.fd = supervisor->signals, .events = POLLIN},
                {.fd = supervisor->workers.control, .events = POLLIN},
                {.fd = has_worker ? -1 : session_fd(supervisor->mount.session),
                        .events = workers_are_hopeless(&supervisor->workers) ? POLLIN : 0},
                {.fd = supervisor->hook.line, .events = POLLIN},
                {.fd = supervisor->clock_watch, .events = POLLIN},
                {.fd = supervisor->reload_fd, .events = POLLIN},
        };
        if (poll(fds, ARRAY_LEN(fds), timers_wait_ms(&supervisor->timers)) > 0) {
                if (fds[1].revents)
                        listen_to_worker(supervisor);
                if (fds[3].revents)
                        hook_listen(&supervisor->hook);
                if (fds[4].revents)
                        clock_was_set(supervisor);
                if (fds[5].revents)
                        take_options(supervisor);
                if (fds[0].revents)
                        take_signals(supervisor);
                if (fds[2].revents & POLLERR)
                        end(supervisor, EXIT_SUCCESS); /* unmounted */
                else if (fds[2].revents & POLLIN)
                        (void)refuse_waiting(supervisor->mount.session);
        }
        if (!supervisor->is_done)
                run_timers(supervisor);
}

/* Another binary's worker serves: it leaves, and ours takes its place. */
static void take_over(Supervisor *supervisor)
{
        NodesShared *shared = nodes_shared(supervisor->mount.slots);
        shared->upgrades += supervisor->mount.origin == MOUNT_UPGRADED;
        shared->crash_loop = 0; /* the binary before had it */
        log_info("tokenfs took over the mount of %s", supervisor->mount.path);
        if (!supervisor->workers.pid) {
                start_worker(supervisor);
                return;
        }
        workers_replace(&supervisor->workers);
        reap(supervisor); /* it may have ended in between */
}

static int serve(Supervisor *supervisor)
{
        if (sdnotify_watchdog_ns() > 0)
                timers_set(&supervisor->timers, TIMER_ALIVE, 0);
        if (supervisor->workers.has_served)
                take_over(supervisor);
        else
                start_worker(supervisor);
        while (!supervisor->is_done)
                turn(supervisor);
        return supervisor->status;
}

/* --- The start ----------------------------------------------------------------------------------------------- */

/* The mount is there: everything that serves it is made. */
static int prepare(Supervisor *supervisor)
{
        Mount *mount = &supervisor->mount;
        int r = signals_open(&supervisor->signals);
        if (r < 0) {
                log_error("can't serve: %s", strerror(-r));
                return r;
        }
        r = clock_watch_open(&supervisor->clock_watch);
        if (r < 0)
                log_warning("can't watch the clock: %s: after suspend old answers may be read until their "
                            "time-outs end",
                        strerror(-r));
        if (supervisor->reload_fd < 0 && sdnotify_is_listening() &&
                (r = reload_listen(&supervisor->reload_fd)) < 0 && r != -ENXIO)
                log_warning("--reload won't work: %s", strerror(-r));
        supervisor->is_reloading = mount->left.is_reloading;
        supervisor->is_kept =
                mount->origin == MOUNT_PREPARED || mount->origin == MOUNT_REVIVED || mount->left.is_kept;
        supervisor->config_probe =
                (ConfigProbe){.options = supervisor->options, .timers = &supervisor->timers};
        supervisor->notifier = (Notifier){.mount = mount, .timers = &supervisor->timers};
        workers_init(&supervisor->workers, supervisor->options, mount, &supervisor->timers);
        hook_init(&supervisor->hook, supervisor->options, mount, &supervisor->timers);
        if (mount->left.changes) /* children live on over an upgrade alone */
                hook_restore(&supervisor->hook, mount->left.changes,
                        mount->origin == MOUNT_UPGRADED ? mount->left.command : 0);
        state_deinit(&mount->left);
        return 0;
}

static int begin(Supervisor *supervisor, Handover *handover)
{
        const Options *options = supervisor->options;
        if (!handover)
                return start_mount(options, &supervisor->report, &supervisor->mount);
        int r = upgrade_adopt(options, handover, &supervisor->mount);
        supervisor->reload_fd = handover->reload_fd;
        handover->reload_fd = -1;
        supervisor->is_background = r == 0 && supervisor->mount.left.is_background;
        log_open(options->log_level, supervisor->is_background);
        return r;
}

static void supervisor_deinit(Supervisor *supervisor)
{
        notifier_kill(&supervisor->notifier);
        if (supervisor->config_probe.pid)
                config_probe_cancel(&supervisor->config_probe);
        upgrade_deinit(&supervisor->upgrade);
        hook_deinit(&supervisor->hook);
        workers_deinit(&supervisor->workers);
        mount_deinit(&supervisor->mount);
        cleanup_close(&supervisor->clock_watch);
        cleanup_close(&supervisor->signals);
        cleanup_close(&supervisor->report);
        cleanup_close(&supervisor->reload_fd);
}

static int run(const Options *options, char **argv, Handover *handover)
{
        Supervisor supervisor = {
                .options = options,
                .mount = MOUNT_INIT,
                .workers = {.control = -1},
                .hook = {.line = -1},
                .signals = -1,
                .clock_watch = -1,
                .report = -1,
                .reload_fd = -1,
                .is_background = !options->foreground,
        };
        timers_init(&supervisor.timers);
        upgrade_init(&supervisor.upgrade, argv, &supervisor.timers);
        int r = begin(&supervisor, handover);
        if (r == 0)
                r = prepare(&supervisor);
        int status = r < 0 ? EXIT_MOUNT : serve(&supervisor);
        if (supervisor.report >= 0)
                (void)daemonize_report(&supervisor.report, status);
        supervisor_deinit(&supervisor);
        return status;
}

bool supervisor_is_successor(void)
{
        return handover_is_offered();
}

int supervisor_run(const Options *options, char **argv)
{
        CLEANUP(handover_deinit) Handover handover = HANDOVER_INIT;
        int r = handover_receive(&handover);
        if (r == -ENOENT)
                return run(options, argv, NULL);
        log_open(options->log_level, !options->foreground);
        if (r < 0) {
                log_error("can't take over from the binary before: %s",
                        r == -EPROTONOSUPPORT ? "it hands over as another version of tokenfs does"
                                              : strerror(-r));
                return EXIT_MOUNT;
        }
        return handover.is_probe ? upgrade_probe_run(options, &handover) : run(options, argv, &handover);
}
