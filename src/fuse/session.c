/* The FUSE session.
 *
 * Why: the process that mounts (the supervisor), those that serve (the workers) and a later binary share one
 * connection to the kernel. How: whoever mounts reads the kernel's INIT, answers it through libfuse and keeps the
 * message. Workers inherit the session by fork. Another binary makes a libfuse session on the descriptor and replays
 * the kept INIT into it; the kernel refuses the second answer, which does no harm, and libfuse then knows what was
 * negotiated. */

#include "tokenfs/fuse/fuse-session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "config.h"
#include "inflight.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fuse/mounts.h"

#ifndef FUSE_NOTIFY_RESEND
#define FUSE_NOTIFY_RESEND 7 /* kernel 6.9; the header of Debian 12 is older */
#endif

#define INIT_MS 5000 /* it waits in the connection since the mount was made */

static int add_option(struct fuse_args *args, const char *option)
{
        return fuse_opt_add_arg(args, "-o") < 0 || fuse_opt_add_arg(args, option) < 0 ? -ENOMEM : 0;
}

/* A value in an option: libfuse splits at commas, so that they and backslashes are escaped. */
static int add_fsname(struct fuse_args *args, const char *source)
{
        Buf option = BUF_INIT(2 * PATH_MAX);
        (void)buf_append_str(&option, "fsname=");
        for (; *source; source++) {
                if (*source == ',' || *source == '\\')
                        (void)buf_append_char(&option, '\\');
                (void)buf_append_char(&option, *source);
        }
        int r = option.error ? option.error : add_option(args, buf_str(&option));
        buf_deinit(&option);
        return r;
}

static int build_arguments(const FsSessionSettings *settings, struct fuse_args *args)
{
        static const char *const always[] = {
                "subtype=tokenfs", "default_permissions", "ro", "nosuid", "nodev", "noexec", "noatime"};
        int r = fuse_opt_add_arg(args, "tokenfs") < 0 ? -ENOMEM : 0;
        if (r == 0 && settings->debug)
                r = fuse_opt_add_arg(args, "-d") < 0 ? -ENOMEM : 0;
        if (r == 0)
                r = add_fsname(args, settings->source ? settings->source : "tokenfs");
        for (size_t i = 0; i < ARRAY_LEN(always) && r == 0; i++)
                r = add_option(args, always[i]);
        for (size_t i = 0; i < settings->mount_option_count && r == 0; i++)
                r = add_option(args, settings->mount_options[i]);
        return r;
}

static bool has_option(const FsSessionSettings *settings, const char *option)
{
        for (size_t i = 0; i < settings->mount_option_count; i++)
                if (strcmp(settings->mount_options[i], option) == 0)
                        return true;
        return false;
}

int fs_session_new(const FsSessionSettings *settings, FsSession **ret_session)
{
        FsSession *session = calloc(1, sizeof *session);
        if (!session)
                return -ENOMEM;
        session->audit = settings->audit;
        session->mounts_directly = geteuid() == 0 && !has_option(settings, "auto_unmount");
        struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
        int r = build_arguments(settings, &args);
        if (r == 0) {
                session->fuse = fuse_session_new(&args, &fs_operations, sizeof fs_operations, session);
                r = session->fuse ? 0 : -EINVAL;
        }
        fuse_opt_free_args(&args);
        if (r < 0) {
                fs_session_free(session);
                return r;
        }
        *ret_session = session;
        return 0;
}

FsSession *fs_session_free(FsSession *session)
{
        if (!session)
                return NULL;
        if (session->fuse)
                fuse_session_destroy(session->fuse);
        free(session->mountpoint);
        free(session->init_message);
        free(session);
        return NULL;
}

/* libfuse before 3.16.2 doesn't pass FUSE_CAP_PARALLEL_DIROPS on to the kernel, so that the flag is set in the answer
 * to INIT on its way out. */
