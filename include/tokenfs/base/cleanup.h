#pragma once
/* Cleanup attributes: a variable's value is freed at the end of its scope, on every path. */

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

/* Defines `function##_p`, for use with CLEANUP on a variable of type `type` (a pointer). */
#define CLEANUP_DEFINE(type, function)                                                                       \
        static inline void function##_p(type *pointer)                                                       \
        {                                                                                                    \
                if (*pointer)                                                                                \
                        (void)function(*pointer);                                                            \
        }                                                                                                    \
        struct cleanup_needs_a_semicolon

/* Evaluates to the pointer, and sets the variable to NULL: the caller gives the value away. */
#define TAKE(pointer)                                                                                        \
        __extension__({                                                                                      \
                __typeof__(pointer) *cleanup_at_ = &(pointer);                                               \
                __typeof__(pointer) cleanup_taken_ = *cleanup_at_;                                           \
                *cleanup_at_ = NULL;                                                                         \
                cleanup_taken_;                                                                              \
        })

static inline void cleanup_free(void *pointer)
{
        free(*(void **)pointer);
}

/* Closes *fd if it is open (>= 0); keeps errno. */
void cleanup_close(int *fd);

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)(((char *)(pointer)) - offsetof(type, member)))
