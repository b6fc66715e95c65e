/* Pages of list calls, and a resolver's DNS name.
 *
 * One odd item must not make a listing of thousands fail, and a server must not make this process hold more than a
 * page. The page itself is parsed strictly; an item outside of the API's limits is left out and counted. Items are
 * copied into fixed records. All other members are wiped with the parsed document, even a `value`, which a list answer
 * should not have. */

#include "page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/json.h"
#include "tokenfs/base/parse.h"

#include "fields.h"

#define DEPTH_MAX 16

static ApiError malformed(char detail[static 128], const char *what, const char *member)
{
        (void)snprintf(detail, 128, "the answer %s%s", what, member);
        return API_E_MALFORMED;
}

/* Copies a field into an array of `size` bytes; "" if it is unset. */
static int copy_field(const cJSON *object, TokenField field, bool is_optional, char *to, size_t size)
{
        const char *text = NULL;
        int r = token_field_read(object, field, &text);
        if (r == -ENOENT && is_optional)
                r = 0;
        if (r < 0)
                return r;
        *to = '\0';
        if (text && (size_t)snprintf(to, size, "%s", text) >= size)
                return -EINVAL;
        return 0;
}

static int copy_time(const cJSON *object, TokenField field, int64_t *ret_wall_ns)
{
        const char *text = NULL;
        int r = token_field_read(object, field, &text);
        return r < 0 ? r : parse_iso8601(text, ret_wall_ns);
}

static int read_item(const cJSON *object, TokenItem *ret_item)
{
        TokenItem item = {.status = TOKEN_STATUS_OTHER};
        const char *status = NULL;
        int r = copy_field(object, TOKEN_ID, false, item.id, sizeof item.id);
        if (r == 0)
                r = copy_field(object, TOKEN_NAME, true, item.name, sizeof item.name);
        if (r == 0)
                r = copy_field(object, TOKEN_DNS_VIEW_ID, true, item.dns_view_id, sizeof item.dns_view_id);
        if (r == 0)
                r = copy_field(object, TOKEN_GLOBAL_RESOLVER_ID, true, item.global_resolver_id,
                        sizeof item.global_resolver_id);
        if (r == 0)
                r = token_field_read(object, TOKEN_STATUS, &status);
        if (r == 0)
                r = copy_time(object, TOKEN_CREATED_AT, &item.created_wall_ns);
        if (r == 0)
                r = copy_time(object, TOKEN_UPDATED_AT, &item.updated_wall_ns);
        if (r == 0)
                r = copy_time(object, TOKEN_EXPIRES_AT, &item.expires_wall_ns);
        if (r < 0)
                return r;
        item.status = token_status_parse(status);
        *ret_item = item;
        return 0;
}

static ApiError read_items(const cJSON *list, ApiPage *page)
{
        const cJSON *object = NULL;
        page->items = calloc(PAGE_ITEMS_MAX, sizeof *page->items);
        if (!page->items)
                return API_E_MEMORY;
        cJSON_ArrayForEach(object, list)
        {
                if (read_item(object, &page->items[page->item_count]) == 0)
                        page->item_count++;
                else
                        page->skipped++;
        }
        return API_OK;
}

static ApiError read_ids(const cJSON *list, ApiPage *page)
{
        const cJSON *object = NULL;
        page->ids = calloc(PAGE_ITEMS_MAX, sizeof *page->ids);
        if (!page->ids)
                return API_E_MEMORY;
        cJSON_ArrayForEach(object, list)
        {
                char *id = page->ids[page->id_count];
                if (copy_field(object, TOKEN_ID, false, id, sizeof *page->ids) == 0)
                        page->id_count++;
                else
                        page->skipped++;
        }
        return API_OK;
}

