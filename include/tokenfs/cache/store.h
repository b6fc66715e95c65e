#pragma once
/* Events of the caches, for the module that keeps copies on disk. */

#include <stddef.h>

typedef enum StoreEvent {
        STORE_RENEWED, /* the same content, fetched again */
        STORE_CHANGED, /* other content */
        STORE_EXPIRED, /* a copy is neither fresh nor stale any more */
        STORE_REFUSED, /* the API ended a copy: it must not stay on disk */
} StoreEvent;

typedef void StoreHandler(StoreEvent event, void *userdata);

typedef struct CacheStore {
        StoreHandler *handler; /* NULL: none */
        void *userdata;
} CacheStore;

/* `store` NULL does nothing. */
static inline void store_note(const CacheStore *store, StoreEvent event)
{
        if (store && store->handler)
                store->handler(event, store->userdata);
}
