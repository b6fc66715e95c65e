#pragma once
/* The calls that wait to be sent, and which of them is next. Lists only: no clock, no input or output. */

#include <stdbool.h>
#include <stdint.h>

#include "tokenfs/api/client.h"
#include "tokenfs/base/list.h"

/* The calls of one user. */
typedef struct ApiLane {
        ListLink link; /* in the queue's `lanes` */
        uint32_t uid;
        unsigned tickets; /* that belong to it, waiting or not */
        struct {
                ListLink waiting; /* tickets, the first to be sent first */
                ListLink turn; /* in the queue's `turns`, while `waiting` isn't empty */
        } of[API_PURPOSE_COUNT];
} ApiLane;

typedef struct ApiQueue {
        ListLink lanes;
        ListLink turns[API_PURPOSE_COUNT]; /* lanes with tickets that wait, the next one first */
        bool is_refresh_next;
} ApiQueue;

/* A call's place, embedded in it. */
typedef struct ApiTicket {
        ApiLane *lane;
        ApiPurpose purpose;
        ListLink link; /* in its lane, while it waits */
} ApiTicket;

void api_queue_init(ApiQueue *queue);
/* Gives the ticket its lane; it doesn't wait yet. 0 or -ENOMEM. */
int api_queue_join(ApiQueue *queue, ApiTicket *ticket, ApiPurpose purpose, uint32_t uid);
/* The ticket belongs to the queue no more. Right in every state of a zeroed or joined ticket. */
void api_queue_leave(ApiQueue *queue, ApiTicket *ticket);
/* Has it wait, behind those of its user, or before them. */
void api_queue_append(ApiQueue *queue, ApiTicket *ticket);
void api_queue_prepend(ApiQueue *queue, ApiTicket *ticket);
/* It waits no more. Does nothing if it doesn't wait. */
void api_queue_remove(ApiQueue *queue, ApiTicket *ticket);
/* The ticket whose turn it is, or NULL. Reads and refreshes take turns, or reads go first; guesses come last, and not at
 * all without `allow_guesses`. Within each, users take turns. */
ApiTicket *api_queue_next(const ApiQueue *queue, bool reads_first, bool allow_guesses);
/* The same ticket's turn was used: it waits no more, and its user's next turn is after those of the others. */
void api_queue_take(ApiQueue *queue, ApiTicket *ticket);
