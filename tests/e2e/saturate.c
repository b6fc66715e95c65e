/* Reads files over and over, without a pause, each time until its end, as cat(1) does; and checks that each read gave one
 * version, whole.
 *
 *   saturate THREADS PATH…      until its standard input ends; then prints one line of JSON
 *
 * A version says of itself what it must be: value_of in hammer.py. Wrong reads that follow each other in one thread are a
 * run: whatever went wrong was not put right by the next read. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 4096
#define VERSIONS_MAX 100000

typedef struct Reader {
        pthread_t thread;
        char **paths;
        int path_count;
        long reads, wrong, run, longest_run, errors, back;
        int last_error;
        char example[TEXT_MAX + 1];
} Reader;

static atomic_bool is_over;
static atomic_bool seen[VERSIONS_MAX];

/* The number of the version, or -1. */
static long version_of(const char *text, size_t len)
{
        char number[9] = {0};
        if (len < 8)
                return -1;
        memcpy(number, text, 8);
        if (strspn(number, "0123456789") != 8)
                return -1;
        long version = strtol(number, NULL, 10);
        if (len - 8 != (size_t)(version * 37 % 91))
                return -1;
        for (size_t i = 8; i < len; i++)
                if (text[i] != 'a' + version % 26)
                        return -1;
        return version;
}

/* Its length, or -1 with errno. */
static ssize_t read_whole(const char *path, char text[TEXT_MAX])
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        size_t len = 0;
        ssize_t more = 0;
        while (len < TEXT_MAX && (more = read(fd, text + len, TEXT_MAX - len)) > 0)
                len += (size_t)more;
        int error = errno;
        (void)close(fd);
        errno = error;
        return more < 0 ? -1 : (ssize_t)len;
}

static void *read_on(void *argument)
{
        Reader *reader = argument;
        char text[TEXT_MAX];
        long last[64] = {0};
        for (int i = 0; !is_over; i = (i + 1) % reader->path_count) {
                ssize_t len = read_whole(reader->paths[i], text);
                reader->reads++;
                if (len < 0) {
                        reader->errors++;
                        reader->last_error = errno;
                        continue;
                }
                long version = version_of(text, (size_t)len);
                if (version >= 0) {
                        reader->run = 0;
                        reader->back += version < last[i];
                        last[i] = version;
                        if (version < VERSIONS_MAX)
                                seen[version] = true;
                        continue;
                }
                reader->wrong++;
                reader->run++;
                if (reader->run > reader->longest_run)
                        reader->longest_run = reader->run;
                memcpy(reader->example, text, (size_t)len);
                reader->example[len] = '\0';
        }
        return NULL;
}

static void report(const Reader *readers, int count)
{
        Reader sum = {0};
        long versions = 0;
        for (int i = 0; i < count; i++) {
                const Reader *one = &readers[i];
                sum.reads += one->reads;
                sum.wrong += one->wrong;
                sum.errors += one->errors;
                sum.back += one->back;
                if (one->longest_run > sum.longest_run)
                        sum.longest_run = one->longest_run;
                if (one->last_error)
                        sum.last_error = one->last_error;
                if (*one->example)
                        memcpy(sum.example, one->example, sizeof sum.example);
        }
        for (int i = 0; i < VERSIONS_MAX; i++)
                versions += seen[i];
        for (char *c = sum.example; *c; c++)
                if (*c < ' ' || *c == '"' || *c == '\\' || *c > '~')
                        *c = '?';
        printf("{\"reads\": %ld, \"wrong\": %ld, \"longest_run\": %ld, \"errors\": %ld, \"error\": \"%s\", "
               "\"back\": %ld, "
               "\"versions\": %ld, \"example\": \"%s\"}\n",
                sum.reads, sum.wrong, sum.longest_run, sum.errors,
                sum.last_error ? strerror(sum.last_error) : "", sum.back, versions, sum.example);
}

int main(int argc, char **argv)
{
        int count = argc > 2 ? (int)strtol(argv[1], NULL, 10) : 0;
        Reader *readers = calloc((size_t)(count > 0 ? count : 1), sizeof *readers);
        if (!readers || count < 1 || argc > 64) {
                (void)fputs("usage: saturate THREADS PATH…\n", stderr);
                return 2;
        }
        for (int i = 0; i < count; i++) {
                readers[i].paths = argv + 2;
                readers[i].path_count = argc - 2;
                if (pthread_create(&readers[i].thread, NULL, read_on, &readers[i]) != 0)
                        return 1;
        }
        while (getchar() != EOF)
                ;
        is_over = true;
        for (int i = 0; i < count; i++)
                (void)pthread_join(readers[i].thread, NULL);
        report(readers, count);
        free(readers);
        return 0;
}
