#pragma once
/* The errno table: the errno that a reader gets for each kind of failure. */

#include "tokenfs/api/errors.h"

/* A positive errno. API_OK is 0. */
int fs_errno(ApiError error);
