/* A mount whose connection the service manager keeps.
 *
 * Why: mounting takes a privilege, and must happen where all can see it; serving takes none, and is best done in a
 * sandbox whose mounts nobody else sees. So a service mounts in one step (tokenfs --mount-only, with all privileges)
 * and serves in the next (tokenfs -f, without any): the manager hands the connection from one to the other. And it goes
 * on keeping it: when the supervisor is killed, the one that the manager starts instead goes on with the same mount,
 * and readers notice nothing but a pause.
 *
 * How: the manager keeps the connection until somebody begins to serve it, and, once a worker serves, the connection,
 * the INIT message and the table of slots. Those are what a hot upgrade hands over, so that the successor of a killed
 * supervisor is one that took over without a worker. A start that fails in between leaves nothing kept: the mount is
 * dead then, and made anew by the next start. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tokenfs/base/daemonize.h"
#include "tokenfs/fuse/mounts.h"
#include "supervisor.h"
#include "tokenfs/supervisor/supervisor.h"
#include "sdnotify.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/log.h"

#define KEEP_FUSE "tokenfs-fuse"
#define KEEP_INIT "tokenfs-init"
#define KEEP_SLOTS "tokenfs-slots"

void supervisor_keep(const Supervisor *supervisor)
{
        size_t len = 0;
        const void *init = session_init_message(supervisor->session, &len);
        int fd CLEANUP(cleanup_close) = -1;
        int r = handover_store(init, len, &fd);
        if (r == 0)
                r = sdnotify_keep(KEEP_INIT, fd);
        if (r == 0)
                r = sdnotify_keep(KEEP_SLOTS, nodes_fd(supervisor->slots));
        if (r == 0)
                r = sdnotify_keep(KEEP_FUSE, session_fd(supervisor->session));
        if (r < 0)
                log_warning(
                        "the service manager can't keep the mount for a successor: %s", strerrordesc_np(-r));
}

static int start_first(Supervisor *supervisor, Handover *kept)
{
        char where[32];
        (void)snprintf(where, sizeof where, "/dev/fd/%d", kept->fuse_fd);
        supervisor->mountpoint = TAKE(kept->mountpoint);
        sdnotify_drop(KEEP_FUSE); /* the INIT that it waits with can be answered only once */
        kept->fuse_fd = -1; /* the session's now */
        supervisor->is_kept = true;
        return supervisor_start_on(supervisor, where);
}

int supervisor_start_kept(Supervisor *supervisor)
{
        CLEANUP(handover_deinit) Handover kept = HANDOVER_INIT;
        kept.fuse_fd = sdnotify_kept(KEEP_FUSE);
        kept.init_fd = sdnotify_kept(KEEP_INIT);
        kept.slots_fd = sdnotify_kept(KEEP_SLOTS);
        if (kept.fuse_fd < 0)
                return -ENOENT;
        int r = mounts_resolve(supervisor->options->mountpoint, &kept.mountpoint);
        if (r < 0) {
                log_error("can't find %s, whose connection was kept: %s", supervisor->options->mountpoint,
                        strerrordesc_np(-r));
                return r == -ENOENT ? -ENODEV : r;
        }
        if (kept.init_fd < 0 || kept.slots_fd < 0)
                return start_first(supervisor, &kept);
        supervisor->is_revived = true;
        r = supervisor_open_signals(supervisor);
        return r < 0 ? r : supervisor_adopt(supervisor, &kept);
}

/* > 0: there is nothing to do. */
static int look_at_mountpoint(const char *path)
{
        MountInfo info;
        int r = mounts_find(path, &info);
        if (r < 0)
                return r;
        if (mounts_is_ours(&info))
                switch (mounts_look_for_life(path)) {
                case MOUNT_SERVED: return -EBUSY;
                case MOUNT_SILENT: return 1;
                case MOUNT_DEAD: break;
                }
        else if (mkdir(path, 0755) < 0 && errno != EEXIST)
                return -errno;
        return mounts_prepare(path);
}

static int mount_and_keep(Supervisor *supervisor)
{
        int r = supervisor_new_session(supervisor);
        if (r == 0)
                r = session_mount(supervisor->session, supervisor->mountpoint);
        if (r < 0)
                return r;
        sdnotify_drop(KEEP_FUSE);
        sdnotify_drop(KEEP_INIT);
        sdnotify_drop(KEEP_SLOTS);
        r = sdnotify_keep(KEEP_FUSE, session_fd(supervisor->session));
        if (r < 0)
                session_unmount(supervisor->session);
        return r;
}

static int mount_only(Supervisor *supervisor)
{
        const char *given = supervisor->options->mountpoint;
        if (!sdnotify_is_listening()) {
                log_error("--mount-only is for services: there is no service manager here (NOTIFY_SOCKET)");
                return -EINVAL;
        }
        int r = mounts_resolve(given, &supervisor->mountpoint);
        if (r == -ENOENT) /* its last part is made */
                r = mounts_resolve_parent(given, &supervisor->mountpoint);
        if (r == 0)
                r = look_at_mountpoint(supervisor->mountpoint);
        if (r > 0) {
                log_info("%s is mounted, and waits for who serves it", supervisor->mountpoint);
                return 0;
        }
        if (r == 0)
                r = mount_and_keep(supervisor);
        if (r < 0)
                log_error("can't mount on %s: %s", given,
                        r == -EBUSY    ? "it is mounted already (umount it first)"
                        : r == -ENOSYS ? "/proc isn't mounted here"
                                       : strerrordesc_np(-r));
        return r;
}

int supervisor_mount_only(const Options *options)
{
        Supervisor supervisor = {.options = options, .report = -1, .control = -1, .signals = -1};
        log_open(options->log_level, false);
        int r = mount_only(&supervisor);
        session_free(supervisor.session);
        free(supervisor.mountpoint);
        return r < 0 ? EXIT_MOUNT : EXIT_SUCCESS;
}
