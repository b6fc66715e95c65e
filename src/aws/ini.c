/* A parser for the shared files' grammar.
 *
 * The files are written for the AWS CLI, so the rules of configparser and botocore count, and no INI library has them.
 * A line holds one key or section, with `=` or `:` between key and value. A line with a deeper indent than its key
 * continues the value, even if it looks like a section, and across empty and comment lines. `#` and `;` begin a
 * comment only at the start of a line. Keys are folded to lower case. A section or key that comes twice is an error.
 * All sections inherit the keys of [DEFAULT]. A value with an empty first line is nested: its lines are `sub = value`;
 * sub keys keep their case, and the last of the same name counts. White space is Unicode's, as configparser strips it:
 * a no-break space pasted from a web page becomes part of no key.
 *
 * The text is parsed in place. A NUL behind each string cuts it out of the text. A value of several lines is joined,
 * which never needs more room than it had. Entries are appended to one array; after sorting, duplicates are
 * neighbours, and a look-up is a binary search. Files may hold secrets: errors quote nothing. */

#include "ini.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/parse.h"

/* --- White space -------------------------------------------------------------------------------------------- */

/* True if the `len` bytes are one character for which Python's str.isspace() is true. */
static bool is_space(const char *at, size_t len)
{
        const unsigned char *c = (const unsigned char *)at;
        if (len == 1)
                return c[0] == ' ' || (c[0] >= 0x09 && c[0] <= 0x0d) || (c[0] >= 0x1c && c[0] <= 0x1f);
        if (len == 2)
                return c[0] == 0xc2 && (c[1] == 0x85 || c[1] == 0xa0);
        if (c[0] == 0xe2 && c[1] == 0x80)
                return (c[2] >= 0x80 && c[2] <= 0x8a) || c[2] == 0xa8 || c[2] == 0xa9 || c[2] == 0xaf;
        return memcmp(c, "\xe1\x9a\x80", 3) == 0 || memcmp(c, "\xe2\x81\x9f", 3) == 0 ||
               memcmp(c, "\xe3\x80\x80", 3) == 0;
}

/* The length of the white-space character at `at`, 0 if there is none. */
static size_t space_at(const char *at, const char *end)
{
        for (size_t len = 1; len <= 3 && len <= (size_t)(end - at); len++)
                if (is_space(at, len))
                        return len;
        return 0;
}

/* The length of the white-space character that ends at `end`. UTF-8 is unambiguous from behind. */
static size_t space_before(const char *start, const char *end)
{
        for (size_t len = 1; len <= 3 && len <= (size_t)(end - start); len++)
                if (is_space(end - len, len))
                        return len;
        return 0;
}

static char *skip_spaces(char *at, const char *end, size_t *ret_count)
{
        size_t count = 0;
        for (size_t len; (len = space_at(at, end)) > 0; count++)
                at += len;
        if (ret_count)
                *ret_count = count;
        return at;
}

static char *trim_end(const char *start, char *end)
{
        for (size_t len; (len = space_before(start, end)) > 0;)
                end -= len;
        return end;
}

/* The space characters at which str.splitlines() ends a line: line and paragraph separators. */
static size_t line_break_at(const char *at, const char *end)
{
        size_t len = space_at(at, end);
        unsigned char c = (unsigned char)*at;
        if (len == 1)
                return c != ' ' && c != '\t' && c != 0x1f;
        if (len == 2)
                return (unsigned char)at[1] == 0x85 ? 2 : 0;
        if (len == 3)
                return memcmp(at, "\xe2\x80\xa8", 3) == 0 || memcmp(at, "\xe2\x80\xa9", 3) == 0 ? 3 : 0;
        return 0;
}

/* --- The parser's state ------------------------------------------------------------------------------------- */

/* A nested value has a line that is no `sub = value`. In [DEFAULT] it is an error only for the sections that inherit
 * it. */
static const char broken_value[] = "";

typedef struct Parser {
        Ini ini;
        Buf *error;
        size_t section_room, entry_room;
        unsigned line; /* of the text, from 1 */
        size_t indent; /* of the last key or section, in characters */
        bool has_section; /* a section has begun: `section` */
        size_t section;
        char *value; /* of the last key, while lines may continue it; NULL: the section has no key yet */
        char *value_end; /* the end of the text that is joined so far */
} Parser;

static int fail(Parser *parser, unsigned line, const char *what)
{
        (void)buf_appendf(parser->error, "line %u: %s", line, what);
        return -EINVAL;
}

/* Makes room for one more element. The array may move. */
static int make_room(void *array_pointer, size_t count, size_t *room, size_t element_bytes)
{
        void **array = array_pointer;
        if (count < *room)
                return 0;
        size_t wanted = *room ? *room * 2 : 16;
        void *grown = reallocarray(*array, wanted, element_bytes);
        if (!grown)
                return -ENOMEM;
        *array = grown;
        *room = wanted;
        return 0;
}

static int add_entry(Parser *parser, const IniEntry *entry)
{
        Ini *ini = &parser->ini;
        int r = make_room(&ini->entries, ini->entry_count, &parser->entry_room, sizeof *ini->entries);
        if (r == 0)
                ini->entries[ini->entry_count++] = *entry;
        return r;
}

