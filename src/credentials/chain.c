/* The chain: the credentials to sign with, and the time to look for newer ones.
 *
 * A mount lives for months, while files change, roles expire and services have outages. Several events require other
 * credentials: there are none yet, a file changed, they end soon, or the service refused them. Each starts a new walk
 * along the providers, one at a time for all waits. So the choice is always that of a process that starts now. A walk
 * that fails leaves the last credentials in place while they are valid, and is repeated at growing intervals.
 *
 * In the last 15 minutes of an hour or more (a quarter of a shorter time) a walk runs in the background. In the last
 * 10 minutes (a sixth), and when files changed, callers wait for the walk: for 2 s at most while the last credentials
 * are valid, and not at all after a walk has failed. */

#include "tokenfs/credentials/chain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "provider.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define ADVISORY_NS (INT64_C(15) * 60 * (int64_t)NS_PER_S)
#define MANDATORY_NS (INT64_C(10) * 60 * (int64_t)NS_PER_S)
#define STAT_INTERVAL_NS NS_PER_S
#define REJECT_INTERVAL_NS (5 * NS_PER_S)
#define PATIENCE_NS (2 * NS_PER_S) /* callers wait so long for a walk while there are valid credentials */
#define HOLD_FIRST_NS NS_PER_S /* between a failed walk and the next; doubled each time */
#define HOLD_MAX_WAITED_NS (5 * NS_PER_S) /* its maximum while there are no valid credentials */
#define HOLD_MAX_NS (60 * NS_PER_S) /* its maximum while there are */

typedef enum Need { NEED_NOTHING, NEED_SOON, NEED_NOW } Need;

struct CredentialChain {
        ProviderContext context;
        char *profile;
        AwsConfig *config;
        ProviderWalk walk;
        ListLink waits;
        LoopTimer notify; /* calls the handlers of the waits after a walk, from the loop */

        AwsCredentials current, retired; /* the retired may still be borrowed in this turn of the loop */
        LoopTimer retire; /* wipes the retired in the next turn */
        bool has_current;
        int64_t obtained_wall_ns;

        CredentialsError error; /* of the last walk */
        Buf detail;
        Buf warning, file_faults; /* the last warnings; "": none */
        unsigned failures; /* failed walks in a row */
        bool is_serving_on; /* the last walk failed, while there were valid credentials */
        uint64_t patience_until_ns; /* for callers with valid credentials */
        uint64_t hold_until_ns;
        bool is_outdated; /* a file changed, or the service refused the credentials */
        uint64_t stat_at_ns;
        uint64_t reject_at_ns;
};

static void chain_drop_current(CredentialChain *chain)
{
        aws_credentials_deinit(&chain->retired);
        chain->retired = chain->current;
        chain->current = (AwsCredentials){0};
        chain->has_current = false;
        /* If there is no room for the timer, they are wiped when the next credentials retire. */
        (void)loop_timer_set(&chain->retire, clock_now_ns());
}

static void chain_on_retire(LoopTimer *timer, void *userdata)
{
        (void)timer;
        CredentialChain *chain = userdata;
        aws_credentials_deinit(&chain->retired);
}

static bool chain_is_usable(const CredentialChain *chain)
{
        return chain->has_current && chain->current.expires_wall_ns > clock_wall_ns();
}

static Need chain_need(const CredentialChain *chain)
{
        if (chain->is_outdated || !chain_is_usable(chain))
                return NEED_NOW;
        if (chain->current.expires_wall_ns == INT64_MAX)
                return NEED_NOTHING;
        int64_t lifetime_ns = chain->current.expires_wall_ns - chain->obtained_wall_ns;
        int64_t left_ns = chain->current.expires_wall_ns - clock_wall_ns();
        int64_t advisory_ns = lifetime_ns / 4 < ADVISORY_NS ? lifetime_ns / 4 : ADVISORY_NS;
        int64_t mandatory_ns = lifetime_ns / 6 < MANDATORY_NS ? lifetime_ns / 6 : MANDATORY_NS;
        if (left_ns > advisory_ns)
                return NEED_NOTHING;
        return left_ns <= mandatory_ns && chain->failures == 0 ? NEED_NOW : NEED_SOON;
}

static void format_time(int64_t wall_ns, char ret_text[static 32])
{
        if (wall_ns == INT64_MAX || clock_format_utc(wall_ns, ret_text) < 0)
                (void)snprintf(ret_text, 32, "they are replaced");
}

/* Logs a text that differs from the last one, and keeps it. */
static void chain_warn(Buf *kept, const Buf *text)
{
        if (text->len > 0 && strcmp(buf_str(text), buf_str(kept)) != 0)
                log_warning("credentials: %s", buf_str(text));
        buf_clear(kept);
        (void)buf_append_str(kept, buf_str(text));
}

