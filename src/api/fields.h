#pragma once
/* Reading a field of a JSON object: the same rules for documents and for items of a listing. */

#include <stdbool.h>

#include "tokenfs/api/token.h"
#include "tokenfs/base/json.h"

/* True if the text is within the API's limits for this field. */
bool token_field_is_valid(TokenField field, const char *text);
/* Reads and checks a field. Returns 0 and *ret_text, borrowed from the object (NULL: an unset optional field), -ENOENT
 * (a required field is missing), -ENOTUNIQ, -EINVAL (no string, or outside of the API's limits). */
int token_field_read(const cJSON *object, TokenField field, const char **ret_text);
/* "OPERATIONAL" and its like; TOKEN_STATUS_OTHER for any other text. */
TokenStatus token_status_parse(const char *status);
