#pragma once
/* The errno table: what a reader is told for each kind of failure. */

#include "tokenfs/api/errors.h"

/* A positive errno. API_OK is 0. */
int fs_errno(ApiError error);
