/* Asks the chain for credentials and prints them as JSON: for tests/e2e/test_credentials.py, which compares them with
 * what botocore finds. It prints secrets; it is a test's tool and is never installed.
 *
 *     credentials_dump [-l LEVEL] [-p PROFILE]        commands, one a line, on standard input:
 *
 *     get [N]    asks N times at once (1), waits for all; prints the first's outcome with the number of equal ones
 *     now        asks without waiting; prints {"pending": true} if it would have to wait (and gives up)
 *     reject, status
 *     turn MS    runs the loop for so long
 *     split LINE splits a command line; prints the words, or null
 *     free       frees the chain, whatever is under way, and makes another */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/base/shellwords.h"
#include "tokenfs/credentials/chain.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/parse.h"
#include "tokenfs/base/secret.h"

#define WAITS_MAX 64

typedef struct Waiter {
        CredentialWait wait;
        bool is_waiting, is_failed;
        CredentialsError error;
        char detail[2048];
} Waiter;

static Loop *loop;
static Http *http;
static CredentialChain *chain;
static const char *profile;
static Waiter waiters[WAITS_MAX];

static const char *const error_names[] = {
        [CREDENTIALS_OK] = "ok",
        [CREDENTIALS_E_NONE] = "none",
        [CREDENTIALS_E_INVALID] = "invalid",
        [CREDENTIALS_E_EXPIRED] = "expired",
        [CREDENTIALS_E_REJECTED] = "rejected",
        [CREDENTIALS_E_FAILED] = "failed",
};

static void print_member(const char *name, const char *value)
{
        CLEANUP(buf_deinit) Buf json = BUF_INIT(1024 * 1024);
        if (buf_appendf(&json, "\"%s\": ", name) < 0 || buf_append_json(&json, value, strlen(value)) < 0)
                abort();
        (void)printf("%s, ", json.data);
}

static void print_credentials(const AwsCredentials *credentials, unsigned count)
{
        (void)printf("{");
        print_member("provider", credentials->provider);
        print_member("access_key_id", credentials->keys.access_key_id);
        print_member("secret_access_key", credentials->keys.secret_access_key.data);
        if (credentials->keys.session_token.data)
                print_member("session_token", credentials->keys.session_token.data);
        if (credentials->expires_wall_ns != INT64_MAX)
                (void)printf("\"expires\": %" PRId64 ", ", credentials->expires_wall_ns / (int64_t)NS_PER_S);
        (void)printf("\"count\": %u}\n", count);
}

static void print_error(const Waiter *waiter, unsigned count)
{
        (void)printf("{");
        print_member("error", error_names[waiter->error]);
        print_member("detail", waiter->detail);
        (void)printf("\"count\": %u}\n", count);
}

static void on_credentials(CredentialWait *wait, CredentialsError error, const char *detail, void *userdata)
{
        (void)wait;
        Waiter *waiter = userdata;
        waiter->is_waiting = false;
        waiter->is_failed = error != CREDENTIALS_OK;
        waiter->error = error;
        (void)snprintf(waiter->detail, sizeof(waiter->detail), "%s", detail);
}

/* Asks for one waiter; true if it has an outcome. */
static bool ask(Waiter *waiter, const AwsCredentials **ret_credentials)
{
        if (waiter->is_waiting)
                return false;
        if (waiter->is_failed)
                return true;
        int r = credential_chain_get(chain, &waiter->wait, on_credentials, waiter, ret_credentials);
        if (r < 0 && r != -EINPROGRESS)
                abort();
        waiter->is_waiting = r < 0;
        return r == 0;
}

static void turn(uint64_t wait_ns)
{
        if (loop_turn(loop, wait_ns) < 0)
                abort();
}

static void get(unsigned count)
{
        uint64_t deadline_ns = clock_now_ns() + 120 * NS_PER_S;
        memset(waiters, 0, sizeof(waiters));
        for (;;) {
                const AwsCredentials *first = NULL, *found = NULL;
                unsigned done = 0, equal = 0;
                for (unsigned i = 0; i < count; i++) {
                        if (!ask(&waiters[i], &found))
                                continue;
                        done++;
                        if (i == 0 && !waiters[0].is_failed)
                                first = found;
                        equal += waiters[i].is_failed ? waiters[i].error == waiters[0].error : found == first;
                }
                if (done == count && first)
                        print_credentials(first, equal);
                else if (done == count)
                        print_error(&waiters[0], equal);
                if (done == count)
                        return;
                if (clock_now_ns() > deadline_ns)
                        abort();
                turn(NS_PER_S);
        }
}

