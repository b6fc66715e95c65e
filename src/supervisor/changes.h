#pragma once
/* Which token each watched name meant when the command was last run, and which it means now. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/options/options.h"
#include "tokenfs/worker/watch.h"

typedef struct Change {
        char name[TOKEN_NAME_MAX + 1];
        char reported[TOKEN_ID_MAX + 1], now[TOKEN_ID_MAX + 1]; /* "": none */
} Change;

typedef struct Changes {
        const OptionList *names; /* if there are any: these and no others; borrowed */
        size_t most; /* so many names at most */
        Change *items;
        size_t count;
        size_t next; /* where the search for the next one to report goes on */
} Changes;
void changes_init(Changes *changes, const Options *options);
void changes_deinit(Changes *changes);

/* Takes in a worker's report. A name's first report is where its changes begin. -EINVAL: a sound worker doesn't send
 * this; -ENOMEM. */
int changes_report(Changes *changes, const ChangeReport *report);
/* A name that means another token than the command got last, each in turn; NULL: none. */
const Change *changes_pending(Changes *changes);
/* The command has it now. Gives the change, with the ids before and after. */
void changes_take(Changes *changes, const Change *change, Change *ret_change);
/* "changed", "appeared" or "gone". */
const char *change_event(const Change *change);

/* As text, and back again (for the next binary): the text replaces all that is known. -EINVAL: it is no such text. */
int changes_write(const Changes *changes, Buf *out);
int changes_read(Changes *changes, const char *text);
