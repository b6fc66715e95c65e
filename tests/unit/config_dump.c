/* Prints how shared configuration files were read, as JSON, one line for each file: for test_config_grammar.py, which
 * compares that with what botocore makes of them. A file that is refused gives {"error": "…"}. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws/config-file.h"
#include "tokenfs/base/cleanup.h"

static void print_string(const char *text)
{
        CLEANUP(buf_deinit) Buf json = BUF_INIT(16 * 1024 * 1024);
        if (buf_append_json(&json, text, strlen(text)) < 0)
                abort();
        (void)fputs(json.data, stdout);
}

static void print_member(const char *name, bool *is_first)
{
        if (!*is_first)
                (void)fputs(", ", stdout);
        *is_first = false;
        print_string(name);
        (void)fputs(": ", stdout);
}

/* The entries of one key begin at `i`; prints its value and returns where the next key's begin. */
static size_t print_value(const Ini *ini, size_t i)
{
        const IniEntry *head = &ini->entries[i++];
        if (head->value) {
                print_string(head->value);
                return i;
        }
        bool is_first = true;
        (void)fputc('{', stdout);
        for (; i < ini->entry_count && ini->entries[i].key == head->key; i++) {
                print_member(ini->entries[i].sub, &is_first);
                print_string(ini->entries[i].value);
        }
        (void)fputc('}', stdout);
        return i;
}

static void print_section(const Ini *ini, size_t section)
{
        bool is_first = true;
        (void)fputc('{', stdout);
        for (size_t i = 0; i < ini->entry_count;) {
                const IniEntry *entry = &ini->entries[i];
                if (entry->sub || ini_find(ini, section, entry->key, NULL) != entry) {
                        i++;
                        continue;
                }
                print_member(entry->key, &is_first);
                i = print_value(ini, i);
        }
        (void)fputc('}', stdout);
}

static void print_kind(const ConfigFile *file, ConfigKind kind)
{
        bool is_first = true;
        (void)fputc('{', stdout);
        for (size_t i = 0; i < file->name_count; i++)
                if (file->names[i].kind == kind) {
                        print_member(file->names[i].name, &is_first);
                        print_section(&file->ini, file->names[i].section);
                }
        (void)fputc('}', stdout);
}

static int dump(const char *path)
{
        ConfigFile config, credentials;
        CLEANUP(buf_deinit) Buf error = BUF_INIT(4096);
        char *copies[] = {strdup(path), strdup(path)};
        if (!copies[0] || !copies[1])
                abort();
        int r = config_file_read(copies[0], true, CONFIG_DIALECT_CONFIG, &error, &config);
        if (r < 0) {
                (void)fputs("{\"error\": ", stdout);
                print_string(buf_str(&error));
                (void)fputs("}\n", stdout);
                free(copies[0]);
                free(copies[1]);
                return r == -EINVAL ? 0 : 1;
        }
        if (config_file_read(copies[1], true, CONFIG_DIALECT_CREDENTIALS, &error, &credentials) < 0)
                abort();
        (void)fputs("{\"profiles\": ", stdout);
        print_kind(&config, CONFIG_PROFILE);
        (void)fputs(", \"sso_sessions\": ", stdout);
        print_kind(&config, CONFIG_SSO_SESSION);
        (void)fputs(", \"services\": ", stdout);
        print_kind(&config, CONFIG_SERVICES);
        (void)fputs(", \"sections\": ", stdout);
        print_kind(&credentials, CONFIG_PROFILE);
        (void)fputs("}\n", stdout);
        config_file_deinit(&config);
        config_file_deinit(&credentials);
        return 0;
}

int main(int argc, char **argv)
{
        int status = 0;
        for (int i = 1; i < argc; i++)
                status |= dump(argv[i]);
        return status;
}
