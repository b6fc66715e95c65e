/* The secret heap: blocks are apart, aligned, wiped, kept out of dumps, locked (in a child, too), and safe in threads.
 * What needs the heap's own memory is left out, and says so, where a sanitizer's heap stands in for it. */

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenfs/base/secret.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_IS_NOT_OURS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define HEAP_IS_NOT_OURS 1
#endif

static const size_t sizes[] = {0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 80, 112, 500, 1000, 1520, 1521, 4080,
        8177, 24560, 24561, 32768, 65536, 100000, 1 << 20};

static void assert_filled(const unsigned char *memory, size_t size, unsigned char with)
{
        for (size_t i = 0; i < size; i++)
                if (memory[i] != with)
                        fail_msg("byte %zu of %zu is %02x, not %02x", i, size, memory[i], with);
}

static void test_blocks_are_apart(void **state)
{
        (void)state;
        unsigned char *blocks[3 * ARRAY_LEN(sizes)];
        for (int round = 0; round < 3; round++) {
                for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
                        size_t size = sizes[i % ARRAY_LEN(sizes)];
                        blocks[i] = secret_malloc(size);
                        assert_non_null(blocks[i]);
                        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
                        memset(blocks[i], (int)i + 1, size);
                }
                for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
                        assert_filled(blocks[i], sizes[i % ARRAY_LEN(sizes)], (unsigned char)(i + 1));
                for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
                        secret_free(blocks[round == 1 ? ARRAY_LEN(blocks) - 1 - i : i]);
        }
        secret_free(NULL);
}

static void test_realloc_keeps_content(void **state)
{
        (void)state;
        size_t before = 0;
        unsigned char *memory = secret_realloc(NULL, 0);
        assert_non_null(memory);
        for (size_t i = 1; i < ARRAY_LEN(sizes); i++) {
                memory = secret_realloc(memory, sizes[i]);
                assert_non_null(memory);
                assert_filled(memory, before, (unsigned char)i);
                before = sizes[i];
                memset(memory, (int)i + 1, before);
        }
        memory = secret_realloc(memory, 10);
        assert_filled(memory, 10, ARRAY_LEN(sizes));
        secret_free(memory);
}

static void test_zeroed_blocks(void **state)
{
        (void)state;
        for (int round = 0; round < 2; round++) {
                unsigned char *memory = secret_calloc(10, 100);
                assert_non_null(memory);
                assert_filled(memory, 1000, 0);
                memset(memory, 0xff, 1000);
                secret_free(memory);
        }
        volatile size_t huge = SIZE_MAX / 2;
        errno = 0;
        assert_null(secret_calloc(huge, 3));
        assert_int_equal(errno, ENOMEM);
}

#ifndef HEAP_IS_NOT_OURS

static void test_too_large(void **state)
{
        (void)state;
        static const size_t more[] = {SIZE_MAX, SIZE_MAX - 16, SIZE_MAX - 4096, SIZE_MAX / 2};
        for (size_t i = 0; i < ARRAY_LEN(more); i++) {
                volatile size_t size = more[i];
                errno = 0;
                assert_null(secret_malloc(size));
                assert_int_equal(errno, ENOMEM);
        }
}

/* Freed blocks stay mapped, so that one can look. The first bytes are the free list's. */
static void test_freed_blocks_are_wiped(void **state)
{
        (void)state;
        for (size_t size = 100; size < 20000; size *= 3) {
                unsigned char *memory = secret_malloc(size);
                assert_non_null(memory);
                memset(memory, 'S', size);
                uintptr_t address = (uintptr_t)memory;
                secret_free(memory);
                assert_filled((const unsigned char *)address + sizeof(void *), size - sizeof(void *), 0);

                memory = secret_malloc(size);
                assert_int_equal((uintptr_t)memory, address);
                memset(memory, 'S', size);
                secret_free(secret_realloc(memory, 4 * size));
                assert_filled((const unsigned char *)address + sizeof(void *), size - sizeof(void *), 0);
        }
}

/* The flags in smaps of the mapping that holds the address. */
static void mapping_flags(const void *address, char *flags, size_t size)
{
        FILE *maps = fopen("/proc/self/smaps", "re");
        char line[512];
        bool is_it = false;
        *flags = '\0';
        assert_non_null(maps);
        while (fgets(line, sizeof line, maps)) {
                unsigned long from, to;
                char space;
                if (sscanf(line, "%lx-%lx%c", &from, &to, &space) == 3)
                        is_it = (uintptr_t)address >= from && (uintptr_t)address < to;
                else if (is_it && strncmp(line, "VmFlags:", 8) == 0)
                        (void)snprintf(flags, size, "%.200s", line + 8);
        }
        (void)fclose(maps);
}