static int add_section(Parser *parser, const char *name, unsigned line)
{
        Ini *ini = &parser->ini;
        int r = make_room(&ini->sections, ini->section_count, &parser->section_room, sizeof *ini->sections);
        if (r < 0)
                return r;
        parser->section = ini->section_count;
        ini->sections[ini->section_count++] = (IniSection){name, line};
        return 0;
}

/* --- Values ------------------------------------------------------------------------------------------------- */

/* Splits the nested value of the last key into its `sub = value` lines. */
static int split_nested(Parser *parser, char *at, char *end)
{
        size_t head = parser->ini.entry_count - 1;
        while (at < end) {
                char *line_end = at;
                size_t break_len = 0;
                while (line_end < end && (break_len = line_break_at(line_end, end)) == 0)
                        line_end++;
                char *text = skip_spaces(at, line_end, NULL);
                char *text_end = trim_end(text, line_end);
                at = line_end + break_len;
                if (text == text_end)
                        continue;
                char *equals = memchr(text, '=', (size_t)(text_end - text));
                if (!equals) {
                        parser->ini.entries[head].value = broken_value;
                        return 0;
                }
                IniEntry entry = parser->ini.entries[head];
                entry.sub = text;
                entry.value = skip_spaces(equals + 1, text_end, NULL);
                *trim_end(text, equals) = '\0';
                *text_end = '\0';
                int r = add_entry(parser, &entry);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Gives the last key its value, when no further line continues it. */
static int close_value(Parser *parser)
{
        if (!parser->value)
                return 0;
        char *value = parser->value, *end = trim_end(value, parser->value_end);
        parser->value = NULL;
        *end = '\0';
        if (*value == '\n')
                return split_nested(parser, value, end);
        parser->ini.entries[parser->ini.entry_count - 1].value = value;
        return 0;
}

/* Joins a line to the open value. The line moves towards the start only, as each line had an end of its own. */
static void continue_value(Parser *parser, const char *text, size_t len)
{
        *parser->value_end++ = '\n';
        memmove(parser->value_end, text, len);
        parser->value_end += len;
}

/* --- Lines -------------------------------------------------------------------------------------------------- */

static int open_section(Parser *parser, char *name)
{
        parser->has_section = true;
        if (strcmp(name, "DEFAULT") == 0) {
                parser->section = 0;
                return 0;
        }
        return add_section(parser, name, parser->line);
}

static char *find_delimiter(char *text, const char *end)
{
        while (text < end && *text != '=' && *text != ':')
                text++;
        return text;
}

static int open_key(Parser *parser, char *text, char *end)
{
        if (!parser->has_section)
                return fail(parser, parser->line, "something stands before the first [section]");
        char *delimiter = find_delimiter(text, end);
        if (delimiter == end)
                return fail(parser, parser->line,
                        *text == '[' ? "a [section] without its ]" : "neither a [section] nor key = value");
        char *key_end = trim_end(text, delimiter);
        if (key_end == text)
                return fail(parser, parser->line, "a value without a key");
        parser->value = skip_spaces(delimiter + 1, end, NULL);
        parser->value_end = end;
        for (char *c = text; c < key_end; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c = (char)(*c + 'a' - 'A');
        *key_end = '\0';
        return add_entry(parser, &(IniEntry){parser->section, text, NULL, NULL, parser->line});
}

static int parse_line(Parser *parser, char *start, char *end)
{
        if (memchr(start, '\0', (size_t)(end - start)))
                return fail(parser, parser->line, "a NUL byte");
        if (!parse_is_utf8(start, (size_t)(end - start)))
                return fail(parser, parser->line, "bytes that are no UTF-8");

        size_t indent;
        char *text = skip_spaces(start, end, &indent);
        end = trim_end(text, end);
        if (text < end && (*text == '#' || *text == ';'))
                return 0;
        if (parser->value && (text == end || indent > parser->indent)) {
                continue_value(parser, text, (size_t)(end - text));
                return 0;
        }
        if (text == end)
                return 0;

        int r = close_value(parser);
        if (r < 0)
                return r;
        parser->indent = indent;
        char *bracket = *text == '[' ? memrchr(text, ']', (size_t)(end - text)) : NULL;
        if (bracket && bracket - text >= 2) {
                *bracket = '\0';
                return open_section(parser, text + 1);
        }
        return open_key(parser, text, end);
}

/* Lines end in LF, CR LF, or CR. */
static int parse_lines(Parser *parser)
{
        if (parser->ini.text.len == 0)
                return 0;
        char *at = parser->ini.text.data, *end = at + parser->ini.text.len;
        if (end - at >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
                return fail(
                        parser, 1, "the file starts with a byte order mark; save it as UTF-8 without one");
        while (at < end) {
                char *line_end = at;
                while (line_end < end && *line_end != '\n' && *line_end != '\r')
                        line_end++;
                char *next = line_end + 1;
                if (next < end && *line_end == '\r' && *next == '\n')
                        next++;
                parser->line++;
                int r = parse_line(parser, at, line_end);
                if (r < 0)
                        return r;
                at = next;
        }
        return close_value(parser);
}

/* --- Sorting and looking up --------------------------------------------------------------------------------- */

static int compare_sections(const void *left, const void *right)
{
        const IniSection *a = left, *b = right;
        int order = strcmp(a->name, b->name);
        return order ? order : (a->line > b->line) - (a->line < b->line);
}

/* Entries of the same names stay in the file's order, which is the order of their addresses in the text. */
static int compare_entries(const void *left, const void *right)
{
        const IniEntry *a = left, *b = right;
        if (a->section != b->section)
                return a->section < b->section ? -1 : 1;
        int order = strcmp(a->key, b->key);
        if (order)
                return order;
        if (!a->sub || !b->sub)
                return a->sub ? 1 : b->sub ? -1 : a->key < b->key ? -1 : a->key > b->key;
        order = strcmp(a->sub, b->sub);
        return order ? order : a->sub < b->sub ? -1 : a->sub > b->sub;
}

static int refuse_double_sections(Parser *parser)
{
        const Ini *ini = &parser->ini;
        CLEANUP(cleanup_free) IniSection *sorted = reallocarray(NULL, ini->section_count, sizeof *sorted);
        if (!sorted)
                return -ENOMEM;
        memcpy(sorted, ini->sections, ini->section_count * sizeof *sorted);
        qsort(sorted, ini->section_count, sizeof *sorted, compare_sections);
        for (size_t i = 1; i < ini->section_count; i++)
                if (strcmp(sorted[i - 1].name, sorted[i].name) == 0) {
                        (void)buf_appendf(parser->error, "line %u: this section already began in line %u",
                                sorted[i].line, sorted[i - 1].line);
                        return -EINVAL;
                }
        return 0;
}

/* The last of equal sub keys stays; a key that comes twice is an error. */
static int unify_entries(Parser *parser)
{
        Ini *ini = &parser->ini;
        if (ini->entry_count == 0)
                return 0;
        qsort(ini->entries, ini->entry_count, sizeof *ini->entries, compare_entries);
        size_t kept = 0;
        for (size_t i = 0; i < ini->entry_count; i++) {
                const IniEntry *entry = &ini->entries[i], *last = kept ? &ini->entries[kept - 1] : NULL;
                bool same = last && last->section == entry->section && strcmp(last->key, entry->key) == 0;
                if (same && !entry->sub) {
                        (void)buf_appendf(parser->error,
                                "line %u: this key of the section already came in line %u", entry->line,
                                last->line);
                        return -EINVAL;
                }
                if (same && last->sub && strcmp(last->sub, entry->sub) == 0)
                        kept--;
                ini->entries[kept++] = *entry;
        }
        ini->entry_count = kept;
        return 0;
}

static const IniEntry *find_own(const Ini *ini, size_t section, const char *key, const char *sub)
{
        size_t low = 0, high = ini->entry_count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const IniEntry *entry = &ini->entries[middle];
                int order = (section > entry->section) - (section < entry->section);
                if (order == 0)
                        order = strcasecmp(key, entry->key);
                if (order == 0)
                        order = sub && entry->sub ? strcmp(sub, entry->sub) : !!sub - !!entry->sub;
                if (order == 0)
                        return entry;
                if (order < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        return NULL;
}

const IniEntry *ini_find(const Ini *ini, size_t section, const char *key, const char *sub)
{
        if (!find_own(ini, section, key, NULL))
                section = 0;
        return find_own(ini, section, key, sub);
}

/* A broken nested value is refused in each section that has it. */
static int refuse_broken_values(Parser *parser)
{
        const Ini *ini = &parser->ini;
        for (size_t i = 0; i < ini->entry_count; i++) {
                const IniEntry *entry = &ini->entries[i];
                if (entry->value != broken_value)
                        continue;
                size_t section = entry->section;
                if (section == 0)
                        for (section = 1; section < ini->section_count; section++)
                                if (!find_own(ini, section, entry->key, NULL))
                                        break;
                if (section < ini->section_count)
                        return fail(parser, entry->line, "a nested value has a line that is no key = value");
        }
        return 0;
}

/* --- All of it ---------------------------------------------------------------------------------------------- */

int ini_parse(Buf *text, Buf *error, Ini *ret_ini)
{
        Parser parser = {.ini.text = *text, .error = error};
        *text = BUF_INIT(text->max);
        int r = add_section(&parser, "DEFAULT", 0);
        if (r == 0)
                r = parse_lines(&parser);
        if (r == 0)
                r = refuse_double_sections(&parser);
        if (r == 0)
                r = unify_entries(&parser);
        if (r == 0)
                r = refuse_broken_values(&parser);
        if (r < 0) {
                ini_deinit(&parser.ini);
                return r;
        }
        *ret_ini = parser.ini;
        return 0;
}

void ini_deinit(Ini *ini)
{
        buf_deinit(&ini->text);
        free(ini->sections);
        free(ini->entries);
        *ini = (Ini){0};
}
