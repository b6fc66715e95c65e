#pragma once
/* The line from the caches to what keeps their copies beyond this process. */

#include <stddef.h>

typedef enum StoreEvent {
        STORE_RENEWED, /* the same content, fetched again */
        STORE_CHANGED, /* other content */
        STORE_EXPIRED, /* it can't be served any more */
        STORE_REFUSED, /* the API ended a copy: it must not be kept anywhere */
} StoreEvent;

typedef void StoreHandler(StoreEvent event, void *userdata);

typedef struct CacheStore {
        StoreHandler *handler; /* NULL: nobody listens */
        void *userdata;
} CacheStore;

/* `store` NULL does nothing. */
static inline void store_note(const CacheStore *store, StoreEvent event)
{
        if (store && store->handler)
                store->handler(event, store->userdata);
}
