/* The worker.
 *
 * Why a process of its own: it has network, TLS, parsing and secrets, and may die of bad input without an error for any
 * reader. The supervisor owns the mount; the next worker continues with the same connection, node ids and waiting
 * requests. How: the supervisor forks it, without execve(). It gives up its privileges, builds the layers from the loop
 * upwards, and serves until a signal or the kernel's unmount ends it. Then it frees the layers in reverse order, which
 * wipes the secrets.
 *
 * If the supervisor is killed, the worker still serves: the files stay readable. It has no right to unmount; umount(8)
 * ends it. */

#include "tokenfs/worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tokenfs/base/daemonize.h"
#include "tokenfs/worker/backend.h"
#include "tokenfs/worker/control.h"
#include "tokenfs/worker/privileges.h"
#include "tokenfs/worker/sandbox.h"
#include "tokenfs/worker/status.h"
#include "tokenfs/programs/launcher.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/secret.h"
#include "tokenfs/cache/cache.h"
#include "tokenfs/persist/persist.h"
#include "tokenfs/fs/fs.h"
#include "tokenfs/fuse/notify.h"
#include "tokenfs/net/http.h"
#include "warmup.h"
#include "tokenfs/worker/watch.h"

#define CREDENTIALS_NS NS_PER_S

typedef struct Worker {
        const WorkerSettings *settings;
        Loop *loop;
        Backend *backend;
        Cache *cache;
        Persist *persist; /* NULL: none is asked for */
        int persist_key_fd; /* -1: none */
        Secret persist_key;
        Fs *fs;
        LoopFd *control;
        Warmup *warmup;
        Watch *watch;
        Sandbox *sandbox;
        SandboxWatch *sandbox_watch;
        StatusSources sources;
        int watchers; /* the line to the notifier; -1: none */
        bool is_orphan, is_leaving;
        bool answer_waiting; /* when leaving */
} Worker;

/* The kernel may be unable to send a worker's unanswered requests to the next one. Then this one takes no more requests
 * and answers those that wait, while the next one serves. */
static void worker_leave(Worker *worker, bool answer_waiting)
{
        worker->answer_waiting = answer_waiting || worker->is_orphan;
        worker->is_leaving = true;
        if (worker->answer_waiting || worker->settings->can_resend) {
                loop_quit(worker->loop, WORKER_LEFT);
                return;
        }
        worker->warmup = warmup_free(worker->warmup);
        worker->watch = watch_free(worker->watch);
        fs_drain(worker->fs, WORKER_LEFT);
}

static void worker_signal(int number, void *userdata)
{
        switch (number) {
        case SIGTERM: worker_leave(userdata, false); break;
        case SIGINT: worker_leave(userdata, true); break;
        default: break;
        }
}

static void worker_control(int fd, short revents, void *userdata)
{
        (void)revents;
        Worker *worker = userdata;
        char message;
        ssize_t len = recv(fd, &message, 1, MSG_DONTWAIT);
        if (len == 1 && message == CONTROL_PING)
                control_send(fd, CONTROL_PONG);
        if (len == 1 && message == CONTROL_RESUMED) /* this turn of the loop sets the timers again */
                backend_forget_connections(worker->backend);
        if (len == 0 || (len < 0 && errno == ECONNRESET)) {
                worker->control = loop_fd_free(worker->control);
                if (worker->is_leaving)
                        return;
                log_warning("the supervisor is gone: serving on without it (umount ends it)");
                worker->is_orphan = true;
        }
}

static CachePolicy worker_policy(const Worker *worker)
{
        const Options *options = worker->settings->options;
        return (CachePolicy){
                .source = backend_source(worker->backend),
                .ttl_ns = options->ttl_ns,
                .negative_ttl_ns = options->negative_ttl_ns,
                .stale_ns = options->stale_ns,
                .timeout_ns = options->timeout_ns,
        };
}

static int worker_build_cache(Worker *worker)
{
        const Options *options = worker->settings->options;
        const CacheSettings cache = {
                .loop = worker->loop,
                .policy = worker_policy(worker),
                .max_tokens = (uint32_t)options->max_tokens,
                .scopes = options_scopes(options),
        };
        return cache_new(&cache, &worker->cache);
}

/* The key may be root's, so it is opened before the user changes. It is read once all helpers are forked: they have no
 * copy of it. */
static void worker_open_key(Worker *worker)
{
        const Options *options = worker->settings->options;
        Buf error = BUF_INIT(1000);
        if (options->persist && persist_key_open(options->persist_key, &error, &worker->persist_key_fd) < 0)
                log_warning("persist: %s; going on without copies on disk", buf_str(&error));
        buf_deinit(&error);
}