static void set_init_flags(struct iovec *parts, int count)
{
        struct fuse_init_out answer;
        if (count < 2 || parts[1].iov_len < offsetof(struct fuse_init_out, flags) + sizeof answer.flags)
                return;
        char *flags_at = (char *)parts[1].iov_base + offsetof(struct fuse_init_out, flags);
        uint32_t flags;
        memcpy(&flags, flags_at, sizeof flags);
        flags |= FUSE_PARALLEL_DIROPS;
        memcpy(flags_at, &flags, sizeof flags);
}

static ssize_t session_writev(int fd, struct iovec *parts, int count, void *userdata)
{
        FsSession *session = userdata;
        if (session->init_done && !session->init_answered) {
                session->init_answered = true;
                if (session->wants_parallel_lookups)
                        set_init_flags(parts, count);
        }
        struct fuse_out_header out = {0};
        if (count > 0 && parts[0].iov_len == sizeof out)
                memcpy(&out, parts[0].iov_base, sizeof out);
        ssize_t written = writev(fd, parts, count);
        /* After the answer: whoever dies in between leaves a number that the kernel doesn't know any more. */
        if (session->shared && out.unique != 0)
                inflight_drop(session->shared, out.unique);
        return written;
}

static ssize_t session_read(int fd, void *data, size_t size, void *userdata)
{
        FsSession *session = userdata;
        struct fuse_in_header in;
        ssize_t len = read(fd, data, size);
        if (session->shared && len >= (ssize_t)sizeof in) {
                memcpy(&in, data, sizeof in);
                if (in.opcode != FUSE_FORGET && in.opcode != FUSE_BATCH_FORGET && in.opcode != FUSE_INTERRUPT)
                        inflight_note(session->shared, in.unique);
        }
        return len;
}

static int use_own_io(FsSession *session)
{
        const struct fuse_custom_io io = {.writev = session_writev, .read = session_read};
        return fuse_session_custom_io(session->fuse, &io, fuse_session_fd(session->fuse));
}

static int set_mountpoint(FsSession *session, const char *mountpoint)
{
        char *copy = NULL;
        if (mountpoint && strncmp(mountpoint, "/dev/fd/", 8) != 0) {
                copy = strdup(mountpoint);
                if (!copy)
                        return -ENOMEM;
        }
        free(session->mountpoint);
        session->mountpoint = copy;
        return 0;
}

static int mount_on(FsSession *session, const char *where)
{
        errno = 0;
        if (fuse_session_mount(session->fuse, where) != 0)
                return errno ? -errno : -EIO;
        return 0;
}

/* Root mounts by a descriptor: mount(2) follows links, and the owner of a directory on the way may make one at any time. */
static int mount_pinned(FsSession *session)
{
        int fd CLEANUP(cleanup_close) = -1;
        char where[MOUNTS_PINNED_PATH], now[PATH_MAX];
        int r = mounts_pin(session->mountpoint, &fd);
        if (r < 0)
                return r;
        mounts_pinned_path(fd, where);
        r = mount_on(session, where);
        if (r == 0)
                r = mounts_find_pinned(fd, now);
        if (r == 0 && strcmp(now, session->mountpoint) != 0) {
                mounts_unmount(now);
                r = -ESTALE;
        }
        return r;
}

int fs_session_mount(FsSession *session, const char *mountpoint)
{
        int r = set_mountpoint(session, mountpoint);
        if (r < 0)
                return r;
        r = session->mountpoint && session->mounts_directly ? mount_pinned(session)
                                                            : mount_on(session, mountpoint);
        if (r < 0)
                return r;
        int fd = fuse_session_fd(session->fuse);
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        return use_own_io(session);
}

static int keep_init_message(FsSession *session, const void *message, size_t len)
{
        void *copy = malloc(len);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, message, len);
        free(session->init_message);
        session->init_message = copy;
        session->init_len = len;
        return 0;
}

