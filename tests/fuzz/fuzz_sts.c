/* The XML reader, on any bytes, with the elements that are wanted of STS; and command lines. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/shellwords.h"
#include "credentials/xml.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/secret.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_document(const char *text, size_t len)
{
        XmlWanted wanted[] = {
                {.path = "AssumeRoleResponse/AssumeRoleResult/Credentials/AccessKeyId", .text = BUF_INIT(64)},
                {.path = "ErrorResponse/Error/Code", .text = BUF_INIT(64)},
                {.path = "a/b", .text = BUF_INIT(64)},
                {.path = "a", .text = BUF_INIT(64)},
        };
        int r = xml_read(text, len, wanted, ARRAY_LEN(wanted));
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
                /* What is found is no longer than what it came from, and holds no NUL. */
                if (wanted[i].text.len > len || strlen(buf_str(&wanted[i].text)) != wanted[i].text.len)
                        abort();
                if (r == 0 && wanted[i].text.len > 0 && !wanted[i].is_found)
                        abort();
                buf_deinit(&wanted[i].text);
        }
}

static void split_words(const char *line, size_t len)
{
        CLEANUP(secret_free_p) char **words = NULL;
        if (shellwords_split(line, &words) < 0)
                return;
        size_t bytes = 0;
        for (char **word = words; *word; word++)
                bytes += strlen(*word) + 1;
        if (bytes == 0 || bytes > len + 1)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        read_document((const char *)data, size);
        char *line = malloc(size + 1);
        if (!line)
                return 0;
        if (size)
                memcpy(line, data, size);
        line[size] = '\0';
        split_words(line, size);
        free(line);
        return 0;
}
