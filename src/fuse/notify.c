/* The notifier.
 *
 * Why processes of their own: a notification waits for locks that a request may hold while it waits for the worker's
 * answer. The worker would deadlock, and the supervisor would hang. A process that does nothing else may wait, and may be
 * killed.
 *
 * Three ways lead from a change to a program. The kernel forgets entries and attributes, so that the next access asks:
 * after SIGHUP, after a suspend, and before on_change runs. Watchers by inotify get IN_DELETE_SELF of a
 * superseded file, as Kubernetes' secret volumes give it: the file's entry is deleted, and a new one is there already.
 * on_change runs a command, and --wait reads again and again: neither needs a watch. */

#include "tokenfs/fuse/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Changes whose locks are waited for at the same time. */
#define CHANGES_MAX 16
/* A task may not have processed yet an answer of before the change, in which the link count is 1. If it does so after the
 * deletion, the kernel sends no event. */
#define SETTLE_NS (20 * 1000 * 1000)

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

static void notify_watchers(Session *session, const NotifyChange *change)
{
        const struct timespec settle = {.tv_nsec = SETTLE_NS};
        (void)nanosleep(&settle, NULL);
        for (unsigned field = NODE_FIELD; field < NODE_KIND_COUNT; field++) {
                const char *name =
                        change->fields & 1u << (field - NODE_FIELD) ? node_file_name((uint8_t)field) : NULL;
                if (name)
                        (void)session_delete_entry(session, node_directory(change->directory),
                                node_id((Node){change->slot, change->generation, (uint8_t)field}), name);
        }
}

/* Each change has a process of its own: one that waits for a lock delays no other. */
static _Noreturn void serve_watchers(Session *session, int fd)
{
        NotifyChange change;
        unsigned under_way = 0;
        while (recv(fd, &change, sizeof change, 0) == (ssize_t)sizeof change) {
                while (under_way > 0 && waitpid(-1, NULL, under_way < CHANGES_MAX ? WNOHANG : 0) > 0)
                        under_way--;
                pid_t pid = fork();
                if (pid == 0) {
                        notify_watchers(session, &change);
                        (void)send(fd, &change, sizeof change, MSG_NOSIGNAL | MSG_DONTWAIT);
                        _exit(0);
                }
                under_way += pid > 0;
        }
        _exit(0);
}

/* Other descriptors would stay open when their owner has closed them. If 0 to 2 were closed, the next open() would take
 * their numbers. */
static void close_others(int first, int second)
{
        unsigned low = (unsigned)(first < second ? first : second);
        unsigned high = (unsigned)(first < second ? second : first);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        for (int stream = 0; stream <= 2; stream++)
                (void)dup2(null, stream);
        if (low > 3)
                (void)close_range(3, low - 1, 0);
        if (high > low + 1)
                (void)close_range(low + 1, high - 1, 0);
        (void)close_range(high + 1, ~0U, 0);
}

int notify_start_watchers(Session *session, int *ret_fd)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        pid_t pid = fork();
        if (pid == 0) {
                static const int ignored[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
                for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
                        (void)signal(ignored[i], SIG_IGN); /* it ends with its worker */
                close_others(ends[1], session_fd(session));
                (void)prctl(PR_SET_NAME, "tokenfs-notify", 0, 0, 0);
                serve_watchers(session, ends[1]);
        }
        int r = pid < 0 ? -errno : 0;
        (void)close(ends[1]);
        if (r == 0)
                *ret_fd = ends[0];
        else
                (void)close(ends[0]);
        return r;
}

int notify_send(int fd, const NotifyChange *change)
{
        return send(fd, change, sizeof *change, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int notify_receive(int fd, NotifyChange *ret_change)
{
        ssize_t len = recv(fd, ret_change, sizeof *ret_change, MSG_DONTWAIT);
        if (len < 0)
                return -errno;
        return len == (ssize_t)sizeof *ret_change ? 0 : -EPIPE;
}
