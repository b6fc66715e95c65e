#pragma once
/* A command line, split into words as a shell would, without a shell. */

#include "tokenfs/base/cleanup.h"

/* Splits at white space, with quotes and backslashes as POSIX shells read them; nothing is expanded. The result is one
 * block with a NULL at its end, in the secret heap (a command line may hold a password). Returns 0, -EINVAL (an open
 * quote, a backslash at the end, no word at all), -ENOMEM. */
int shellwords_split(const char *line, char ***ret_words);
