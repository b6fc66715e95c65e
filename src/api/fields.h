#pragma once
/* How a field is read out of a JSON object: one set of rules for the document and for the items of a listing. */

#include <stdbool.h>

#include "tokenfs/api/token.h"
#include "tokenfs/base/json.h"

/* Does the text keep to the API's limits for this field? */
bool token_field_is_valid(TokenField field, const char *text);
/* Reads and checks a field. 0 with *ret_text borrowed from the object (NULL: an optional field that isn't set),
 * -ENOENT (a field that must be there isn't), -ENOTUNIQ, -EINVAL (not a string, or outside the API's limits). */
int token_field_read(const cJSON *object, TokenField field, const char **ret_text);
/* "OPERATIONAL" and its like; TOKEN_STATUS_OTHER for what isn't known. */
TokenStatus token_status_parse(const char *status);
