#pragma once
/* Environment variables as the AWS tools read them: an empty variable counts as unset. */

#include <stdlib.h>

static inline const char *environment_get(const char *name)
{
        const char *value = secure_getenv(name);
        return value && *value ? value : NULL;
}
