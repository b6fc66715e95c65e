/* What an administrator adds to the unit, by `systemctl edit` for one.
 *
 * systemd.unit(5): of files with one name the first counts, by directory (/etc, /run, /usr) and then by unit (the instance,
 * the template); files are read in the order of their names, wherever they are. An empty value takes back what came
 * before. Of all that a drop-in can say, a check acts on Environment=, EnvironmentFile= and User= of [Service]. */

#include "check-dropins.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/secret.h"
#include "tokenfs/base/shellwords.h"

#define FILES_MAX 128

typedef struct DropInFile {
        const char *path, *name; /* the name is the path's end */
} DropInFile;

void dropins_deinit(DropIns *dropins)
{
        buf_deinit(&dropins->paths);
        buf_deinit(&dropins->environment);
        buf_deinit(&dropins->files);
}

/* --- Finding -------------------------------------------------------------------------------------------------- */

static int compare_files(const void *left, const void *right)
{
        return strcmp(((const DropInFile *)left)->name, ((const DropInFile *)right)->name);
}

/* Sorts by name; a name counts once. Returns how many there are. */
static size_t choose_files(const glob_t *found, DropInFile files[static FILES_MAX])
{
        size_t count = 0;
        for (size_t i = 0; i < found->gl_pathc && count < FILES_MAX; i++) {
                const char *path = found->gl_pathv[i], *name = strrchr(path, '/') + 1;
                bool is_hidden = false;
                for (size_t k = 0; k < count; k++)
                        is_hidden |= strcmp(files[k].name, name) == 0;
                if (!is_hidden)
                        files[count++] = (DropInFile){path, name};
        }
        qsort(files, count, sizeof *files, compare_files);
        return count;
}

static int find_files(const char *instance, glob_t *ret_found)
{
        static const char *const directories[] = {"/etc/systemd/system", "/run/systemd/system",
                "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"};
        const char *const instances[] = {instance, ""};
        int flags = 0;
        for (size_t i = 0; i < ARRAY_LEN(directories); i++)
                for (size_t k = 0; k < ARRAY_LEN(instances); k++) {
                        char pattern[512];
                        (void)snprintf(pattern, sizeof pattern, "%s/tokenfs@%s.service.d/*.conf",
                                directories[i], instances[k]);
                        int r = glob(pattern, flags, NULL, ret_found);
                        if (r == GLOB_NOSPACE)
                                return -ENOMEM;
                        flags = GLOB_APPEND;
                }
        return 0;
}

/* --- Reading -------------------------------------------------------------------------------------------------- */

/* %i and %I are the instance (its name has no escapes), %n is the unit, %% is %; others stay as they are. */
static void append_expanded(Buf *out, const char *text, const char *instance)
{
        for (; *text; text++) {
                if (text[0] == '%' && (text[1] == 'i' || text[1] == 'I'))
                        (void)buf_append_str(out, instance);
                else if (text[0] == '%' && text[1] == 'n')
                        (void)buf_appendf(out, "tokenfs@%s.service", instance);
                else if (text[0] == '%' && text[1] == '%')
                        (void)buf_append_char(out, '%');
                else {
                        (void)buf_append_char(out, *text);
                        continue;
                }
                text++;
        }
}

static int take_environment(DropIns *dropins, const char *value, const char *instance)
{
        CLEANUP(secret_free_p) char **words = NULL;
        if (!*value) {
                buf_clear(&dropins->environment);
                return 0;
        }
        int r = shellwords_split(value, &words);
        for (size_t i = 0; r == 0 && words[i]; i++)
                if (strchr(words[i], '=')) {
                        append_expanded(&dropins->environment, words[i], instance);
                        (void)buf_append_char(&dropins->environment, '\0');
                }
        return r;
}

static int take_assignment(DropIns *dropins, const char *key, const char *value, const char *instance)
{
        if (strcmp(key, "Environment") == 0)
                return take_environment(dropins, value, instance);
        if (strcmp(key, "User") == 0) {
                (void)snprintf(dropins->user, sizeof dropins->user, "%s", value);
        } else if (strcmp(key, "EnvironmentFile") == 0 && !*value) {
                dropins->drops_settings = true;
                buf_clear(&dropins->files);
        } else if (strcmp(key, "EnvironmentFile") == 0) {
                append_expanded(&dropins->files, value, instance);
                (void)buf_append_char(&dropins->files, '\0');
        }
        return 0;
}

static char *trim(char *text)
{
        text += strspn(text, " \t");
        size_t len = strlen(text);
        while (len > 0 && strchr(" \t\r", text[len - 1]))
                len--;
        text[len] = '\0';
        return text;
}

/* One line, continued ones joined. */
static int take_line(DropIns *dropins, char *line, bool *is_service, const char *instance)
{
        line = trim(line);
        char *value = strchr(line, '=');
        if (*line == '[')
                *is_service = strcmp(line, "[Service]") == 0;
        if (*line == '[' || *line == '#' || *line == ';' || !value || !*is_service)
                return 0;
        *value++ = '\0';
        return take_assignment(dropins, trim(line), trim(value), instance);
}

static int read_file(DropIns *dropins, const char *path, const char *instance)
{
        FILE *file = fopen(path, "re");
        if (!file)
                return -errno;
        CLEANUP(buf_deinit) Buf whole = BUF_INIT(DROPINS_MAX);
        CLEANUP(cleanup_free) char *line = NULL;
        size_t size = 0;
        bool is_service = false, goes_on = true;
        int r = 0;
        while (r == 0 && goes_on) {
                ssize_t len = getline(&line, &size, file);
                goes_on = len > 0;
                if (goes_on && line[len - 1] == '\n')
                        line[--len] = '\0';
                bool is_continued = goes_on && len > 0 && line[len - 1] == '\\';
                if (is_continued)
                        line[len - 1] = ' ';
                if (goes_on)
                        (void)buf_append_str(&whole, line);
                if (is_continued)
                        continue;
                r = whole.error ? whole.error : 0;
                if (r == 0 && whole.len > 0)
                        r = take_line(dropins, whole.data, &is_service, instance);
                buf_clear(&whole);
        }
        if (r == 0 && ferror(file))
                r = -EIO;
        (void)fclose(file);
        return r;
}

int dropins_read(const char *name, Buf *error, DropIns *dropins)
{
        glob_t found = {0};
        DropInFile files[FILES_MAX] = {0};
        int r = find_files(name, &found);
        size_t count = r == 0 ? choose_files(&found, files) : 0;
        for (size_t i = 0; i < count && r == 0; i++) {
                r = read_file(dropins, files[i].path, name);
                (void)buf_appendf(&dropins->paths, "%s%s", dropins->paths.len ? ", " : "", files[i].path);
                if (r < 0)
                        (void)buf_appendf(error, "%s: %s", files[i].path,
                                r == -EINVAL ? "a quote is open in Environment=" : strerrordesc_np(-r));
        }
        globfree(&found);
        if (r == 0 && (dropins->paths.error || dropins->environment.error || dropins->files.error))
                r = -ENOMEM;
        return r;
}
