/* The notifier.
 *
 * Why a process of its own: such a notification waits for locks that a request may hold which waits for our own
 * answer. In the worker that is a deadlock, in the supervisor a supervisor that hangs. A process that does nothing
 * else may wait, and may be killed. It touches the shared table only to read it. */

#include "tokenfs/fuse/notify.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

static void invalidate(uint64_t node_id, void *userdata)
{
        (void)session_invalidate(userdata, node_id);
}

int notify_start(Session *session, const Nodes *slots, pid_t *ret_pid)
{
        pid_t pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                nodes_visit_nodes(slots, invalidate, session);
                _exit(0);
        }
        *ret_pid = pid;
        return 0;
}

int notify_start_name(Session *session, const Nodes *slots, const char *name, pid_t *ret_pid)
{
        pid_t pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                nodes_visit_name(slots, name, invalidate, session);
                _exit(0);
        }
        *ret_pid = pid;
        return 0;
}
