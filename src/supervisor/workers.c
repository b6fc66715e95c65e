/* The worker's life, as the supervisor sees it.
 *
 *   no worker, a start set → worker started → worker ready → (dies, is asked to leave, hangs) → no worker …
 *
 * A worker that dies is replaced, sooner or later (backoff.c); one that hangs is killed (watchdog.c). The figures of it
 * lie in the memory that all workers share, and show in .service_status. */

#include "workers.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sdnotify.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fuse/mounts.h"
#include "tokenfs/fuse/refuse.h"
#include "tokenfs/worker/status.h"
#include "tokenfs/worker/worker.h"

#define LEAVE_NS NS_PER_S

static NodesShared *shared(const Workers *workers)
{
        return nodes_shared(workers->mount->slots);
}

/* When a worker that takes no more requests has answered its last one. */
static uint64_t answered_by_ns(const Workers *workers)
{
        return clock_add_ns(clock_now_ns(), clock_add_ns(workers->options->timeout_ns, LEAVE_NS));
}

static void set_leave_timer(Workers *workers)
{
        uint64_t first_ns = workers->until_ns;
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++)
                if (workers->leaving[i].pid && workers->leaving[i].until_ns < first_ns)
                        first_ns = workers->leaving[i].until_ns;
        timers_set_at(workers->timers, TIMER_LEAVE, first_ns);
}

/* What dead workers took would wait for ever where the kernel can't send it again. */
static void refuse_lost(const Workers *workers)
{
        pid_t alive[STATE_LEAVING_MAX + 1] = {workers->pid};
        if (workers->mount->can_resend)
                return;
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++)
                alive[i + 1] = workers->leaving[i].pid;
        unsigned refused =
                session_refuse_lost(workers->mount->session, workers->mount->slots, alive, ARRAY_LEN(alive));
        if (refused > 0)
                log_warning("%u requests that the worker before was answering are refused (EIO): this kernel "
                            "can't send them again",
                        refused);
}

void workers_init(Workers *workers, const Options *options, Mount *mount, Timers *timers)
{
        *workers = (Workers){
                .options = options,
                .mount = mount,
                .timers = timers,
                .pid = mount->origin == MOUNT_UPGRADED ? mount->left.worker : 0,
                .control = mount->control,
                .started_ns = clock_now_ns(),
                .has_served = mount->origin == MOUNT_REVIVED || mount->origin == MOUNT_UPGRADED,
                .until_ns = CLOCK_NEVER,
        };
        for (size_t i = 0; i < STATE_LEAVING_MAX && mount->origin == MOUNT_UPGRADED; i++)
                if (mount->left.leaving[i])
                        workers->leaving[i] =
                                (WorkersLeaving){mount->left.leaving[i], answered_by_ns(workers)};
        mount->control = -1;
        backoff_init(&workers->backoff);
        watchdog_init(&workers->watchdog, options->watchdog_ns);
        set_leave_timer(workers);
        if (mount->origin == MOUNT_REVIVED)
                refuse_lost(workers);
}

void workers_deinit(Workers *workers)
{
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++)
                if (workers->leaving[i].pid)
                        (void)kill(workers->leaving[i].pid, SIGINT); /* its readers are answered */
        cleanup_close(&workers->control);
}

void workers_describe(const Workers *workers, State *state)
{
        state->worker = workers->pid;
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++)
                state->leaving[i] = workers->leaving[i].pid;
}

/* The worker's process; doesn't return. */
static void be_worker(const Workers *workers, const WorkersStart *start, int control, int line)
{
        sigset_t handled;
        for (size_t i = 0; i < ARRAY_LEN(start->close_fds); i++)
                if (start->close_fds[i] >= 0)
                        (void)close(start->close_fds[i]);
        /* What its loop takes up stays blocked until then: a signal that comes early isn't lost. */
        (void)sigemptyset(&handled);
        (void)sigaddset(&handled, SIGTERM);
        (void)sigaddset(&handled, SIGINT);
        (void)signal(SIGHUP, SIG_IGN); /* the supervisor's, though it may be sent to all (pkill -HUP) */
        (void)signal(SIGUSR1, SIG_IGN);
        (void)signal(SIGUSR2, SIG_IGN);
        (void)sigprocmask(SIG_SETMASK, &handled, NULL);
        const WorkerSettings settings = {
                .options = workers->options,
                .session = workers->mount->session,
                .slots = workers->mount->slots,
                .mountpoint = workers->mount->path,
                .control = control,
                .watch = line,
                .is_replacement = workers->has_served,
                .detach = start->detach,
                .warm = start->warm,
                .can_resend = workers->mount->can_resend,
        };
        exit(worker_run(&settings));
}

