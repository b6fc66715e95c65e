/* Watches a file by inotify: says "watching", and ends with 0 when the file's inode is deleted. For a container without any
 * program of its own. */

#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

int main(int argc, char **argv)
{
        struct inotify_event event;
        int fd = inotify_init1(IN_CLOEXEC);
        if (argc != 2 || fd < 0 || inotify_add_watch(fd, argv[1], IN_DELETE_SELF) < 0)
                return 1;
        (void)puts("watching");
        (void)fflush(stdout);
        return read(fd, &event, sizeof event) == (ssize_t)sizeof event && event.mask & IN_DELETE_SELF ? 0 : 1;
}
