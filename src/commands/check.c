/* --check: why doesn't it work?
 *
 * A mount gives its reader one errno, and its log one line. The check goes through all that a mount needs, in that
 * order and with the daemon's own code. A failed step ends only the steps that depend on it, so one run shows all
 * faults. The check gives up its privileges after the look at FUSE, and enters the worker's sandbox before it opens
 * files or connections. So a file counts as readable only if the worker can read it.
 *
 * It changes nothing, mounts nothing and prints no secret. Of a key it shows the shortened id; of a token the id,
 * status and end. */

#include "tokenfs/commands/check.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tokenfs/base/daemonize.h"
#include "check-access.h"
#include "check-fuse.h"
#include "check-names.h"
#include "check-report.h"
#include "check-service.h"
#include "check-unit.h"
#include "tokenfs/worker/backend.h"
#include "tokenfs/worker/privileges.h"
#include "tokenfs/worker/sandbox.h"
#include "tokenfs/programs/launcher.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/persist/persist.h"
#include "tokenfs/base/json.h"
#include "tokenfs/base/log.h"

#define CREDENTIAL_TRIES_MAX 3
#define CREDENTIAL_RETRY_NS NS_PER_S
#define PROBE_GRACE_NS NS_PER_S /* it has the same deadline, and knows better than we what it waited for */

typedef struct Check {
        const Options *options;
        const char *unit; /* the instance that is checked; NULL: none */
        CheckReport report;
        Loop *loop;
        AwsConfig *config;
        AwsEndpoint endpoint;
        Http *http;
        CredentialChain *credentials;
        ApiClient *client;
        CheckProbe probe;
        Sandbox *sandbox;

        CredentialWait wait;
        LoopTimer retry;
        unsigned credential_tries;
        bool has_answer; /* of the chain: credentials, or the error below */
        CredentialsError credentials_error;
        char credentials_detail[2048];
        Secret persist_key;
        bool has_credential; /* systemd has a key for the unit */
} Check;

static void failed(Check *check, const char *name, const char *label, const char *detail, const char *remedy)
{
        check_report_step(&check->report, name, label, CHECK_FAILED, remedy, "%s", detail);
}

static void skip(Check *check, const char *name, const char *label, const char *why)
{
        check_report_step(&check->report, name, label, CHECK_SKIPPED, NULL, "skipped: %s", why);
}

/* --- On this machine ---------------------------------------------------------------------------------------- */

static void check_options(Check *check)
{
        const Options *options = check->options;
        size_t scopes = options->token_ids.count + options->dns_view_ids.count + options->resolver_ids.count;
        check_report_step(&check->report, "options", "options", CHECK_OK, NULL,
                "ttl %g s, stale %g s, timeout %g s; %s", (double)options->ttl_ns / (double)NS_PER_S,
                (double)options->stale_ns / (double)NS_PER_S, (double)options->timeout_ns / (double)NS_PER_S,
                scopes ? "the tokens of the scopes below" : "all tokens");
}

/* As the worker will: for good. */
static bool check_user(Check *check)
{
        const char *user = check->options->user;
        bool is_done = privileges_drop(user) == 0;
        if (is_done && user)
                check_report_step(&check->report, "user", "user", CHECK_OK, NULL,
                        "the part that talks and parses runs as %s", user);
        else if (!is_done)
                failed(check, "user", "user",
                        user ? "can't become the user that user= names" : "can't give up privileges",
                        "start it as root, or leave user= out");
        return is_done;
}

static const char *state_of(const char *path)
{
        if (access(path, R_OK) == 0)
                return "";
        return errno == EACCES ? " (may not be read)" : " (not there)";
}

/* systemd.exec(5) has these directories for LoadCredentialEncrypted=. */
static bool has_credential(const char *unit)
{
        static const char *const stores[] = {"/etc", "/run", "/usr/lib"};
        char path[320];
        for (size_t i = 0; i < ARRAY_LEN(stores); i++) {
                (void)snprintf(
                        path, sizeof path, "%s/credstore.encrypted/tokenfs-persist-key.%s", stores[i], unit);
                if (access(path, F_OK) == 0)
                        return true;
        }
        return false;
}

