/* The loop.
 *
 * Why: one thread serves the kernel's requests, the calls to the API and the signals. So nothing needs a lock, and a slow
 * call delays only its own readers. How a turn goes:
 *
 *     wait  →  descriptors that are ready  →  timers that are due  →  libcurl's transfers  →  transfers that ended
 *
 * Transfers come last, so that a call started by a descriptor's handler is sent in the same turn.
 *
 * Waiting: while transfers run, curl_multi_poll waits for libcurl's sockets and ours together. Without transfers, ppoll
 * waits: it is cheaper, exact to the nanosecond, and at rest has no limit. After curl_multi_poll, ppoll looks once more
 * without waiting, since libcurl reports neither POLLHUP nor POLLERR nor POLLNVAL: a descriptor with one of these must
 * reach its handler, or the loop would spin. curl_multi_perform costs a system call for each transfer, so the loop leaves it
 * out when only our own descriptors are ready. It runs at least every DRIVE_NS: libcurl (7.88) sets no timer when it moves
 * on to the next address of a host, and would not see that connection succeed.
 *
 * Forgetting connections starts a new pool. libcurl closes a pool's connections only together with the pool, and a pool
 * with transfers can't be freed. So the old pool is retired, and freed after its last transfer. curl_multi_poll waits for
 * one pool only; the loop looks at retired pools every few milliseconds.
 *
 * Descriptors live in slots; `sources` and `polls` run in parallel. A slot that a handler frees loses its pending events,
 * and a slot that a handler takes begins without any; so both are safe at any time.
 *
 * Time is clock_now_ns'. It goes on during suspend, and ppoll's waiting doesn't: a timer may be late by the time that was
 * left at the suspend. A reader of the clock gets the right time at once. */

#include "tokenfs/net/loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>

#include "loop-private.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/list.h"

/* How long a turn waits when libcurl can't do it for us: without memory, or for a pool that is on its way out. */
#define BLIND_WAIT_NS (5 * NS_PER_MS)
/* While transfers run, libcurl is driven at least this often. */
#define DRIVE_NS (250 * NS_PER_MS)

/* A pool of connections, with the transfers that use it. */
typedef struct Pool {
        CURLM *multi;
        ListLink transfers; /* that run */
        ListLink link; /* in `retired` */
} Pool;

struct LoopFd {
        Loop *loop;
        int fd;
        short events;
        LoopFdHandler *handler;
        void *userdata;
        size_t slot;
};

struct Loop {
        LoopFd **sources; /* NULL: the slot is free */
        struct pollfd *polls;
        struct curl_waitfd *waits; /* room for curl_multi_poll's view of `polls` */
        size_t slot_count;

        LoopTimers timers;

        Pool *pool; /* of all new transfers */
        ListLink retired; /* pools that take no new ones; each is freed after its last transfer */
        bool transfers_ready; /* perform in this turn */
        uint64_t driven_ns; /* when curl_multi_perform ran last */
        bool must_forget; /* there was no memory to do so */
        long connections_max;

        int signal_fd; /* -1: none */
        LoopFd *signal_source;
        LoopSignalHandler *signal_handler;
        void *signal_userdata;

        LoopTurnHandler *turn_handler; /* NULL: none */
        void *turn_userdata;

        bool is_quitting;
        int status;
};

void loop_timer_init(LoopTimer *timer, Loop *loop, LoopTimerHandler *handler, void *userdata)
{
        *timer = (LoopTimer){.loop = loop, .timers = &loop->timers, .handler = handler, .userdata = userdata};
}

/* Pools of connections. */

/* CURLMOPT_QUICK_EXIT, which older headers lack; older libraries refuse it. From libcurl 8.20 on a multi handle has threads
 * that look names up, and without this option its end waits for them. */
#define MULTI_QUICK_EXIT ((CURLMoption)(CURLOPTTYPE_LONG + 21))