/* If a named profile ends in the machine's role, that is rarely intended. */
static void chain_warn_of_profile(CredentialChain *chain, const Provider *provider)
{
        const AwsConfig *config = chain->context.config;
        CLEANUP(buf_deinit)
        Buf text = BUF_INIT(PROVIDER_DETAIL_MAX * 2), keys = BUF_INIT(PROVIDER_DETAIL_MAX);
        bool is_of_machine = provider == &provider_container || provider == &provider_imds;
        if (is_of_machine && aws_config_profile_is_explicit(config)) {
                aws_config_append_unknown_keys(config, aws_config_profile(config), &keys);
                (void)buf_appendf(&text,
                        "profile \"%.100s\" has no source of credentials that is known here%s%s%s: those of "
                        "%s "
                        "sign; add a source to it, or name no profile",
                        aws_config_profile(config), keys.len ? " (unknown keys: " : "", buf_str(&keys),
                        keys.len ? ")" : "", provider->name);
        }
        chain_warn(&chain->warning, &text);
}

static void chain_warn_of_files(CredentialChain *chain)
{
        CLEANUP(buf_deinit) Buf text = BUF_INIT(PROVIDER_DETAIL_MAX * 2);
        aws_config_append_file_faults(chain->config, &text);
        chain_warn(&chain->file_faults, &text);
}

/* Takes the outcome of the walk over, and logs a change. */
static void chain_succeed(CredentialChain *chain)
{
        AwsCredentials *found = &chain->walk.run.credentials;
        bool is_news = !chain->has_current || strcmp(found->provider, chain->current.provider) != 0;
        bool is_recovery = chain->failures > 0;
        chain_drop_current(chain);
        chain->current = *found;
        *found = (AwsCredentials){0};
        chain->has_current = true;
        chain->obtained_wall_ns = clock_wall_ns();
        chain->error = CREDENTIALS_OK;
        chain->failures = 0;
        chain->is_serving_on = false;
        chain->hold_until_ns = clock_add_ns(clock_now_ns(), HOLD_FIRST_NS);
        buf_clear(&chain->detail);

        char until[32];
        format_time(chain->current.expires_wall_ns, until);
        if (is_recovery)
                log_info("credentials: recovered, from %s, valid until %s", chain->current.provider, until);
        else if (is_news)
                log_info("credentials: from %s, valid until %s", chain->current.provider, until);
        else
                log_debug("credentials: refreshed from %s, valid until %s", chain->current.provider, until);
        chain_warn_of_profile(chain, chain->walk.run.provider);
}

/* Keys without an end that no provider has any more were taken away: they must not live on here. */
static void chain_drop_endless(CredentialChain *chain)
{
        if (chain->has_current && chain->current.expires_wall_ns == INT64_MAX)
                chain_drop_current(chain);
}

static void chain_fail(CredentialChain *chain, CredentialsError error, const char *detail)
{
        bool is_usable = chain_is_usable(chain);
        bool is_news = chain->failures == 0 || chain->error != error || chain->is_serving_on != is_usable;
        uint64_t hold_max_ns = is_usable ? HOLD_MAX_NS : HOLD_MAX_WAITED_NS;
        uint64_t hold_ns = chain->failures < 6 ? HOLD_FIRST_NS << chain->failures : HOLD_MAX_NS;
        chain->hold_until_ns = clock_add_ns(clock_now_ns(), hold_ns < hold_max_ns ? hold_ns : hold_max_ns);
        chain->failures++;
        chain->is_serving_on = is_usable;
        chain->error = error;
        buf_clear(&chain->detail);
        (void)buf_append_str(&chain->detail, detail);
        if (!is_news)
                return;
        if (is_usable) {
                char until[32];
                format_time(chain->current.expires_wall_ns, until);
                log_warning("credentials: refresh fails, those of %s serve on until %s: %s",
                        chain->current.provider, until, buf_str(&chain->detail));
        } else {
                log_error("credentials: %s", buf_str(&chain->detail));
        }
}

static void chain_fail_none(CredentialChain *chain)
{
        const AwsConfig *config = chain->context.config;
        CLEANUP(buf_deinit)
        Buf text = BUF_INIT(PROVIDER_DETAIL_MAX * 3), keys = BUF_INIT(PROVIDER_DETAIL_MAX);
        aws_config_append_unknown_keys(config, aws_config_profile(config), &keys);
        (void)buf_appendf(&text,
                "none found: not in the environment, nor for profile \"%.100s\"%s%.300s%s in %.300s or "
                "%.300s, nor "
                "from a container or instance; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or configure "
                "the profile",
                aws_config_profile(config), keys.len ? " (unknown keys: " : "", buf_str(&keys),
                keys.len ? ")" : "", aws_config_credentials_file(config), aws_config_config_file(config));
        if (chain->walk.run.detail.len > 0)
                (void)buf_appendf(&text, " (%s)", buf_str(&chain->walk.run.detail));
        chain_drop_endless(chain);
        chain_fail(chain, CREDENTIALS_E_NONE, buf_str(&text));
}

