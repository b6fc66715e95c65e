#pragma once
/* The grammar of the shared files: sections of keys and values, as Python's configparser reads them (and with it the
 * AWS CLI), and one level of nesting in values. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/base/buf.h"

typedef struct IniSection {
        const char *name; /* the text between the brackets, unchanged */
        unsigned line; /* of its beginning; 0: it is not in the text */
} IniSection;

/* `key = value` has sub NULL. The key of a nested value has one entry with sub and value NULL, and one for each line
 * `sub = value`. */
typedef struct IniEntry {
        size_t section;
        const char *key; /* in lower case */
        const char *sub;
        const char *value;
        unsigned line;
} IniEntry;

typedef struct Ini {
        Buf text; /* the text that all strings point into */
        IniSection
                *sections; /* [0] is [DEFAULT], even if the file lacks it; the others in the file's order */
        size_t section_count;
        IniEntry *entries; /* sorted by section, key, sub */
        size_t entry_count;
} Ini;

/* Parses *text in place and takes it over; *text is empty afterwards. Returns 0, -ENOMEM, or -EINVAL and appends "line
 * N: the fault" to `error`, which quotes nothing of the file. On failure *ret_ini is unchanged. */
int ini_parse(Buf *text, Buf *error, Ini *ret_ini);
void ini_deinit(Ini *ini);

/* The entry of a key (any case of ASCII letters), and of its sub key (NULL: none). A section inherits the keys of
 * [DEFAULT] that it lacks. NULL: no such entry. */
const IniEntry *ini_find(const Ini *ini, size_t section, const char *key, const char *sub);
