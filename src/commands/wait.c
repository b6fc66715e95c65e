/* Waiting for a file to change.
 *
 * Why: inotify's event needs a token that the daemon refreshes, and comes late for a file that is bound by itself
 * (fuse/notify.c). This works with any path, in a container too. How: it reads the content at the start, and calls stat
 * every second; the kernel answers that itself while the daemon's last answer is fresh. It reads the file again when
 * stat shows another one. It also does so every few seconds, since stat of a bound file makes no call. A file that is
 * missing or can't be read for a while has not changed.
 *
 * A filesystem that hangs must not make the time-out hang: so a child looks at the file, and no process waits for its
 * end. A thread wouldn't do: a process doesn't end while one of its threads is in an uninterruptible call. The child
 * keeps no descriptor whose end others may wait for; it sends the parent each change of the error. */

#include "tokenfs/commands/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/secret.h"

#define SIZE_MOST ((size_t)1024 * 1024)
#define READ_EVERY_S 10

typedef struct Wait {
        const char *path;
        int parent_fd; /* takes each change of `error` */
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

/* Each trouble is reported once. */
static void note_error(Wait *wait, int error)
{
        if (error != wait->error && write(wait->parent_fd, &error, sizeof error) < 0)
                _exit(EXIT_FAILURE); /* the parent has ended */
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

/* The content to compare with. After a transient error it tries again. */
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

/* Comes back once the content is another. 0, or a negative errno: it can't be read. */
static int look(Wait *wait)
{
        int r = read_first(wait);
        if (r < 0)
                return r;
        for (unsigned second = 1;; second++) {
                (void)sleep(1);
                struct stat status;
                bool is_there = stat(wait->path, &status) == 0;
                if (!is_there)
                        note_error(wait, -errno);
                bool is_suspect = is_there && !is_same_file(&status, &wait->status);
                if ((is_suspect || second % READ_EVERY_S == 0 || wait->error) && has_changed(wait))
                        return 0;
        }
}

/* Doesn't return: its exit status is an errno. */
static void be_child(const char *path, pid_t parent, int parent_fd)
{
        Wait wait = {.path = path, .parent_fd = STDIN_FILENO, .content = BUF_INIT(SIZE_MOST)};
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(ESRCH);
        if (dup2(parent_fd, wait.parent_fd) < 0 || close_range(STDOUT_FILENO, ~0U, 0) < 0)
                _exit(errno);
        int r = look(&wait);
        buf_deinit(&wait.content);
        _exit(-r);
}

/* Logs what the child sends. True: it has ended. */
static bool listen_to_child(int child_fd, const char *path, uint64_t until_ns)
{
        struct pollfd ready = {.fd = child_fd, .events = POLLIN};
        for (;;) {
                uint64_t now_ns = clock_now_ns();
                if (now_ns >= until_ns)
                        return false;
                uint64_t left_ms = (until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
                if (poll(&ready, 1, left_ms < INT_MAX ? (int)left_ms : INT_MAX) <= 0)
                        continue;
                int error;
                if (read(child_fd, &error, sizeof error) != sizeof error)
                        return true;
                if (error < 0)
                        log_warning("%s: %s; waiting on", path, describe(error));
        }
}

/* The exit status for that of a child that has ended. */
static int judge(pid_t pid, const char *path)
{
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (!WIFEXITED(status))
                log_error("%s: the process that looked at it was ended by signal %d", path, WTERMSIG(status));
        else if (WEXITSTATUS(status) != 0)
                log_error("%s: %s", path, describe(-WEXITSTATUS(status)));
        else
                return EXIT_SUCCESS;
        return EXIT_FAILURE;
}

int wait_run(const Options *options)
{
        const char *path = options->wait_path;
        uint64_t until_ns = clock_add_ns(clock_now_ns(), options->wait_ns);
        log_open(options->log_level, false);
        int ends[2];
        pid_t parent = getpid();
        pid_t pid = pipe2(ends, O_CLOEXEC) < 0 ? -1 : fork();
        if (pid < 0) {
                log_error("can't wait: %s", strerror(errno));
                return EXIT_FAILURE;
        }
        if (pid == 0)
                be_child(path, parent, ends[1]);
        (void)close(ends[1]);
        bool has_ended = listen_to_child(ends[0], path, until_ns);
        (void)close(ends[0]);
        if (has_ended)
                return judge(pid, path);
        (void)kill(pid, SIGKILL);
        log_error("%s: not changed in that time", path);
        return WAIT_TIMED_OUT;
}
