/* The filesystem on the loop: messages of the kernel come in here, and go to the handlers in ops.c. */

#include "fs-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

/* Messages that are taken in one turn, so that a flood of them doesn't keep the loop from answers of the API. */
#define FS_MESSAGES_A_TURN 64

static void on_message(int fd, short revents, void *userdata)
{
        (void)fd;
        (void)revents;
        Fs *fs = userdata;
        struct fuse_session *fuse = fs->settings.session->fuse;
        for (int i = 0; i < FS_MESSAGES_A_TURN; i++) {
                int len = fuse_session_receive_buf(fuse, &fs->message);
                if (len == -EINTR)
                        continue;
                if (len == -EAGAIN)
                        return;
                if (len <= 0 || fuse_session_exited(fuse)) {
                        if (len < 0 && len != -ENODEV)
                                log_error("the FUSE device can't be read: error %d; leaving", -len);
                        loop_quit(fs->settings.loop, len < 0 && len != -ENODEV ? 1 : 0);
                        return;
                }
                fuse_session_process_buf(fuse, &fs->message);
        }
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
        int fd = fuse_session_fd(settings->session->fuse);
        int r = tree_init(&fs->tree, settings->loop, settings->slots, settings->newline);
        if (r == 0) {
                fs->marks = calloc(slots_capacity(settings->slots), sizeof *fs->marks);
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
        tokens_on_change(settings->tokens, content_on_change, fs);
        settings->session->handlers_userdata = fs;
        settings->session->shared = slots_shared(settings->slots);
        *ret_fs = fs;
        return 0;
}

Fs *fs_free(Fs *fs, bool answer_waiting)
{
        if (!fs)
                return NULL;
        requests_end(fs, answer_waiting);
        if (fs->settings.session->handlers_userdata == fs)
                tokens_on_change(fs->settings.tokens, NULL, NULL);
        fs->settings.session->handlers_userdata = NULL;
        fs->settings.session->shared = NULL;
        loop_fd_free(fs->source);
        tree_deinit(&fs->tree);
        free(fs->message.mem);
        free(fs->marks);
        free(fs);
        return NULL;
}

void fs_forget(Fs *fs)
{
        tree_forget(&fs->tree);
        access_cut_all(&fs->accesses);
        fs->prefetch = (Prefetch){0};
}

const FsCounters *fs_counters(const Fs *fs)
{
        return &fs->counters;
}
