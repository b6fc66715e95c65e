/* Is the service there, and is it the service?
 *
 * Each of these steps could have a call of its own: a look-up, a connection, a handshake. Then they would be made in
 * another way than the mount makes them, and a proxy would lead them astray. So one unsigned request is made as all
 * others are, through the same HTTP client, and how far it came says which steps work. Its Date shows the clock. */

#include "check-service.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/parse.h"

#define TRIES_MAX 3
#define RETRY_NS (250 * NS_PER_MS) /* before the second try; twice as long before the third */
#define ANSWER_MAX ((size_t)1024 * 1024)
#define SIGNATURE_TOLERANCE_S 300 /* how far off a signature's time may be */
#define DATE_GRAIN_S 2 /* Date has whole seconds, and the answer took its time */

static void probe_conclude(CheckProbe *probe, HttpError error, const char *detail)
{
        probe->error = error;
        (void)snprintf(probe->detail, sizeof probe->detail, "%s", detail);
        probe->is_done = true;
}

static bool is_transient(HttpError error)
{
        return error == HTTP_E_RESOLVE || error == HTTP_E_CONNECT || error == HTTP_E_TIMEOUT;
}

static void probe_on_response(const HttpResponse *response, void *userdata)
{
        CheckProbe *probe = userdata;
        probe->call = NULL;
        uint64_t retry_at_ns = clock_add_ns(clock_now_ns(), RETRY_NS << (probe->tries - 1));
        if (is_transient(response->error) && probe->tries < TRIES_MAX && retry_at_ns < probe->deadline_ns &&
                loop_timer_set(&probe->retry, retry_at_ns) == 0)
                return;
        const char *date = http_response_header(response, "Date");
        if (date)
                (void)parse_http_date(date, &probe->server_wall_s);
        probe->local_wall_s = clock_wall_ns() / (int64_t)NS_PER_S;
        (void)snprintf(probe->peer, sizeof probe->peer, "%s", response->peer);
        probe->through_tunnel = response->through_tunnel;
        probe_conclude(probe, response->error, response->detail);
}

static void probe_send(CheckProbe *probe)
{
        char url[2048];
        uint64_t now_ns = clock_now_ns();
        const HttpRequest request = {
                .method = "GET",
                .url = url,
                .timeout_ns = probe->deadline_ns > now_ns ? probe->deadline_ns - now_ns : 1,
                .response_max = ANSWER_MAX,
                .allow_plain = probe->allow_plain_http,
        };
        probe->tries++;
        (void)snprintf(url, sizeof url, "%s/", probe->endpoint->url);
        int r = http_start(probe->http, &request, probe_on_response, probe, &probe->call);
        if (r < 0)
                probe_conclude(probe, HTTP_E_MEMORY, strerrordesc_np(-r));
}

static void probe_on_retry(LoopTimer *timer, void *userdata)
{
        (void)timer;
        probe_send(userdata);
}

/* The host without its port and brackets. */
static void set_name(CheckProbe *probe)
{
        const char *host = probe->endpoint->host;
        bool is_bracketed = *host == '[';
        size_t len = is_bracketed ? strcspn(++host, "]") : strcspn(host, ":");
        (void)snprintf(probe->name, sizeof probe->name, "%.*s", (int)len, host);
}

void check_probe_start(CheckProbe *probe)
{
        loop_timer_init(&probe->retry, probe->loop, probe_on_retry, probe);
        set_name(probe);
        probe_conclude(probe, HTTP_E_TIMEOUT, "no answer within timeout=");
        probe->is_done = false;
        probe_send(probe);
}

void check_probe_stop(CheckProbe *probe)
{
        probe->call = http_cancel(probe->call);
        loop_timer_cancel(&probe->retry);
}

/* --- What it means ------------------------------------------------------------------------------------------ */

static const struct {
        const char *name, *label;
} steps[] = {{"lookup", "name look-up"}, {"connection", "connection"}, {"tls", "TLS"}, {"clock", "clock"}};
enum { LOOKUP, CONNECTION, TLS, CLOCK };

static void skip_from(CheckReport *report, size_t first, const char *why)
{
        for (size_t i = first; i < ARRAY_LEN(steps); i++)
                check_report_step(
                        report, steps[i].name, steps[i].label, CHECK_SKIPPED, NULL, "skipped: %s", why);
}

void check_probe_skip(CheckReport *report, const char *why)
{
        skip_from(report, LOOKUP, why);
}

static void report_step(CheckReport *report, size_t step, CheckOutcome outcome, const char *remedy,
        const char *format, ...) __attribute__((format(printf, 5, 6)));
static void report_step(
        CheckReport *report, size_t step, CheckOutcome outcome, const char *remedy, const char *format, ...)
{
        char detail[1024];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(detail, sizeof detail, format, args);
        va_end(args);
        check_report_step(report, steps[step].name, steps[step].label, outcome, remedy, "%s", detail);
}

