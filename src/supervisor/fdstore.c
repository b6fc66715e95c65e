/* The service manager's file descriptor store.
 *
 * Why: mounting takes a privilege, and must happen in the namespace of all processes. Serving takes none, and a sandbox
 * for it has mounts that no other process sees. So a service mounts in one step (tokenfs --mount-only, with all
 * privileges) and serves in the next (tokenfs -f, without any). The manager passes the connection from one to the
 * other, and keeps it. When the supervisor is killed, its successor goes on with the same mount, and readers notice a
 * pause alone.
 *
 * How: the manager keeps the connection until a supervisor begins to serve it. Once a worker serves, it keeps the
 * connection, the table of slots and the state: the three that a hot upgrade passes on. If a start fails in between,
 * the manager keeps nothing: the mount is dead, and the next start makes it again. */

#include "fdstore.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sdnotify.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/daemonize.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fuse/mounts.h"
#include "tokenfs/supervisor/mount-only.h"

#define KEEP_FUSE "tokenfs-fuse"
#define KEEP_SLOTS "tokenfs-slots"
#define KEEP_STATE "tokenfs-state"

void fdstore_save(const Mount *mount)
{
        int r = sdnotify_keep(KEEP_STATE, mount->state_fd);
        if (r == 0)
                r = sdnotify_keep(KEEP_SLOTS, nodes_fd(mount->slots));
        if (r == 0)
                r = sdnotify_keep(KEEP_FUSE, session_fd(mount->session));
        if (r < 0)
                log_warning(
                        "the service manager can't keep the mount for a successor: %s", strerrordesc_np(-r));
}

static void drop_all(void)
{
        sdnotify_drop(KEEP_FUSE);
        sdnotify_drop(KEEP_SLOTS);
        sdnotify_drop(KEEP_STATE);
}

/* A connection that no process has served yet; the session takes the descriptor. */
static int load_prepared(const Options *options, int fuse_fd, Mount *ret_mount)
{
        char where[32];
        CLEANUP(cleanup_free) char *path = NULL;
        int r = mounts_resolve(options->mountpoint, &path);
        if (r < 0) {
                log_error("can't find %s, whose connection was kept: %s", options->mountpoint,
                        strerrordesc_np(-r));
                return r == -ENOENT ? -ENODEV : r;
        }
        (void)snprintf(where, sizeof where, "/dev/fd/%d", fuse_fd);
        sdnotify_drop(KEEP_FUSE); /* the INIT that it waits with can be answered only once */
        r = mount_make(options, path, where, ret_mount);
        if (r < 0)
                return r;
        path = NULL;
        ret_mount->origin = MOUNT_PREPARED;
        return 0;
}

int fdstore_load(const Options *options, Mount *ret_mount)
{
        int fuse_fd = sdnotify_kept(KEEP_FUSE);
        int slots_fd CLEANUP(cleanup_close) = sdnotify_kept(KEEP_SLOTS);
        int state_fd CLEANUP(cleanup_close) = sdnotify_kept(KEEP_STATE);
        if (fuse_fd < 0)
                return -ENOENT;
        if (slots_fd < 0 || state_fd < 0)
                return load_prepared(options, fuse_fd, ret_mount);
        int r = mount_adopt(options, MOUNT_REVIVED, fuse_fd, slots_fd, state_fd, ret_mount);
        slots_fd = state_fd = -1; /* taken */
        if (r == 0 &&
                (ret_mount->left.audit != options->audit || ret_mount->left.newline != options->newline)) {
                log_error("audit or newline has changed: the next start makes another mount");
                drop_all();
                r = -EINVAL;
        }
        return r == -ENOENT ? -EINVAL : r;
}

/* Whether the kernel would be given what it was given. */
static bool is_as_before(const Options *options, const MountInfo *info)
{
        bool allow_other = false;
        for (size_t i = 0; i < options->mount_options.count; i++)
                allow_other |= strcmp(options->mount_options.items[i], "allow_other") == 0;
        const char *source = options->source ? options->source : "tokenfs";
        return info->allow_other == allow_other &&
               strncmp(info->source, source, sizeof info->source - 1) == 0;
}

/* > 0: there is nothing to do. */
static int look_at_mountpoint(const Options *options, const char *path)
{
        MountInfo info;
        int r = mounts_find(path, &info);
        if (r < 0)
                return r;
        if (mounts_is_ours(&info))
                switch (mounts_look_for_life(path)) {
                case MOUNT_SERVED: return -EBUSY;
                case MOUNT_SILENT:
                        if (is_as_before(options, &info))
                                return 1;
                        log_info("%s is mounted with other options: mounting it again", path);
                        mounts_unmount(path);
                        break;
                case MOUNT_DEAD: break;
                }
        else if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return -errno;
        return mounts_prepare(path);
}

static int mount_and_keep(const Options *options, const char *path)
{
        CLEANUP(session_free_p) Session *session = NULL;
        int r = mount_new_session(options, &session);
        if (r == 0)
                r = session_mount(session, path);
        if (r < 0)
                return r;
        drop_all();
        r = sdnotify_keep(KEEP_FUSE, session_fd(session));
        if (r < 0)
                session_unmount(session);
        return r;
}

static int mount_only(const Options *options)
{
        const char *given = options->mountpoint;
        CLEANUP(cleanup_free) char *path = NULL;
        if (!sdnotify_is_listening()) {
                log_error("--mount-only is for services: there is no service manager here (NOTIFY_SOCKET)");
                return -EINVAL;
        }
        int r = mounts_resolve(given, &path);
        if (r == -ENOENT) /* its last part is made */
                r = mounts_resolve_parent(given, &path);
        if (r == 0)
                r = look_at_mountpoint(options, path);
        if (r > 0) {
                log_info("%s is mounted, and waits for a process to serve it", path);
                return 0;
        }
        if (r == 0)
                r = mount_and_keep(options, path);
        if (r < 0)
                log_error("can't mount on %s: %s", given,
                        r == -EBUSY ? "it is mounted already (umount it first)" : strerrordesc_np(-r));
        return r;
}

int mount_only_run(const Options *options)
{
        log_open(options->log_level, false);
        return mount_only(options) < 0 ? EXIT_MOUNT : EXIT_SUCCESS;
}