/* null, "" and no member mean the last page. A token that repeats the one of the request would never end. */
static ApiError read_next_token(const cJSON *json, const char *asked, char detail[static 128], ApiPage *page)
{
        const cJSON *member = NULL;
        int r = json_member(json, "nextToken", &member);
        if (r == -ENOENT || (r == 0 && cJSON_IsNull(member)))
                return API_OK;
        if (r < 0 || !cJSON_IsString(member) || strlen(member->valuestring) > PAGE_NEXT_TOKEN_MAX)
                return malformed(detail, "has an invalid ", "nextToken");
        if (!*member->valuestring)
                return API_OK;
        if (asked && strcmp(member->valuestring, asked) == 0)
                return malformed(detail, "repeats the ", "nextToken");
        page->next_token = strdup(member->valuestring);
        return page->next_token ? API_OK : API_E_MEMORY;
}

static ApiError read_list(
        ApiOperation operation, const cJSON *json, const char *asked, char detail[static 128], ApiPage *page)
{
        static const char *const members[API_OPERATION_COUNT] = {
                [API_LIST_ACCESS_TOKENS] = "accessTokens",
                [API_LIST_DNS_VIEWS] = "dnsViews",
                [API_LIST_SHARED_DNS_VIEWS] = "dnsViews",
                [API_LIST_GLOBAL_RESOLVERS] = "globalResolvers",
        };
        const cJSON *list = NULL;
        int r = json_member(json, members[operation], &list);
        /* The service's model requires the other arrays, but permits an answer without accessTokens. */
        bool is_absent = r == -ENOENT || (r == 0 && cJSON_IsNull(list));
        if (is_absent && operation == API_LIST_ACCESS_TOKENS)
                list = NULL;
        else if (r < 0 || !cJSON_IsArray(list))
                return malformed(detail, "has no array ", members[operation]);
        if (cJSON_GetArraySize(list) > PAGE_ITEMS_MAX)
                return malformed(detail, "has too many ", members[operation]);
        ApiError error = read_next_token(json, asked, detail, page);
        if (error != API_OK)
                return error;
        return operation == API_LIST_ACCESS_TOKENS ? read_items(list, page) : read_ids(list, page);
}

static ApiError read_resolver(const cJSON *json, const char *id, char detail[static 128], ApiPage *page)
{
        char answered[TOKEN_ID_MAX + 1];
        if (copy_field(json, TOKEN_ID, false, answered, sizeof answered) < 0)
                return malformed(detail, "has an invalid ", "id");
        if (strcmp(answered, id) != 0)
                return malformed(detail, "is for another resolver", "");
        const char *name = json_string(json, "dnsName");
        size_t len =
                name ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") : 0;
        if (len == 0 || len >= sizeof page->dns_name || name[len])
                return malformed(detail, "has an invalid ", "dnsName");
        memcpy(page->dns_name, name, len + 1);
        return API_OK;
}

ApiError api_page_parse(ApiOperation operation, const char *id, const char *next_token, const char *body,
        size_t len, char detail[static 128], ApiPage *ret_page)
{
        *detail = '\0';
        if (len > PAGE_BODY_MAX)
                return malformed(detail, "is too long", "");
        CLEANUP(json_free_p) cJSON *json = NULL;
        int r = json_parse(body, len, DEPTH_MAX, &json);
        if (r == -ENOMEM)
                return API_E_MEMORY;
        if (r < 0)
                return malformed(detail, r == -E2BIG ? "is nested too deeply" : "is not valid JSON", "");
        if (!cJSON_IsObject(json))
                return malformed(detail, "is no JSON object", "");
        ApiPage page = {0};
        ApiError error = operation == API_GET_GLOBAL_RESOLVER
                                 ? read_resolver(json, id, detail, &page)
                                 : read_list(operation, json, next_token, detail, &page);
        if (error != API_OK) {
                api_page_deinit(&page);
                return error;
        }
        *ret_page = page;
        return API_OK;
}

void api_page_deinit(ApiPage *page)
{
        free(page->items);
        free(page->ids);
        free(page->next_token);
        *page = (ApiPage){0};
}
