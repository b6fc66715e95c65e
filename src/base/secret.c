/* The secret heap.
 *
 * Why: the C library's heap keeps freed bytes, is swapped, and is dumped. Tokens and keys must not be. How: chunks are
 * mapped for this heap alone, marked MADV_DONTDUMP, and locked as they are touched (MLOCK_ONFAULT). Where the limit
 * forbids that, chunks stay unlocked, and secret_is_locked() returns false. A block has a header with its size class.
 * Freed blocks are wiped and kept in a list for each class. A block larger than the largest class has a mapping of its
 * own. fork() doesn't pass locks on (mlock(2)), so the child locks the chunks again: the worker, a child of the
 * supervisor, uses the rest of the supervisor's chunks.
 * Under a sanitizer the C library's heap is used, so that the sanitizer finds overflows; blocks are still wiped. */

#include "tokenfs/base/secret.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SECRET_USE_MALLOC 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SECRET_USE_MALLOC 1
#endif

void secret_wipe(void *memory, size_t size)
{
        explicit_bzero(memory, size);
}

#ifdef SECRET_USE_MALLOC

void *secret_malloc(size_t size)
{
        return wiping_malloc(size);
}

void secret_free(void *memory)
{
        wiping_free(memory);
}

void *secret_realloc(void *memory, size_t size)
{
        return wiping_realloc(memory, size);
}

bool secret_is_locked(void)
{
        return false;
}

#else

#define CHUNK_BYTES ((size_t)64 * 1024)
#define CLASS_COUNT 20
#define CLASS_LARGE CLASS_COUNT

typedef struct BlockHeader {
        size_t size; /* usable bytes behind the header */
        size_t class;
} BlockHeader;

typedef struct FreeBlock {
        struct FreeBlock *next;
} FreeBlock;

/* At the start of each chunk; as large as a block's header, so that the blocks are aligned. */
typedef struct Chunk {
        struct Chunk *next;
        size_t bytes;
} Chunk;

static pthread_mutex_t heap_lock = PTHREAD_MUTEX_INITIALIZER;
static FreeBlock *heap_free[CLASS_COUNT];
static Chunk *heap_chunks;
static char *heap_chunk;
static size_t heap_chunk_left;
static bool heap_unlocked;

/* Classes are 16 bytes short of 32, 48, 64, 96, 128, … 24 KiB, so that a block with its header fills them. */
static size_t class_bytes(size_t class)
{
        size_t base = (size_t)32 << (class / 2);
        return class % 2 ? base + base / 2 : base;
}

static size_t class_of(size_t size)
{
        size_t class = 0;
        while (class < CLASS_COUNT && class_bytes(class) - sizeof(BlockHeader) < size)
                class ++;
        return class;
}

static void lock_pages(void *memory, size_t bytes)
{
        if (mlock2(memory, bytes, MLOCK_ONFAULT) < 0)
                heap_unlocked = true;
}

static void before_fork(void)
{
        pthread_mutex_lock(&heap_lock);
}

static void after_fork_in_parent(void)
{
        pthread_mutex_unlock(&heap_lock);
}

static void after_fork_in_child(void)
{
        int saved_errno = errno;
        for (Chunk *chunk = heap_chunks; chunk; chunk = chunk->next)
                lock_pages(chunk, chunk->bytes);
        errno = saved_errno;
        pthread_mutex_unlock(&heap_lock);
}

static void watch_forks(void)
{
        if (pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0)
                heap_unlocked = true;
}

static void *map_pages(size_t bytes)
{
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return NULL;
        (void)madvise(memory, bytes, MADV_DONTDUMP);
        lock_pages(memory, bytes);
        return memory;
}

static void *large_malloc(size_t size)
{
        size_t bytes = (size + sizeof(BlockHeader) + 4095) & ~(size_t)4095;
        if (bytes < size)
                return NULL;
        BlockHeader *header = map_pages(bytes);
        if (!header)
                return NULL;
        *header = (BlockHeader){.size = bytes - sizeof(BlockHeader), .class = CLASS_LARGE};
        return header + 1;
}

