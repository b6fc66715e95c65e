#pragma once
/* Splits a command line into words by the rules of POSIX shells, without a shell. */

#include "tokenfs/base/cleanup.h"

/* Splits at white space, with quotes and backslashes, and expands nothing. The result is one block that ends with NULL, in
 * the secret heap, since a command line may hold a password. Returns 0, -EINVAL (an open quote, a backslash at the end,
 * no word), -ENOMEM. */
int shellwords_split(const char *line, char ***ret_words);
