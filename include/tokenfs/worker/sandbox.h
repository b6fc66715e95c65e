#pragma once
/* The sandbox of a worker: the files and system calls that are left to it. */

#include "tokenfs/aws/config.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/net/loop.h"
#include "tokenfs/options/options.h"

typedef struct Sandbox Sandbox;

/* Locks the process in, for good, with access to the files that the system, the environment, the options and `config`
 * (borrowed for the call) name now. The log warns of a means that this kernel lacks, and of a file that stays closed.
 * Returns the list of those files, for the functions below; NULL without memory (the process is locked in none the
 * less), or if the option turns the sandbox off. */
Sandbox *sandbox_enter(const Options *options, const AwsConfig *config);
/* The process stays locked in. NULL does nothing. Returns NULL. */
Sandbox *sandbox_free(Sandbox *sandbox);
CLEANUP_DEFINE(Sandbox *, sandbox_free);

/* Means in force, for people: "seccomp, landlock", "seccomp", "off". */
const char *sandbox_state(void);

typedef struct SandboxWatch SandboxWatch;
/* Calls the handler from the loop, at most once a second, when this user may read a file or directory that was named and
 * the sandbox denies it: the kernel binds the rules to the files as they were, so that a link that leads elsewhere since,
 * or a directory that was made since, isn't covered. It costs nothing at rest (inotify). Borrows the sandbox; for NULL,
 * *ret_watch is NULL. 0 or a negative errno. */
typedef void SandboxHandler(const char *path, void *userdata);
int sandbox_watch_new(
        Sandbox *sandbox, Loop *loop, SandboxHandler *handler, void *userdata, SandboxWatch **ret_watch);
/* NULL does nothing. Returns NULL. */
SandboxWatch *sandbox_watch_free(SandboxWatch *watch);
CLEANUP_DEFINE(SandboxWatch *, sandbox_watch_free);