static void worker_read_key(Worker *worker)
{
        const char *path = worker->settings->options->persist_key;
        Buf error = BUF_INIT(1000);
        if (worker->persist_key_fd >= 0 &&
                persist_key_read(worker->persist_key_fd, path, &error, &worker->persist_key) < 0)
                log_warning("persist: %s; going on without copies on disk", buf_str(&error));
        cleanup_close(&worker->persist_key_fd);
        buf_deinit(&error);
}

static int worker_build_persist(Worker *worker)
{
        const Options *options = worker->settings->options;
        Buf identity = BUF_INIT(PERSIST_IDENTITY_MAX);
        if (!worker->persist_key.data)
                return 0;
        int r = backend_write_identity(
                backend_config(worker->backend), backend_endpoint(worker->backend), &identity);
        const PersistSettings settings = {
                .loop = worker->loop,
                .cache = worker->cache,
                .policy = worker_policy(worker),
                .directory = options->persist,
                .identity = buf_str(&identity),
        };
        if (r == -EMSGSIZE) {
                log_warning("persist: " PERSIST_IDENTITY_TOO_LONG "; going on without copies on disk");
                r = 0;
        } else if (r == 0) {
                r = persist_new(&settings, &worker->persist_key, &worker->persist);
        }
        buf_deinit(&identity);
        return r;
}

static int worker_build_fs(Worker *worker)
{
        const Options *options = worker->settings->options;
        const FsSettings fs = {
                .loop = worker->loop,
                .session = worker->settings->session,
                .slots = worker->settings->slots,
                .cache = worker->cache,
                .uid = options->uid,
                .gid = options->gid,
                .mode = options->mode,
                .secret_mode = options->secret_mode,
                .timeout_ns = options->timeout_ns,
                .watchers = worker->watchers,
                .audit = options->audit,
                .newline = options->newline,
                .write_status = status_write,
                .write_metrics = metrics_write,
                .writer_userdata = &worker->sources,
        };
        int r = fs_new(&fs, &worker->fs);
        worker->sources = (StatusSources){
                .options = options,
                .mountpoint = worker->settings->mountpoint,
                .backend = worker->backend,
                .tokens = worker->cache->tokens,
                .listing = worker->cache->listing,
                .persist = worker->persist,
                .fs = worker->fs,
                .shared = nodes_shared(worker->settings->slots),
        };
        return r;
}

static int worker_build_watch(Worker *worker)
{
        const WatchSettings watch = {
                .loop = worker->loop,
                .cache = worker->cache,
                .fs = worker->fs,
                .options = worker->settings->options,
                .line = worker->settings->watch,
        };
        return watch_new(&watch, &worker->watch);
}

static int worker_build_libraries(Worker *worker)
{
        (void)worker;
        json_init();
        return http_global_init(); /* before the loop, which uses libcurl */
}

static int worker_build_loop(Worker *worker)
{
        sigset_t signals;
        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigaddset(&signals, SIGINT);
        int r = loop_new(&worker->loop);
        if (r == 0)
                r = loop_signals(worker->loop, &signals, worker_signal, worker);
        if (r == 0)
                r = loop_fd_new(worker->loop, worker->settings->control, POLLIN, worker_control, worker,
                        &worker->control);
        return r;
}

static int worker_build_backend(Worker *worker)
{
        return backend_new(worker->loop, worker->settings->options, &worker->backend);
}

/* From the bottom upwards. */
static int worker_build(Worker *worker)
{
        static const struct {
                const char *name;
                int (*build)(Worker *worker);
        } steps[] = {
                {"libraries", worker_build_libraries},
                {"loop", worker_build_loop},
                {"configuration", worker_build_backend},
                {"cache", worker_build_cache},
                {"copies on disk", worker_build_persist},
                {"filesystem", worker_build_fs},
                {"watching", worker_build_watch},
        };
        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
                int r = steps[i].build(worker);
                if (r < 0) {
                        log_error("can't serve: %s: %s", steps[i].name, strerror(-r));
                        return r;
                }
        }
        return 0;
}

static void worker_take_down(Worker *worker)
{
        worker->sandbox_watch = sandbox_watch_free(worker->sandbox_watch);
        worker->sandbox = sandbox_free(worker->sandbox);
        worker->warmup = warmup_free(worker->warmup);
        worker->watch = watch_free(worker->watch);
        worker->fs = fs_free(worker->fs, worker->answer_waiting);
        worker->persist = persist_free(worker->persist);
        worker->cache = cache_free(worker->cache);
        worker->backend = backend_free(worker->backend);
        worker->control = loop_fd_free(worker->control);
        worker->loop = loop_free(worker->loop);
}

static void worker_report_warm(void *userdata)
{
        Worker *worker = userdata;
        control_send(worker->settings->control, CONTROL_WARM);
}

