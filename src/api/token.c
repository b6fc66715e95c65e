/* The token document.
 *
 * All files of a directory come from one answer of the API, which is read once, strictly, and then shared by
 * reference. One block in the secret heap has a small header and the answer as it was received, without the white
 * space around it. So .json can neither lose a member nor change a number that cJSON can't hold. A field is a slice of
 * that text. Only a string with escapes has other bytes than its text; they lie behind the text. A usual document
 * takes less than 768 bytes, which matters for ten thousand of them.
 *
 * Known members must have the API's types and limits, and occur once. Other members may be any JSON. */

#include "tokenfs/api/token.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tokenfs/aws/sigv4.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/base/secret.h"

#include "fields.h"

#define BODY_MAX ((size_t)64 * 1024)
#define DEPTH_MAX 16

#define SLICE_NONE UINT32_MAX

typedef struct Slice {
        uint32_t offset; /* into `bytes`; SLICE_NONE: the document lacks the field */
        uint32_t len;
} Slice;

struct TokenDoc {
        uint32_t references;
        TokenStatus status;
        int64_t created_wall_ns, updated_wall_ns, expires_wall_ns;
        uint64_t fingerprint;
        uint32_t json_len; /* with the line feed; at the start of `bytes` */
        Slice fields[TOKEN_FIELD_COUNT];
        char bytes[];
};

static const char *const field_names[TOKEN_FIELD_COUNT] = {
        [TOKEN_ID] = "id",
        [TOKEN_ARN] = "arn",
        [TOKEN_CLIENT_TOKEN] = "clientToken",
        [TOKEN_CREATED_AT] = "createdAt",
        [TOKEN_DNS_VIEW_ID] = "dnsViewId",
        [TOKEN_EXPIRES_AT] = "expiresAt",
        [TOKEN_GLOBAL_RESOLVER_ID] = "globalResolverId",
        [TOKEN_NAME] = "name",
        [TOKEN_STATUS] = "status",
        [TOKEN_UPDATED_AT] = "updatedAt",
        [TOKEN_VALUE] = "value",
};

const char *token_field_name(TokenField field)
{
        return field_names[field];
}

bool token_field_is_optional(TokenField field)
{
        return field == TOKEN_CLIENT_TOKEN || field == TOKEN_NAME;
}

bool token_field_is_secret(TokenField field)
{
        return field == TOKEN_VALUE;
}

