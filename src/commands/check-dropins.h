#pragma once
/* The drop-ins of tokenfs@NAME.service, as far as they change what --check --unit looks at. */

#include <stdbool.h>

#include "tokenfs/base/buf.h"

#define DROPINS_MAX ((size_t)1024 * 1024)

/* Lists are strings that each end with a NUL, in the order in which they count. */
typedef struct DropIns {
        Buf paths; /* the files that were read, one text with ", " */
        Buf environment; /* of Environment=: NAME=VALUE */
        Buf files; /* of EnvironmentFile=; "-/path" need not exist */
        bool drops_settings; /* an empty EnvironmentFile= takes the unit's own file away */
        char user[64]; /* of User=; "": the unit's */
} DropIns;
#define DROPINS_INIT                                                                                         \
        ((DropIns){.paths = BUF_INIT(DROPINS_MAX),                                                           \
                .environment = BUF_INIT(DROPINS_MAX),                                                        \
                .files = BUF_INIT(DROPINS_MAX)})

/* Reads the drop-ins of the instance `name`. 0; a negative errno, and `error` names the file. */
int dropins_read(const char *name, Buf *error, DropIns *dropins);
void dropins_deinit(DropIns *dropins);
