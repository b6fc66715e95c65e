/* The notifier.
 *
 * Why a process of its own: such a notification waits for locks that a request may hold which waits for our own
 * answer. In the worker that is a deadlock, in the supervisor a supervisor that hangs. A process that does nothing
 * else may wait, and may be killed. */

#include "tokenfs/fuse/notify.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* The entry goes before the attributes: a path that was looked up in between would be answered by its old node. Entries of
 * the root stay, since their removal takes a lock that holds up look-ups of all tokens; they aren't files. */
static void invalidate(Node node, uint32_t directory, void *userdata)
{
        const char *name = node_is_file(node) ? node_file_name(node.field) : NULL;
        if (name)
                (void)session_invalidate_entry(userdata, node_directory(directory), name);
        (void)session_invalidate(userdata, node_id(node));
}

int notify_start(Session *session, Nodes *nodes, const char *name, pid_t *ret_pid)
{
        pid_t pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                nodes_index(nodes);
                if (name)
                        nodes_invalidate_name(nodes, name, invalidate, session);
                else
                        nodes_invalidate(nodes, invalidate, session);
                _exit(0);
        }
        *ret_pid = pid;
        return 0;
}
