/* The audit: each open of a secret is in the log before it succeeds.
 *
 * Why: syslog's socket is open to every user, and takes no more lines while it is full; a log line that is lost then
 * would hide an open. How: the open waits until its line is taken. It is refused with EBUSY, and counted, when its
 * deadline passes before, or when too many wait already. */

#include "fs-private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define RETRY_NS (5 * NS_PER_MS) /* between two tries of any request, and not each one's */
#define WAITING_MAX 1000

static void read_command(pid_t pid, char *ret_command, size_t size)
{
        char path[64];
        (void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
        (void)snprintf(ret_command, size, "?");
        FILE *file = fopen(path, "re");
        if (!file)
                return;
        if (fgets(ret_command, (int)size, file))
                ret_command[strcspn(ret_command, "\n")] = '\0';
        (void)fclose(file);
}

static bool write_line(const Request *request, const Slot *slot)
{
        const struct fuse_ctx *context = fuse_req_ctx(request->fuse);
        char command[64];
        read_command(context->pid, command, sizeof command);
        return log_try("audit: open of %s%s/%s by uid %u gid %u pid %d (%s)",
                slot_kind_is_name((SlotKind)slot->kind) ? ".by_name/" : "", slot->key,
                node_file_name(request->node.field), (unsigned)context->uid, (unsigned)context->gid,
                (int)context->pid, command);
}

int audit_open(Request *request, const Slot *slot)
{
        Fs *fs = request->fs;
        uint64_t now_ns = clock_now_ns();
        bool may_try = request->give_up || now_ns >= fs->audit_retry_ns;
        if (may_try && write_line(request, slot))
                return 0;
        if (may_try)
                fs->audit_retry_ns = clock_add_ns(now_ns, RETRY_NS);
        if (!request->give_up && (request->is_parked || fs->counters.waiting < WAITING_MAX))
                return request_wait_until(request, fs->audit_retry_ns);
        fs->counters.audit_refused++;
        return EBUSY;
}