static void pool_limit(const Pool *pool, long connections_max)
{
        (void)curl_multi_setopt(pool->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections_max);
        (void)curl_multi_setopt(pool->multi, CURLMOPT_MAX_HOST_CONNECTIONS, connections_max);
        (void)curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, connections_max);
}

static Pool *pool_free(Pool *pool)
{
        if (!pool)
                return NULL;
        list_unlink(&pool->link);
        (void)curl_multi_cleanup(pool->multi);
        free(pool);
        return NULL;
}

static int pool_new(long connections_max, Pool **ret_pool)
{
        Pool *pool = calloc(1, sizeof *pool);
        if (!pool)
                return -ENOMEM;
        pool->multi = curl_multi_init();
        if (!pool->multi) {
                free(pool);
                return -ENOMEM;
        }
        list_init(&pool->transfers);
        list_init(&pool->link);
        (void)curl_multi_setopt(pool->multi, MULTI_QUICK_EXIT, 1L);
        pool_limit(pool, connections_max);
        *ret_pool = pool;
        return 0;
}

void loop_connections_allow(Loop *loop, long change)
{
        loop->connections_max += change;
        pool_limit(loop->pool, loop->connections_max);
}

void loop_connections_forget(Loop *loop)
{
        Pool *pool;
        loop->must_forget = pool_new(loop->connections_max, &pool) < 0;
        if (loop->must_forget)
                return;
        list_append(&loop->retired, &loop->pool->link);
        loop->pool = pool;
}

/* Not at once when the last transfer goes: that happens in handlers, while its pool is still looked at. */
static void retired_reap(Loop *loop)
{
        for (ListLink *link = loop->retired.next, *next; link != &loop->retired; link = next) {
                Pool *pool = list_entry(link, Pool, link);
                next = link->next;
                if (list_is_empty(&pool->transfers))
                        (void)pool_free(pool);
        }
}

/* Transfers. */

int loop_transfer_start(Loop *loop, LoopTransfer *transfer)
{
        if (loop->must_forget)
                loop_connections_forget(loop);
        (void)curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer);
        if (curl_multi_add_handle(loop->pool->multi, transfer->easy) != CURLM_OK)
                return -ENOMEM;
        transfer->pool = loop->pool;
        list_append(&loop->pool->transfers, &transfer->link);
        loop->transfers_ready = true;
        return 0;
}

void loop_transfer_stop(LoopTransfer *transfer)
{
        if (!list_is_linked(&transfer->link))
                return;
        list_unlink(&transfer->link);
        (void)curl_multi_remove_handle(transfer->pool->multi, transfer->easy);
}

static void pool_run(const Pool *pool)
{
        int running, left;
        /* An error here is one of memory; the transfer that it hit ends with a result of its own. */
        (void)curl_multi_perform(pool->multi, &running);
        for (CURLMsg *message; (message = curl_multi_info_read(pool->multi, &left));) {
                if (message->msg != CURLMSG_DONE)
                        continue;
                CURLcode result = message->data.result; /* the message dies with the transfer's removal */
                LoopTransfer *transfer = NULL;
                (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)(void *)&transfer);
                transfer->handler(transfer, result);
        }
}

static void transfers_run(Loop *loop)
{
        loop->transfers_ready = false;
        loop->driven_ns = clock_now_ns();
        pool_run(loop->pool);
        for (ListLink *link = loop->retired.next; link != &loop->retired; link = link->next)
                pool_run(list_entry(link, Pool, link));
}

/* Descriptors. */

static int slot_find(Loop *loop, size_t *ret_slot)
{
        for (size_t slot = 0; slot < loop->slot_count; slot++)
                if (!loop->sources[slot]) {
                        *ret_slot = slot;
                        return 0;
                }

        size_t count = loop->slot_count ? 2 * loop->slot_count : 8;
        LoopFd **sources = reallocarray(loop->sources, count, sizeof *sources);
        if (sources)
                loop->sources = sources;
        struct pollfd *polls = reallocarray(loop->polls, count, sizeof *polls);
        if (polls)
                loop->polls = polls;
        struct curl_waitfd *waits = reallocarray(loop->waits, count, sizeof *waits);
        if (waits)
                loop->waits = waits;
        if (!sources || !polls || !waits)
                return -ENOMEM;

        *ret_slot = loop->slot_count;
        for (; loop->slot_count < count; loop->slot_count++) {
                sources[loop->slot_count] = NULL;
                polls[loop->slot_count] = (struct pollfd){.fd = -1};
        }
        return 0;
}

