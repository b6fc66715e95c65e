#pragma once
/* The one table of options: parsing and the help text are made from it. */

#include <stddef.h>
#include <stdint.h>

#include "tokenfs/options/options.h"

/* Of a text for mount(2), which takes all options in one page. */
#define OPTION_MOUNT_TEXT_MAX 2048

typedef enum OptionKind {
        OPTION_FLAG, /* bool: the word alone */
        OPTION_SWITCH, /* bool: =on or =off */
        OPTION_TEXT, /* char *: anything but empty */
        OPTION_PATH, /* char *: of something that is there; made absolute */
        OPTION_SECONDS, /* uint64_t in ns; min and max in ns */
        OPTION_SECONDS_OR_NEVER, /* the same, and 0 */
        OPTION_COUNT, /* uint64_t; min and max */
        OPTION_MODE, /* mode_t */
        OPTION_UID, /* uid_t, by number or name */
        OPTION_GID, /* gid_t */
        OPTION_USER, /* char *: a user that exists; without a value mount(8)'s own word */
        OPTION_LOG_LEVEL, /* LogLevel */
        OPTION_NAME, /* OptionList: a token's name; repeatable */
        OPTION_COMMAND, /* char *: a program and its arguments, quoted as for a shell */
        OPTION_ID, /* OptionList: a token's, view's or resolver's id; repeatable */
        OPTION_FUSE, /* FUSE's own: into mount_options as written */
        OPTION_FUSE_COUNT, /* the same; a number; min and max */
        OPTION_MOUNT, /* a word of mount(8)'s, read over: with or without a value */
        OPTION_REFUSED, /* libfuse's, but not ours: the help says why, and what to use */
} OptionKind;

typedef struct OptionSpec {
        const char *name;
        OptionKind kind;
        size_t offset; /* in Options */
        uint64_t min, max;
        const char *argument; /* how the help names the value; NULL: none */
        const char *help; /* NULL: not shown. That of a refused option is part of its error. */
} OptionSpec;

/* NULL if there is none. */
const OptionSpec *option_find(const char *name);

/* Reads `value` (NULL: none was given) for the option and stores it. 0, -ENOMEM, or -EINVAL with a sentence. */
int option_set(const OptionSpec *spec, const char *value, Options *options, Buf *error);