static bool is_letter_or_digit(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool token_id_is_valid(const char *id)
{
        size_t len = 0;
        for (; id[len]; len++)
                if (len == TOKEN_ID_MAX || !(is_letter_or_digit(id[len]) || id[len] == '-' || id[len] == '.'))
                        return false;
        return len > 0 && strcmp(id, ".") != 0 && strcmp(id, "..") != 0;
}

bool token_name_is_valid(const char *name)
{
        size_t len = 0;
        bool only_digits = true;
        for (; name[len]; len++) {
                if (len == TOKEN_NAME_MAX || !(is_letter_or_digit(name[len]) || strchr("-_/ '", name[len])))
                        return false;
                only_digits = only_digits && name[len] >= '0' && name[len] <= '9';
        }
        return len > 0 && !only_digits;
}

TokenStatus token_status_parse(const char *status)
{
        static const char *const names[] = {"CREATING", "OPERATIONAL", "DELETING"};
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (strcmp(status, names[i]) == 0)
                        return (TokenStatus)i;
        return TOKEN_STATUS_OTHER;
}

/* True for 1 to `max` bytes of printable ASCII. */
static bool is_printable(const char *text, size_t max)
{
        size_t len = 0;
        for (; text[len]; len++)
                if (len == max || text[len] < 0x20 || text[len] > 0x7e)
                        return false;
        return len > 0;
}

static bool is_time(const char *text)
{
        int64_t wall_ns;
        return is_printable(text, 64) && parse_iso8601(text, &wall_ns) == 0;
}

/* True for `min` to `max` characters (not bytes) of UTF-8. */
static bool has_characters(const char *text, size_t min, size_t max)
{
        size_t characters = 0;
        for (; *text && characters <= max; text++)
                characters += ((unsigned char)*text & 0xC0) != 0x80;
        return characters >= min && characters <= max;
}

bool token_field_is_valid(TokenField field, const char *text)
{
        switch (field) {
        case TOKEN_ID:
        case TOKEN_DNS_VIEW_ID:
        case TOKEN_GLOBAL_RESOLVER_ID: return token_id_is_valid(text);
        case TOKEN_ARN: return is_printable(text, 2048);
        case TOKEN_CLIENT_TOKEN: return has_characters(text, 1, 256);
        case TOKEN_CREATED_AT:
        case TOKEN_EXPIRES_AT:
        case TOKEN_UPDATED_AT: return is_time(text);
        case TOKEN_NAME: return token_name_is_valid(text);
        case TOKEN_STATUS: return is_printable(text, 64);
        case TOKEN_VALUE: return has_characters(text, 0, 100);
        case TOKEN_FIELD_COUNT: break;
        }
        return false;
}

int token_field_read(const cJSON *object, TokenField field, const char **ret_text)
{
        const cJSON *member = NULL;
        int r = json_member(object, field_names[field], &member);
        if (r == -ENOTUNIQ)
                return r;
        /* The API writes an unset optional field as null, as "", or not at all. */
        bool is_unset = r == -ENOENT || cJSON_IsNull(member);
        if (token_field_is_optional(field) &&
                (is_unset || (cJSON_IsString(member) && !*member->valuestring))) {
                *ret_text = NULL;
                return 0;
        }
        if (is_unset)
                return -ENOENT;
        if (!cJSON_IsString(member) || !token_field_is_valid(field, member->valuestring))
                return -EINVAL;
        *ret_text = member->valuestring;
        return 0;
}

TokenDoc *token_doc_ref(TokenDoc *doc)
{
        doc->references++;
        return doc;
}

TokenDoc *token_doc_unref(TokenDoc *doc)
{
        if (doc && --doc->references == 0)
                secret_free(doc);
        return NULL;
}

static ApiError malformed(char detail[static 128], const char *what, const char *field)
{
        (void)snprintf(detail, 128, "the answer %s%s", what, field);
        return API_E_MALFORMED;
}

static ApiError read_fields(const char *id, const cJSON *json, char detail[static 128],
        const char *ret_texts[static TOKEN_FIELD_COUNT])
{
        if (!cJSON_IsObject(json))
                return malformed(detail, "is no JSON object", "");
        for (TokenField field = 0; field < TOKEN_FIELD_COUNT; field++) {
                int r = token_field_read(json, field, &ret_texts[field]);
                if (r == -ENOTUNIQ)
                        return malformed(detail, "has more than one ", field_names[field]);
                if (r == -ENOENT)
                        return malformed(detail, "lacks ", field_names[field]);
                if (r < 0)
                        return malformed(detail, "has an invalid ", field_names[field]);
        }
        if (strcmp(ret_texts[TOKEN_ID], id) != 0)
                return malformed(detail, "is for another token", "");
        return API_OK;
}

/* Finds the field's bytes in the text, or appends them to the text. Any occurrence of the same bytes will do. */
static Slice place_field(char *bytes, size_t json_len, size_t *used, const char *text)
{
        size_t len = strlen(text);
        const char *found = memmem(bytes, json_len, text, len);
        size_t offset = found ? (size_t)(found - bytes) : *used;
        if (!found) {
                memcpy(bytes + offset, text, len);
                *used += len;
        }
        return (Slice){(uint32_t)offset, (uint32_t)len};
}

/* Builds the document from the text and the checked fields. NULL: out of memory. */
static TokenDoc *build(const char *json, size_t len, const char *const texts[static TOKEN_FIELD_COUNT])
{
        size_t size = sizeof(TokenDoc) + len + 1;
        for (TokenField field = 0; field < TOKEN_FIELD_COUNT; field++)
                if (texts[field] && !memmem(json, len, texts[field], strlen(texts[field])))
                        size += strlen(texts[field]);
        CLEANUP(secret_free_p) TokenDoc *doc = secret_malloc(size);
        unsigned char digest[32];
        if (!doc || sigv4_sha256(json, len, digest) < 0)
                return NULL;
        *doc = (TokenDoc){.references = 1, .json_len = (uint32_t)len + 1};
        memcpy(doc->bytes, json, len);
        doc->bytes[len] = '\n';
        size_t used = len + 1;
        for (TokenField field = 0; field < TOKEN_FIELD_COUNT; field++)
                doc->fields[field] = texts[field] ? place_field(doc->bytes, len, &used, texts[field])
                                                  : (Slice){.offset = SLICE_NONE};
        memcpy(&doc->fingerprint, digest, sizeof doc->fingerprint);
        doc->status = token_status_parse(texts[TOKEN_STATUS]);
        (void)parse_iso8601(texts[TOKEN_CREATED_AT], &doc->created_wall_ns);
        (void)parse_iso8601(texts[TOKEN_UPDATED_AT], &doc->updated_wall_ns);
        (void)parse_iso8601(texts[TOKEN_EXPIRES_AT], &doc->expires_wall_ns);
        return TAKE(doc);
}

static bool is_space(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

ApiError token_doc_parse(
        const char *id, const char *body, size_t len, char detail[static 128], TokenDoc **ret_doc)
{
        *detail = '\0';
        if (len > BODY_MAX)
                return malformed(detail, "is too long", "");
        while (len > 0 && is_space(*body))
                body++, len--;
        while (len > 0 && is_space(body[len - 1]))
                len--;
        CLEANUP(json_free_p) cJSON *json = NULL;
        int r = json_parse(body, len, DEPTH_MAX, &json);
        if (r == -ENOMEM)
                return API_E_MEMORY;
        if (r < 0)
                return malformed(detail, r == -E2BIG ? "is nested too deeply" : "is not valid JSON", "");
        const char *texts[TOKEN_FIELD_COUNT] = {NULL};
        ApiError error = read_fields(id, json, detail, texts);
        if (error != API_OK)
                return error;
        TokenDoc *doc = build(body, len, texts);
        if (!doc)
                return API_E_MEMORY;
        *ret_doc = doc;
        return API_OK;
}

const char *token_doc_field(const TokenDoc *doc, TokenField field, size_t *ret_len)
{
        Slice slice = doc->fields[field];
        *ret_len = slice.len;
        return slice.offset != SLICE_NONE ? doc->bytes + slice.offset : NULL;
}

const char *token_doc_json(const TokenDoc *doc, size_t *ret_len)
{
        *ret_len = doc->json_len;
        return doc->bytes;
}

TokenStatus token_doc_status(const TokenDoc *doc)
{
        return doc->status;
}

int64_t token_doc_updated_wall_ns(const TokenDoc *doc)
{
        return doc->updated_wall_ns;
}

int64_t token_doc_expires_wall_ns(const TokenDoc *doc)
{
        return doc->expires_wall_ns;
}

uint64_t token_doc_fingerprint(const TokenDoc *doc)
{
        return doc->fingerprint;
}

/* The destination is zeroed, and large enough for the longest value and a NUL. */
static void copy_field(const TokenDoc *doc, TokenField field, char *to)
{
        size_t len;
        const char *text = token_doc_field(doc, field, &len);
        if (len)
                memcpy(to, text, len);
}

void token_item_from_doc(const TokenDoc *doc, TokenItem *ret_item)
{
        *ret_item = (TokenItem){
                .status = doc->status,
                .created_wall_ns = doc->created_wall_ns,
                .updated_wall_ns = doc->updated_wall_ns,
                .expires_wall_ns = doc->expires_wall_ns,
        };
        copy_field(doc, TOKEN_ID, ret_item->id);
        copy_field(doc, TOKEN_NAME, ret_item->name);
        copy_field(doc, TOKEN_DNS_VIEW_ID, ret_item->dns_view_id);
        copy_field(doc, TOKEN_GLOBAL_RESOLVER_ID, ret_item->global_resolver_id);
}
