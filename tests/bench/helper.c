/* The measured loops of the benches, in C so that the loop itself costs next to nothing.
 *
 *   helper read COUNT READERS FILE…     each of READERS processes opens, reads and closes the files in turn, COUNT times
 *                                       in all; prints nanoseconds a read as seen by one reader, and the longest one
 *   helper get COUNT REGION URL…        bare libcurl, one kept-alive connection, signed by libcurl: GETs the URLs in
 *                                       turn, COUNT times in all; prints nanoseconds a GET
 *
 * Keys come from the environment, as the AWS tools have them. */

#include <curl/curl.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
        perror(what);
        _exit(1);
}

typedef struct Result {
        uint64_t total_ns, longest_ns;
} Result;

static void read_loop(long count, int files, char **paths, Result *ret_result)
{
        char buffer[4096];
        uint64_t longest_ns = 0, start_ns = now_ns(), before_ns = start_ns;
        for (long i = 0; i < count; i++) {
                int fd = open(paths[i % files], O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        die(paths[i % files]);
                if (read(fd, buffer, sizeof buffer) < 0)
                        die("read");
                (void)close(fd);
                uint64_t after_ns = now_ns();
                if (after_ns - before_ns > longest_ns)
                        longest_ns = after_ns - before_ns;
                before_ns = after_ns;
        }
        *ret_result = (Result){.total_ns = before_ns - start_ns, .longest_ns = longest_ns};
}

static int run_readers(long count, int readers, int files, char **paths)
{
        Result *results = mmap(NULL, sizeof *results * (size_t)readers, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (results == MAP_FAILED)
                die("mmap");
        long each = count / readers > 0 ? count / readers : 1;
        uint64_t start_ns = now_ns();
        for (int i = 0; i < readers; i++) {
                pid_t pid = fork();
                if (pid < 0)
                        die("fork");
                if (pid == 0) {
                        read_loop(each, files, paths, &results[i]);
                        _exit(0);
                }
        }
        int failed = 0, status;
        while (wait(&status) > 0)
                failed |= status;
        uint64_t wall_ns = now_ns() - start_ns, longest_ns = 0;
        for (int i = 0; i < readers; i++)
                if (results[i].longest_ns > longest_ns)
                        longest_ns = results[i].longest_ns;
        /* All together: what one read costs the machine. */
        printf("%.1f %.1f\n", (double)wall_ns / (double)(each * readers), (double)longest_ns);
        return failed ? 1 : 0;
}

static size_t swallow(char *data, size_t size, size_t count, void *userdata)
{
        (void)data;
        (void)userdata;
        return size * count;
}

static int run_gets(long count, const char *region, int urls, char **url)
{
        char provider[128], keys[512];
        (void)snprintf(provider, sizeof provider, "aws:amz:%s:route53globalresolver", region);
        const char *id = secure_getenv("AWS_ACCESS_KEY_ID"), *secret = secure_getenv("AWS_SECRET_ACCESS_KEY");
        (void)snprintf(keys, sizeof keys, "%s:%s", id ? id : "", secret ? secret : "");
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return 1;
        CURL *curl = curl_easy_init();
        if (!curl)
                return 1;
        (void)curl_easy_setopt(curl, CURLOPT_AWS_SIGV4, provider);
        (void)curl_easy_setopt(curl, CURLOPT_USERPWD, keys);
        (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, swallow);
        (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
        (void)curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
        uint64_t start_ns = now_ns();
        for (long i = 0; i < count; i++) {
                (void)curl_easy_setopt(curl, CURLOPT_URL, url[i % urls]);
                CURLcode code = curl_easy_perform(curl);
                if (code != CURLE_OK) {
                        (void)fprintf(stderr, "%s: %s\n", url[i % urls], curl_easy_strerror(code));
                        return 1;
                }
        }
        printf("%.1f\n", (double)(now_ns() - start_ns) / (double)count);
        curl_easy_cleanup(curl);
        curl_global_cleanup();
        return 0;
}

int main(int argc, char **argv)
{
        if (argc < 5)
                return 2;
        long count = strtol(argv[2], NULL, 10);
        if (strcmp(argv[1], "read") == 0)
                return run_readers(count, (int)strtol(argv[3], NULL, 10), argc - 4, argv + 4);
        if (strcmp(argv[1], "get") == 0)
                return run_gets(count, argv[3], argc - 4, argv + 4);
        return 2;
}
