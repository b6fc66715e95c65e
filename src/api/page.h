#pragma once
/* The answers of list calls and of GetGlobalResolver. */

#include "tokenfs/api/client.h"

#define PAGE_BODY_MAX ((size_t)4 * 1024 * 1024)
#define PAGE_ITEMS_MAX 1000
#define PAGE_NEXT_TOKEN_MAX 4096

/* Parses an answer. `id` and `next_token` are those of the request (NULL: none). Returns API_OK, API_E_MALFORMED
 * (`detail` names the fault and quotes no content), or API_E_MEMORY. The caller deinits the page. */
ApiError api_page_parse(ApiOperation operation, const char *id, const char *next_token, const char *body,
        size_t len, char detail[static 128], ApiPage *ret_page);
void api_page_deinit(ApiPage *page);
