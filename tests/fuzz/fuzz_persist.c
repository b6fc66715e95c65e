/* The content of the file of copies, as any bytes: behind a cipher, but a later release may write what this one doesn't
 * know. What is read must hold together, and write itself again as it was. */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "persist/format.h"
#include "tokenfs/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

static void write_again(const PersistContent *content, Buf *out)
{
        TokenItem item;
        persist_write_header(out, content->identity, content->written_wall_ns);
        for (size_t i = 0; i < content->token_count; i++)
                persist_write_token(out, content->tokens[i].fetched_wall_ns, content->tokens[i].doc);
        if (content->items)
                persist_write_listing(out, content->listing_wall_ns);
        for (size_t i = 0; i < items_count(content->items); i++) {
                items_get(content->items, i, &item);
                require(token_id_is_valid(item.id) && (!*item.name || token_name_is_valid(item.name)));
                persist_write_item(out, &item);
        }
        for (size_t i = 0; i < content->resolver_count; i++)
                persist_write_resolver(out, content->resolvers[i].fetched_wall_ns, content->resolvers[i].id,
                        content->resolvers[i].dns_name);
        require(out->error == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        PersistContent content, again;
        json_init();
        int r = persist_read((const char *)data, size, &content);
        require(r == 0 || r == -EBADMSG);
        if (r < 0)
                return 0;
        Buf out = BUF_INIT(64 * 1024 * 1024);
        write_again(&content, &out);
        require(persist_read(out.data, out.len, &again) == 0);
        require(again.token_count == content.token_count && again.resolver_count == content.resolver_count &&
                items_count(again.items) == items_count(content.items) &&
                strcmp(again.identity, content.identity) == 0);
        for (size_t i = 0; i < content.token_count; i++)
                require(token_doc_fingerprint(again.tokens[i].doc) ==
                        token_doc_fingerprint(content.tokens[i].doc));
        persist_content_deinit(&again);
        persist_content_deinit(&content);
        buf_deinit(&out);
        return 0;
}
