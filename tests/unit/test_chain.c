/* The chain: when it looks anew, whom it lets wait, what serves on and what doesn't. The clock stands still here; the
 * environment is the provider that answers at once, a program that waits for us the one that doesn't. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "credentials/container.h"
#include "tokenfs/credentials/chain.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/log.h"

#define START_WALL_S INT64_C(1800000000)
#define MINUTE (60 * NS_PER_S)

typedef struct Waiter {
        CredentialWait wait;
        unsigned told;
        CredentialsError error;
        char detail[1024];
        struct Waiter *cancels; /* another, in its handler */
} Waiter;

static char home[] = "/tmp/test-credentials-XXXXXX";
static Loop *loop;
static Http *http;
static CredentialChain *chain;
static Waiter waiter, other;

static void write_file(const char *name, const char *text)
{
        char path[128], temporary[128];
        (void)snprintf(path, sizeof(path), "%s/%s", home, name);
        (void)snprintf(temporary, sizeof(temporary), "%s/new", home);
        FILE *file = fopen(temporary, "we");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(rename(temporary, path), 0);
}

static void remove_file(const char *name)
{
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/%s", home, name);
        assert_true(unlink(path) == 0 || errno == ENOENT);
}

/* Keys in the environment, that end so many seconds after the start (0: never). */
static void set_keys(const char *id, int64_t expires_s)
{
        char text[32];
        time_t expires = (time_t)(START_WALL_S + expires_s);
        struct tm tm;
        assert_non_null(gmtime_r(&expires, &tm));
        assert_true(strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
        (void)setenv("AWS_ACCESS_KEY_ID", id, 1);
        (void)setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
        if (expires_s)
                (void)setenv("AWS_CREDENTIAL_EXPIRATION", text, 1);
        else
                (void)unsetenv("AWS_CREDENTIAL_EXPIRATION");
}

static void unset_keys(void)
{
        (void)unsetenv("AWS_ACCESS_KEY_ID");
        (void)unsetenv("AWS_SECRET_ACCESS_KEY");
        (void)unsetenv("AWS_CREDENTIAL_EXPIRATION");
}

static void new_chain(const char *profile)
{
        assert_int_equal(
                credential_chain_new(
                        &(CredentialSettings){.loop = loop, .http = http, .profile = profile}, &chain),
                0);
}

static int setup(void **state)
{
        (void)state;
        unset_keys();
        remove_file("config");
        remove_file("credentials");
        remove_file("fifo");
        clock_set_fake(1000 * NS_PER_S, START_WALL_S * (int64_t)NS_PER_S);
        waiter = other = (Waiter){0};
        if (loop_new(&loop) < 0 ||
                http_new(loop, &(HttpSettings){.user_agent = "test", .connections_max = 1}, &http) < 0)
                return -1;
        new_chain(NULL);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        credential_wait_cancel(&waiter.wait);
        credential_wait_cancel(&other.wait);
        chain = credential_chain_free(chain);
        http = http_free(http);
        loop = loop_free(loop);
        clock_unset_fake();
        return 0;
}

static void on_credentials(CredentialWait *wait, CredentialsError error, const char *detail, void *userdata)
{
        Waiter *told = userdata;
        assert_ptr_equal(wait, &told->wait);
        told->told++;
        told->error = error;
        (void)snprintf(told->detail, sizeof(told->detail), "%s", detail);
        if (told->cancels)
                credential_wait_cancel(&told->cancels->wait);
}

static int ask(Waiter *by, const AwsCredentials **ret_credentials)
{
        return credential_chain_get(chain, &by->wait, on_credentials, by, ret_credentials);
}

/* What is at hand now has this id. */
static void assert_has(const char *id)
{
        const AwsCredentials *credentials = NULL;
        assert_int_equal(ask(&waiter, &credentials), 0);
        assert_string_equal(credentials->keys.access_key_id, id);
}

/* There is nothing; a failure is told from the loop. */
static void assert_fails(CredentialsError error, const char *words)
{
        const AwsCredentials *credentials = NULL;
        waiter.told = 0;
        assert_int_equal(ask(&waiter, &credentials), -EINPROGRESS);
        assert_null(credentials);
        assert_int_equal(waiter.told, 0);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(waiter.told, 1);
        assert_int_equal(waiter.error, error);
        if (!strstr(waiter.detail, words))
                fail_msg("\"%s\" isn't in: %s", words, waiter.detail);
}

static void advance_s(uint64_t seconds)
{
        clock_advance_fake(seconds * NS_PER_S);
}

static void test_found_at_once(void **state)
{
        (void)state;
        CredentialStatus status;
        credential_chain_status(chain, &status);
        assert_null(status.provider);
        assert_string_equal(status.access_key_id, "");

        set_keys("AKIAIOSFODNN7EXAMPLE", 0);
        assert_has("AKIAIOSFODNN7EXAMPLE");
        credential_chain_status(chain, &status);
        assert_string_equal(status.provider, "environment");
        assert_string_equal(status.access_key_id, "AKIA…MPLE");
        assert_true(status.expires_wall_ns == INT64_MAX && status.error == CREDENTIALS_OK);
        assert_string_equal(status.detail, "");
}

static void test_short_id_is_not_shown(void **state)
{
        (void)state;
        CredentialStatus status;
        set_keys("SHORT", 0);
        assert_has("SHORT");
        credential_chain_status(chain, &status);
        assert_string_equal(status.access_key_id, "S…");
}

static void test_profile_as_option(void **state)
{
        (void)state;
        set_keys("ENVIRONMENT", 0);
        write_file("credentials", "[one]\naws_access_key_id = FILE\naws_secret_access_key = secret\n");
        chain = credential_chain_free(chain);
        new_chain("one");
        assert_has("FILE");
        chain = credential_chain_free(chain);
        new_chain("two");
        assert_fails(CREDENTIALS_E_INVALID, "profile \"two\" is neither in");
}

/* A failure holds for a second, then two, four, and never longer than five. */
static void test_failures_are_held(void **state)
{
        (void)state;
        static const uint64_t holds_s[] = {1, 2, 4, 5, 5, 5, 5, 5, 5, 5};
        assert_fails(CREDENTIALS_E_NONE, "AWS_ACCESS_KEY_ID");
        for (size_t i = 0; i < ARRAY_LEN(holds_s); i++) {
                set_keys("LATER", 0);
                clock_advance_fake(holds_s[i] * NS_PER_S - 1);
                assert_fails(CREDENTIALS_E_NONE, "AWS_ACCESS_KEY_ID");
                clock_advance_fake(1);
                if (i + 1 == ARRAY_LEN(holds_s))
                        break;
                unset_keys();
                assert_fails(CREDENTIALS_E_NONE, "AWS_ACCESS_KEY_ID");
        }
        assert_has("LATER");
}

static void test_windows(void **state)
{
        (void)state;
        set_keys("FIRST", 7200);
        assert_has("FIRST");
        set_keys("SECOND", 7200 + 360);
        advance_s(7200 - 901);
        assert_has("FIRST");
        advance_s(1);
        assert_has("SECOND");
        /* What is left of it is 1260 seconds: refreshed in the last quarter. */
        set_keys("THIRD", 20000);
        advance_s(1260 - 316);
        assert_has("SECOND");
        advance_s(1);
        assert_has("THIRD");
}

static void test_serves_on_until_its_end(void **state)
{
        (void)state;
        set_keys("FIRST", 3600);
        assert_has("FIRST");
        (void)unsetenv("AWS_SECRET_ACCESS_KEY");
        for (unsigned i = 0; i < 3599; i++) {
                advance_s(1);
                assert_has("FIRST");
        }
        CredentialStatus status;
        credential_chain_status(chain, &status);
        assert_int_equal(status.error, CREDENTIALS_E_INVALID);
        advance_s(1);
        assert_fails(CREDENTIALS_E_INVALID, "AWS_SECRET_ACCESS_KEY");
        /* While there was something, failures were held for longer; now that there is nothing, no more than 5 seconds. */
        set_keys("SECOND", 7200);
        clock_advance_fake(5 * NS_PER_S - 1);
        assert_fails(CREDENTIALS_E_INVALID, "AWS_SECRET_ACCESS_KEY");
        clock_advance_fake(1);
        assert_has("SECOND");
}

static void test_given_ones_have_expired(void **state)
{
        (void)state;
        set_keys("FIRST", -1);
        assert_fails(CREDENTIALS_E_EXPIRED, "environment");
        set_keys("FIRST", 10);
        advance_s(5);
        assert_has("FIRST");
        advance_s(5);
        assert_fails(CREDENTIALS_E_EXPIRED, "environment");
}

static void test_static_keys_that_went_away(void **state)
{
        (void)state;
        write_file("credentials", "[default]\naws_access_key_id = FILE\naws_secret_access_key = secret\n");
        assert_has("FILE");
        remove_file("credentials");
        assert_has("FILE"); /* within the second in which it was looked at */
        advance_s(1);
        assert_fails(CREDENTIALS_E_NONE, "configure the profile");
        write_file("credentials", "[default]\naws_access_key_id = AGAIN\naws_secret_access_key = secret\n");
        advance_s(1);
        assert_has("AGAIN");
        write_file("credentials", "[default\n");
        advance_s(1);
        assert_has("AGAIN");
}

static void test_reject(void **state)
{
        (void)state;
        set_keys("FIRST", 0);
        assert_has("FIRST");
        set_keys("SECOND", 0);
        assert_has("FIRST");
        credential_chain_reject(chain);
        assert_has("SECOND");
        set_keys("THIRD", 0);
        advance_s(4);
        credential_chain_reject(chain);
        assert_has("SECOND");
        advance_s(1);
        credential_chain_reject(chain);
        assert_has("THIRD");
}

static void test_cancelled_waits(void **state)
{
        (void)state;
        const AwsCredentials *credentials = NULL;
        credential_wait_cancel(&waiter.wait);
        assert_int_equal(ask(&waiter, &credentials), -EINPROGRESS);
        assert_int_equal(ask(&other, &credentials), -EINPROGRESS);
        credential_wait_cancel(&waiter.wait);
        credential_wait_cancel(&waiter.wait);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(waiter.told, 0);
        assert_int_equal(other.told, 1);

        /* One handler cancels the next in line. */
        other.cancels = &waiter;
        assert_int_equal(ask(&other, &credentials), -EINPROGRESS);
        assert_int_equal(ask(&waiter, &credentials), -EINPROGRESS);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(waiter.told, 0);
        assert_int_equal(other.told, 2);
}

/* A program that prints what we write into a FIFO. */
static void use_program(void)
{
        char path[128], text[512];
        (void)snprintf(path, sizeof(path), "%s/fifo", home);
        assert_int_equal(mkfifo(path, 0600), 0);
        (void)snprintf(text, sizeof(text), "[default]\ncredential_process = cat %s\n", path);
        write_file("config", text);
}

static void let_program_print(const char *id, int64_t expires_s)
{
        char path[128], expires[32];
        time_t at = (time_t)(START_WALL_S + expires_s);
        struct tm tm;
        assert_non_null(gmtime_r(&at, &tm));
        assert_true(strftime(expires, sizeof(expires), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
        (void)snprintf(path, sizeof(path), "%s/fifo", home);
        int fd = open(path, O_WRONLY | O_CLOEXEC); /* returns when the program has opened it */
        assert_true(fd >= 0);
        assert_true(dprintf(fd,
                            "{\"Version\": 1, \"AccessKeyId\": \"%s\", \"SecretAccessKey\": \"s\", "
                            "\"Expiration\": \"%s\"}",
                            id, expires) > 0);
        assert_int_equal(close(fd), 0);
}

static void turn_until_status(const char *id)
{
        CredentialStatus status = {0};
        for (unsigned i = 0; i < 1000; i++) {
                credential_chain_status(chain, &status);
                if (strcmp(status.access_key_id, id) == 0)
                        return;
                assert_int_equal(loop_turn(loop, NS_PER_S), 0);
        }
        fail_msg("still %s", status.access_key_id);
}

static void test_waits_for_a_slow_one(void **state)
{
        (void)state;
        const AwsCredentials *credentials = NULL;
        use_program();
        assert_int_equal(ask(&waiter, &credentials), -EINPROGRESS);
        assert_int_equal(ask(&other, &credentials), -EINPROGRESS);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(waiter.told + other.told, 0);
        let_program_print("1", 3600);
        turn_until_status("1…");
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_true(waiter.told == 1 && other.told == 1 && waiter.error == CREDENTIALS_OK);
        assert_has("1");
}

static void test_refreshes_in_the_background(void **state)
{
        (void)state;
        const AwsCredentials *credentials = NULL;
        use_program();
        assert_int_equal(ask(&waiter, &credentials), -EINPROGRESS);
        let_program_print("1", 3600);
        turn_until_status("1…");
        /* In the advisory window nobody waits … */
        advance_s(3600 - 899);
        assert_has("1");
        let_program_print("2", 7200);
        turn_until_status("2…");
        assert_has("2");
}

static void test_waits_in_the_last_minutes(void **state)
{
        (void)state;
        const AwsCredentials *credentials = NULL;
        use_program();
        assert_int_equal(ask(&waiter, &credentials), -EINPROGRESS);
        let_program_print("1", 3600);
        turn_until_status("1…");
        assert_int_equal(loop_turn(loop, 0), 0);

        /* … in the mandatory one they do, but not for long … */
        advance_s(3600 - 599);
        waiter.told = 0;
        assert_int_equal(ask(&waiter, &credentials), -EINPROGRESS);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(waiter.told, 0);
        clock_advance_fake(2 * NS_PER_S);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(waiter.told, 1);
        assert_int_equal(waiter.error, CREDENTIALS_OK);
        assert_has("1");

        /* … and when it failed, not at all. */
        let_program_print("", 7200);
        CredentialStatus status = {0};
        while (status.error != CREDENTIALS_E_INVALID) {
                assert_int_equal(loop_turn(loop, NS_PER_S), 0);
                credential_chain_status(chain, &status);
        }
        advance_s(1);
        assert_has("1");
        let_program_print("2", 7200);
        turn_until_status("2…");
}

static void test_freed_in_flight(void **state)
{
        (void)state;
        const AwsCredentials *credentials = NULL;
        use_program();
        assert_int_equal(ask(&waiter, &credentials), -EINPROGRESS);
        credential_wait_cancel(&waiter.wait);
        chain = credential_chain_free(chain);
        assert_int_equal(loop_turn(loop, 0), 0);
        assert_int_equal(waiter.told, 0);
}

static void test_container_addresses(void **state)
{
        (void)state;
        static const char *const allowed[] = {
                "http://169.254.170.2/x",
                "http://169.254.170.23/v1/credentials",
                "http://[fd00:ec2::23]/v1/credentials",
                "http://[FD00:EC2::23]:80/v1?x=y",
                "http://127.0.0.1:8080/x",
                "http://127.9.9.9/x",
                "http://localhost/x",
                "HTTP://LOCALHOST:1",
                "http://[::1]:1/x",
                "https://example.com/x",
                "https://10.0.0.1:8443?x",
                "https://[2001:db8::1]/",
        };
        static const char *const refused[] = {
                "",
                "http://",
                "https://",
                "localhost/x",
                "//localhost/x",
                "ftp://localhost/x",
                "file:///etc/passwd",
                "http://169.254.170.3/x",
                "http://169.254.169.254/latest/meta-data/",
                "http://169.254.170.23.example.com/x",
                "http://127.0.0.1.example.com/x",
                "http://128.0.0.1/x",
                "http://localhost.example.com/x",
                "http://localhost@example.com/x",
                "http://localhost:80@example.com/x",
                "http://localhost\\@example.com/x",
                "http://localhost#@example.com/x",
                "http://user:pass@localhost/x",
                "https://user@example.com/x",
                "http://example.com/localhost",
                "http://example.com?localhost",
                "http://[::1/x",
                "http://[::1]x/x",
                "http://[::2]/x",
                "http://0/x",
                "http://2130706433/x",
                "http://127.1/x",
                "http://localhost:8o/x",
                "http://localhost /x",
                "http://localhost/x\r\nX: y",
                "http://local\thost/x",
                "http://localhost/\xC3\xA4",
        };
        for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
                if (!container_url_is_allowed(allowed[i]))
                        fail_msg("refused: %s", allowed[i]);
        for (size_t i = 0; i < ARRAY_LEN(refused); i++)
                if (container_url_is_allowed(refused[i]))
                        fail_msg("allowed: %s", refused[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_found_at_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_short_id_is_not_shown, setup, teardown),
                cmocka_unit_test_setup_teardown(test_profile_as_option, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failures_are_held, setup, teardown),
                cmocka_unit_test_setup_teardown(test_windows, setup, teardown),
                cmocka_unit_test_setup_teardown(test_serves_on_until_its_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_given_ones_have_expired, setup, teardown),
                cmocka_unit_test_setup_teardown(test_static_keys_that_went_away, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reject, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancelled_waits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_waits_for_a_slow_one, setup, teardown),
                cmocka_unit_test_setup_teardown(test_refreshes_in_the_background, setup, teardown),
                cmocka_unit_test_setup_teardown(test_waits_in_the_last_minutes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_freed_in_flight, setup, teardown),
                cmocka_unit_test(test_container_addresses),
        };
        char path[128];
        if (http_global_init() < 0 || !mkdtemp(home))
                return 1;
        (void)clearenv();
        (void)setenv("HOME", home, 1);
        (void)setenv("PATH", "/usr/bin:/bin", 1);
        (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
        (void)snprintf(path, sizeof(path), "%s/config", home);
        (void)setenv("AWS_CONFIG_FILE", path, 1);
        (void)snprintf(path, sizeof(path), "%s/credentials", home);
        (void)setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
        log_open(LOG_LEVEL_ERROR, false);
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        remove_file("config");
        remove_file("credentials");
        remove_file("fifo");
        return rmdir(home) == 0 ? failed : 1;
}
