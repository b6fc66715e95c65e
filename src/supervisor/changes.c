/* The changes of names.
 *
 * Why: the command must run once for each change, though workers die, binaries are replaced, and a name may change
 * while it runs. How: no process reports changes. A worker reports, again and again, which token a name means; the
 * supervisor remembers which one the command got last. Where they differ, the command has to run. A new worker that
 * reports the same changes nothing, and ten changes in between are one.
 *
 * The worker is the exposed part. The supervisor takes only reports of watched names, in the form of names and ids. */

#include "changes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void changes_init(Changes *changes, const Options *options)
{
        *changes = (Changes){
                .names = &options->watch_names,
                .most = options->watch_names.count ? options->watch_names.count : options->token_ids.count,
        };
}

void changes_deinit(Changes *changes)
{
        free(changes->items);
        changes->items = NULL;
        changes->count = 0;
}

static bool is_watched(const Changes *changes, const char *name)
{
        for (size_t i = 0; i < changes->names->count; i++)
                if (strcmp(changes->names->items[i], name) == 0)
                        return true;
        return changes->names->count == 0;
}

/* A string of this array that ends within it. */
static bool is_string(const char *text, size_t size)
{
        return memchr(text, '\0', size) != NULL;
}

static bool is_sound(const Changes *changes, const ChangeReport *report)
{
        return is_string(report->name, sizeof report->name) && is_string(report->id, sizeof report->id) &&
               token_name_is_valid(report->name) && (!*report->id || token_id_is_valid(report->id)) &&
               is_watched(changes, report->name);
}

static Change *find(const Changes *changes, const char *name)
{
        for (size_t i = 0; i < changes->count; i++)
                if (strcmp(changes->items[i].name, name) == 0)
                        return &changes->items[i];
        return NULL;
}

static int add(Changes *changes, const char *name, Change **ret_change)
{
        if (changes->count == changes->most)
                return -EINVAL;
        Change *items = reallocarray(changes->items, changes->count + 1, sizeof *items);
        if (!items)
                return -ENOMEM;
        changes->items = items;
        Change *change = &items[changes->count++];
        *change = (Change){0};
        memcpy(change->name, name, strlen(name) + 1);
        *ret_change = change;
        return 0;
}

int changes_report(Changes *changes, const ChangeReport *report)
{
        if (!is_sound(changes, report))
                return -EINVAL;
        Change *change = find(changes, report->name);
        bool is_first = !change;
        int r = is_first ? add(changes, report->name, &change) : 0;
        if (r < 0)
                return r;
        memcpy(change->now, report->id, strlen(report->id) + 1);
        if (is_first)
                memcpy(change->reported, change->now, sizeof change->reported);
        return 0;
}

const Change *changes_pending(Changes *changes)
{
        for (size_t i = 0; i < changes->count; i++) {
                const Change *change = &changes->items[(changes->next + i) % changes->count];
                if (strcmp(change->reported, change->now) != 0)
                        return change;
        }
        return NULL;
}

void changes_take(Changes *changes, const Change *change, Change *ret_change)
{
        size_t index = (size_t)(change - changes->items);
        *ret_change = *change;
        memcpy(changes->items[index].reported, change->now, sizeof change->reported);
        changes->next = index + 1;
}

const char *change_event(const Change *change)
{
        return !*change->reported ? "appeared" : !*change->now ? "gone" : "changed";
}

/* "reported now name\n" for each. */
#define NO_ID "/"

int changes_write(const Changes *changes, Buf *out)
{
        for (size_t i = 0; i < changes->count; i++) {
                const Change *change = &changes->items[i];
                (void)buf_appendf(out, "%s %s %s\n", *change->reported ? change->reported : NO_ID,
                        *change->now ? change->now : NO_ID, change->name);
        }
        return out->error;
}

/* Moves the text up to `end` from *text, and *text behind it. */
static int take_text(const char **text, char end, char *out, size_t size)
{
        const char *stop = strchr(*text, end);
        size_t len = stop ? (size_t)(stop - *text) : 0;
        if (len == 0 || len >= size)
                return -EINVAL;
        memcpy(out, *text, len);
        out[len] = '\0';
        if (strcmp(out, NO_ID) == 0)
                *out = '\0';
        *text = stop + 1;
        return 0;
}

int changes_read(Changes *changes, const char *text)
{
        changes_deinit(changes);
        while (*text) {
                ChangeReport before, after;
                int r = take_text(&text, ' ', before.id, sizeof before.id);
                if (r == 0)
                        r = take_text(&text, ' ', after.id, sizeof after.id);
                if (r == 0)
                        r = take_text(&text, '\n', before.name, sizeof before.name);
                if (r < 0)
                        return r;
                memcpy(after.name, before.name, sizeof after.name);
                if (!is_sound(changes, &before) || find(changes, before.name))
                        continue; /* watched no more */
                r = changes_report(changes, &before);
                if (r == 0)
                        r = changes_report(changes, &after);
                if (r < 0)
                        return r;
        }
        return 0;
}
