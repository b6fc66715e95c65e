#pragma once
/* The source of the caches: the API client, or a fake in tests. The functions have the contracts of api/client.h. */

#include "tokenfs/api/client.h"

typedef struct CacheSource {
        int (*start)(void *userdata, const ApiQuery *query, ApiHandler *handler, void *handler_userdata,
                ApiCall **ret_call);
        ApiCall *(*cancel)(ApiCall *call);
        void (*health)(void *userdata, ApiHealth *ret_health);
        void *userdata;
} CacheSource;
