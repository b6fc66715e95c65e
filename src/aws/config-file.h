#pragma once
/* One of the two shared files: read, parsed, and its sections found by what they describe. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "ini.h"
#include "tokenfs/base/buf.h"

typedef enum ConfigKind { CONFIG_PROFILE, CONFIG_SSO_SESSION, CONFIG_SERVICES } ConfigKind;

/* A section that describes something with a name. */
typedef struct ConfigName {
        ConfigKind kind;
        char *name;
        size_t section;
} ConfigName;

/* The config file says `[profile x]`; the credentials file says `[x]`, and has nothing but profiles. */
typedef enum ConfigDialect { CONFIG_DIALECT_CONFIG, CONFIG_DIALECT_CREDENTIALS } ConfigDialect;

typedef struct ConfigFile {
        char *path;
        bool exists; /* something was there when it was read */
        struct stat state; /* of that */
        Ini ini;
        ConfigName *names; /* sorted by kind and name, each once */
        size_t name_count;
} ConfigFile;

/* Reads a file. One that isn't there, or is no regular file, is empty; so is, with a warning, one that may not be
 * read unless `is_named`, that is, the user gave its path. Takes over `path` (malloc'd) on success. Returns 0,
 * -ENOMEM, -EINVAL, -EFBIG (over 1 MiB) or the error of open or read, with `error` saying which file and what. */
int config_file_read(char *path, bool is_named, ConfigDialect dialect, Buf *error, ConfigFile *ret_file);
/* The same for a text in memory, which it takes over. `error` has no file's name then. */
int config_file_parse(Buf *text, ConfigDialect dialect, Buf *error, ConfigFile *ret_file);
void config_file_deinit(ConfigFile *file);

/* True if what lies at the path now isn't what was read. */
bool config_file_is_outdated(const ConfigFile *file);

/* True if a section has just this text between its brackets, whatever it describes. */
bool config_file_has_section(const ConfigFile *file, const char *section);
/* The key behind *position (0: the first) of a section's keys; moves the position. NULL: there is no other. */
const char *config_file_next_key(const ConfigFile *file, ConfigKind kind, const char *name, size_t *position);
bool config_file_has(const ConfigFile *file, ConfigKind kind, const char *name);
/* The value of a key, or of a nested one unless `sub` is NULL; NULL if there is none. Borrowed. */
const char *config_file_get(
        const ConfigFile *file, ConfigKind kind, const char *name, const char *key, const char *sub);
