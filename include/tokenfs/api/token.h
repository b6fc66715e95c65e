#pragma once
/* The token document of GetAccessToken: parsed strictly, immutable, shared by reference. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenfs/api/errors.h"
#include "tokenfs/base/cleanup.h"

#define TOKEN_ID_MAX 64
#define TOKEN_NAME_MAX 32

/* The fields, in the order of directories. */
typedef enum TokenField {
        TOKEN_ID,
        TOKEN_ARN,
        TOKEN_CLIENT_TOKEN,
        TOKEN_CREATED_AT,
        TOKEN_DNS_VIEW_ID,
        TOKEN_EXPIRES_AT,
        TOKEN_GLOBAL_RESOLVER_ID,
        TOKEN_NAME,
        TOKEN_STATUS,
        TOKEN_UPDATED_AT,
        TOKEN_VALUE,
        TOKEN_FIELD_COUNT,
} TokenField;
/* The API's name: "createdAt". */
const char *token_field_name(TokenField field);
/* True for clientToken and name. */
bool token_field_is_optional(TokenField field);
/* True for `value`. */
bool token_field_is_secret(TokenField field);

typedef enum TokenStatus {
        TOKEN_CREATING,
        TOKEN_OPERATIONAL,
        TOKEN_DELETING,
        TOKEN_STATUS_OTHER
} TokenStatus;

/* 1–64 of [-.a-zA-Z0-9], and neither "." nor "..". */
bool token_id_is_valid(const char *id);
/* 1–32 of letters, digits, '-', '_', '/', ' ', '\''; not digits only. */
bool token_name_is_valid(const char *name);

/* A document: one block in the secret heap, immutable, with counted references. */
typedef struct TokenDoc TokenDoc;
TokenDoc *token_doc_ref(TokenDoc *doc);
/* Drops a reference; the last one wipes and frees. NULL does nothing. Returns NULL. */
TokenDoc *token_doc_unref(TokenDoc *doc);
CLEANUP_DEFINE(TokenDoc *, token_doc_unref);

/* Parses a body of GetAccessToken. Returns API_OK, API_E_MALFORMED (`detail` names the fault and quotes no content), or
 * API_E_MEMORY. Requires an object of at most 16 levels and 64 KiB, in UTF-8. Known keys stand once; strings have no
 * NUL and keep the API's limits; times are readable; the id equals `id`. Unknown keys stay in .json. */
ApiError token_doc_parse(
        const char *id, const char *body, size_t len, char detail[static 128], TokenDoc **ret_doc);

/* The bytes of a field, without a NUL behind them. NULL and *ret_len 0: the document lacks the field, or an optional
 * field is null or "". An empty `value` is not NULL. Borrowed from the document. */
const char *token_doc_field(const TokenDoc *doc, TokenField field, size_t *ret_len);
/* The whole document as JSON, with the API's members as they were received, and a line feed. Borrowed. */
const char *token_doc_json(const TokenDoc *doc, size_t *ret_len);
TokenStatus token_doc_status(const TokenDoc *doc);
int64_t token_doc_updated_wall_ns(const TokenDoc *doc);
int64_t token_doc_expires_wall_ns(const TokenDoc *doc);
/* The first 8 bytes of the SHA-256 of .json. All fields come from .json: equal fingerprints mean equal files. If the
 * order of members changes, so does the fingerprint. */
uint64_t token_doc_fingerprint(const TokenDoc *doc);

/* An item of ListAccessTokens. It has no secret. */
typedef struct TokenItem {
        char id[TOKEN_ID_MAX + 1];
        char name[TOKEN_NAME_MAX + 1]; /* "" if none */
        char dns_view_id[TOKEN_ID_MAX + 1];
        char global_resolver_id[TOKEN_ID_MAX + 1];
        TokenStatus status;
        int64_t created_wall_ns, updated_wall_ns, expires_wall_ns;
} TokenItem;
/* Makes the item of a document. */
void token_item_from_doc(const TokenDoc *doc, TokenItem *ret_item);
