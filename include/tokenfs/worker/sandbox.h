#pragma once
/* The sandbox of a worker: limits on its files and system calls. */

#include "tokenfs/aws/config.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/net/loop.h"
#include "tokenfs/options/options.h"

typedef struct Sandbox Sandbox;

/* Puts the sandbox into force, for good: this process can open the files that the system, the environment, the options and
 * `config` (borrowed for the call) name now. The log warns of a mechanism that this kernel lacks, and of a file that the
 * sandbox can't open. Returns the list of those files for sandbox_watch_new. NULL: there is no memory for it (the sandbox
 * is in force), or the option turns the sandbox off. */
Sandbox *sandbox_enter(const Options *options, const AwsConfig *config);
/* Frees the list; the sandbox stays in force. NULL does nothing. Returns NULL. */
Sandbox *sandbox_free(Sandbox *sandbox);
CLEANUP_DEFINE(Sandbox *, sandbox_free);

/* The mechanisms in force, for people: "seccomp, landlock", "seccomp", "off". */
const char *sandbox_state(void);

typedef struct SandboxWatch SandboxWatch;
/* Calls the handler from the loop, at most once a second, when the sandbox alone keeps this user from a file of the list.
 * The kernel binds the rules to the files of the start: they don't cover a link's new target, or a directory that was made
 * since. It costs nothing at rest (inotify). Borrows the sandbox; for NULL, *ret_watch is NULL. 0 or a
 * negative errno. */
typedef void SandboxHandler(const char *path, void *userdata);
int sandbox_watch_new(
        Sandbox *sandbox, Loop *loop, SandboxHandler *handler, void *userdata, SandboxWatch **ret_watch);
/* NULL does nothing. Returns NULL. */
SandboxWatch *sandbox_watch_free(SandboxWatch *watch);
CLEANUP_DEFINE(SandboxWatch *, sandbox_watch_free);
