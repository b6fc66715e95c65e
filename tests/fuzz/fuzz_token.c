/* GetAccessToken's answer, as any bytes. What is taken must keep every promise of token.h, and be the same again when its
 * own .json is read. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/api/token.h"
#include "tokenfs/base/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

static void check_fields(const TokenDoc *doc, const TokenDoc *again)
{
        for (TokenField field = 0; field < TOKEN_FIELD_COUNT; field++) {
                size_t len, len_again;
                const char *text = token_doc_field(doc, field, &len);
                const char *text_again = token_doc_field(again, field, &len_again);
                require(len == len_again && !text == !text_again && !text == (len == 0));
                require(text || token_field_is_optional(field));
                if (!text)
                        continue;
                require(memcmp(text, text_again, len) == 0);
                require(len <= 2048 && !memchr(text, '\0', len) && parse_is_utf8(text, len));
        }
}

static void check_item(const TokenDoc *doc)
{
        TokenItem item;
        token_item_from_doc(doc, &item);
        require(strcmp(item.id, "at-1") == 0);
        require(!*item.name || token_name_is_valid(item.name));
        require(token_id_is_valid(item.dns_view_id) && token_id_is_valid(item.global_resolver_id));
        require(item.created_wall_ns >= 0 && item.updated_wall_ns >= 0 && item.expires_wall_ns >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char detail[128];
        TokenDoc *doc = NULL;
        ApiError error = token_doc_parse("at-1", (const char *)data, size, detail, &doc);
        require(strlen(detail) < sizeof detail);
        if (error != API_OK) {
                require(error == API_E_MALFORMED && !doc && *detail);
                return 0;
        }
        size_t len;
        const char *json = token_doc_json(doc, &len);
        require(len <= size + 1 && json[len - 1] == '\n' && memmem(data, size, json, len - 1));

        TokenDoc *again = NULL;
        require(token_doc_parse("at-1", json, len, detail, &again) == API_OK);
        require(token_doc_fingerprint(again) == token_doc_fingerprint(doc));
        check_fields(doc, again);
        check_item(doc);
        token_doc_unref(again);
        token_doc_unref(doc);
        return 0;
}