static void chain_conclude(CredentialChain *chain)
{
        ProviderRun *run = &chain->walk.run;
        if (run->error == CREDENTIALS_E_NONE)
                chain_fail_none(chain);
        else if (run->error != CREDENTIALS_OK)
                chain_fail(chain, run->error, buf_str(&run->detail));
        else if (run->credentials.expires_wall_ns <= clock_wall_ns()) {
                (void)provider_fail(
                        run, CREDENTIALS_E_EXPIRED, "the credentials that it gave have expired; renew them");
                chain_fail(chain, run->error, buf_str(&run->detail));
        } else
                chain_succeed(chain);
        provider_walk_stop(&chain->walk);
}

static void chain_on_walked(ProviderWalk *walk, void *userdata)
{
        (void)walk;
        CredentialChain *chain = userdata;
        chain_conclude(chain);
        /* If there is no room for the timer, the deadlines of the waiting calls end their wait. */
        (void)loop_timer_set(&chain->notify, clock_now_ns());
}

/* Reads the files, if they changed. On failure, `error` has the reason, and the old configuration stays. */
static int chain_load_config(CredentialChain *chain, Buf *error)
{
        if (chain->config && !chain->is_outdated)
                return 0;
        AwsConfig *config = NULL;
        int r = aws_config_load(&(AwsConfigPaths){.profile = chain->profile}, error, &config);
        if (r < 0)
                return r;
        aws_config_free(chain->config);
        chain->config = config;
        chain->context.config = config;
        chain_warn_of_files(chain);
        chain->stat_at_ns = clock_add_ns(clock_now_ns(), STAT_INTERVAL_NS);
        return 0;
}

static uint64_t chain_patience_ns(const CredentialChain *chain)
{
        if (!chain_is_usable(chain))
                return CLOCK_NEVER;
        uint64_t left_ns = (uint64_t)(chain->current.expires_wall_ns - clock_wall_ns());
        return left_ns / 4 < PATIENCE_NS ? left_ns / 4 : PATIENCE_NS;
}

/* Starts a walk. If it ends at once, the outcome is there on return. */
static void chain_walk(CredentialChain *chain)
{
        chain->patience_until_ns = clock_add_ns(clock_now_ns(), chain_patience_ns(chain));
        Buf error = BUF_INIT(PROVIDER_DETAIL_MAX * 2);
        int r = chain_load_config(chain, &error);
        if (r == 0)
                r = aws_config_check_profile(chain->config, &error);
        chain->is_outdated = false;

        ProviderWalk *walk = &chain->walk;
        if (r == 0) {
                if (provider_walk_start(walk, &chain->context, WALK_STANDARD,
                            aws_config_profile(chain->config), NULL, chain_on_walked, chain) == 0)
                        chain_conclude(chain);
        } else if (r == -EACCES && !chain->context.skip_environment &&
                   provider_walk_start(
                           walk, &chain->context, WALK_ENVIRONMENT, "", NULL, chain_on_walked, chain) == 0 &&
                   walk->run.error != CREDENTIALS_E_NONE) {
                /* With keys in the environment, files of another user do not matter. But if an option names the
                 * profile, the keys in the environment may be those of another account. */
                chain_conclude(chain);
        } else {
                provider_walk_stop(walk);
                if (r == -ENOENT)
                        chain_drop_endless(chain); /* their profile is gone */
                chain_fail(chain, r == -ENOMEM ? CREDENTIALS_E_FAILED : CREDENTIALS_E_INVALID,
                        r == -ENOMEM ? "out of memory" : buf_str(&error));
        }
        buf_deinit(&error);
}

static void chain_look_at_files(CredentialChain *chain)
{
        uint64_t now_ns = clock_now_ns();
        if (!chain->config || now_ns < chain->stat_at_ns)
                return;
        chain->stat_at_ns = clock_add_ns(now_ns, STAT_INTERVAL_NS);
        if (aws_config_is_outdated(chain->config))
                chain->is_outdated = true;
}

static void chain_on_notify(LoopTimer *timer, void *userdata)
{
        (void)timer;
        CredentialChain *chain = userdata;
        if (chain->walk.is_running && !chain_is_usable(chain))
                return;
        CredentialsError error = chain_is_usable(chain) ? CREDENTIALS_OK : chain->error;
        /* A handler may ask again, cancel other waits, or free the chain: nothing of the chain is used after the
         * first. */
        char detail[PROVIDER_DETAIL_MAX * 3];
        (void)snprintf(detail, sizeof(detail), "%s", error == CREDENTIALS_OK ? "" : buf_str(&chain->detail));
        ListLink waits;
        list_init(&waits);
        list_splice(&waits, &chain->waits);
        CredentialWait *wait;
        while ((wait = list_first(&waits, CredentialWait, link))) {
                list_unlink(&wait->link);
                wait->handler(wait, error, detail, wait->userdata);
        }
}

