#pragma once
/* A call of a provider to an AWS service. */

#include "http.h"
#include "tokenfs/aws/endpoint.h"

typedef struct ServiceCall {
        ProviderRun *run;
        AwsEndpoint endpoint;
        Buf url;
        ProviderCall call;
} ServiceCall;

/* Finds the endpoint of a service ("sts") in a region; `path` is appended to its URL. On zeroed memory, or for the next
 * call. Returns 1, or 0 and the failure is set. */
int service_call_find(
        ServiceCall *service, ProviderRun *run, const char *name, const char *region, const char *path);

/* Borrowed until the call has ended. */
typedef struct ServiceRequest {
        const char *method;
        const HttpHeader *headers;
        size_t header_count;
        const Buf *body; /* NULL: none */
        int (*renew)(void *userdata); /* as in ProviderCallRules */
} ServiceRequest;
/* Sends a request to the endpoint that was found. Returns -EINPROGRESS, or 0 and the failure is set. */
int service_call_send(
        ServiceCall *service, const ServiceRequest *request, ProviderCallHandler *handler, void *userdata);
/* The seconds by which the service's clock is ahead, by the Date of its answer; 0 if that is too little to matter. */
int64_t service_call_skew_s(const HttpResponse *response);
/* Valid in any state, on zeroed memory too. */
void service_call_stop(ServiceCall *service);
