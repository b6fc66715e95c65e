#pragma once
/* The scopes `token=`, `dns_view=` and `resolver=`: the tokens that exist for this mount. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/api/token.h"
#include "tokenfs/base/cleanup.h"

typedef struct ScopeIds {
        const char *const *token_ids, *const *dns_view_ids, *const *resolver_ids;
        size_t token_id_count, dns_view_id_count, resolver_id_count;
} ScopeIds;

/* Immutable. */
typedef struct Scopes Scopes;
/* Copies the ids; all empty: every token exists. 0 or -ENOMEM. */
int scopes_new(const ScopeIds *ids, Scopes **ret_scopes);
/* NULL does nothing. Returns NULL. */
Scopes *scopes_free(Scopes *scopes);
CLEANUP_DEFINE(Scopes *, scopes_free);

/* No scope was given: every token exists. */
bool scopes_are_open(const Scopes *scopes);
/* Only `token=` scopes were given: there is nothing to list. */
bool scopes_are_tokens(const Scopes *scopes);
/* The ids of each kind, sorted. Borrowed. */
ScopeIds scopes_ids(const Scopes *scopes);

/* Does the token exist, by its id alone? False: the listing or its document decides. */
bool scopes_admit_id(const Scopes *scopes, const char *id);
/* Does the token exist? Its item and its document name its view and its resolver. */
bool scopes_admit_item(const Scopes *scopes, const TokenItem *item);
bool scopes_admit_doc(const Scopes *scopes, const TokenDoc *doc);
