#pragma once
/* What a worker may still do when it meets the world. */

#include "tokenfs/aws/config.h"
#include "tokenfs/options/options.h"

/* Locks the process in, for good. `config` as it is now: files that it names later aren't reachable. What the kernel
 * can't do is warned of and left out. */
void sandbox_enter(const Options *options, const AwsConfig *config);
/* What is in force, for people: "seccomp, landlock", "seccomp", "off". */
const char *sandbox_state(void);
