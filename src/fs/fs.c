/* The filesystem on the loop: messages of the kernel come in here, and go to the handlers in handlers.c. */

#include "fs-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fuse/notify.h"

/* How long a turn of the loop takes requests. A flood of them must not hold up the API's answers and the supervisor's
 * watchdog. */
#define FS_TURN_NS (10 * NS_PER_MS)

static void on_message(int fd, short revents, void *userdata)
{
        (void)fd;
        (void)revents;
        Fs *fs = userdata;
        uint64_t until_ns = clock_now_ns() + FS_TURN_NS;
        int r;
        nodes_lock(fs->settings.slots);
        do
                r = session_take(fs->settings.session);
        while (r > 0 && clock_now_ns() < until_ns);
        if (r > 0 || r == -EAGAIN)
                return;
        if (r < 0)
                log_error("the FUSE device can't be read: %s; leaving", strerror(-r));
        loop_quit(fs->settings.loop, r < 0 ? 1 : 0);
}

/* How long look-ups of a file wait at most for the event that its predecessor's watchers get. A notifier without an answer
 * for so long holds up no look-up until its next answer. */
#define FS_QUIET_NS (300 * NS_PER_MS)

/* Where the notifier has no room for it, the watchers get no event. */
static void on_supersede(uint32_t slot, uint32_t generation, void *userdata)
{
        Fs *fs = userdata;
        if (slot < SLOT_FIXED_COUNT) /* each opening of a service file gets another one */
                return;
        const NotifyChange change = {
                .slot = slot,
                .generation = generation,
                .directory = nodes_directory(fs->settings.slots, slot),
                .fields = nodes_get(fs->settings.slots, slot)->fields_looked_up,
        };
        if (notify_send(fs->settings.watchers, &change) < 0)
                return;
        if (!fs->unanswered_ns)
                fs->unanswered_ns = clock_now_ns();
        versions_be_quiet(&fs->versions, slot, change.fields, clock_add_ns(fs->unanswered_ns, FS_QUIET_NS));
}

static void on_watchers_notified(int fd, short revents, void *userdata)
{
        (void)revents;
        Fs *fs = userdata;
        NotifyChange change;
        int r = notify_receive(fd, &change);
        fs->unanswered_ns = 0;
        if (r == 0 && nodes_get(fs->settings.slots, change.slot))
                versions_be_quiet(&fs->versions, change.slot, 0, 0);
        if (r == 0 || r == -EAGAIN)
                return;
        log_warning("the notifier has ended: inotify's watchers get no event any more");
        fs->watchers = loop_fd_free(fs->watchers);
        fs->versions.on_supersede = NULL;
}

static int watchers_init(Fs *fs)
{
        if (fs->settings.watchers < 0)
                return 0;
        fs->versions.on_supersede = on_supersede;
        fs->versions.on_supersede_userdata = fs;
        return loop_fd_new(
                fs->settings.loop, fs->settings.watchers, POLLIN, on_watchers_notified, fs, &fs->watchers);
}

/* What a worker does in a turn it does with the table of nodes for itself, from the first use on. */
static void on_turn_end(void *userdata)
{
        nodes_unlock(userdata);
}

int fs_new(const FsSettings *settings, Fs **ret_fs)
{
        Fs *fs = calloc(1, sizeof *fs);
        if (!fs)
                return -ENOMEM;
        fs->settings = *settings;
        fs->shared = nodes_shared(settings->slots);
        fs->root_listing_version = UINT64_MAX;
        list_init(&fs->requests);
        int fd = session_fd(settings->session);
        nodes_lock(settings->slots);
        int r = versions_init(&fs->versions, settings->loop, settings->slots, settings->newline);
        nodes_unlock(settings->slots);
        if (r == 0) {
                fs->marks = calloc(nodes_capacity(settings->slots), sizeof *fs->marks);
                r = fs->marks ? 0 : -ENOMEM;
        }
        if (r == 0)
                r = watchers_init(fs);
        if (r == 0 && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
                r = -errno;
        if (r == 0)
                r = loop_fd_new(settings->loop, fd, POLLIN, on_message, fs, &fs->source);
        if (r < 0) {
                (void)fs_free(fs, true);
                return r;
        }
        tokens_on_change(settings->cache->tokens, content_on_change, fs);
        loop_on_turn_end(settings->loop, on_turn_end, settings->slots);
        session_serve(settings->session, fs, fs->shared);
        *ret_fs = fs;
        return 0;
}

Fs *fs_free(Fs *fs, bool answer_waiting)
{
        if (!fs)
                return NULL;
        requests_end(fs, answer_waiting);
        if (session_userdata(fs->settings.session) == fs)
                tokens_on_change(fs->settings.cache->tokens, NULL, NULL);
        session_serve(fs->settings.session, NULL, NULL);
        loop_on_turn_end(fs->settings.loop, NULL, NULL);
        loop_fd_free(fs->source);
        loop_fd_free(fs->watchers);
        versions_deinit(&fs->versions);
        free(fs->marks);
        free(fs);
        return NULL;
}

void fs_drain(Fs *fs, int status)
{
        fs->source = loop_fd_free(fs->source);
        requests_drain(fs, status);
}

const FsCounters *fs_counters(const Fs *fs)
{
        return &fs->counters;
}
