/* The supervisor's start.
 *
 * Everything that can fail for reasons a user can do something about fails here, with a sentence on standard error and
 * nothing left mounted. */

#include "start.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config-probe.h"
#include "fdstore.h"
#include "sdnotify.h"
#include "signals.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/daemonize.h"
#include "tokenfs/base/log.h"
#include "tokenfs/fuse/mounts.h"

static int prepare_mountpoint(const Options *options, char **ret_path)
{
        const char *given = options->mountpoint;
        CLEANUP(cleanup_free) char *path = NULL;
        int r = mounts_resolve(given, &path);
        if (r == 0)
                r = mounts_prepare(path);
        switch (-r) {
        case 0: *ret_path = TAKE(path); return 0;
        case ENOENT: log_error("the mount point %s doesn't exist", given); break;
        case ENOTDIR: log_error("the mount point %s is no directory", given); break;
        case EBADF: log_error("%s is no descriptor of /dev/fuse", given); break;
        case EBUSY: log_error("%s is mounted already (umount it first)", path); break;
        case ENOSYS: log_error("can't mount on %s: /proc isn't mounted here", given); break;
        default: log_error("can't mount on %s: %s", given, strerror(-r)); break;
        }
        return r;
}

static int mount_new(const Options *options, Mount *ret_mount)
{
        CLEANUP(cleanup_free) char *path = NULL;
        int r = prepare_mountpoint(options, &path);
        if (r == 0)
                r = mount_leave_directory();
        if (r == 0)
                r = config_probe_run(options);
        if (r == 0)
                r = mount_make(options, path, path, ret_mount);
        if (r == 0)
                path = NULL;
        return r;
}

/* A lock or a pipe that a starter left open by oversight would be held for as long as the mount lives. */
static void close_inherited(const Options *options)
{
        unsigned first = (unsigned)sdnotify_kept_end();
        int given = mounts_descriptor(options->mountpoint);
        if (given >= 0 && (unsigned)given >= first) {
                if ((unsigned)given > first)
                        (void)close_range(first, (unsigned)given - 1, 0);
                first = (unsigned)given + 1;
        }
        (void)close_range(first, ~0U, 0);
}

int start_mount(const Options *options, int *ret_report, Mount *ret_mount)
{
        bool is_background = !options->foreground;
        /* On its way to the background, the program logs errors and warnings alone. */
        bool is_quiet = is_background && options->log_level > LOG_LEVEL_WARNING;
        log_open(is_quiet ? LOG_LEVEL_WARNING : options->log_level, false);
        close_inherited(options);
        *ret_report = -1;
        if (is_background) {
                int r = daemonize_start(ret_report);
                if (r < 0) {
                        log_error("can't go to the background: %s", strerror(-r));
                        return r;
                }
        }
        signals_block_requests();
        int r = fdstore_load(options, ret_mount);
        if (r == -ENOENT)
                r = mount_new(options, ret_mount);
        /* Only now: autofs lets none but the process group that asked for the mount pass to the mount point. */
        if (r == 0 && is_background)
                (void)setsid();
        return r;
}
