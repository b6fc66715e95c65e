#pragma once
/* Vectors that a script computes with botocore while the test runs, a line each. Include it behind cmocka.h. */

#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VECTORS_PYTHON "/usr/bin/python3"

extern char **environ;

typedef struct Vectors {
        pid_t pid;
        FILE *output;
        char *line; /* the current one, without its line feed */
        size_t size;
        char missing[200]; /* why there are no vectors here */
} Vectors;

/* Starts `script` (its path). */
static inline void vectors_open(Vectors *vectors, const char *script)
{
        *vectors = (Vectors){0};
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        posix_spawn_file_actions_t actions;
        assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
        assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO), 0);
        char *path = strdup(script), python[] = VECTORS_PYTHON, *argv[] = {python, path, NULL};
        if (posix_spawn(&vectors->pid, python, &actions, NULL, argv, environ) != 0) {
                vectors->pid = -1;
                snprintf(vectors->missing, sizeof vectors->missing, "%s can't be started", python);
        }
        free(path);
        posix_spawn_file_actions_destroy(&actions);
        close(ends[1]);
        vectors->output = fdopen(ends[0], "re");
        assert_non_null(vectors->output);
}

/* The next line, in vectors->line. False: that was the last. */
static inline bool vectors_next(Vectors *vectors)
{
        while (getline(&vectors->line, &vectors->size, vectors->output) > 0) {
                vectors->line[strcspn(vectors->line, "\n")] = '\0';
                if (strncmp(vectors->line, "skip ", 5) != 0)
                        return true;
                snprintf(vectors->missing, sizeof vectors->missing, "%s", vectors->line + 5);
        }
        return false;
}

/* Ends the script, which must have succeeded; where it couldn't, the test is skipped, loudly. */
static inline void vectors_close(Vectors *vectors)
{
        int status = 0;
        free(vectors->line);
        fclose(vectors->output);
        if (vectors->pid > 0)
                assert_int_equal(waitpid(vectors->pid, &status, 0), vectors->pid);
        assert_int_equal(status, 0);
        if (*vectors->missing) {
                print_message("SKIPPED: no vectors of botocore to compare with: %s\n", vectors->missing);
                skip();
        }
}