int credential_chain_new(const CredentialSettings *settings, CredentialChain **ret_chain)
{
        CLEANUP(credential_chain_free_p) CredentialChain *chain = calloc(1, sizeof(*chain));
        if (!chain)
                return -ENOMEM;
        chain->context = (ProviderContext){
                .loop = settings->loop,
                .http = settings->http,
                .allow_plain_http = settings->allow_plain_http,
                .use_fips = settings->use_fips,
                .skip_environment = settings->profile != NULL,
        };
        list_init(&chain->waits);
        loop_timer_init(&chain->notify, settings->loop, chain_on_notify, chain);
        loop_timer_init(&chain->retire, settings->loop, chain_on_retire, chain);
        chain->error = CREDENTIALS_E_NONE;
        chain->detail = BUF_INIT(PROVIDER_DETAIL_MAX * 3);
        chain->warning = chain->file_faults = BUF_INIT(PROVIDER_DETAIL_MAX * 2);
        if (settings->profile && !(chain->profile = strdup(settings->profile)))
                return -ENOMEM;
        *ret_chain = TAKE(chain);
        return 0;
}

CredentialChain *credential_chain_free(CredentialChain *chain)
{
        if (!chain)
                return NULL;
        provider_walk_stop(&chain->walk);
        loop_timer_cancel(&chain->notify);
        loop_timer_cancel(&chain->retire);
        aws_credentials_deinit(&chain->current);
        aws_credentials_deinit(&chain->retired);
        buf_deinit(&chain->detail);
        buf_deinit(&chain->warning);
        buf_deinit(&chain->file_faults);
        aws_config_free(chain->config);
        free(chain->profile);
        free(chain);
        return NULL;
}

int credential_chain_get(CredentialChain *chain, CredentialWait *wait, CredentialHandler *handler,
        void *userdata, const AwsCredentials **ret_credentials)
{
        chain_look_at_files(chain);
        Need need = chain_need(chain);
        /* Credentials that still served have just ended, or ended at once: the next walk is not held back. */
        bool has_ended = !chain_is_usable(chain) && (chain->is_serving_on || chain->error == CREDENTIALS_OK);
        bool is_due = chain->is_outdated || has_ended || clock_now_ns() >= chain->hold_until_ns;
        if (need != NEED_NOTHING && is_due && !chain->walk.is_running)
                chain_walk(chain);
        bool is_running = chain->walk.is_running;
        bool is_patient = is_running && need == NEED_NOW && clock_now_ns() < chain->patience_until_ns;
        if (chain_is_usable(chain) && !is_patient) {
                *ret_credentials = &chain->current;
                return 0;
        }
        uint64_t notify_at_ns = !is_running ? clock_now_ns() : chain->patience_until_ns;
        if (notify_at_ns != CLOCK_NEVER && loop_timer_set(&chain->notify, notify_at_ns) < 0)
                return -ENOMEM;
        list_unlink(&wait->link);
        wait->handler = handler;
        wait->userdata = userdata;
        list_append(&chain->waits, &wait->link);
        return -EINPROGRESS;
}

void credential_wait_cancel(CredentialWait *wait)
{
        list_unlink(&wait->link);
}

void credential_chain_reject(CredentialChain *chain)
{
        uint64_t now_ns = clock_now_ns();
        if (now_ns < chain->reject_at_ns)
                return;
        chain->reject_at_ns = clock_add_ns(now_ns, REJECT_INTERVAL_NS);
        chain->hold_until_ns = 0;
        chain->is_outdated = true;
        chain_drop_current(chain);
}

void credential_chain_status(const CredentialChain *chain, CredentialStatus *ret_status)
{
        *ret_status = (CredentialStatus){
                .provider = chain->has_current ? chain->current.provider : NULL,
                .expires_wall_ns = chain->has_current ? chain->current.expires_wall_ns : INT64_MAX,
                .error = chain->error,
                .detail = buf_str(&chain->detail),
                .is_valid = chain_is_usable(chain),
                .warning = buf_str(&chain->warning),
        };
        const char *id = chain->current.keys.access_key_id;
        size_t len = strlen(id);
        if (chain->has_current && len >= 12)
                (void)snprintf(ret_status->access_key_id, sizeof(ret_status->access_key_id), "%.4s…%s", id,
                        id + len - 4);
        else if (chain->has_current)
                (void)snprintf(ret_status->access_key_id, sizeof(ret_status->access_key_id), "%.1s…", id);
}