static void *small_malloc(size_t class)
{
        FreeBlock *block = heap_free[class];
        if (block) {
                heap_free[class] = block->next;
                block->next = NULL;
                return block;
        }
        size_t bytes = class_bytes(class);
        if (heap_chunk_left < bytes) {
                Chunk *chunk = map_pages(CHUNK_BYTES);
                if (!chunk)
                        return NULL;
                *chunk = (Chunk){heap_chunks, CHUNK_BYTES};
                heap_chunks = chunk;
                heap_chunk = (char *)(chunk + 1);
                heap_chunk_left = CHUNK_BYTES - sizeof *chunk;
        }
        BlockHeader *header = (BlockHeader *)(void *)heap_chunk;
        heap_chunk += bytes;
        heap_chunk_left -= bytes;
        *header = (BlockHeader){.size = bytes - sizeof(BlockHeader), .class = class};
        return header + 1;
}

void *secret_malloc(size_t size)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        size_t class = class_of(size);
        (void)pthread_once(&once, watch_forks);
        pthread_mutex_lock(&heap_lock);
        void *memory = class == CLASS_LARGE ? large_malloc(size) : small_malloc(class);
        pthread_mutex_unlock(&heap_lock);
        if (!memory)
                errno = ENOMEM;
        return memory;
}

void secret_free(void *memory)
{
        if (!memory)
                return;
        BlockHeader *header = (BlockHeader *)memory - 1;
        secret_wipe(memory, header->size);
        if (header->class == CLASS_LARGE) {
                (void)munmap(header, header->size + sizeof(BlockHeader));
                return;
        }
        pthread_mutex_lock(&heap_lock);
        FreeBlock *block = memory;
        block->next = heap_free[header->class];
        heap_free[header->class] = block;
        pthread_mutex_unlock(&heap_lock);
}

void *secret_realloc(void *memory, size_t size)
{
        if (!memory)
                return secret_malloc(size);
        BlockHeader *header = (BlockHeader *)memory - 1;
        if (size <= header->size)
                return memory;
        void *moved = secret_malloc(size);
        if (!moved)
                return NULL;
        memcpy(moved, memory, header->size);
        secret_free(memory);
        return moved;
}

bool secret_is_locked(void)
{
        pthread_mutex_lock(&heap_lock);
        bool locked = !heap_unlocked;
        pthread_mutex_unlock(&heap_lock);
        return locked;
}

#endif

void *secret_calloc(size_t count, size_t size)
{
        size_t bytes;
        if (__builtin_mul_overflow(count, size, &bytes)) {
                errno = ENOMEM;
                return NULL;
        }
        void *memory = secret_malloc(bytes);
        if (memory)
                memset(memory, 0, bytes);
        return memory;
}

void *wiping_malloc(size_t size)
{
        return malloc(size);
}

void *wiping_calloc(size_t count, size_t size)
{
        return calloc(count, size);
}

void wiping_free(void *memory)
{
        if (memory)
                secret_wipe(memory, malloc_usable_size(memory));
        free(memory);
}

void *wiping_realloc(void *memory, size_t size)
{
        if (!memory)
                return malloc(size);
        size_t old_size = malloc_usable_size(memory);
        if (size && size <= old_size)
                return memory;
        void *moved = malloc(size);
        if (!moved)
                return NULL;
        memcpy(moved, memory, old_size < size ? old_size : size);
        wiping_free(memory);
        return moved;
}

char *wiping_strdup(const char *string)
{
        size_t bytes = strlen(string) + 1;
        char *copy = malloc(bytes);
        if (copy)
                memcpy(copy, string, bytes);
        return copy;
}

int secret_set(Secret *secret, const void *data, size_t len)
{
        char *copy = secret_malloc(len + 1);
        if (!copy)
                return -ENOMEM;
        if (len)
                memcpy(copy, data, len);
        copy[len] = '\0';
        secret_deinit(secret);
        *secret = (Secret){copy, len};
        return 0;
}

void secret_deinit(Secret *secret)
{
        secret_free(secret->data);
        *secret = SECRET_INIT;
}