int workers_start(Workers *workers, const WorkersStart *start, int *ret_line)
{
        int ends[2], line_ends[2] = {-1, -1};
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line_ends) < 0)
                log_warning("on_change: no line to the worker: %s", strerror(errno));
        pid_t pid = fork();
        if (pid < 0) {
                int r = -errno;
                for (int i = 0; i < 2; i++) {
                        (void)close(ends[i]);
                        cleanup_close(&line_ends[i]);
                }
                return r;
        }
        if (pid == 0) {
                (void)close(ends[0]);
                cleanup_close(&line_ends[0]);
                be_worker(workers, start, ends[1], line_ends[1]);
        }
        (void)close(ends[1]);
        cleanup_close(&line_ends[1]);
        *ret_line = line_ends[0];
        workers->pid = pid;
        workers->control = ends[0];
        workers->is_ready = false;
        workers->started_ns = clock_now_ns();
        watchdog_start(&workers->watchdog, true);
        timers_set_at(
                workers->timers, TIMER_RECOVERY, backoff_recovers_ns(&workers->backoff, workers->started_ns));
        timers_set_at(workers->timers, TIMER_WATCHDOG, workers->watchdog.look_ns);
        return 0;
}

void workers_dismiss(Workers *workers, int number)
{
        (void)kill(workers->pid, number);
        bool is_answering = number == SIGTERM && !workers->mount->can_resend;
        workers->until_ns = is_answering ? answered_by_ns(workers) : clock_add_ns(clock_now_ns(), LEAVE_NS);
        set_leave_timer(workers);
}

/* No worker serves: nothing is expected of one. */
static void forget_worker(Workers *workers)
{
        workers->pid = 0;
        workers->until_ns = CLOCK_NEVER;
        workers->is_ready = workers->is_replacing = false;
        cleanup_close(&workers->control);
        watchdog_start(&workers->watchdog, false);
        timers_clear(workers->timers, TIMER_WATCHDOG);
        timers_clear(workers->timers, TIMER_RECOVERY);
        set_leave_timer(workers);
}

/* Where a worker that leaves is noted; the one that has had most of its time makes room if need be. */
static WorkersLeaving *find_room(Workers *workers)
{
        WorkersLeaving *oldest = &workers->leaving[0];
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++) {
                if (!workers->leaving[i].pid)
                        return &workers->leaving[i];
                if (workers->leaving[i].until_ns < oldest->until_ns)
                        oldest = &workers->leaving[i];
        }
        (void)kill(oldest->pid, SIGINT); /* its readers are answered */
        return oldest;
}

void workers_replace(Workers *workers)
{
        if (workers->mount->can_resend) {
                workers->is_replacing = true;
                workers_dismiss(workers, SIGTERM);
                return;
        }
        *find_room(workers) = (WorkersLeaving){workers->pid, answered_by_ns(workers)};
        (void)kill(workers->pid, SIGTERM);
        forget_worker(workers);
        timers_set(workers->timers, TIMER_RESTART, 0);
}

bool workers_are_leaving(const Workers *workers)
{
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++)
                if (workers->leaving[i].pid)
                        return true;
        return false;
}

bool workers_leaving_ended(Workers *workers, pid_t pid, int wait_status)
{
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++) {
                if (workers->leaving[i].pid != pid)
                        continue;
                workers->leaving[i] = (WorkersLeaving){0};
                set_leave_timer(workers);
                if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != WORKER_LEFT)
                        refuse_lost(workers);
                return true;
        }
        return false;
}

void workers_kill_late(Workers *workers)
{
        uint64_t now_ns = clock_now_ns();
        if (workers->pid && workers->until_ns <= now_ns)
                (void)kill(workers->pid, SIGKILL);
        if (workers->until_ns <= now_ns)
                workers->until_ns = CLOCK_NEVER;
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++)
                if (workers->leaving[i].pid && workers->leaving[i].until_ns <= now_ns) {
                        (void)kill(workers->leaving[i].pid, SIGKILL);
                        workers->leaving[i].until_ns = CLOCK_NEVER;
                }
        set_leave_timer(workers);
}

