/* The FUSE session.
 *
 * Why: the supervisor, which mounts, the workers, which serve, and a later binary share one connection to the kernel.
 * How: the process that mounts reads the kernel's INIT, answers it through libfuse and keeps the message. Workers inherit the session by fork. Another binary makes a libfuse session on the descriptor and replays
 * the kept INIT into it; the kernel refuses the second answer, which does no harm, and libfuse then knows what was
 * negotiated. */

#include "tokenfs/fuse/session.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "inflight.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/fuse/mounts.h"

#ifndef FUSE_NOTIFY_RESEND
#define FUSE_NOTIFY_RESEND 7 /* kernel 6.9; the header of Debian 12 is older */
#endif

#define INIT_MS 5000 /* it waits in the connection since the mount was made */
/* The kernel requires a buffer for the largest request that was negotiated, and read fails with EINVAL otherwise. libfuse
 * negotiates 256 pages and a header by default, as it did for an older binary whose connection is taken over. The most is what libfuse 3.17 and later may negotiate by fs.fuse.max_pages_limit. */
#define REQUEST_PAGES 256
#define REQUEST_PAGES_MAX 65536
#define REQUEST_HEADER 4096
/* The largest request of a new connection; a read gets as much at once. */
#define REQUEST_DATA_MAX (128 * 1024)

struct Session {
        struct fuse_session *fuse;
        char *mountpoint; /* absolute; NULL: not ours to unmount (/dev/fd/N) */
        bool mounts_directly; /* by mount(2), not by fusermount3 */
        bool init_done, init_answered;
        bool wants_parallel_lookups;
        bool may_skip_open;
        unsigned max_read; /* of the mount option; 0: none */
        void *init_message;
        size_t init_len;
        void *request;
        size_t request_size;

        void *userdata; /* of the handlers; NULL: this process serves no requests */
        pid_t worker; /* this process, once it serves */
        NodesShared *shared;
        uint64_t unique; /* the request that is being handled */
        bool is_kept; /* it is answered later */
};

static size_t request_size(size_t pages)
{
        long page = sysconf(_SC_PAGESIZE);
        return pages * (size_t)(page > 0 ? page : 4096) + REQUEST_HEADER;
}

static void on_init(void *userdata, struct fuse_conn_info *connection)
{
        Session *session = userdata;
        session->init_done = true;
        connection->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
        if (connection->capable & FUSE_CAP_AUTO_INVAL_DATA)
                connection->want |= FUSE_CAP_AUTO_INVAL_DATA;
        if (connection->max_write > REQUEST_DATA_MAX)
                connection->max_write = REQUEST_DATA_MAX;
        if (session->max_read) /* libfuse refuses INIT unless this equals the mount option */
                connection->max_read = session->max_read;
        /* Otherwise the kernel has one look-up or listing a directory at a time, and waits for the slowest. */
        session->wants_parallel_lookups = connection->capable & FUSE_CAP_PARALLEL_DIROPS;
        if (session->wants_parallel_lookups)
                connection->want |= FUSE_CAP_PARALLEL_DIROPS;
        session->may_skip_open = connection->capable & FUSE_CAP_NO_OPEN_SUPPORT;
}

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

static int build_arguments(const SessionSettings *settings, struct fuse_args *args)
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

static bool has_option(const SessionSettings *settings, const char *option)
{
        for (size_t i = 0; i < settings->mount_option_count; i++)
                if (strcmp(settings->mount_options[i], option) == 0)
                        return true;
        return false;
}

/* As libfuse reads it: the last one counts. */
static unsigned find_max_read(const SessionSettings *settings)
{
        static const char prefix[] = "max_read=";
        uint64_t found = 0;
        for (size_t i = 0; i < settings->mount_option_count; i++)
                if (strncmp(settings->mount_options[i], prefix, sizeof prefix - 1) == 0)
                        (void)parse_uint(settings->mount_options[i] + sizeof prefix - 1, UINT_MAX, &found);
        return (unsigned)found;
}