static bool is_kept_secret(const void *address, bool locked)
{
        char flags[256];
        mapping_flags(address, flags, sizeof flags);
        return strstr(flags, " dd") && (!locked || strstr(flags, " lo"));
}

static void test_mappings_are_locked_and_not_dumped(void **state)
{
        (void)state;
        void *small = secret_malloc(100), *large = secret_malloc(200000);
        bool locked = secret_is_locked();
        if (!locked)
                print_message("the limit of locked memory is too small: locks are not tested\n");
        assert_true(is_kept_secret(small, locked));
        assert_true(is_kept_secret(large, locked));
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                void *another = secret_malloc(100);
                _exit(is_kept_secret(small, locked) && is_kept_secret(another, locked) &&
                                        secret_is_locked() == locked
                                ? 0
                                : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        secret_free(small);
        secret_free(large);
}

static void test_large_blocks_are_given_back(void **state)
{
        (void)state;
        char flags[256];
        void *large = secret_malloc(1 << 22);
        assert_non_null(large);
        uintptr_t middle = (uintptr_t)large + (1 << 21);
        mapping_flags((const void *)middle, flags, sizeof flags);
        assert_string_not_equal(flags, "");
        secret_free(large);
        mapping_flags((const void *)middle, flags, sizeof flags);
        assert_string_equal(flags, "");
}

#endif

static void *churn(void *argument)
{
        unsigned char mark = (unsigned char)(uintptr_t)argument;
        uintptr_t wrong = 0;
        for (unsigned i = 0; i < 3000; i++) {
                size_t size = 8 + (i * 37) % 600;
                unsigned char *memory = secret_malloc(size);
                if (!memory)
                        return (void *)1;
                memset(memory, mark, size);
                memory = secret_realloc(memory, size * 3);
                for (size_t k = 0; memory && k < size; k++)
                        wrong |= memory[k] != mark;
                secret_free(memory);
        }
        return (void *)wrong;
}

static void test_threads(void **state)
{
        (void)state;
        pthread_t threads[4];
        for (uintptr_t i = 0; i < ARRAY_LEN(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
        for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
                void *wrong;
                assert_int_equal(pthread_join(threads[i], &wrong), 0);
                assert_null(wrong);
        }
}

static void test_wiping(void **state)
{
        (void)state;
        unsigned char text[32];
        memset(text, 'S', sizeof text);
        secret_wipe(text + 1, 30);
        assert_filled(text + 1, 30, 0);
        assert_int_equal(text[0], 'S');
        assert_int_equal(text[31], 'S');

        unsigned char *memory = wiping_calloc(3, 5);
        assert_non_null(memory);
        assert_filled(memory, 15, 0);
        memset(memory, 7, 15);
        memory = wiping_realloc(memory, 100000);
        assert_filled(memory, 15, 7);
        memory = wiping_realloc(memory, 5);
        assert_filled(memory, 5, 7);
        wiping_free(memory);
        wiping_free(NULL);
        wiping_free(wiping_realloc(NULL, 10));
        wiping_free(wiping_malloc(0));
        char *copy = wiping_strdup("abc");
        assert_string_equal(copy, "abc");
        wiping_free(copy);
        copy = wiping_strdup("");
        assert_string_equal(copy, "");
        wiping_free(copy);
}

static void test_secrets(void **state)
{
        (void)state;
        Secret a = SECRET_INIT;
        assert_int_equal(secret_set(&a, "", 0), 0);
        assert_non_null(a.data); /* empty isn't unset */
        assert_int_equal(secret_set(&a, "ab\0c", 4), 0);
        assert_int_equal(a.len, 4);
        assert_memory_equal(a.data, "ab\0c", 5);
        /* out of itself */
        assert_int_equal(secret_set(&a, a.data + 1, 3), 0);
        assert_memory_equal(a.data, "b\0c", 4);
        secret_deinit(&a);
        assert_null(a.data);
        assert_int_equal(a.len, 0);
        secret_deinit(&a);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_blocks_are_apart),
                cmocka_unit_test(test_realloc_keeps_content),
                cmocka_unit_test(test_zeroed_blocks),
#ifndef HEAP_IS_NOT_OURS
                cmocka_unit_test(test_too_large),
                cmocka_unit_test(test_freed_blocks_are_wiped),
                cmocka_unit_test(test_mappings_are_locked_and_not_dumped),
                cmocka_unit_test(test_large_blocks_are_given_back),
#endif
                cmocka_unit_test(test_threads),
                cmocka_unit_test(test_wiping),
                cmocka_unit_test(test_secrets),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
