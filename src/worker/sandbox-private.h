#pragma once
/* The paths that a sandbox is made of. */

#include <stdbool.h>
#include <sys/types.h>

#include "tokenfs/worker/sandbox.h"

#define SANDBOX_PLACES_MAX 64

/* A file or directory outside of the system's own directories, or a name in /etc that may be a link. */
typedef struct Place {
        char *path; /* absolute, links not resolved */
        bool is_directory; /* else a file */
        bool is_written; /* the worker also makes and replaces files in its directory */
        bool is_changed; /* a name on its path was made since the last test */
        bool is_given_up; /* it is denied from the beginning */
        dev_t device; /* of a written place's directory, at the start; inode 0: there was none */
        ino_t inode;
} Place;

struct Sandbox {
        Place places[SANDBOX_PLACES_MAX];
        size_t count;
};

/* True if this user may read the place, and the sandbox denies it. */
bool sandbox_is_denied(const Place *place);
