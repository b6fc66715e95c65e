/* One of the shared files.
 *
 * The two files differ in the names of their sections, so names are apart from the grammar (ini.c). In the config file
 * a name is split into words with a shell's quoting, and must have two: `[profile "my web"]`. `[default]` needs no
 * such word. Sections with other names are ignored. If two sections describe the same profile (`[default]` and
 * `[profile default]`), the later one counts.
 *
 * The file is read at once into the secret heap, with a limit. stat() precedes the first read, so that any later
 * change shows. */

#include "config-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tokenfs/base/shellwords.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/secret.h"

#define FILE_MAX ((size_t)1024 * 1024)

/* --- Names -------------------------------------------------------------------------------------------------- */

/* Returns 0 and the second of exactly two words (malloc'd), -EINVAL for any other number, or -ENOMEM. */
static int second_of_two_words(const char *text, char **ret_word)
{
        CLEANUP(secret_free_p) char **words = NULL;
        int r = shellwords_split(text, &words);
        if (r < 0)
                return r;
        if (!words[1] || words[2])
                return -EINVAL;
        char *word = strdup(words[1]);
        if (!word)
                return -ENOMEM;
        *ret_word = word;
        return 0;
}

static bool starts_with(const char *text, const char *prefix)
{
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Returns 0 and the meaning of a section, -EINVAL if it has none, or -ENOMEM. */
static int name_section(const char *section, ConfigDialect dialect, ConfigName *ret_name)
{
        static const char *const prefixes[] = {[CONFIG_PROFILE] = "profile",
                [CONFIG_SSO_SESSION] = "sso-session",
                [CONFIG_SERVICES] = "services"};
        if (dialect == CONFIG_DIALECT_CREDENTIALS || strcmp(section, "default") == 0) {
                ret_name->kind = CONFIG_PROFILE;
                ret_name->name = strdup(section);
                return ret_name->name ? 0 : -ENOMEM;
        }
        for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
                if (starts_with(section, prefixes[i])) {
                        ret_name->kind = (ConfigKind)i;
                        return second_of_two_words(section, &ret_name->name);
                }
        return -EINVAL;
}

static int compare_names(const void *left, const void *right)
{
        const ConfigName *a = left, *b = right;
        if (a->kind != b->kind)
                return a->kind < b->kind ? -1 : 1;
        int order = strcmp(a->name, b->name);
        return order ? order : (a->section > b->section) - (a->section < b->section);
}

/* Sorts the names; the last of equal names stays. */
static void unify_names(ConfigFile *file)
{
        ConfigName *names = file->names;
        if (file->name_count == 0)
                return;
        qsort(names, file->name_count, sizeof *names, compare_names);
        size_t kept = 0;
        for (size_t i = 1; i < file->name_count; i++) {
                if (names[kept].kind == names[i].kind && strcmp(names[kept].name, names[i].name) == 0)
                        free(names[kept].name);
                else
                        kept++;
                names[kept] = names[i];
        }
        file->name_count = kept + 1;
}

static int name_sections(ConfigFile *file, ConfigDialect dialect)
{
        file->names = calloc(file->ini.section_count, sizeof *file->names);
        if (!file->names)
                return -ENOMEM;
        for (size_t i = 1; i < file->ini.section_count; i++) {
                ConfigName *name = &file->names[file->name_count];
                int r = name_section(file->ini.sections[i].name, dialect, name);
                if (r == -ENOMEM)
                        return r;
                name->section = i;
                file->name_count += r == 0;
        }
        unify_names(file);
        return 0;
}

static const ConfigName *find_name(const ConfigFile *file, ConfigKind kind, const char *name)
{
        if (file->name_count == 0)
                return NULL;
        size_t low = 0, high = file->name_count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const ConfigName *there = &file->names[middle];
                int order = kind == there->kind ? strcmp(name, there->name) : kind < there->kind ? -1 : 1;
                if (order == 0)
                        return there;
                if (order < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        return NULL;
}

bool config_file_has(const ConfigFile *file, ConfigKind kind, const char *name)
{
        return find_name(file, kind, name) != NULL;
}

const char *config_file_get(
        const ConfigFile *file, ConfigKind kind, const char *name, const char *key, const char *sub)
{
        const ConfigName *there = find_name(file, kind, name);
        const IniEntry *entry = there ? ini_find(&file->ini, there->section, key, sub) : NULL;
        return entry ? entry->value : NULL;
}

bool config_file_has_section(const ConfigFile *file, const char *section)
{
        for (size_t i = 1; i < file->ini.section_count; i++)
                if (strcmp(file->ini.sections[i].name, section) == 0)
                        return true;
        return false;
}

const char *config_file_next_key(const ConfigFile *file, ConfigKind kind, const char *name, size_t *position)
{
        const ConfigName *there = find_name(file, kind, name);
        for (size_t i = *position; there && i < file->ini.entry_count; i++) {
                const IniEntry *entry = &file->ini.entries[i];
                if (entry->section != there->section || entry->sub)
                        continue;
                *position = i + 1;
                return entry->key;
        }
        return NULL;
}

/* --- Reading ------------------------------------------------------------------------------------------------ */

int config_file_parse(Buf *text, ConfigDialect dialect, Buf *error, ConfigFile *ret_file)
{
        ConfigFile file = {0};
        int r = ini_parse(text, error, &file.ini);
        if (r == 0)
                r = name_sections(&file, dialect);
        if (r < 0) {
                config_file_deinit(&file);
                return r;
        }
        *ret_file = file;
        return 0;
}

/* Reads an open file, if it is a regular file. */
static int read_open(int fd, ConfigFile *file, Buf *text)
{
        struct stat state;
        if (fstat(fd, &state) < 0)
                return -errno;
        if (!S_ISREG(state.st_mode))
                return 0;
        file->exists = true;
        file->state = state;
        char chunk[4096];
        int r = 0;
        while (r == 0) {
                ssize_t len = read(fd, chunk, sizeof chunk);
                if (len == 0)
                        break;
                if (len > 0)
                        r = buf_append(text, chunk, (size_t)len);
                else if (errno != EINTR)
                        r = -errno;
        }
        secret_wipe(chunk, sizeof chunk);
        return r == -EMSGSIZE ? -EFBIG : r;
}

static bool is_absence(int error)
{
        return error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG || error == ELOOP;
}

/* Reads a file, if it exists and this user may read it. */
static int read_text(const char *path, bool is_named, ConfigFile *file, Buf *text)
{
        file->exists = stat(path, &file->state) == 0;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 && errno == EACCES && !is_named) {
                file->is_denied = true;
                return 0;
        }
        if (fd < 0)
                return is_absence(errno) ? 0 : -errno;
        int r = read_open(fd, file, text);
        (void)close(fd);
        return r;
}

int config_file_read(char *path, bool is_named, ConfigDialect dialect, Buf *error, ConfigFile *ret_file)
{
        CLEANUP(buf_deinit) Buf text = BUF_INIT(FILE_MAX);
        ConfigFile file = {0}, parsed;
        int r = read_text(path, is_named, &file, &text);
        if (r < 0) {
                char text_of[128];
                const char *what =
                        r == -EFBIG ? "it is larger than 1 MiB" : strerror_r(-r, text_of, sizeof text_of);
                if (r != -ENOMEM)
                        (void)buf_appendf(error, "%s can't be read: %s", path, what);
                return r;
        }
        CLEANUP(buf_deinit) Buf detail = BUF_INIT(256);
        r = config_file_parse(&text, dialect, &detail, &parsed);
        if (r == -EINVAL)
                (void)buf_appendf(error, "%s, %s", path, buf_str(&detail));
        if (r < 0)
                return r;
        parsed.path = path;
        parsed.exists = file.exists;
        parsed.is_denied = file.is_denied;
        parsed.state = file.state;
        *ret_file = parsed;
        return 0;
}

void config_file_deinit(ConfigFile *file)
{
        ini_deinit(&file->ini);
        for (size_t i = 0; i < file->name_count; i++)
                free(file->names[i].name);
        free(file->names);
        free(file->path);
        *file = (ConfigFile){0};
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
        return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool config_file_is_outdated(const ConfigFile *file)
{
        struct stat now;
        const struct stat *then = &file->state;
        if (stat(file->path, &now) < 0)
                return file->exists;
        return !file->exists || now.st_dev != then->st_dev || now.st_ino != then->st_ino ||
               now.st_size != then->st_size || !is_same_time(&now.st_mtim, &then->st_mtim) ||
               !is_same_time(&now.st_ctim, &then->st_ctim);
}
