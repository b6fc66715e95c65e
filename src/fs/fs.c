/* The filesystem on the loop: messages of the kernel come in here, and go to the handlers in ops.c. */

#include "fs-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

/* How long requests are taken in a turn of the loop, so that a flood of them doesn't keep it from answers of the API, and
 * from the supervisor's question whether it lives. */
#define FS_TURN_NS (10 * NS_PER_MS)

static void on_message(int fd, short revents, void *userdata)
{
        (void)fd;
        (void)revents;
        Fs *fs = userdata;
        uint64_t until_ns = clock_now_ns() + FS_TURN_NS;
        int r;
        do
                r = session_take(fs->settings.session);
        while (r > 0 && clock_now_ns() < until_ns);
        if (r > 0 || r == -EAGAIN)
                return;
        if (r < 0)
                log_error("the FUSE device can't be read: %s; leaving", strerror(-r));
        loop_quit(fs->settings.loop, r < 0 ? 1 : 0);
}

int fs_new(const FsSettings *settings, Fs **ret_fs)
{
        Fs *fs = calloc(1, sizeof *fs);
        if (!fs)
                return -ENOMEM;
        fs->settings = *settings;
        fs->changed_wall_ns = clock_wall_ns();
        fs->root_listing_version = UINT64_MAX;
        list_init(&fs->requests);
        int fd = session_fd(settings->session);
        int r = versions_init(&fs->versions, settings->loop, settings->slots, settings->newline);
        if (r == 0) {
                fs->marks = calloc(nodes_capacity(settings->slots), sizeof *fs->marks);
                r = fs->marks ? 0 : -ENOMEM;
        }
        if (r == 0 && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
                r = -errno;
        if (r == 0)
                r = loop_fd_new(settings->loop, fd, POLLIN, on_message, fs, &fs->source);
        if (r < 0) {
                (void)fs_free(fs, true);
                return r;
        }
        tokens_on_change(settings->cache->tokens, content_on_change, fs);
        session_serve(settings->session, fs, nodes_shared(settings->slots));
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
        loop_fd_free(fs->source);
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
