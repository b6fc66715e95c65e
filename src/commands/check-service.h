#pragma once
/* The steps of --check on the way to the service, without credentials: look-up, connection, TLS, clock. */

#include <stdbool.h>
#include <stdint.h>

#include "check-report.h"
#include "tokenfs/worker/backend.h"
#include "tokenfs/aws/endpoint.h"
#include "tokenfs/net/http.h"
#include "tokenfs/net/loop.h"

typedef struct CheckProbe {
        Loop *loop;
        Http *http;
        const AwsEndpoint *endpoint;
        bool allow_plain_http;
        uint64_t deadline_ns;
        unsigned tries;
        HttpCall *call;
        LoopTimer retry;
        /* What came of it. */
        bool is_done;
        HttpError error;
        char detail[300], peer[64], name[256];
        bool through_tunnel;
        int64_t server_wall_s, local_wall_s; /* server_wall_s 0: the answer has no Date */
} CheckProbe;

/* Asks the endpoint something without signing it: any answer shows that it was reached. Transient failures are tried
 * again, a few times and until the deadline. The probe begins zeroed but for its first five members, borrowed. */
void check_probe_start(CheckProbe *probe);
void check_probe_stop(CheckProbe *probe);
/* Reports the steps of a probe that is done. True if the endpoint was reached. */
bool check_probe_report(CheckReport *report, const CheckProbe *probe, const CaBundle *ca_bundle);
/* Reports the same steps as skipped. */
void check_probe_skip(CheckReport *report, const char *why);
