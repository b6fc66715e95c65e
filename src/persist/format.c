/* The content of the file of copies.
 *
 * It is a sequence of records, each with its kind, a length and so many bytes. Numbers are little-endian; a short string
 * follows its length. The reader takes all or nothing: the cipher keeps strangers out, but a later release may write
 * records that this one does not know. */

#include "format.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/cache/items-build.h"
#include "tokenfs/persist/persist.h"

#define RECORD_HEAD 5

typedef enum RecordKind {
        RECORD_HEADER = 1, /* written, identity */
        RECORD_TOKEN, /* fetched, id, the document as JSON */
        RECORD_LISTING, /* fetched */
        RECORD_ITEM, /* created, updated, expires, status, id, name, view, resolver */
        RECORD_RESOLVER, /* fetched, id, DNS name */
} RecordKind;

/* --- Writing ------------------------------------------------------------------------------------------------ */

static void put_head(Buf *out, RecordKind kind, size_t len)
{
        uint32_t little = htole32((uint32_t)len);
        (void)buf_append_char(out, (char)kind);
        (void)buf_append(out, &little, sizeof little);
}

static void put_time(Buf *out, int64_t wall_ns)
{
        uint64_t little = htole64((uint64_t)wall_ns);
        (void)buf_append(out, &little, sizeof little);
}

/* At most 255 bytes. */
static void put_string(Buf *out, const char *text, size_t len)
{
        (void)buf_append_char(out, (char)len);
        (void)buf_append(out, text, len);
}

void persist_write_header(Buf *out, const char *identity, int64_t written_wall_ns)
{
        size_t len = strlen(identity);
        if (len > PERSIST_IDENTITY_MAX && !out->error)
                out->error = -EMSGSIZE;
        put_head(out, RECORD_HEADER, sizeof written_wall_ns + len);
        put_time(out, written_wall_ns);
        (void)buf_append(out, identity, len);
}

void persist_write_token(Buf *out, int64_t fetched_wall_ns, const TokenDoc *doc)
{
        size_t id_len, json_len;
        const char *id = token_doc_field(doc, TOKEN_ID, &id_len);
        const char *json = token_doc_json(doc, &json_len);
        put_head(out, RECORD_TOKEN, sizeof fetched_wall_ns + 1 + id_len + json_len);
        put_time(out, fetched_wall_ns);
        put_string(out, id, id_len);
        (void)buf_append(out, json, json_len);
}

void persist_write_listing(Buf *out, int64_t fetched_wall_ns)
{
        put_head(out, RECORD_LISTING, sizeof fetched_wall_ns);
        put_time(out, fetched_wall_ns);
}

void persist_write_item(Buf *out, const TokenItem *item)
{
        const char *const texts[] = {item->id, item->name, item->dns_view_id, item->global_resolver_id};
        size_t len = 3 * sizeof(int64_t) + 1;
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
                len += 1 + strlen(texts[i]);
        put_head(out, RECORD_ITEM, len);
        put_time(out, item->created_wall_ns);
        put_time(out, item->updated_wall_ns);
        put_time(out, item->expires_wall_ns);
        (void)buf_append_char(out, (char)item->status);
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
                put_string(out, texts[i], strlen(texts[i]));
}

void persist_write_resolver(Buf *out, int64_t fetched_wall_ns, const char *id, const char *dns_name)
{
        size_t id_len = strlen(id), name_len = strlen(dns_name);
        put_head(out, RECORD_RESOLVER, sizeof fetched_wall_ns + 2 + id_len + name_len);
        put_time(out, fetched_wall_ns);
        put_string(out, id, id_len);
        put_string(out, dns_name, name_len);
}

/* --- Reading ------------------------------------------------------------------------------------------------ */

/* The rest of a record; `is_short` once it ended too early. */
typedef struct Reader {
        const char *data;
        size_t len;
        bool is_short;
} Reader;

static const char *get_bytes(Reader *reader, size_t len)
{
        if (reader->len < len) {
                reader->is_short = true;
                return NULL;
        }
        const char *bytes = reader->data;
        reader->data += len;
        reader->len -= len;
        return bytes;
}

static int64_t get_time(Reader *reader)
{
        uint64_t little = 0;
        const char *bytes = get_bytes(reader, sizeof little);
        if (bytes)
                memcpy(&little, bytes, sizeof little);
        int64_t wall_ns = (int64_t)le64toh(little);
        if (wall_ns < 0)
                reader->is_short = true;
        return wall_ns;
}

static uint8_t get_byte(Reader *reader)
{
        const char *byte = get_bytes(reader, 1);
        return byte ? (uint8_t)*byte : 0;
}

/* A string of at most size - 1 bytes, without NUL. */
static void get_string(Reader *reader, char *to, size_t size)
{
        size_t len = get_byte(reader);
        const char *bytes = get_bytes(reader, len);
        *to = '\0';
        if (!bytes || len >= size || memchr(bytes, '\0', len)) {
                reader->is_short = true;
                return;
        }
        memcpy(to, bytes, len);
        to[len] = '\0';
}