void workers_kill(Workers *workers)
{
        if (workers->pid)
                (void)kill(workers->pid, SIGKILL);
}

int workers_receive(Workers *workers)
{
        char message;
        if (workers->control < 0)
                return 0;
        ssize_t len = recv(workers->control, &message, 1, MSG_DONTWAIT);
        if (len == 0)
                cleanup_close(&workers->control); /* it has died; the signal says how */
        if (len == 1 && message == CONTROL_PONG)
                watchdog_answered(&workers->watchdog);
        return len == 1 ? (unsigned char)message : 0;
}

bool workers_ready(Workers *workers)
{
        bool is_first = !workers->has_served;
        workers->is_ready = workers->has_served = true;
        return is_first;
}

/* No worker serves: when the next one starts. Waiting requests are refused if that is hopeless. */
static uint64_t schedule_restart(Workers *workers, uint64_t started_ns, const char *reason)
{
        uint64_t delay_ns = backoff_death(&workers->backoff, started_ns);
        if (backoff_is_loop(&workers->backoff) && !shared(workers)->crash_loop) {
                shared(workers)->crash_loop = 1;
                log_error("workers die again and again; the last by %s", reason);
                sdnotify_notify("STATUS=Workers die again and again: see the log");
        }
        timers_set(workers->timers, TIMER_RESTART, delay_ns);
        /* What the last one had taken isn't seen on the connection until it is asked for again. */
        if (workers_are_hopeless(workers))
                (void)refuse_waiting(workers->mount->session);
        return delay_ns;
}

void workers_start_failed(Workers *workers, int error)
{
        log_error("can't start a worker: %s", strerror(-error));
        (void)schedule_restart(workers, clock_now_ns(), "want of a process");
}

static void died(Workers *workers, pid_t pid, int wait_status)
{
        char end_text[48];
        NodesShared *figures = shared(workers);
        status_describe_end(wait_status, end_text);
        figures->restarts++;
        figures->restart_wall_ns = clock_wall_ns();
        figures->restart_status = wait_status;
        uint64_t delay_ns = schedule_restart(workers, workers->started_ns, end_text);
        log_warning("worker %ld ended by %s: the next one starts in %g s", (long)pid, end_text,
                (double)delay_ns / (double)NS_PER_S);
}

WorkersEnd workers_ended(Workers *workers, int wait_status)
{
        int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
        pid_t pid = workers->pid;
        bool is_replacing = workers->is_replacing;
        forget_worker(workers);

        if (code == WORKER_UNMOUNTED && workers->has_served)
                return WORKERS_UNMOUNTED;
        if (!workers->has_served) {
                char end_text[48];
                status_describe_end(wait_status, end_text);
                if (code != WORKER_UNUSABLE) /* that one has said why */
                        log_error("the worker ended by %s before it served", end_text);
                return WORKERS_FAILED;
        }
        if (is_replacing) {
                timers_set(workers->timers, TIMER_RESTART, 0);
                return WORKERS_RESTART;
        }
        refuse_lost(workers);
        died(workers, pid, wait_status);
        return WORKERS_RESTART;
}

void workers_look(Workers *workers)
{
        int connection = workers->mount->connection;
        int waiting = connection >= 0 ? mounts_waiting((unsigned)connection) : -1;
        switch (watchdog_look(&workers->watchdog)) {
        case WATCHDOG_ASK:
                if (workers->is_ready && waiting == 0)
                        break; /* no request waits for it */
                watchdog_asked(&workers->watchdog);
                control_send(workers->control, CONTROL_PING);
                break;
        case WATCHDOG_HANGS:
                if (watchdog_is_traced(workers->pid)) /* a debugger holds it */
                        break;
                log_error("worker %ld hangs: replacing it", (long)workers->pid);
                workers_kill(workers);
                break;
        case WATCHDOG_FINE: break;
        }
        timers_set_at(workers->timers, TIMER_WATCHDOG, workers->watchdog.look_ns);
}

bool workers_recovered(Workers *workers)
{
        backoff_recovered(&workers->backoff);
        if (!shared(workers)->crash_loop)
                return false;
        shared(workers)->crash_loop = 0;
        log_info("worker %ld lives: all is well again", (long)workers->pid);
        return true;
}

bool workers_are_hopeless(const Workers *workers)
{
        return !workers->pid && backoff_is_hopeless(&workers->backoff, workers->options->timeout_ns);
}
