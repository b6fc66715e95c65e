#pragma once
/* An intrusive doubly linked list with a head. The links lie in the elements, so that linking never fails. */

#include <stdbool.h>
#include <stddef.h>

#include "tokenfs/base/cleanup.h"

typedef struct ListLink {
        struct ListLink *prev, *next;
} ListLink;

/* The head of an empty list, and an element in no list, are links to themselves. */
static inline void list_init(ListLink *link)
{
        link->prev = link->next = link;
}

static inline bool list_is_linked(const ListLink *link)
{
        return link->next && link->next != link;
}

#define list_is_empty(head) (!list_is_linked(head))

static inline void list_append(ListLink *head, ListLink *link)
{
        link->prev = head->prev;
        link->next = head;
        head->prev->next = link;
        head->prev = link;
}

/* The element may be in no list; afterwards it is in none. */
static inline void list_unlink(ListLink *link)
{
        if (link->next) {
                link->prev->next = link->next;
                link->next->prev = link->prev;
        }
        list_init(link);
}

/* Moves all elements of `from` behind those of `to`; `from` is empty afterwards. */
static inline void list_splice(ListLink *to, ListLink *from)
{
        if (list_is_empty(from))
                return;
        from->next->prev = to->prev;
        to->prev->next = from->next;
        from->prev->next = to;
        to->prev = from->prev;
        list_init(from);
}

#define list_entry(link, type, member) CONTAINER_OF(link, type, member)
#define list_first(head, type, member) (list_is_empty(head) ? NULL : list_entry((head)->next, type, member))
