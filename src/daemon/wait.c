/* Waiting for a file to change.
 *
 * Why: inotify doesn't see what changes behind a network filesystem, and in a container there is nothing of us but the
 * mount. So this works with what everybody has, a path: by id, by name, a file that is bound by itself, or any other
 * file. How: the content is read at the start, and stat is asked every second; the kernel answers that itself as long as
 * the daemon's last answer is fresh. The file is read again when stat shows another one, and now and then anyway: stat
 * of a file that is bound by itself shows what is known and asks for nothing. That a file can't be read for a while, or
 * isn't there, is no change of its content.
 *
 * A filesystem that hangs mustn't make the time-out hang: so a thread looks at the file, and the process ends without
 * it. */

#include "tokenfs/daemon/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/secret.h"

#define SIZE_MOST ((size_t)1024 * 1024)
#define READ_EVERY_S 10

typedef struct Wait {
        int exit_status;
        char *path; /* its own copy: the thread may outlive the options */
        struct stat status; /* of the file that was read last */
        Buf content; /* at the start */
        int error; /* why it can't be looked at now; 0: it can */
} Wait;

/* 0, or a negative errno: -EMEDIUMTYPE for what is no file. */
static int read_content(const char *path, struct stat *ret_status, Buf *content)
{
        int fd CLEANUP(cleanup_close) = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 || fstat(fd, ret_status) < 0)
                return -errno;
        if (!S_ISREG(ret_status->st_mode))
                return S_ISDIR(ret_status->st_mode) ? -EISDIR : -EMEDIUMTYPE;
        for (;;) {
                char piece[4096];
                ssize_t len = read(fd, piece, sizeof piece);
                if (len <= 0)
                        return len < 0 ? -errno : 0;
                int r = buf_append(content, piece, (size_t)len);
                secret_wipe(piece, sizeof piece);
                if (r < 0)
                        return r == -EMSGSIZE ? -EFBIG : r;
        }
}

/* The API or the filesystem behind a file fails for now. */
static bool is_transient(int error)
{
        static const int errors[] = {EBUSY, EREMOTEIO, ETIMEDOUT, EHOSTUNREACH, EINTR, EAGAIN, ESTALE, EIO,
                ENOTCONN, ECONNABORTED, ENOMEM};
        for (size_t i = 0; i < ARRAY_LEN(errors); i++)
                if (-error == errors[i])
                        return true;
        return false;
}

static const char *describe(int error)
{
        switch (-error) {
        case EMEDIUMTYPE: return "it is no regular file";
        case EFBIG: return "it is too large to be watched";
        default: return strerror(-error);
        }
}

/* Says each trouble once. */
static void note_error(Wait *wait, int error)
{
        if (error < 0 && error != wait->error)
                log_warning("%s: %s; waiting on", wait->path, describe(error));
        wait->error = error;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
               a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Reads the file again. True: its content is another. */
static bool has_changed(Wait *wait)
{
        struct stat status;
        Buf content = BUF_INIT(SIZE_MOST);
        int r = read_content(wait->path, &status, &content);
        bool differs =
                r == -EFBIG ||
                (r == 0 && (content.len != wait->content.len ||
                                   memcmp(buf_str(&content), buf_str(&wait->content), content.len) != 0));
        if (r == 0)
                wait->status = status;
        buf_deinit(&content);
        note_error(wait, differs ? 0 : r);
        return differs;
}

/* The content to compare with. What fails for now is tried again. */
static int read_first(Wait *wait)
{
        for (;;) {
                int r = read_content(wait->path, &wait->status, &wait->content);
                if (r == 0 || !is_transient(r))
                        return r;
                buf_clear(&wait->content);
                note_error(wait, r);
                (void)sleep(1);
        }
}

/* The thread: leaves the exit status in the Wait. */
static void *look(void *userdata)
{
        Wait *wait = userdata;
        int r = read_first(wait);
        if (r < 0) {
                log_error("%s: %s", wait->path, describe(r));
                return NULL;
        }
        for (unsigned second = 1;; second++) {
                (void)sleep(1);
                struct stat status;
                bool is_there = stat(wait->path, &status) == 0;
                if (!is_there)
                        note_error(wait, -errno);
                bool is_suspect = is_there && !is_same_file(&status, &wait->status);
                if ((is_suspect || second % READ_EVERY_S == 0 || wait->error) && has_changed(wait))
                        break;
        }
        wait->exit_status = EXIT_SUCCESS;
        return NULL;
}

int wait_run(const Options *options)
{
        static Wait wait; /* the thread may outlive this call */
        wait = (Wait){.path = strdup(options->wait_path),
                .content = BUF_INIT(SIZE_MOST),
                .exit_status = EXIT_FAILURE};
        if (!wait.path) {
                log_error("out of memory");
                return EXIT_FAILURE;
        }
        struct timespec until = {.tv_sec = INT32_MAX};
        if (options->wait_ns != CLOCK_NEVER && clock_gettime(CLOCK_MONOTONIC, &until) == 0) {
                uint64_t ns = (uint64_t)until.tv_nsec + options->wait_ns;
                until.tv_sec += (time_t)(ns / NS_PER_S);
                until.tv_nsec = (long)(ns % NS_PER_S);
        }
        log_open(options->log_level, false);
        pthread_t thread;
        int r = pthread_create(&thread, NULL, look, &wait);
        if (r != 0) {
                log_error("can't wait: %s", strerror(r));
                return EXIT_FAILURE;
        }
        r = pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until);
        if (r == 0) {
                buf_deinit(&wait.content);
                free(wait.path);
                return wait.exit_status;
        }
        log_error("%s: %s", wait.path, r == ETIMEDOUT ? "not changed in that time" : strerror(r));
        return r == ETIMEDOUT ? WAIT_TIMED_OUT : EXIT_FAILURE;
}