/* Before the user is changed, as a worker does. Options were refused if it can't be read. */
static void read_persist_key(Check *check)
{
        Buf ignored = BUF_INIT(1000);
        if (check->options->persist_key)
                (void)persist_key_load(check->options->persist_key, &ignored, &check->persist_key);
        else if (check->options->persist && check->unit)
                check->has_credential = has_credential(check->unit);
        buf_deinit(&ignored);
}

static void check_persist(Check *check)
{
        const Options *options = check->options;
        if (!options->persist)
                return;
        if (check->has_credential) {
                skip(check, "persist", "copies on disk", "systemd gives the key to the service alone");
                return;
        }
        if (!check->persist_key.data) {
                failed(check, "persist", "copies on disk", "there is no key",
                        "persist_key=FILE, made with (umask 077; head -c 32 /dev/urandom > FILE), or the "
                        "systemd "
                        "credential tokenfs-persist-key");
                return;
        }
        Buf text = BUF_INIT(1000), identity = BUF_INIT(PERSIST_IDENTITY_MAX);
        int r = backend_write_identity(check->config, &check->endpoint, &identity);
        if (r == 0)
                r = persist_check(options->persist, &check->persist_key, buf_str(&identity), &text);
        else if (r == -EMSGSIZE)
                (void)buf_append_str(&text, PERSIST_IDENTITY_TOO_LONG);
        if (r == 0 || r == -ENOENT)
                check_report_step(&check->report, "persist", "copies on disk", CHECK_OK, NULL, "%s%s%s",
                        options->persist, r == 0 ? ": " : ": none yet", buf_str(&text));
        else
                failed(check, "persist", "copies on disk", buf_str(&text),
                        r == -EMSGSIZE
                                ? "a mount would go on without them: shorten the names in the profile"
                                : "a mount would go on without them: make the directory (mode 0700, of "
                                  "the user that serves), or remove the file");
        buf_deinit(&text);
        buf_deinit(&identity);
}

static bool check_configuration(Check *check)
{
        char error_text[2048];
        CLEANUP(buf_deinit) Buf error = BUF_INIT(sizeof error_text - 1);
        AwsConfig *config = NULL;
        int r = backend_load_config(check->options, &error, &config);
        if (r < 0) {
                (void)snprintf(error_text, sizeof error_text, "%s", buf_str(&error));
                failed(check, "configuration", "configuration", error_text,
                        r == -EINVAL ? "mend that line" : "let this user read it, or move it away");
                return false;
        }
        check->config = config;
        const char *profile = aws_config_profile(config), *remedy = NULL;
        const char *config_file = aws_config_config_file(config);
        const char *credentials_file = aws_config_credentials_file(config);
        bool is_there = aws_config_has_profile(config, profile);
        bool is_missing = aws_config_check_profile(config, &error) < 0;
        if (!is_missing)
                aws_config_append_file_faults(config, &error);
        (void)snprintf(error_text, sizeof error_text, "%s", buf_str(&error));
        if (*error_text)
                remedy = is_missing ? check_cut_remedy(error_text, NULL) : error_text;
        check_report_step(&check->report, "configuration", "configuration",
                is_missing ? CHECK_FAILED : CHECK_OK, remedy, "%s%s, %s%s; profile %s%s", config_file,
                state_of(config_file), credentials_file, state_of(credentials_file), profile,
                is_there ? "" : " (in neither)");
        return true;
}

/* --- Credentials -------------------------------------------------------------------------------------------- */

static void on_credentials(CredentialWait *wait, CredentialsError error, const char *detail, void *userdata);

static void ask_for_credentials(Check *check)
{
        const AwsCredentials *credentials = NULL;
        int r = credential_chain_get(check->credentials, &check->wait, on_credentials, check, &credentials);
        if (r == -EINPROGRESS)
                return;
        check->has_answer = true;
        check->credentials_error = r == 0 ? CREDENTIALS_OK : CREDENTIALS_E_FAILED;
}

static void on_retry(LoopTimer *timer, void *userdata)
{
        (void)timer;
        ask_for_credentials(userdata);
}

static void on_credentials(CredentialWait *wait, CredentialsError error, const char *detail, void *userdata)
{
        (void)wait;
        Check *check = userdata;
        check->credentials_error = error;
        (void)snprintf(check->credentials_detail, sizeof check->credentials_detail, "%s", detail);
        uint64_t retry_at_ns = clock_add_ns(clock_now_ns(), CREDENTIAL_RETRY_NS);
        check->credential_tries++;
        if (error == CREDENTIALS_E_FAILED && check->credential_tries < CREDENTIAL_TRIES_MAX &&
                loop_timer_set(&check->retry, retry_at_ns) == 0)
                return;
        check->has_answer = true;
}

