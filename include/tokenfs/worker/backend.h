#pragma once
/* What lies behind the cache: configuration, endpoint, connections, credentials and the API client, made from the
 * options and what they refer to, as one thing that can be replaced while the filesystem serves. */

#include "tokenfs/api/client.h"
#include "tokenfs/aws/config.h"
#include "tokenfs/credentials/chain.h"
#include "tokenfs/aws/endpoint.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/cache/source.h"
#include "tokenfs/options/options.h"
#include "tokenfs/net/loop.h"

typedef struct Backend Backend;

/* `options` is borrowed. 0, -ENOMEM, or another negative errno: the configuration can't be used, and the log says
 * why. */
int backend_new(Loop *loop, const Options *options, Backend **ret_backend);
/* Calls must have been cancelled before. Returns NULL. */
Backend *backend_free(Backend *backend);
CLEANUP_DEFINE(Backend *, backend_free);

/* The source for cache and listing; stays the same over renewals. */
CacheSource backend_source(Backend *backend);

/* SIGHUP: reads everything anew. Calls started from now on use the new; those under way go on with the old until they
 * are cancelled and backend_retire frees it. On failure (logged) the old goes on, with everything forgotten that it
 * can forget. */
void backend_renew(Backend *backend);
void backend_retire(Backend *backend);

/* For status and metrics; the counters are sums over renewals. Borrowed. */
const AwsConfig *backend_config(const Backend *backend);
const AwsEndpoint *backend_endpoint(const Backend *backend);
void backend_credentials(const Backend *backend, CredentialStatus *ret_status);
void backend_health(const Backend *backend, ApiHealth *ret_health);
void backend_counters(const Backend *backend, ApiCounters *ret_counters);
int64_t backend_skew_s(const Backend *backend);

/* Reads the configuration and works the endpoint out, to see whether backend_new would succeed. As backend_new. */
int backend_probe(const Options *options);
