#pragma once
/* One of the two shared files, read and parsed. Its sections are found by their meaning. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "ini.h"
#include "tokenfs/base/buf.h"

typedef enum ConfigKind { CONFIG_PROFILE, CONFIG_SSO_SESSION, CONFIG_SERVICES } ConfigKind;

/* A section that describes a named thing. */
typedef struct ConfigName {
        ConfigKind kind;
        char *name;
        size_t section;
} ConfigName;

/* The config file has `[profile x]`; the credentials file has `[x]`, and profiles only. */
typedef enum ConfigDialect { CONFIG_DIALECT_CONFIG, CONFIG_DIALECT_CREDENTIALS } ConfigDialect;

typedef struct ConfigFile {
        char *path;
        bool exists; /* it existed when it was read */
        bool is_denied; /* this user may not read it */
        struct stat state; /* of the file, when it was read */
        Ini ini;
        ConfigName *names; /* sorted by kind and name, without repeats */
        size_t name_count;
} ConfigFile;

/* Reads a file. A missing file, and one that isn't regular, is empty. So is a file that this user may not
 * read, unless `is_named`: the user gave its path. Takes over `path` (malloc'd) on success. Returns 0, -ENOMEM,
 * -EINVAL, -EFBIG (over 1 MiB), or the error of open or read, and `error` names the file and the fault. */
int config_file_read(char *path, bool is_named, ConfigDialect dialect, Buf *error, ConfigFile *ret_file);
/* The same for a text in memory, which it takes over. `error` names no file then. */
int config_file_parse(Buf *text, ConfigDialect dialect, Buf *error, ConfigFile *ret_file);
void config_file_deinit(ConfigFile *file);

/* True if the file at the path is not the one that was read. */
bool config_file_is_outdated(const ConfigFile *file);

/* True if a section has just this text between its brackets, whatever its meaning. */
bool config_file_has_section(const ConfigFile *file, const char *section);
/* The key behind *position (0: the first) of a section, and moves the position. NULL: there is no further key. */
const char *config_file_next_key(const ConfigFile *file, ConfigKind kind, const char *name, size_t *position);
bool config_file_has(const ConfigFile *file, ConfigKind kind, const char *name);
/* The value of a key, or of its nested key `sub` (NULL: not nested); NULL: none. Borrowed. */
const char *config_file_get(
        const ConfigFile *file, ConfigKind kind, const char *name, const char *key, const char *sub);
