#pragma once
/* JSON from outside, through cJSON: bounded in depth, well-formed UTF-8, and kept in the secret heap. */

#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "tokenfs/base/cleanup.h"

/* Gives cJSON the secret heap. json_parse does it by itself; who builds documents with cJSON calls it first. */
void json_init(void);

#define JSON_VALUES_MAX 100000 /* in a document: what it may cost in memory, whatever its length */

/* Parses a whole document. Returns 0, -EINVAL (no JSON, something behind it, not UTF-8, a string with U+0000, which
 * a C string can't hold), -E2BIG (objects and arrays nested deeper than `depth_max`, too many values), -ENOMEM. */
int json_parse(const char *data, size_t len, unsigned depth_max, cJSON **ret);
/* Wipes and frees. NULL does nothing. Returns NULL. */
cJSON *json_free(cJSON *json);
CLEANUP_DEFINE(cJSON *, json_free);

/* A member by its name (case counts). 0, -ENOENT (no such member, or no object), -ENOTUNIQ (more than one: it isn't
 * for us to choose). The member is borrowed. */
int json_member(const cJSON *object, const char *key, const cJSON **ret_member);
/* The same, of strings: NULL if there is none, more than one, or it is no string. Borrowed. */
const char *json_string(const cJSON *object, const char *key);
/* A whole number of 0 to 2^53. 0, -ENOENT, -ENOTUNIQ, -EINVAL (not such a number). */
int json_uint(const cJSON *object, const char *key, uint64_t *ret_value);
