#pragma once
/* The grammar of the shared files: sections of keys and values, as Python's configparser reads them (which is what
 * the AWS CLI reads them with), and one level of nesting in values. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/base/buf.h"

typedef struct IniSection {
        const char *name; /* what stands between the brackets, unchanged */
        unsigned line; /* where it began; 0: nowhere */
} IniSection;

/* `key = value` has sub NULL. A nested value's key has one entry with sub and value NULL, and one for each of
 * the lines `sub = value`. */
typedef struct IniEntry {
        size_t section;
        const char *key; /* in lower case */
        const char *sub;
        const char *value;
        unsigned line;
} IniEntry;

typedef struct Ini {
        Buf text; /* what all the strings point into */
        IniSection *
                sections; /* [0] is [DEFAULT], whether it was written or not; the others in the file's order */
        size_t section_count;
        IniEntry *entries; /* sorted by section, key, sub */
        size_t entry_count;
} Ini;

/* Parses *text, which it takes over (and which is empty afterwards), in place. Returns 0, -ENOMEM, or -EINVAL with
 * "line N: what is wrong" appended to `error`, which quotes nothing of the file. On failure *ret_ini is untouched. */
int ini_parse(Buf *text, Buf *error, Ini *ret_ini);
void ini_deinit(Ini *ini);

/* The entry of a key (any case of ASCII letters), and of a sub key unless `sub` is NULL; what [DEFAULT] has counts
 * for every section that hasn't the key itself. NULL if there is none. */
const IniEntry *ini_find(const Ini *ini, size_t section, const char *key, const char *sub);
