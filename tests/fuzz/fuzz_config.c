/* The shared files' parser, on any text, in both dialects; then every look-up there is. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aws/config-file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever was found must be found again by its names, and be text that ends. */
static void check_file(const ConfigFile *file)
{
        size_t bytes = 0;
        for (size_t i = 0; i < file->name_count; i++) {
                const ConfigName *name = &file->names[i];
                if (!config_file_has(file, name->kind, name->name))
                        abort();
        }
        for (size_t i = 0; i < file->ini.entry_count; i++) {
                const IniEntry *entry = &file->ini.entries[i];
                if (ini_find(&file->ini, entry->section, entry->key, entry->sub) != entry)
                        abort();
                bytes += strlen(entry->key) + (entry->sub ? strlen(entry->sub) : 0);
                bytes += entry->value && !entry->sub ? strlen(entry->value) : 0;
        }
        if (bytes > file->ini.text.len * (file->ini.entry_count + 1))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        for (int dialect = CONFIG_DIALECT_CONFIG; dialect <= CONFIG_DIALECT_CREDENTIALS; dialect++) {
                ConfigFile file;
                Buf text = BUF_INIT(1024 * 1024), error = BUF_INIT(200);
                if (buf_append(&text, data, size) < 0) {
                        buf_deinit(&text);
                        return 0;
                }
                if (config_file_parse(&text, (ConfigDialect)dialect, &error, &file) == 0) {
                        check_file(&file);
                        config_file_deinit(&file);
                } else if (error.len == 0) {
                        abort();
                }
                buf_deinit(&text);
                buf_deinit(&error);
        }
        return 0;
}