int loop_fd_new(Loop *loop, int fd, short events, LoopFdHandler *handler, void *userdata, LoopFd **ret_source)
{
        LoopFd *source = malloc(sizeof *source);
        if (!source)
                return -ENOMEM;
        *source = (LoopFd){.loop = loop, .fd = fd, .handler = handler, .userdata = userdata};
        int r = slot_find(loop, &source->slot);
        if (r < 0) {
                free(source);
                return r;
        }
        loop->sources[source->slot] = source;
        loop_fd_set_events(source, events);
        *ret_source = source;
        return 0;
}

void loop_fd_set_events(LoopFd *source, short events)
{
        /* poll would report POLLHUP even for no events, so a source that wants none isn't polled at all. */
        source->events = events;
        struct pollfd *poll = &source->loop->polls[source->slot];
        *poll = (struct pollfd){.fd = events ? source->fd : -1, .events = events, .revents = poll->revents};
}

LoopFd *loop_fd_free(LoopFd *source)
{
        if (!source)
                return NULL;
        source->loop->sources[source->slot] = NULL;
        source->loop->polls[source->slot] = (struct pollfd){.fd = -1};
        free(source);
        return NULL;
}

static void sources_run(Loop *loop)
{
        /* Handlers may free sources and add new ones, which moves the arrays: everything is looked up again. */
        for (size_t slot = 0; slot < loop->slot_count; slot++) {
                LoopFd *source = loop->sources[slot];
                const struct pollfd *poll = &loop->polls[slot];
                if (source && source->events && poll->revents)
                        source->handler(source->fd, poll->revents, source->userdata);
        }
}

/* Signals. */

static void on_signal(int fd, short revents, void *userdata)
{
        (void)revents;
        Loop *loop = userdata;
        struct signalfd_siginfo info;
        while (read(fd, &info, sizeof info) == (ssize_t)sizeof info)
                loop->signal_handler((int)info.ssi_signo, loop->signal_userdata);
}

int loop_signals(Loop *loop, const sigset_t *signals, LoopSignalHandler *handler, void *userdata)
{
        if (loop->signal_source)
                return -EBUSY;
        int r = pthread_sigmask(SIG_BLOCK, signals, NULL);
        if (r != 0)
                return -r;
        int fd CLEANUP(cleanup_close) = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        r = loop_fd_new(loop, fd, POLLIN, on_signal, loop, &loop->signal_source);
        if (r < 0)
                return r;
        loop->signal_fd = fd;
        fd = -1;
        loop->signal_handler = handler;
        loop->signal_userdata = userdata;
        return 0;
}

/* Turns. */

