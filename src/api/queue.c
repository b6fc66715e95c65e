/* Which call is sent next.
 *
 * Why: on a mount with allow_other each stat of a made-up id is a call. So the calls of all users could wait for
 * thousands of one user's. How: each user has a lane, and lanes take turns, so that a call waits for at most one call
 * of each other user. Calls for ids that are neither held nor listed (guesses) wait apart, and go out when nothing else
 * waits. Reads without a copy and refreshes take turns; while the API throttles, reads go first, since a refresh has a
 * copy to be served meanwhile. A lane lives as long as a call belongs to it, waiting or not: so only joining needs
 * memory. */

#include "queue.h"

#include <errno.h>
#include <stdlib.h>

void api_queue_init(ApiQueue *queue)
{
        *queue = (ApiQueue){0};
        list_init(&queue->lanes);
        for (size_t i = 0; i < API_PURPOSE_COUNT; i++)
                list_init(&queue->turns[i]);
}

static ApiLane *lane_find(const ApiQueue *queue, uint32_t uid)
{
        for (ListLink *link = queue->lanes.next; link != &queue->lanes; link = link->next) {
                ApiLane *lane = list_entry(link, ApiLane, link);
                if (lane->uid == uid)
                        return lane;
        }
        return NULL;
}

int api_queue_join(ApiQueue *queue, ApiTicket *ticket, ApiPurpose purpose, uint32_t uid)
{
        ApiLane *lane = lane_find(queue, uid);
        if (!lane) {
                lane = calloc(1, sizeof *lane);
                if (!lane)
                        return -ENOMEM;
                lane->uid = uid;
                for (size_t i = 0; i < API_PURPOSE_COUNT; i++) {
                        list_init(&lane->of[i].waiting);
                        list_init(&lane->of[i].turn);
                }
                list_append(&queue->lanes, &lane->link);
        }
        lane->tickets++;
        *ticket = (ApiTicket){.lane = lane, .purpose = purpose};
        list_init(&ticket->link);
        return 0;
}

void api_queue_leave(ApiQueue *queue, ApiTicket *ticket)
{
        ApiLane *lane = ticket->lane;
        if (!lane)
                return;
        api_queue_remove(queue, ticket);
        ticket->lane = NULL;
        if (--lane->tickets > 0)
                return;
        list_unlink(&lane->link);
        free(lane);
}

static void lane_take_turn(ApiQueue *queue, ApiLane *lane, ApiPurpose purpose)
{
        if (!list_is_linked(&lane->of[purpose].turn))
                list_append(&queue->turns[purpose], &lane->of[purpose].turn);
}

void api_queue_append(ApiQueue *queue, ApiTicket *ticket)
{
        list_append(&ticket->lane->of[ticket->purpose].waiting, &ticket->link);
        lane_take_turn(queue, ticket->lane, ticket->purpose);
}

void api_queue_prepend(ApiQueue *queue, ApiTicket *ticket)
{
        list_append(ticket->lane->of[ticket->purpose].waiting.next, &ticket->link);
        lane_take_turn(queue, ticket->lane, ticket->purpose);
}

void api_queue_remove(ApiQueue *queue, ApiTicket *ticket)
{
        (void)queue;
        list_unlink(&ticket->link);
        if (list_is_empty(&ticket->lane->of[ticket->purpose].waiting))
                list_unlink(&ticket->lane->of[ticket->purpose].turn);
}

static ApiTicket *first_ticket(const ApiQueue *queue, ApiPurpose purpose)
{
        const ListLink *turns = &queue->turns[purpose];
        if (list_is_empty(turns))
                return NULL;
        ApiLane *lane = CONTAINER_OF(turns->next, ApiLane, of[purpose].turn);
        return list_first(&lane->of[purpose].waiting, ApiTicket, link);
}

ApiTicket *api_queue_next(const ApiQueue *queue, bool reads_first, bool allow_guesses)
{
        ApiTicket *read = first_ticket(queue, API_FOR_READ), *refresh = first_ticket(queue, API_FOR_REFRESH);
        if (read && refresh)
                return queue->is_refresh_next && !reads_first ? refresh : read;
        if (read || refresh)
                return read ? read : refresh;
        return allow_guesses ? first_ticket(queue, API_FOR_GUESS) : NULL;
}

void api_queue_take(ApiQueue *queue, ApiTicket *ticket)
{
        ApiLane *lane = ticket->lane;
        queue->is_refresh_next = ticket->purpose == API_FOR_READ;
        api_queue_remove(queue, ticket);
        if (!list_is_linked(&lane->of[ticket->purpose].turn))
                return;
        list_unlink(&lane->of[ticket->purpose].turn);
        list_append(&queue->turns[ticket->purpose], &lane->of[ticket->purpose].turn);
}