static bool report_lookup(CheckReport *report, const CheckProbe *probe)
{
        struct in6_addr address;
        bool is_slow = probe->error == HTTP_E_TIMEOUT && strstr(probe->detail, "Resolving");
        if (probe->error == HTTP_E_RESOLVE || is_slow) {
                report_step(report, LOOKUP, CHECK_FAILED,
                        "check the name's spelling (endpoint_url=, region=), the name service "
                        "(/etc/resolv.conf) and, if there is one, the proxy's name",
                        "%s", probe->detail);
                return false;
        }
        bool is_address = inet_pton(AF_INET, probe->name, &address) == 1 ||
                          inet_pton(AF_INET6, probe->name, &address) == 1;
        if (is_address)
                report_step(report, LOOKUP, CHECK_OK, NULL, "none is needed: %s is an address", probe->name);
        else if (probe->through_tunnel)
                report_step(report, LOOKUP, CHECK_OK, NULL, "%s is left to the proxy", probe->name);
        else if (*probe->peer)
                report_step(report, LOOKUP, CHECK_OK, NULL, "%s is %s", probe->name, probe->peer);
        else
                report_step(report, LOOKUP, CHECK_OK, NULL, "%s", probe->name);
        return true;
}

static bool report_connection(CheckReport *report, const CheckProbe *probe)
{
        switch (probe->error) {
        case HTTP_E_CONNECT:
        case HTTP_E_TIMEOUT:
        case HTTP_E_INVALID:
        case HTTP_E_MEMORY:
                report_step(report, CONNECTION, CHECK_FAILED,
                        "check the network, a firewall on the way, the proxy (HTTPS_PROXY, NO_PROXY) and "
                        "endpoint_url=",
                        "%s", probe->detail);
                return false;
        default:
                report_step(report, CONNECTION, CHECK_OK, NULL, "to %s%s", probe->peer,
                        probe->through_tunnel ? ", a proxy" : "");
                return true;
        }
}

/* What to do about a certificate, by what OpenSSL and libcurl say of it. */
static const char *remedy_of_tls(const char *detail)
{
        static const struct {
                const char *sign, *remedy;
        } remedies[] = {
                {"expired",
                        "the service's certificate has to be renewed, unless this machine's clock is wrong"},
                {"not yet valid", "set this machine's clock, unless the service's certificate is wrong"},
                {"subject name", "name the host as its certificate does (endpoint_url=)"},
                {"issuer", "if it is yours, trust its authority with ca_bundle= or AWS_CA_BUNDLE; else "
                           "something "
                           "stands in between, perhaps a proxy that opens TLS"},
                {"self-signed",
                        "if it is yours, trust it with ca_bundle= or AWS_CA_BUNDLE; else something stands "
                        "in between, perhaps a proxy that opens TLS"},
                {"certificate file", "make the CA bundle a readable file of PEM certificates"},
                {"trust anchors", "make the CA bundle a readable file of PEM certificates"},
                {"verify locations", "make the CA bundle a readable file of PEM certificates"},
        };
        for (size_t i = 0; i < ARRAY_LEN(remedies); i++)
                if (strstr(detail, remedies[i].sign))
                        return remedies[i].remedy;
        return "check endpoint_url=, ca_bundle= and this machine's clock";
}

static bool report_tls(CheckReport *report, const CheckProbe *probe, const CaBundle *bundle)
{
        const char *path = bundle->path        ? bundle->path
                           : bundle->directory ? bundle->directory
                                               : "the system's certificates";
        const char *origin = bundle->path || bundle->directory ? bundle->origin : "no other named";
        if (probe->error == HTTP_E_TLS) {
                report_step(report, TLS, CHECK_FAILED, remedy_of_tls(probe->detail), "%s; trusted is %s (%s)",
                        probe->detail, path, origin);
                return false;
        }
        if (probe->endpoint->is_plain)
                report_step(report, TLS, CHECK_OK, NULL, "none: the endpoint is http://");
        else
                report_step(report, TLS, CHECK_OK, NULL, "verified with %s (%s)", path, origin);
        return true;
}

/* A clock that is off is corrected for, so that it fails no mount; but it should be set all the same. */
static void report_clock(CheckReport *report, const CheckProbe *probe)
{
        int64_t ahead_s = probe->local_wall_s - probe->server_wall_s;
        int64_t off_s = ahead_s < 0 ? -ahead_s : ahead_s;
        const char *side = ahead_s < 0 ? "behind" : "ahead of";
        if (probe->server_wall_s == 0)
                report_step(report, CLOCK, CHECK_SKIPPED, NULL, "unknown: the answer has no Date");
        else if (off_s <= DATE_GRAIN_S)
                report_step(report, CLOCK, CHECK_OK, NULL, "as the service's");
        else if (off_s < SIGNATURE_TOLERANCE_S)
                report_step(report, CLOCK, CHECK_OK, NULL,
                        "%" PRId64 " s %s the service's, which is tolerated", off_s, side);
        else
                report_step(report, CLOCK, CHECK_OK, "set this machine's clock (timedatectl set-ntp true)",
                        "%" PRId64 " s %s the service's; signatures are corrected for it", off_s, side);
}

bool check_probe_report(CheckReport *report, const CheckProbe *probe, const CaBundle *ca_bundle)
{
        if (!report_lookup(report, probe)) {
                skip_from(report, CONNECTION, "no address");
                return false;
        }
        if (!report_connection(report, probe)) {
                skip_from(report, TLS, "no connection");
                return false;
        }
        if (!report_tls(report, probe, ca_bundle)) {
                skip_from(report, CLOCK, "no service that can be trusted");
                return false;
        }
        report_clock(report, probe);
        return true;
}
