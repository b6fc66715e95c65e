/* Making a mount, or going on with one.
 *
 * A mount has three parts: the connection to the kernel (libfuse's session), the kernel's INIT message, and the table
 * of what each node id means. Whether a user, the service manager or another binary brought it about, the supervisor
 * serves it in the same way. */

#include "mount.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "signals.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/daemonize.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fs/fs.h"
#include "tokenfs/fuse/mounts.h"
#include "tokenfs/worker/privileges.h"

#define HAS_RESEND (UINT64_C(1) << 39) /* FUSE_HAS_RESEND, kernel 6.9; the header of Debian 12 is older */

int mount_new_session(const Options *options, Session **ret_session)
{
        const SessionSettings settings = {
                .source = options->source,
                .mount_options = (const char *const *)options->mount_options.items,
                .mount_option_count = options->mount_options.count,
                .debug = options->debug,
                .operations = &fs_operations,
        };
        int r = session_new(&settings, ret_session);
        if (r < 0)
                log_error("can't make a FUSE session: %s", strerror(-r));
        return r;
}

int mount_leave_directory(void)
{
        return daemonize_fix_environment() < 0 || chdir("/") < 0 ? -ENOMEM : 0;
}

static bool kernel_can_resend(const Session *session)
{
        struct fuse_init_in init;
        size_t len = 0;
        const char *message = session_init_message(session, &len);
        if (!message || len < sizeof(struct fuse_in_header) + sizeof init)
                return false;
        memcpy(&init, message + sizeof(struct fuse_in_header), sizeof init);
        uint64_t flags = init.flags | (init.flags & FUSE_INIT_EXT ? (uint64_t)init.flags2 << 32 : 0);
        return flags & HAS_RESEND;
}

/* /sys/fs/fuse/connections knows the mount by this number. */
static int find_connection(const char *path)
{
        MountInfo info;
        return mounts_find(path, &info) == 0 && mounts_is_ours(&info) ? (int)info.minor : -1;
}

static int mount_session(Session *session, const char *path, const char *where)
{
        int r = session_mount(session, where);
        if (r < 0) {
                log_error("can't mount on %s: %s", path,
                        r == -ESTALE   ? "a directory on its path was replaced meanwhile"
                        : r == -ENOSYS ? "/proc isn't mounted here"
                                       : strerror(-r));
                return r;
        }
        r = session_handshake(session);
        if (r == 0)
                return 0;
        switch (-r) {
        case EPROTO:
        case ETIMEDOUT:
                log_error("the connection of %s has been served before: umount, then mount again", path);
                break;
        case EPERM: log_error("nothing is mounted with %s", path); break;
        default: log_error("the kernel's FUSE doesn't answer: %s", strerror(-r)); break;
        }
        session_unmount(session);
        return r;
}

int mount_make(const Options *options, char *path, const char *where, Mount *ret_mount)
{
        CLEANUP(session_free_p) Session *session = NULL;
        CLEANUP(nodes_free_p) Nodes *slots = NULL;
        int r = mount_leave_directory();
        if (r < 0)
                return r;
        signals_block();
        privileges_raise_memlock();
        int state_fd CLEANUP(cleanup_close) = -1;
        r = nodes_new(&slots);
        if (r == 0)
                r = state_new(&state_fd);
        if (r < 0) {
                log_error("can't make the memory that outlives a worker: %s",
                        r == -EFBIG ? "the limit of file sizes (ulimit -f) is too small" : strerror(-r));
                return r;
        }
        r = mount_new_session(options, &session);
        if (r == 0)
                r = mount_session(session, path, where);
        if (r < 0)
                return r;
        *ret_mount = (Mount){
                .session = TAKE(session),
                .slots = TAKE(slots),
                .path = path,
                .connection = find_connection(path),
                .state_fd = state_fd,
                .control = -1,
        };
        state_fd = -1;
        ret_mount->can_resend = kernel_can_resend(ret_mount->session);
        return 0;
}

/* The descriptors that were taken are -1 then. */
static int adopt(const Options *options, int *fuse_fd, int *slots_fd, Mount *mount)
{
        const State *state = &mount->left;
        int r = mount_leave_directory();
        if (r == 0)
                r = state_read(mount->state_fd, &mount->left);
        if (r < 0)
                return r;
        mount->path = strdup(state->mountpoint);
        if (!mount->path)
                return -ENOMEM;
        r = nodes_adopt(*slots_fd, &mount->slots);
        if (r < 0)
                return r;
        *slots_fd = -1;
        r = mount_new_session(options, &mount->session);
        if (r == 0)
                r = session_adopt(mount->session, *fuse_fd, state->init, state->init_len, mount->path);
        if (r == 0)
                *fuse_fd = -1;
        return r;
}

int mount_adopt(
        const Options *options, MountOrigin origin, int fuse_fd, int slots_fd, int state_fd, Mount *ret_mount)
{
        Mount mount = MOUNT_INIT;
        mount.origin = origin;
        mount.state_fd = state_fd;
        signals_block();
        int r = adopt(options, &fuse_fd, &slots_fd, &mount);
        cleanup_close(&fuse_fd);
        cleanup_close(&slots_fd);
        if (r < 0) {
                log_error("can't go on with the mount of %s: %s", options->mountpoint,
                        r == -EPROTONOSUPPORT ? "another version of tokenfs left it" : strerror(-r));
                mount_deinit(&mount);
                return r;
        }
        mount.can_resend = kernel_can_resend(mount.session);
        mount.connection = find_connection(mount.path);
        *ret_mount = mount;
        return 0;
}

void mount_deinit(Mount *mount)
{
        cleanup_close(&mount->control);
        cleanup_close(&mount->state_fd);
        state_deinit(&mount->left);
        mount->session = session_free(mount->session);
        mount->slots = nodes_free(mount->slots);
        free(mount->path);
        mount->path = NULL;
}
