#pragma once
/* The content of the file of copies, before its encryption. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/api/token.h"
#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/items.h"

#define PERSIST_DNS_NAME_MAX 255

/* Append a record; `out->error` is the result. The header comes first, items follow the listing. -EMSGSIZE: beside the
 * buffer's maximum, the identity exceeds PERSIST_IDENTITY_MAX, which the reader would refuse. */
void persist_write_header(Buf *out, const char *identity, int64_t written_wall_ns);
void persist_write_token(Buf *out, int64_t fetched_wall_ns, const TokenDoc *doc);
void persist_write_listing(Buf *out, int64_t fetched_wall_ns);
void persist_write_item(Buf *out, const TokenItem *item);
void persist_write_resolver(Buf *out, int64_t fetched_wall_ns, const char *id, const char *dns_name);

typedef struct PersistToken {
        int64_t fetched_wall_ns;
        TokenDoc *doc;
} PersistToken;

typedef struct PersistResolver {
        int64_t fetched_wall_ns;
        char id[TOKEN_ID_MAX + 1];
        char dns_name[PERSIST_DNS_NAME_MAX + 1];
} PersistResolver;

typedef struct PersistContent {
        char *identity; /* of the endpoint and the account */
        int64_t written_wall_ns;
        PersistToken *tokens;
        size_t token_count, token_capacity;
        PersistResolver *resolvers;
        size_t resolver_count, resolver_capacity;
        Items *items; /* NULL: no listing; settled */
        int64_t listing_wall_ns;
} PersistContent;

/* Reads all records. 0, -EBADMSG or -ENOMEM, with nothing in *ret_content. */
int persist_read(const char *data, size_t len, PersistContent *ret_content);
void persist_content_deinit(PersistContent *content);