static int get_header(Reader *reader, PersistContent *content)
{
        content->written_wall_ns = get_time(reader);
        if (content->identity || reader->is_short || reader->len > PERSIST_IDENTITY_MAX ||
                memchr(reader->data, '\0', reader->len))
                return -EBADMSG;
        content->identity = strndup(reader->data, reader->len);
        reader->len = 0;
        return content->identity ? 0 : -ENOMEM;
}

/* Makes room for one more element. */
static int grow(void **array, size_t count, size_t *capacity, size_t size)
{
        if (count < *capacity)
                return 0;
        size_t wanted = *capacity ? *capacity * 2 : 16;
        void *grown = reallocarray(*array, wanted, size);
        if (!grown)
                return -ENOMEM;
        *array = grown;
        *capacity = wanted;
        return 0;
}

static int get_token(Reader *reader, PersistContent *content)
{
        PersistToken token = {.fetched_wall_ns = get_time(reader)};
        char id[TOKEN_ID_MAX + 1], detail[128];
        get_string(reader, id, sizeof id);
        if (reader->is_short || !token_id_is_valid(id))
                return -EBADMSG;
        void *tokens = content->tokens;
        int r = grow(&tokens, content->token_count, &content->token_capacity, sizeof token);
        content->tokens = tokens;
        if (r < 0)
                return r;
        ApiError error = token_doc_parse(id, reader->data, reader->len, detail, &token.doc);
        if (error != API_OK)
                return error == API_E_MEMORY ? -ENOMEM : -EBADMSG;
        content->tokens[content->token_count++] = token;
        reader->len = 0;
        return 0;
}

static int get_listing(Reader *reader, PersistContent *content)
{
        content->listing_wall_ns = get_time(reader);
        return content->items ? -EBADMSG : items_new(&content->items);
}

static int get_item(Reader *reader, PersistContent *content)
{
        TokenItem item = {.created_wall_ns = get_time(reader)};
        item.updated_wall_ns = get_time(reader);
        item.expires_wall_ns = get_time(reader);
        uint8_t status = get_byte(reader);
        get_string(reader, item.id, sizeof item.id);
        get_string(reader, item.name, sizeof item.name);
        get_string(reader, item.dns_view_id, sizeof item.dns_view_id);
        get_string(reader, item.global_resolver_id, sizeof item.global_resolver_id);
        if (reader->is_short || !content->items || status > TOKEN_STATUS_OTHER ||
                !token_id_is_valid(item.id) || (*item.name && !token_name_is_valid(item.name)))
                return -EBADMSG;
        item.status = (TokenStatus)status;
        return items_append(content->items, &item);
}

static int get_resolver(Reader *reader, PersistContent *content)
{
        PersistResolver resolver = {.fetched_wall_ns = get_time(reader)};
        get_string(reader, resolver.id, sizeof resolver.id);
        get_string(reader, resolver.dns_name, sizeof resolver.dns_name);
        if (reader->is_short || !*resolver.id || !*resolver.dns_name)
                return -EBADMSG;
        void *resolvers = content->resolvers;
        int r = grow(&resolvers, content->resolver_count, &content->resolver_capacity, sizeof resolver);
        content->resolvers = resolvers;
        if (r == 0)
                content->resolvers[content->resolver_count++] = resolver;
        return r;
}

static int get_record(Reader *all, PersistContent *content)
{
        uint32_t little = 0;
        uint8_t kind = get_byte(all);
        const char *bytes = get_bytes(all, sizeof little);
        if (bytes)
                memcpy(&little, bytes, sizeof little);
        Reader record = {.len = le32toh(little)};
        record.data = get_bytes(all, record.len);
        if (all->is_short || (!content->identity && kind != RECORD_HEADER))
                return -EBADMSG;
        int r = -EBADMSG;
        switch (kind) {
        case RECORD_HEADER: r = get_header(&record, content); break;
        case RECORD_TOKEN: r = get_token(&record, content); break;
        case RECORD_LISTING: r = get_listing(&record, content); break;
        case RECORD_ITEM: r = get_item(&record, content); break;
        case RECORD_RESOLVER: r = get_resolver(&record, content); break;
        default: break;
        }
        return r == 0 && (record.is_short || record.len > 0) ? -EBADMSG : r;
}

int persist_read(const char *data, size_t len, PersistContent *ret_content)
{
        Reader all = {.data = data, .len = len};
        PersistContent content = {0};
        int r = 0;
        while (r == 0 && all.len > 0)
                r = get_record(&all, &content);
        if (r == 0 && !content.identity)
                r = -EBADMSG;
        if (r == 0 && content.items)
                r = items_settle(content.items, NULL, SIZE_MAX);
        if (r < 0) {
                persist_content_deinit(&content);
                return r == -ENOMEM ? r : -EBADMSG;
        }
        *ret_content = content;
        return 0;
}

void persist_content_deinit(PersistContent *content)
{
        for (size_t i = 0; i < content->token_count; i++)
                token_doc_unref(content->tokens[i].doc);
        free(content->tokens);
        free(content->resolvers);
        free(content->identity);
        items_free(content->items);
        *content = (PersistContent){0};
}
