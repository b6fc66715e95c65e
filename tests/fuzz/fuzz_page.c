/* The answers of list calls and of GetGlobalResolver, as any bytes; the first says of which operation. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
        if (!condition)
                abort();
}

static void check_page(ApiOperation operation, const ApiPage *page)
{
        require(page->item_count + page->skipped <= PAGE_ITEMS_MAX);
        require(page->id_count + page->skipped <= PAGE_ITEMS_MAX);
        require(!page->item_count || operation == API_LIST_ACCESS_TOKENS);
        require((*page->dns_name != '\0') == (operation == API_GET_GLOBAL_RESOLVER));
        require(strlen(page->dns_name) < sizeof page->dns_name);
        for (size_t i = 0; i < page->item_count; i++) {
                const TokenItem *item = &page->items[i];
                require(token_id_is_valid(item->id));
                require(!*item->name || token_name_is_valid(item->name));
                require(!*item->dns_view_id || token_id_is_valid(item->dns_view_id));
                require(!*item->global_resolver_id || token_id_is_valid(item->global_resolver_id));
                require(item->created_wall_ns >= 0 && item->updated_wall_ns >= 0 &&
                        item->expires_wall_ns >= 0);
        }
        for (size_t i = 0; i < page->id_count; i++)
                require(token_id_is_valid(page->ids[i]));
        if (page->next_token)
                require(*page->next_token && strlen(page->next_token) <= PAGE_NEXT_TOKEN_MAX &&
                        strcmp(page->next_token, "asked") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        static const ApiOperation operations[] = {API_LIST_ACCESS_TOKENS, API_LIST_DNS_VIEWS,
                API_LIST_GLOBAL_RESOLVERS, API_GET_GLOBAL_RESOLVER, API_LIST_SHARED_DNS_VIEWS};
        ApiOperation operation = operations[data[0] % ARRAY_LEN(operations)];
        char detail[128];
        ApiPage page = {0};
        ApiError error =
                api_page_parse(operation, "gr-1", "asked", (const char *)data + 1, size - 1, detail, &page);
        require(strlen(detail) < sizeof detail);
        if (error == API_OK)
                check_page(operation, &page);
        else
                require(error == API_E_MALFORMED && *detail && !page.items && !page.ids && !page.next_token);
        api_page_deinit(&page);
        return 0;
}