static bool report_credentials(Check *check)
{
        CredentialStatus status;
        credential_chain_status(check->credentials, &status);
        if (check->credentials_error == CREDENTIALS_OK && status.provider) {
                char until[64] = "they are replaced";
                if (status.expires_wall_ns != INT64_MAX)
                        check_format_time(status.expires_wall_ns, until);
                check_report_step(&check->report, "credentials", "credentials", CHECK_OK,
                        *status.warning ? status.warning : NULL, "%s from %s, valid until %s",
                        status.access_key_id, status.provider, until);
                return true;
        }
        const char *remedy = check_cut_remedy(check->credentials_detail, "check that provider's settings");
        if (!*check->credentials_detail)
                failed(check, "credentials", "credentials",
                        "none came within timeout=", "see with log_level=debug which provider waits");
        else
                failed(check, "credentials", "credentials", check->credentials_detail, remedy);
        return false;
}

/* --- The whole ---------------------------------------------------------------------------------------------- */

static bool is_credentials_done(const Check *check)
{
        return check->has_answer;
}

static bool is_probe_done(const Check *check)
{
        return check->probe.is_done;
}

/* Serves the loop until something is done, or the deadline. */
static int wait_for(Check *check, bool (*is_done)(const Check *check), uint64_t deadline_ns)
{
        int r = 0;
        for (uint64_t now_ns; r == 0 && !is_done(check) && (now_ns = clock_now_ns()) < deadline_ns;)
                r = loop_turn(check->loop, deadline_ns - now_ns);
        return r;
}

static uint64_t deadline_from_now_ns(const Check *check)
{
        return clock_add_ns(clock_now_ns(), check->options->timeout_ns);
}

static void start_probe(Check *check, uint64_t deadline_ns)
{
        check->probe = (CheckProbe){
                .loop = check->loop,
                .http = check->http,
                .endpoint = &check->endpoint,
                .allow_plain_http = check->options->allow_plain_http,
                .deadline_ns = deadline_ns,
        };
        check_probe_start(&check->probe);
}

/* Returns 1 with the endpoint, 0 without, or a negative errno. */
static int find_endpoint(Check *check, Buf *error)
{
        int r = backend_find_endpoint(check->options, check->config, error, &check->endpoint);
        return r == 0 ? 1 : r == -EINVAL ? 0 : r;
}

static void report_endpoint(Check *check, bool has_endpoint, const Buf *error)
{
        char text[1024];
        if (has_endpoint) {
                check_report_step(&check->report, "endpoint", "endpoint", CHECK_OK, NULL,
                        "%s (%s), region %s", check->endpoint.url, check->endpoint.origin,
                        check->endpoint.region);
                return;
        }
        (void)snprintf(text, sizeof text, "%s", buf_str(error));
        const char *remedy = check_cut_remedy(text, "check endpoint_url=, region= and use_fips");
        failed(check, "endpoint", "endpoint", text, remedy);
}

static int check_calls(Check *check)
{
        int r = backend_new_client(check->loop, check->http, check->credentials, &check->endpoint,
                check->options, &check->client);
        if (r < 0)
                return r;
        r = check_access(
                &check->report, check->options, check->loop, check->client, deadline_from_now_ns(check));
        if (r < 0)
                return r;
        return check_names(
                &check->report, check->options, check->loop, check->client, deadline_from_now_ns(check));
}