int session_new(const SessionSettings *settings, Session **ret_session)
{
        Session *session = calloc(1, sizeof *session);
        if (!session)
                return -ENOMEM;
        session->mounts_directly = geteuid() == 0 && !has_option(settings, "auto_unmount");
        session->max_read = find_max_read(settings);
        struct fuse_lowlevel_ops operations = {0};
        if (settings->operations)
                operations = *settings->operations;
        operations.init = on_init;
        struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
        int r = build_arguments(settings, &args);
        session->request_size = request_size(REQUEST_PAGES);
        session->request = malloc(session->request_size);
        if (!session->request)
                r = -ENOMEM;
        if (r == 0) {
                session->fuse = fuse_session_new(&args, &operations, sizeof operations, session);
                r = session->fuse ? 0 : -EINVAL;
        }
        fuse_opt_free_args(&args);
        if (r < 0) {
                session_free(session);
                return r;
        }
        *ret_session = session;
        return 0;
}

Session *session_free(Session *session)
{
        if (!session)
                return NULL;
        if (session->fuse)
                fuse_session_destroy(session->fuse);
        free(session->mountpoint);
        free(session->init_message);
        free(session->request);
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

static ssize_t write_answer(int fd, struct iovec *parts, int count, void *userdata)
{
        Session *session = userdata;
        if (session->init_done && !session->init_answered) {
                session->init_answered = true;
                if (session->wants_parallel_lookups)
                        set_init_flags(parts, count);
        }
        return writev(fd, parts, count);
}

static ssize_t read_nothing(int fd, void *data, size_t size, void *userdata)
{
        (void)fd, (void)data, (void)size, (void)userdata;
        errno = ENOTSUP; /* requests are read here, by session_read */
        return -1;
}

/* From 3.17 on libfuse passes on what on_init wants; from 3.18.3 on it refuses custom io, and complains on stderr. */
static void correct_init_answer(Session *session)
{
        if (fuse_version() >= 317)
                return;
        const struct fuse_custom_io io = {.writev = write_answer, .read = read_nothing};
        (void)fuse_session_custom_io(session->fuse, &io, fuse_session_fd(session->fuse));
}

static int set_mountpoint(Session *session, const char *mountpoint)
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

static int mount_on(Session *session, const char *where)
{
        errno = 0;
        if (fuse_session_mount(session->fuse, where) != 0)
                return errno ? -errno : -EIO;
        return 0;
}

/* Root mounts by a descriptor: mount(2) follows links, and the owner of a directory on the way may make one at any time. */
static int mount_pinned(Session *session)
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

int session_mount(Session *session, const char *mountpoint)
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
        correct_init_answer(session);
        return 0;
}

static int keep_init_message(Session *session, const void *message, size_t len)
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

/* Makes room for larger requests. False: there is room for all that may be negotiated, or no memory. */
static bool grow_request(Session *session)
{
        size_t size = 2 * session->request_size;
        void *request = size <= request_size(REQUEST_PAGES_MAX) ? malloc(size) : NULL;
        if (!request)
                return false;
        free(session->request);
        session->request = request;
        session->request_size = size;
        return true;
}

ssize_t session_read(Session *session, const void **ret_request)
{
        for (;;) {
                ssize_t len = read(fuse_session_fd(session->fuse), session->request, session->request_size);
                *ret_request = session->request;
                if (len >= 0)
                        return len >= (ssize_t)sizeof(struct fuse_in_header) ? len : -EIO;
                if (errno == ENODEV)
                        return 0;
                if (errno == EINVAL && grow_request(session))
                        continue;
                if (errno != EINTR && errno != ENOENT) /* ENOENT: its reader has just gone */
                        return -errno;
        }
}

/* Takes one message of the kernel: its INIT, unless another process has had that already. */
static int take_init(Session *session)
{
        struct pollfd ready = {.fd = fuse_session_fd(session->fuse), .events = POLLIN};
        int r = poll(&ready, 1, INIT_MS);
        if (r == 0)
                return -ETIMEDOUT;
        const void *request = NULL;
        ssize_t len = r < 0 ? -errno : session_read(session, &request);
        if (len == -EINTR || len == -EAGAIN)
                return 0;
        if (len <= 0)
                return len < 0 ? (int)len : -ENODEV;
        bool is_init = is_init_message(request, (size_t)len);
        r = is_init ? keep_init_message(session, request, (size_t)len) : -EPROTO;
        struct fuse_buf message = {.mem = session->request, .size = (size_t)len};
        if (r == 0 || !is_init)
                fuse_session_process_buf(session->fuse, &message); /* libfuse refuses what isn't INIT */
        return r;
}

int session_handshake(Session *session)
{
        int r = 0;
        while (r == 0 && !session->init_done)
                r = take_init(session);
        /* libfuse said why on standard error, and refused INIT: the kernel would refuse every request. */
        return r == 0 && fuse_session_exited(session->fuse) ? -ECONNREFUSED : r;
}

