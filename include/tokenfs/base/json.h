#pragma once
/* JSON from outside, through cJSON: bounded in depth, well-formed UTF-8, and kept in the secret heap. */

#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "tokenfs/base/cleanup.h"

/* Gives cJSON the secret heap. json_parse calls it; code that builds documents with cJSON must call it first. */
void json_init(void);

#define JSON_VALUES_MAX 100000 /* in a document, which limits its memory */

/* Parses a whole document. Returns 0; -EINVAL: no JSON, bytes behind it, invalid UTF-8, or U+0000, which a C string
 * can't hold; -E2BIG: nested deeper than `depth_max`, or more than JSON_VALUES_MAX values; -ENOMEM. */
int json_parse(const char *data, size_t len, unsigned depth_max, cJSON **ret);
/* Wipes and frees. NULL does nothing. Returns NULL. */
cJSON *json_free(cJSON *json);
CLEANUP_DEFINE(cJSON *, json_free);

/* A member by its name (case-sensitive). 0, -ENOENT (no such member, or no object), -ENOTUNIQ (several: which one counts
 * isn't defined). The member is borrowed. */
int json_member(const cJSON *object, const char *key, const cJSON **ret_member);
/* A string member: NULL if there is none, there are several, or it is no string. Borrowed. */
const char *json_string(const cJSON *object, const char *key);
/* An integer member of 0 to 2^53. 0, -ENOENT, -ENOTUNIQ, -EINVAL (another value). */
int json_uint(const cJSON *object, const char *key, uint64_t *ret_value);
