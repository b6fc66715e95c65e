/* Failing allocations.
 *
 * The linker turns each call of an allocator in the library and in the test into one of the functions below (--wrap).
 * What libraries allocate for themselves isn't reached by that, unless they were given our functions (cJSON, and
 * OpenSSL after http_global_init). */

#include "alloc_failure.h"

#include <errno.h>
#include <search.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define RUNS_MAX 20000

static bool is_armed, fails_on;
static unsigned paused;
static unsigned long left; /* allocations until the one that fails */
static unsigned long failed;

static bool must_fail(void)
{
        if (!is_armed || paused)
                return false;
        if (left > 0 && --left > 0)
                return false;
        if (failed > 0 && !fails_on)
                return false;
        failed++;
        errno = ENOMEM;
        return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
        return must_fail() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
        return must_fail() ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size)
{
        return must_fail() ? NULL : __real_realloc(memory, size);
}

void *__real_reallocarray(void *memory, size_t count, size_t size);
void *__wrap_reallocarray(void *memory, size_t count, size_t size);
void *__wrap_reallocarray(void *memory, size_t count, size_t size)
{
        return must_fail() ? NULL : __real_reallocarray(memory, count, size);
}

char *__real_strdup(const char *string);
char *__wrap_strdup(const char *string);
char *__wrap_strdup(const char *string)
{
        return must_fail() ? NULL : __real_strdup(string);
}

char *__real_strndup(const char *string, size_t max);
char *__wrap_strndup(const char *string, size_t max);
char *__wrap_strndup(const char *string, size_t max)
{
        return must_fail() ? NULL : __real_strndup(string, max);
}

int __real_vasprintf(char **ret_string, const char *format, va_list args);
int __wrap_vasprintf(char **ret_string, const char *format, va_list args);
__attribute__((format(printf, 2, 0))) int __wrap_vasprintf(
        char **ret_string, const char *format, va_list args)
{
        return must_fail() ? -1 : __real_vasprintf(ret_string, format, args);
}

int __wrap_asprintf(char **ret_string, const char *format, ...);
__attribute__((format(printf, 2, 3))) int __wrap_asprintf(char **ret_string, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        int r = __wrap_vasprintf(ret_string, format, args);
        va_end(args);
        return r;
}

void *__real_tsearch(const void *key, void **root, int (*compare)(const void *, const void *));
void *__wrap_tsearch(const void *key, void **root, int (*compare)(const void *, const void *));
void *__wrap_tsearch(const void *key, void **root, int (*compare)(const void *, const void *))
{
        return must_fail() ? NULL : __real_tsearch(key, root, compare);
}

/* The secret heap maps its chunks: there it is the blocks that fail. */
void *__real_secret_malloc(size_t size);
void *__wrap_secret_malloc(size_t size);
void *__wrap_secret_malloc(size_t size)
{
        return must_fail() ? NULL : __real_secret_malloc(size);
}

void *__real_secret_calloc(size_t count, size_t size);
void *__wrap_secret_calloc(size_t count, size_t size);
void *__wrap_secret_calloc(size_t count, size_t size)
{
        return must_fail() ? NULL : __real_secret_calloc(count, size);
}

void *__real_secret_realloc(void *memory, size_t size);
void *__wrap_secret_realloc(void *memory, size_t size);
void *__wrap_secret_realloc(void *memory, size_t size)
{
        return must_fail() ? NULL : __real_secret_realloc(memory, size);
}

void alloc_failure_pause(void)
{
        paused++;
}

void alloc_failure_resume(void)
{
        paused--;
}

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static void assert_no_leak(void)
{
        if (__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() != 0)
                fail_msg("leaks");
}

static unsigned long run_until_it_passes(AllocScenario *scenario, bool on)
{
        for (unsigned long n = 1; n < RUNS_MAX; n++) {
                left = n;
                failed = 0;
                paused = 0;
                fails_on = on;
                is_armed = true;
                bool passed = scenario();
                is_armed = false;
                if (failed > 0)
                        continue;
                if (!passed)
                        fail_msg("doesn't pass with all the memory it wants");
                return n;
        }
        fail_msg("never passes");
        return 0;
}

void alloc_failure_run(AllocScenario *scenario)
{
        if (!scenario())
                fail_msg("doesn't pass with all the memory it wants");
        unsigned long runs = run_until_it_passes(scenario, false);
        assert_true(runs > 1);
        (void)run_until_it_passes(scenario, true);
        assert_no_leak();
        print_message("             %lu allocations\n", runs - 1);
}