static int milliseconds_up(uint64_t wait_ns)
{
        uint64_t ms = wait_ns / NS_PER_MS + (wait_ns % NS_PER_MS != 0);
        return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* Waits for libcurl's sockets and ours, and notes whether libcurl has something to do. Returns what is left to wait. */
static uint64_t wait_with_transfers(Loop *loop, uint64_t wait_ns)
{
        unsigned count = 0;
        uint64_t drive_wait_ns = wait_ns < DRIVE_NS ? wait_ns : DRIVE_NS;
        for (size_t slot = 0; slot < loop->slot_count; slot++) {
                const struct pollfd *poll = &loop->polls[slot];
                if (poll->fd < 0)
                        continue;
                unsigned events = (poll->events & POLLIN ? CURL_WAIT_POLLIN : 0u) |
                                  (poll->events & POLLPRI ? CURL_WAIT_POLLPRI : 0u) |
                                  (poll->events & POLLOUT ? CURL_WAIT_POLLOUT : 0u);
                loop->waits[count++] = (struct curl_waitfd){.fd = poll->fd, .events = (short)events};
        }
        int ready = 0;
        long curl_ms = 0;
        CURLM *multi = loop->pool->multi;
        if (curl_multi_poll(multi, loop->waits, count, milliseconds_up(drive_wait_ns), &ready) != CURLM_OK ||
                curl_multi_timeout(multi, &curl_ms) != CURLM_OK) {
                loop->transfers_ready = true;
                return wait_ns < BLIND_WAIT_NS ? wait_ns : BLIND_WAIT_NS;
        }
        bool is_idle = ready == 0;
        for (unsigned i = 0; i < count; i++)
                ready -= loop->waits[i].revents != 0;
        loop->transfers_ready |=
                is_idle || ready > 0 || curl_ms == 0 || clock_now_ns() - loop->driven_ns >= DRIVE_NS;
        return 0;
}

static int loop_wait(Loop *loop, uint64_t wait_ns)
{
        if (!list_is_empty(&loop->retired)) {
                loop->transfers_ready = true;
                wait_ns = wait_ns < BLIND_WAIT_NS ? wait_ns : BLIND_WAIT_NS;
        }
        if (!list_is_empty(&loop->pool->transfers))
                wait_ns = wait_with_transfers(loop, wait_ns);
        struct timespec time = {
                .tv_sec = (time_t)(wait_ns / NS_PER_S), .tv_nsec = (long)(wait_ns % NS_PER_S)};
        int r = ppoll(loop->polls, loop->slot_count, wait_ns == CLOCK_NEVER ? NULL : &time, NULL);
        if (r >= 0)
                return 0;
        for (size_t slot = 0; slot < loop->slot_count; slot++)
                loop->polls[slot].revents = 0;
        return errno == EINTR ? 0 : -errno;
}

int loop_turn(Loop *loop, uint64_t max_wait_ns)
{
        uint64_t now_ns = clock_now_ns();
        uint64_t next_ns = loop_timers_next_ns(&loop->timers);
        if (next_ns != CLOCK_NEVER) {
                uint64_t left_ns = next_ns > now_ns ? next_ns - now_ns : 0;
                max_wait_ns = left_ns < max_wait_ns ? left_ns : max_wait_ns;
        }
        int r = loop_wait(loop, max_wait_ns);
        if (r < 0)
                return r;
        sources_run(loop);
        loop_timers_run(&loop->timers, clock_now_ns());
        if (loop->transfers_ready)
                transfers_run(loop);
        retired_reap(loop);
        if (loop->turn_handler)
                loop->turn_handler(loop->turn_userdata);
        return 0;
}

int loop_run(Loop *loop)
{
        while (!loop->is_quitting) {
                int r = loop_turn(loop, CLOCK_NEVER);
                if (r < 0)
                        return r;
        }
        loop->is_quitting = false;
        return loop->status;
}

void loop_on_turn_end(Loop *loop, LoopTurnHandler *handler, void *userdata)
{
        loop->turn_handler = handler;
        loop->turn_userdata = userdata;
}

void loop_quit(Loop *loop, int status)
{
        loop->is_quitting = true;
        loop->status = status;
}

int loop_new(Loop **ret_loop)
{
        Loop *loop = calloc(1, sizeof *loop);
        if (!loop)
                return -ENOMEM;
        list_init(&loop->retired);
        loop->signal_fd = -1;
        int r = pool_new(0, &loop->pool);
        if (r < 0) {
                free(loop);
                return r;
        }
        *ret_loop = loop;
        return 0;
}

Loop *loop_free(Loop *loop)
{
        if (!loop)
                return NULL;
        loop->signal_source = loop_fd_free(loop->signal_source);
        cleanup_close(&loop->signal_fd);
        retired_reap(loop);
        (void)pool_free(loop->pool);
        loop_timers_deinit(&loop->timers);
        free(loop->sources);
        free(loop->polls);
        free(loop->waits);
        free(loop);
        return NULL;
}