static bool is_init_message(const void *message, size_t len)
{
        struct fuse_in_header header;
        if (!message || len < sizeof header)
                return false;
        memcpy(&header, message, sizeof header);
        return header.opcode == FUSE_INIT && header.len == len;
}

/* Takes one message of the kernel: its INIT, unless somebody has had that already. */
static int take_init(FsSession *session, struct fuse_buf *message)
{
        struct pollfd ready = {.fd = fuse_session_fd(session->fuse), .events = POLLIN};
        int r = poll(&ready, 1, INIT_MS);
        if (r == 0)
                return -ETIMEDOUT;
        int len = r < 0 ? -errno : fuse_session_receive_buf(session->fuse, message);
        if (len == -EINTR || len == -EAGAIN)
                return 0;
        if (len <= 0)
                return len < 0 ? len : -ENODEV;
        bool is_init = is_init_message(message->mem, (size_t)len);
        r = is_init ? keep_init_message(session, message->mem, (size_t)len) : -EPROTO;
        if (r == 0 || !is_init)
                fuse_session_process_buf(session->fuse, message); /* libfuse refuses what isn't INIT */
        return r;
}

int fs_session_handshake(FsSession *session)
{
        struct fuse_buf message = {0};
        int r = 0;
        while (r == 0 && !session->init_done)
                r = take_init(session, &message);
        free(message.mem);
        return r;
}

int fs_session_fd(const FsSession *session)
{
        return fuse_session_fd(session->fuse);
}

const void *fs_session_init_message(const FsSession *session, size_t *ret_len)
{
        *ret_len = session->init_len;
        return session->init_message;
}

int fs_session_adopt(FsSession *session, int fd, const void *init_message, size_t len, const char *mountpoint)
{
        if (!is_init_message(init_message, len))
                return -EINVAL;
        char path[32];
        (void)snprintf(path, sizeof path, "/dev/fd/%d", fd);
        int r = keep_init_message(session, init_message, len);
        if (r < 0)
                return r;
        if (fuse_session_mount(session->fuse, path) != 0)
                return -EINVAL;
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        r = use_own_io(session);
        if (r < 0)
                return r;
        struct fuse_buf replay = {.mem = session->init_message, .size = len};
        fuse_session_process_buf(session->fuse, &replay);
        if (!session->init_done)
                return -EPROTO;
        /* libfuse ends a session whose INIT can't be answered; here that is as expected. */
        fuse_session_reset(session->fuse);
        return set_mountpoint(session, mountpoint);
}

void fs_session_unmount(FsSession *session)
{
        if (!session->mountpoint)
                return;
        mounts_unmount(session->mountpoint);
        free(session->mountpoint);
        session->mountpoint = NULL;
}

int fs_session_resend(FsSession *session)
{
        struct fuse_out_header header = {.len = sizeof header, .error = FUSE_NOTIFY_RESEND, .unique = 0};
        if (write(fuse_session_fd(session->fuse), &header, sizeof header) < 0)
                return errno == EINVAL ? -ENOSYS : -errno;
        return 0;
}

unsigned fs_session_recover(FsSession *session, Slots *slots, bool can_resend)
{
        /* What is sent again comes with a number of its own, and is noted anew. */
        bool is_sent_again = can_resend && fs_session_resend(session) == 0;
        unsigned refused = 0;
        uint64_t unique;
        while ((unique = inflight_take(slots_shared(slots))) != 0) {
                if (is_sent_again)
                        continue;
                const struct fuse_out_header out = {.len = sizeof out, .error = -EIO, .unique = unique};
                refused += write(fuse_session_fd(session->fuse), &out, sizeof out) == (ssize_t)sizeof out;
        }
        return refused;
}

int fs_session_invalidate(FsSession *session, uint64_t node_id)
{
        /* Attributes only (offset -1): the next read asks for them, and changed ones drop the pages. */
        int r = fuse_lowlevel_notify_inval_inode(session->fuse, node_id, -1, 0);
        return r == -ENOENT ? 0 : r;
}
