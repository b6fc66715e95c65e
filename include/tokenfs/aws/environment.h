#pragma once
/* Environment variables as the settings of the AWS tools: one that is empty counts as unset. */

#include <stdlib.h>

static inline const char *environment_get(const char *name)
{
        const char *value = secure_getenv(name);
        return value && *value ? value : NULL;
}
