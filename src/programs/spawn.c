/* The start of programs, in one place.
 *
 * posix_spawn() makes no copy of this process's memory, which holds secrets. */

#include "spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h> /* NOLINT(readability-duplicate-include): the C library's */
#include <unistd.h>

int spawn_program(char *const argv[], int output_fd, pid_t *ret_pid)
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none, all;
        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        int r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attributes);
        if (r != 0) {
                (void)posix_spawn_file_actions_destroy(&actions);
                return -r;
        }
        /* The pipe first: it may have any number. */
        if ((r = posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO)) == 0 &&
                (r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)) ==
                        0 &&
                (r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)) ==
                        0 &&
                (r = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)) == 0 &&
                (r = posix_spawnattr_setflags(&attributes,
                         POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)) == 0 &&
                (r = posix_spawnattr_setpgroup(&attributes, 0)) == 0 &&
                (r = posix_spawnattr_setsigmask(&attributes, &none)) == 0 &&
                (r = posix_spawnattr_setsigdefault(&attributes, &all)) == 0)
                r = posix_spawnp(ret_pid, argv[0], &actions, &attributes, argv, environ);
        (void)posix_spawnattr_destroy(&attributes);
        (void)posix_spawn_file_actions_destroy(&actions);
        return -r;
}