/* The requests that the worker before left unanswered: the kernel sends them again, or they are refused. */
static void worker_take_over(const WorkerSettings *settings)
{
        unsigned refused = session_recover(settings->session, settings->slots);
        if (refused > 0)
                log_warning("%u requests that the worker before was answering are refused (EIO): this kernel "
                            "can't send them again",
                        refused);
}

typedef struct CredentialLook {
        CredentialWait wait;
        bool is_done;
} CredentialLook;

static void on_credentials(CredentialWait *wait, CredentialsError error, const char *detail, void *userdata)
{
        (void)wait, (void)error, (void)detail; /* the chain logs a failure */
        CredentialLook *look = userdata;
        look->is_done = true;
}

/* A start in the background shows on standard error that no call can be signed; the mount stands nevertheless. Providers
 * that take longer are not waited for. */
static int worker_look_for_credentials(Worker *worker)
{
        CredentialLook look = {0};
        uint64_t until_ns = clock_add_ns(clock_now_ns(), CREDENTIALS_NS);
        int r = backend_find_credentials(worker->backend, &look.wait, on_credentials, &look);
        if (r != -EINPROGRESS)
                return r == -ENOMEM ? r : 0;
        r = 0;
        for (uint64_t now_ns; r == 0 && !look.is_done && (now_ns = clock_now_ns()) < until_ns;)
                r = loop_turn(worker->loop, until_ns - now_ns);
        credential_wait_cancel(&look.wait);
        return r;
}

static void worker_announce(Worker *worker)
{
        const WorkerSettings *settings = worker->settings;
        if (!settings->is_replacement && !secret_is_locked())
                log_warning("secrets can't be locked into memory (RLIMIT_MEMLOCK): they may be swapped out");
        if (settings->detach)
                daemonize_detach(settings->options->log_level);
        control_send(settings->control, CONTROL_READY);
        if (!settings->warm)
                return;
        if (warmup_new(worker->loop, worker->cache, settings->options->timeout_ns, worker_report_warm, worker,
                    &worker->warmup) < 0)
                worker_report_warm(worker);
}

/* The sandbox no longer fits the host: the supervisor replaces this worker by one with a new sandbox. */
static void worker_request_replacement(const char *path, void *userdata)
{
        Worker *worker = userdata;
        log_info("%s is now where the sandbox doesn't reach: a new worker follows", path);
        control_send(worker->settings->control, CONTROL_OUTDATED);
}

static void worker_lock_in(Worker *worker)
{
        CLEANUP(aws_config_free_p) AwsConfig *config = backend_take_config(worker->backend);
        worker->sandbox = sandbox_enter(worker->settings->options, config);
        int r = sandbox_watch_new(
                worker->sandbox, worker->loop, worker_request_replacement, worker, &worker->sandbox_watch);
        if (r < 0)
                log_warning(
                        "can't watch what the sandbox is made of: %s: SIGHUP makes a new one", strerror(-r));
}

int worker_run(const WorkerSettings *settings)
{
        Worker worker = {.settings = settings, .watchers = -1, .persist_key_fd = -1};
        /* A process group of its own: a terminal's Ctrl-C reaches the supervisor alone, which then sends SIGINT. */
        (void)setpgid(0, 0);
        (void)signal(SIGPIPE, SIG_IGN);
        worker_open_key(&worker);
        if (privileges_drop(settings->options->user) < 0)
                return WORKER_UNUSABLE;
        int r = settings->options->sandbox ? launcher_start() : 0;
        if (r < 0) {
                log_error("can't start the helper for credential_process: %s", strerror(-r));
                return WORKER_UNUSABLE;
        }
        unsigned damaged = nodes_repair(settings->slots);
        if (damaged > 0) {
                log_warning("%u slots of the node table were damaged, and are dropped", damaged);
                control_send(settings->control, CONTROL_REPAIRED);
        }

        r = notify_start_watchers(settings->session, &worker.watchers);
        if (r < 0)
                log_warning("inotify's watchers get no event: no process for it: %s", strerror(-r));
        worker_read_key(&worker);
        r = worker_build(&worker);
        if (r == 0) {
                worker_lock_in(&worker);
                if (settings->is_replacement && settings->can_resend)
                        worker_take_over(settings);
                r = settings->detach ? worker_look_for_credentials(&worker) : 0;
                if (r == 0) {
                        worker_announce(&worker);
                        r = loop_run(worker.loop);
                }
        }
        if (r < 0)
                worker.answer_waiting = !settings->can_resend;
        worker_take_down(&worker);
        cleanup_close(&worker.watchers);
        launcher_stop();
        return r < 0 ? WORKER_UNUSABLE : r;
}
