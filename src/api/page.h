#pragma once
/* The answers of all operations but GetAccessToken. */

#include "tokenfs/api/client.h"

#define PAGE_BODY_MAX ((size_t)4 * 1024 * 1024)
#define PAGE_ITEMS_MAX 1000
#define PAGE_NEXT_TOKEN_MAX 4096

/* Parses an answer. `id` and `next_token` are what was asked with (NULL: none). API_OK, API_E_MALFORMED (with
 * `detail` saying what is wrong, no content quoted), API_E_MEMORY. The page is the caller's to deinit. */
ApiError api_page_parse(ApiOperation operation, const char *id, const char *next_token, const char *body,
        size_t len, char detail[static 128], ApiPage *ret_page);
void api_page_deinit(ApiPage *page);