static void now(void)
{
        const AwsCredentials *credentials = NULL;
        memset(waiters, 0, sizeof(waiters[0]));
        if (ask(&waiters[0], &credentials))
                print_credentials(credentials, 1);
        else
                (void)printf("{\"pending\": true}\n");
        credential_wait_cancel(&waiters[0].wait);
}

static void status(void)
{
        CredentialStatus now_known;
        credential_chain_status(chain, &now_known);
        (void)printf("{");
        if (now_known.provider)
                print_member("provider", now_known.provider);
        print_member("access_key_id", now_known.access_key_id);
        print_member("error", error_names[now_known.error]);
        print_member("detail", now_known.detail);
        (void)printf("\"expires\": %" PRId64 "}\n", now_known.expires_wall_ns / (int64_t)NS_PER_S);
}

static void print_words(const char *line)
{
        CLEANUP(secret_free_p) char **words = NULL;
        if (shellwords_split(line, &words) < 0) {
                (void)printf("null\n");
                return;
        }
        CLEANUP(buf_deinit) Buf json = BUF_INIT(1024 * 1024);
        for (char **word = words; *word; word++)
                if (buf_append_str(&json, word == words ? "" : ", ") < 0 ||
                        buf_append_json(&json, *word, strlen(*word)) < 0)
                        abort();
        (void)printf("[%s]\n", json.data);
}

static void make_chain(void)
{
        if (credential_chain_new(
                    &(CredentialSettings){.loop = loop, .http = http, .profile = profile}, &chain) < 0)
                abort();
}

static void run(const char *command, const char *rest)
{
        uint64_t number = 0;
        bool has_number = parse_uint(rest, UINT32_MAX, &number) == 0;
        if (strcmp(command, "get") == 0) {
                get(!has_number ? 1 : number < WAITS_MAX ? (unsigned)number : WAITS_MAX);
        } else if (strcmp(command, "now") == 0) {
                now();
        } else if (strcmp(command, "reject") == 0) {
                credential_chain_reject(chain);
        } else if (strcmp(command, "status") == 0) {
                status();
        } else if (strcmp(command, "split") == 0) {
                print_words(rest);
        } else if (strcmp(command, "free") == 0) {
                credential_chain_free(chain);
                make_chain();
        } else if (strcmp(command, "turn") == 0 && has_number) {
                uint64_t end_ns = clock_now_ns() + number * NS_PER_MS;
                for (uint64_t at_ns; (at_ns = clock_now_ns()) < end_ns;)
                        turn(end_ns - at_ns);
        } else {
                (void)fprintf(stderr, "unknown command: %s\n", command);
                exit(2);
        }
        (void)fflush(stdout);
}

int main(int argc, char **argv)
{
        for (int i = 1; i + 1 < argc; i += 2) {
                LogLevel level;
                if (strcmp(argv[i], "-p") == 0)
                        profile = argv[i + 1];
                else if (strcmp(argv[i], "-l") == 0 && log_level_parse(argv[i + 1], &level) == 0)
                        log_open(level, false);
                else
                        return 2;
        }
        /* As in the daemon, whose children must nevertheless have them at their defaults. */
        (void)signal(SIGPIPE, SIG_IGN);
        if (http_global_init() < 0 || loop_new(&loop) < 0 ||
                http_new(loop, &(HttpSettings){.user_agent = "tokenfs-test", .connections_max = 8}, &http) <
                        0)
                return 1;
        make_chain();
        char line[4096];
        while (fgets(line, sizeof(line), stdin)) {
                line[strcspn(line, "\n")] = '\0';
                char *rest = line + strcspn(line, " ");
                if (*rest)
                        *rest++ = '\0';
                run(line, rest);
        }
        credential_chain_free(chain);
        http_free(http);
        loop_free(loop);
        return 0;
}