/* Everything that leaves this machine. Credentials and the way to the service are looked at together. */
static int check_service(Check *check)
{
        CLEANUP(buf_deinit) Buf error = BUF_INIT(1024);
        uint64_t deadline_ns = deadline_from_now_ns(check);
        int r = backend_new_http(check->loop, check->options, check->config, &check->http);
        if (r == 0)
                r = backend_new_credentials(check->loop, check->http, check->options, &check->credentials);
        int has_endpoint = r == 0 ? find_endpoint(check, &error) : r;
        if (has_endpoint < 0)
                return has_endpoint;
        check->sandbox = sandbox_enter(check->options, check->config);
        if (has_endpoint)
                start_probe(check, deadline_ns);
        ask_for_credentials(check);

        r = wait_for(check, is_credentials_done, deadline_ns);
        if (r < 0)
                return r;
        bool has_credentials = report_credentials(check);
        report_endpoint(check, has_endpoint, &error);
        if (has_endpoint)
                check_persist(check);
        if (!has_endpoint) {
                check_probe_skip(&check->report, "no endpoint");
                check_access_skip(&check->report, check->options, "no endpoint");
                check_names_skip(&check->report, check->options, "no endpoint");
                return 0;
        }

        r = wait_for(check, is_probe_done, clock_add_ns(deadline_ns, PROBE_GRACE_NS));
        if (r < 0)
                return r;
        CaBundle bundle = backend_ca_bundle(check->options, check->config);
        bool is_reached = check_probe_report(&check->report, &check->probe, &bundle);
        if (is_reached && has_credentials)
                return check_calls(check);
        const char *why = is_reached ? "no credentials to sign with" : "the service wasn't reached";
        check_access_skip(&check->report, check->options, why);
        check_names_skip(&check->report, check->options, why);
        return 0;
}

static void skip_service(Check *check, const char *why)
{
        skip(check, "credentials", "credentials", why);
        skip(check, "endpoint", "endpoint", why);
        check_probe_skip(&check->report, why);
        check_access_skip(&check->report, check->options, why);
        check_names_skip(&check->report, check->options, why);
}

static int check_all(Check *check)
{
        check_options(check);
        check_fuse(&check->report, check->options);
        read_persist_key(check);
        if (!check_user(check)) {
                skip(check, "configuration", "configuration", "not as this user");
                skip_service(check, "not as this user");
                return 0;
        }
        json_init();
        int r = check->options->sandbox ? launcher_start() : 0;
        if (r == 0)
                r = http_global_init();
        if (r == 0)
                r = loop_new(&check->loop);
        if (r < 0)
                return r;
        loop_timer_init(&check->retry, check->loop, on_retry, check);
        if (check_configuration(check))
                return check_service(check);
        skip_service(check, "no configuration");
        return 0;
}

static void check_deinit(Check *check)
{
        secret_deinit(&check->persist_key);
        check_probe_stop(&check->probe);
        credential_wait_cancel(&check->wait);
        loop_timer_cancel(&check->retry);
        api_client_free(check->client);
        credential_chain_free(check->credentials);
        http_free(check->http);
        aws_endpoint_deinit(&check->endpoint);
        aws_config_free(check->config);
        sandbox_free(check->sandbox);
        loop_free(check->loop);
        launcher_stop();
}

int check_run(const Options *options)
{
        Check check = {.options = options};
        check_report_init(&check.report, options->json);
        (void)signal(SIGPIPE, SIG_IGN);
        privileges_hide();
        if (options->log_level == LOG_LEVEL_DEBUG)
                log_open(LOG_LEVEL_DEBUG, false);
        else
                log_silence(); /* the steps say it all */
        int r = daemonize_fix_environment();
        if (r == 0 && chdir("/") < 0)
                r = -errno;
        Options unit = {0};
        if (r == 0 && options->unit)
                r = check_unit_load(&check.report, options, &unit);
        if (options->unit) {
                check.options = &unit;
                check.unit = options->unit;
        }
        if (r == 0)
                r = check_all(&check);
        if (r < 0 && !check.report.failed)
                failed(&check, "check", "check", strerrordesc_np(-r), NULL);
        check_deinit(&check);
        options_deinit(&unit);
        return check_report_end(&check.report);
}

/* --- Refused command lines ---------------------------------------------------------------------------------- */

/* As getopt would: a word that is the option or the beginning of it, before "--". */
static bool has_switch(int argc, char **argv, const char *name)
{
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
                if (strlen(argv[i]) > 3 && strncmp(name, argv[i], strlen(argv[i])) == 0)
                        return true;
        return false;
}

bool check_is_asked(int argc, char **argv)
{
        return has_switch(argc, argv, "--check");
}

int check_refused(int argc, char **argv, const char *error)
{
        CheckReport report;
        char text[1024];
        (void)snprintf(text, sizeof text, "%s", error);
        const char *remedy =
                check_cut_remedy(text, "tokenfs --check [--json] [-o OPTION[,OPTION...]] [TOKEN-ID]");
        check_report_init(&report, has_switch(argc, argv, "--json"));
        check_report_step(&report, "options", "options", CHECK_FAILED, remedy, "%s", text);
        return check_report_end(&report);
}
