/* The source that is the API client. */

#include "tokenfs/cache/source.h"

static int client_start(void *userdata, ApiOperation operation, const char *id, const char *next_token,
        ApiHandler *handler, void *handler_userdata, ApiCall **ret_call)
{
        return api_start(userdata, operation, id, next_token, handler, handler_userdata, ret_call);
}

static void client_health(void *userdata, ApiHealth *ret_health)
{
        api_client_health(userdata, ret_health);
}

CacheSource cache_source_from_client(ApiClient *client)
{
        return (CacheSource){client_start, api_cancel, client_health, client};
}