void session_serve(Session *session, void *userdata, NodesShared *shared)
{
        session->userdata = userdata;
        session->shared = shared;
        session->worker = getpid();
}

void *session_userdata(const Session *session)
{
        return session->userdata;
}

bool session_may_skip_open(const Session *session)
{
        return session->may_skip_open;
}

int session_take(Session *session)
{
        const void *request;
        ssize_t len = session_read(session, &request);
        if (len <= 0)
                return (int)len;
        struct fuse_in_header in;
        memcpy(&in, request, sizeof in);
        bool is_noted = in.opcode != FUSE_FORGET && in.opcode != FUSE_BATCH_FORGET &&
                        in.opcode != FUSE_INTERRUPT && session->shared;
        if (is_noted)
                inflight_note(session->shared, in.unique, session->worker);
        session->unique = in.unique;
        session->is_kept = false;
        struct fuse_buf message = {.mem = session->request, .size = (size_t)len};
        fuse_session_process_buf(session->fuse, &message);
        if (is_noted && !session->is_kept)
                session_note_answered(session, in.unique);
        return !fuse_session_exited(session->fuse);
}

uint64_t session_keep_noted(Session *session)
{
        session->is_kept = true;
        return session->unique;
}

void session_note_answered(Session *session, uint64_t unique)
{
        /* After the answer: a worker that dies in between leaves a number that the kernel doesn't know any more. */
        if (session->shared)
                inflight_drop(session->shared, unique);
}

int session_fd(const Session *session)
{
        return fuse_session_fd(session->fuse);
}

const void *session_init_message(const Session *session, size_t *ret_len)
{
        *ret_len = session->init_len;
        return session->init_message;
}

int session_adopt(Session *session, int fd, const void *init_message, size_t len, const char *mountpoint)
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
        correct_init_answer(session);
        struct fuse_buf replay = {.mem = session->init_message, .size = len};
        fuse_session_process_buf(session->fuse, &replay);
        if (!session->init_done)
                return -EPROTO;
        /* libfuse ends a session whose INIT can't be answered; here that is as expected. */
        fuse_session_reset(session->fuse);
        return set_mountpoint(session, mountpoint);
}

void session_unmount(Session *session)
{
        if (!session->mountpoint)
                return;
        mounts_unmount(session->mountpoint);
        free(session->mountpoint);
        session->mountpoint = NULL;
}

int session_resend(Session *session)
{
        struct fuse_out_header header = {.len = sizeof header, .error = FUSE_NOTIFY_RESEND, .unique = 0};
        if (write(fuse_session_fd(session->fuse), &header, sizeof header) < 0)
                return errno == EINVAL ? -ENOSYS : -errno;
        return 0;
}

unsigned session_refuse_lost(Session *session, Nodes *slots, const pid_t *alive, size_t count)
{
        unsigned refused = 0;
        uint64_t unique;
        while ((unique = inflight_take(nodes_shared(slots), alive, count)) != 0) {
                const struct fuse_out_header out = {.len = sizeof out, .error = -EIO, .unique = unique};
                refused += write(fuse_session_fd(session->fuse), &out, sizeof out) == (ssize_t)sizeof out;
        }
        return refused;
}

unsigned session_recover(Session *session, Nodes *slots)
{
        if (session_resend(session) < 0)
                return session_refuse_lost(session, slots, NULL, 0);
        /* A request that is sent again has a new number, and is noted again. */
        while (inflight_take(nodes_shared(slots), NULL, 0) != 0)
                ;
        return 0;
}

int session_invalidate(Session *session, uint64_t node_id)
{
        /* Attributes only (offset -1): the next read asks for them, and changed ones drop the pages. */
        int r = fuse_lowlevel_notify_inval_inode(session->fuse, node_id, -1, 0);
        return r == -ENOENT ? 0 : r;
}

int session_invalidate_entry(Session *session, uint64_t directory_id, const char *name)
{
        int r = fuse_lowlevel_notify_inval_entry(session->fuse, directory_id, name, strlen(name));
        return r == -ENOENT ? 0 : r;
}

int session_delete_entry(Session *session, uint64_t directory_id, uint64_t node_id, const char *name)
{
        return fuse_lowlevel_notify_delete(session->fuse, directory_id, node_id, name, strlen(name));
}
