/* A request that the kernel waits for.
 *
 * Why: a request that needs the API must not hold up the others. It must end when its reader is interrupted or has
 * waited long enough, and must get exactly one answer. How: its step runs when it comes. A step either answers, or
 * returns -EINPROGRESS: then the request is parked, with its wait, its deadline and its interrupt handler armed. The
 * wait or the deadline, if that is earlier, runs the step again, from the beginning: the answer that it waited for is
 * then there.
 *
 * The kernel reports any signal of the reader as an interruption, and doesn't say whether it is fatal: a stop, a debugger
 * or a timer interrupts like SIGKILL. Few programs expect EINTR of stat() or open(): local filesystems never return it,
 * and the kernel doesn't restart such a call. So an interrupted request still has INTERRUPT_GRACE_NS for its answer: most
 * answers take less, and a reader that is killed is gone soon. */

#include "fs-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/clock.h"

#define INTERRUPT_GRACE_NS NS_PER_S

static void request_free(Request *request)
{
        Fs *fs = request->fs;
        if (request->is_parked)
                fs->counters.waiting--;
        list_unlink(&request->link);
        cache_wait_cancel(&request->wait);
        loop_timer_cancel(&request->deadline);
        loop_timer_cancel(&request->later);
        loop_timer_cancel(&request->interruption);
        free(request);
}

static void check_drained(Fs *fs)
{
        if (fs->is_draining && list_is_empty(&fs->requests))
                loop_quit(fs->settings.loop, fs->drain_status);
}

void requests_drain(Fs *fs, int status)
{
        fs->is_draining = true;
        fs->drain_status = status;
        check_drained(fs);
}

/* Ends it with an errno; 0: it is answered. Only then it is under way no longer, so that a worker that dies in between
 * leaves no reader without an answer. */
static void request_end(Request *request, int error)
{
        Fs *fs = request->fs;
        if (error != 0 && error < FS_ERRNO_MAX)
                fs->counters.reads[error]++;
        if (error != 0)
                (void)fuse_reply_err(request->fuse, error);
        if (request->is_parked)
                session_note_answered(fs->settings.session, request->unique);
        request_free(request);
        check_drained(fs);
}

static void on_wait(CacheWait *wait)
{
        request_run(CONTAINER_OF(wait, Request, wait));
}

static void on_deadline(LoopTimer *timer, void *userdata)
{
        (void)timer;
        Request *request = userdata;
        request->fs->counters.deadlines++;
        request->give_up = true;
        request_run(request);
}

static void on_later(LoopTimer *timer, void *userdata)
{
        (void)timer;
        request_run(userdata);
}

static void on_interrupt_grace(LoopTimer *timer, void *userdata)
{
        (void)timer;
        Request *request = userdata;
        request->fs->counters.interrupted++;
        request_end(request, EINTR);
}

/* libfuse calls it while it uses the request, so the request isn't answered here. */
static void on_interrupt(fuse_req_t fuse, void *userdata)
{
        (void)fuse;
        Request *request = userdata;
        /* If there is no room for the timer, the deadline ends the request. */
        (void)loop_timer_set(&request->interruption, clock_add_ns(clock_now_ns(), INTERRUPT_GRACE_NS));
}

Request *request_new(fuse_req_t fuse, uint64_t id, RequestStep *step)
{
        const Session *session = fuse_req_userdata(fuse);
        Fs *fs = session_userdata(session);
        Request *request = fs ? calloc(1, sizeof *request) : NULL;
        if (!request) {
                (void)fuse_reply_err(fuse, fs ? ENOMEM : EIO);
                return NULL;
        }
        request->fs = fs;
        request->fuse = fuse;
        request->step = step;
        request->node = node_from_id(id);
        request->came_ns = request->since_ns = clock_now_ns();
        list_init(&request->link);
        cache_wait_init(&request->wait, on_wait);
        request->wait.uid = fuse_req_ctx(fuse)->uid;
        loop_timer_init(&request->deadline, fs->settings.loop, on_deadline, request);
        loop_timer_init(&request->later, fs->settings.loop, on_later, request);
        loop_timer_init(&request->interruption, fs->settings.loop, on_interrupt_grace, request);
        if (!nodes_get(fs->settings.slots, request->node.slot)) {
                free(request);
                (void)fuse_reply_err(fuse, ESTALE);
                return NULL;
        }
        return request;
}

void request_join_access(Request *request)
{
        request->since_ns = request->came_ns > FS_ACCESS_NS ? request->came_ns - FS_ACCESS_NS : 0;
}

int request_wait_until(Request *request, uint64_t at_ns)
{
        int r = loop_timer_set(&request->later, at_ns);
        return r < 0 ? r : -EINPROGRESS;
}

/* From here on the request is answered by its wait, its deadline or its interruption. */
static void request_park(Request *request)
{
        Fs *fs = request->fs;
        if (loop_timer_set(&request->deadline, clock_add_ns(request->came_ns, fs->settings.timeout_ns)) < 0) {
                request_end(request, ENOMEM);
                return;
        }
        request->is_parked = true;
        request->unique = session_keep_noted(fs->settings.session);
        list_append(&fs->requests, &request->link);
        if (++fs->counters.waiting > fs->counters.waiting_max)
                fs->counters.waiting_max = fs->counters.waiting;
        fuse_req_interrupt_func(request->fuse, on_interrupt, request);
}

static void note_late(const Request *request, int error)
{
        Fs *fs = request->fs;
        LateLookup *late = &fs->late_lookups[fs->late_count++ % FS_LATE_LOOKUPS];
        late->directory = node_id(request->node);
        memcpy(late->name, request->name, sizeof late->name);
        late->task = fuse_req_ctx(request->fuse)->pid;
        late->error = error;
        late->at_ns = clock_now_ns();
}

/* The kernel repeats a look-up that failed for a name that it knew (fuse_dentry_revalidate): its reader would wait for two
 * deadlines. The errno that it was given just now; 0: none. */
int request_late_error(const Request *request)
{
        const Fs *fs = request->fs;
        for (size_t i = 0; i < FS_LATE_LOOKUPS; i++) {
                const LateLookup *late = &fs->late_lookups[i];
                if (late->directory == node_id(request->node) && strcmp(late->name, request->name) == 0 &&
                        late->task == fuse_req_ctx(request->fuse)->pid &&
                        request->came_ns < late->at_ns + FS_ACCESS_NS)
                        return late->error;
        }
        return 0;
}

void request_run(Request *request)
{
        cache_wait_cancel(&request->wait);
        nodes_lock(request->fs->settings.slots);
        int r = request->step(request);
        if (r == -EINPROGRESS && !request->give_up) {
                if (!request->is_parked)
                        request_park(request);
                return;
        }
        if (r == -EINPROGRESS)
                r = ETIMEDOUT;
        if (r != 0 && request->give_up && *request->name)
                note_late(request, r < 0 ? -r : r);
        request_end(request, r < 0 ? -r : r);
}

void requests_end(Fs *fs, bool answer)
{
        Request *request;
        while ((request = list_first(&fs->requests, Request, link))) {
                if (answer)
                        request_end(request, EINTR);
                else
                        request_free(request);
        }
}
