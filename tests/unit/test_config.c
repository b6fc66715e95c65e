/* The shared configuration: where the files lie, which profile is meant, how both are merged, what counts as changed.
 * The grammar itself is compared with botocore's in tests/e2e/test_config_grammar.py. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tokenfs/aws/config.h"
#include "tokenfs/base/log.h"

static char directory[64];

/* A path in it; valid for the next three calls. */
static char *path_of(const char *name)
{
        static char paths[4][128];
        static unsigned next;
        char *path = paths[next++ % 4];
        snprintf(path, sizeof paths[0], "%s/%s", directory, name);
        return path;
}

static const char *write_bytes(const char *name, const void *data, size_t len)
{
        const char *path = path_of(name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, len), len);
        close(fd);
        return path;
}

static const char *write_file(const char *name, const char *text)
{
        return write_bytes(name, text, strlen(text));
}

static AwsConfig *load(const char *config_file, const char *credentials_file, const char *profile)
{
        AwsConfig *config = NULL;
        Buf error = BUF_INIT(1000);
        int r = aws_config_load(&(AwsConfigPaths){config_file, credentials_file, profile}, &error, &config);
        if (r < 0)
                fail_msg("%d: %s", r, buf_str(&error));
        assert_int_equal(error.len, 0);
        buf_deinit(&error);
        return config;
}

/* Loads what must fail; the message is the caller's until the next call. */
static const char *load_failing(int expected, const char *config_file, const char *credentials_file)
{
        static char message[1000];
        AwsConfig *config = (AwsConfig *)(void *)message;
        Buf error = BUF_INIT(sizeof message - 1);
        int r = aws_config_load(&(AwsConfigPaths){config_file, credentials_file, NULL}, &error, &config);
        assert_int_equal(r, expected);
        assert_ptr_equal(config, message);
        snprintf(message, sizeof message, "%s", buf_str(&error));
        buf_deinit(&error);
        return message;
}

static int setup(void **state)
{
        (void)state;
        static const char *const variables[] = {
                "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"};
        for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
                unsetenv(variables[i]);
        snprintf(directory, sizeof directory, "/tmp/test-config-XXXXXX");
        if (!mkdtemp(directory))
                return -1;
        setenv("HOME", directory, 1);
        mkdir(path_of(".aws"), 0700);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        static const char *const names[] = {
                "config", "credentials", "other", ".aws/config", ".aws/credentials", ".aws"};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                (void)remove(path_of(names[i]));
        return rmdir(directory);
}

/* --- Content ------------------------------------------------------------------------------------------------ */

static void test_both_files_are_merged(void **state)
{
        (void)state;
        const char *config_file = write_file("config", "[default]\nregion = r1\naws_access_key_id = "
                                                       "C1\n[profile web]\nRegion = r2\nonly_config = x\n");
        const char *credentials_file =
                write_file("credentials", "[default]\naws_access_key_id = S1\n[web]\nregion = r3\n[profile "
                                          "web]\nregion = r4\n[other]\n");
        AwsConfig *config = load(config_file, credentials_file, NULL);

        assert_string_equal(aws_config_get(config, "default", "aws_access_key_id"), "S1");
        assert_string_equal(aws_config_get_from_config(config, "default", "aws_access_key_id"), "C1");
        assert_string_equal(aws_config_get_from_credentials(config, "default", "AWS_Access_Key_ID"), "S1");
        assert_string_equal(aws_config_get(config, "default", "REGION"), "r1");
        assert_null(aws_config_get_from_credentials(config, "default", "region"));
        assert_string_equal(aws_config_get(config, "web", "region"), "r3");
        assert_string_equal(aws_config_get(config, "web", "only_config"), "x");
        assert_string_equal(aws_config_get_from_config(config, "web", "region"), "r2");
        assert_string_equal(aws_config_get(config, "profile web", "region"), "r4");
        assert_null(aws_config_get(config, "web", "nothing"));
        assert_null(aws_config_get(config, "nobody", "region"));

        assert_true(aws_config_has_profile(config, "default"));
        assert_true(aws_config_has_profile(config, "web"));
        assert_true(aws_config_has_profile(config, "other"));
        assert_false(aws_config_has_profile(config, "WEB"));
        assert_false(aws_config_has_profile(config, "nobody"));
        assert_string_equal(aws_config_config_file(config), config_file);
        assert_string_equal(aws_config_credentials_file(config), credentials_file);
        aws_config_free(config);
}

static void test_other_sections(void **state)
{
        (void)state;
        const char *file = write_file("config",
                "[profile a]\ns3 =\n  Style = path\n  b=c\n[sso-session corp]\nsso_region = r\n"
                "[services local]\nsts =\n  endpoint_url = http://x\nplain = y\n[a]\nregion = z\n");
        AwsConfig *config = load(file, path_of("credentials"), NULL);
        assert_null(aws_config_get(config, "a", "s3"));
        assert_null(aws_config_get(config, "a", "region"));
        assert_string_equal(aws_config_get_sso_session(config, "corp", "SSO_Region"), "r");
        assert_null(aws_config_get_sso_session(config, "a", "region"));
        assert_true(aws_config_has_sso_session(config, "corp"));
        assert_false(aws_config_has_sso_session(config, "local"));
        assert_string_equal(aws_config_get_service(config, "local", "sts", "endpoint_url"), "http://x");
        assert_null(aws_config_get_service(config, "local", "plain", "endpoint_url"));
        assert_null(aws_config_get_service(config, "remote", "sts", "endpoint_url"));
        aws_config_free(config);
}

static void test_broken_file(void **state)
{
        (void)state;
        const char *file = write_file("config", "[default]\nregion\n");
        const char *message = load_failing(-EINVAL, file, path_of("credentials"));
        char expected[200];
        snprintf(expected, sizeof expected, "%s, line 2: neither a [section] nor key = value", file);
        assert_string_equal(message, expected);
        assert_non_null(strstr(load_failing(-EINVAL, path_of("none"), file), "line 2"));
}

/* Two profiles of one name in different spelling: the later counts, whole. */
static void test_later_spelling_counts(void **state)
{
        (void)state;
        const char *file =
                write_file("config", "[profile a]\nx = 1\ny = 1\n[profile \"a\"]\nx = 2\n[DEFAULT]\nz = 3\n");
        AwsConfig *config = load(file, path_of("credentials"), NULL);
        assert_string_equal(aws_config_get(config, "a", "x"), "2");
        assert_null(aws_config_get(config, "a", "y"));
        assert_string_equal(aws_config_get(config, "a", "z"), "3");
        assert_false(aws_config_has_profile(config, "DEFAULT"));
        aws_config_free(config);
}

/* Tens of thousands of keys and sections take no longer than reading them: no square in their number. */
static void test_many_entries(void **state)
{
        (void)state;
        Buf text = BUF_INIT(1024 * 1024);
        for (unsigned i = 0; i < 20000; i++)
                (void)buf_appendf(&text, "[profile p%u]\n", i);
        for (unsigned i = 0; i < 40000; i++)
                (void)buf_appendf(&text, "k%u=%u\n", i, i);
        assert_int_equal(text.error, 0);
        AwsConfig *config = load(write_file("config", text.data), path_of("credentials"), NULL);
        assert_string_equal(aws_config_get(config, "p19999", "k12345"), "12345");
        assert_null(aws_config_get(config, "p19998", "k12345"));
        aws_config_free(config);
        buf_deinit(&text);
}

/* --- Files -------------------------------------------------------------------------------------------------- */

static void test_missing_files_are_empty(void **state)
{
        (void)state;
        AwsConfig *config = load(NULL, NULL, NULL);
        assert_false(aws_config_has_profile(config, "default"));
        assert_string_equal(aws_config_config_file(config), path_of(".aws/config"));
        assert_string_equal(aws_config_credentials_file(config), path_of(".aws/credentials"));
        aws_config_free(config);

        /* No regular files: as if missing. */
        const char *file = write_file("other", "");
        char below[200];
        snprintf(below, sizeof below, "%s/x", file);
        config = load("/dev/null", directory, NULL);
        assert_false(aws_config_is_outdated(config));
        aws_config_free(config);
        aws_config_free(load(below, below, NULL));
}

static void test_size_limit(void **state)
{
        (void)state;
        Buf text = BUF_INIT(2 * 1024 * 1024);
        (void)buf_append_str(&text, "[default]\na=b\n");
        while (text.len < 1024 * 1024)
                (void)buf_append_char(&text, '\n');
        AwsConfig *config = load(write_bytes("config", text.data, text.len), path_of("credentials"), NULL);
        assert_string_equal(aws_config_get(config, "default", "a"), "b");
        aws_config_free(config);
        (void)buf_append_char(&text, '\n');
        write_bytes("config", text.data, text.len);
        assert_non_null(strstr(load_failing(-EFBIG, path_of("config"), path_of("credentials")), "1 MiB"));
        buf_deinit(&text);
}

/* A file that the user named must be readable; one at its usual place counts as missing. */
static void test_unreadable_file(void **state)
{
        (void)state;
        if (geteuid() == 0 && seteuid(65534) < 0) {
                print_message("SKIPPED: this user may read every file and can't become one who may not\n");
                skip();
        }
        bool was_root = getuid() == 0 && geteuid() != 0;
        if (was_root)
                assert_int_equal(seteuid(0), 0);
        write_file(".aws/config", "[default]\nregion = r\n");
        assert_int_equal(chmod(directory, 0755), 0);
        assert_int_equal(chmod(path_of(".aws"), 0755), 0);
        assert_int_equal(chmod(path_of(".aws/config"), 0), 0);
        if (was_root)
                assert_int_equal(seteuid(65534), 0);

        log_open(LOG_LEVEL_ERROR, false);
        AwsConfig *config = load(NULL, NULL, NULL);
        log_open(LOG_LEVEL_INFO, false);
        assert_false(aws_config_has_profile(config, "default"));
        assert_false(aws_config_is_outdated(config));
        assert_non_null(strstr(load_failing(-EACCES, path_of(".aws/config"), NULL), "Permission denied"));
        setenv("AWS_CONFIG_FILE", "~/.aws/config", 1);
        assert_non_null(strstr(load_failing(-EACCES, NULL, NULL), path_of(".aws/config")));

        if (was_root)
                assert_int_equal(seteuid(0), 0);
        assert_int_equal(chmod(path_of(".aws/config"), 0644), 0);
        assert_true(aws_config_is_outdated(config));
        aws_config_free(config);
}

static void test_paths_are_expanded(void **state)
{
        (void)state;
        setenv("PLACE", directory, 1);
        setenv("EMPTY", "", 1);
        unsetenv("NOT_SET");
        static const struct {
                const char *path, *expected;
        } cases[] = {
                {"$PLACE/config", "@/config"},
                {"${PLACE}/config", "@/config"},
                {"~/config", "@/config"},
                {"~", "@"},
                {"$NOT_SET/config", "$NOT_SET/config"},
                {"${NOT_SET}x", "${NOT_SET}x"},
                {"/x$EMPTY/config", "/x/config"},
                {"/x/$", "/x/$"},
                {"/x/${PLACE", "/x/${PLACE"},
                {"/x/${}", "/x/${}"},
                {"/x/~/y", "/x/~/y"},
                {"~no-such-user/y", "~no-such-user/y"},
                {"~root/y", "/root/y"},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char expected[200];
                snprintf(expected, sizeof expected, "%s%s", *cases[i].expected == '@' ? directory : "",
                        cases[i].expected + (*cases[i].expected == '@'));
                setenv("AWS_CONFIG_FILE", cases[i].path, 1);
                AwsConfig *config = load(NULL, path_of("credentials"), NULL);
                assert_string_equal(aws_config_config_file(config), expected);
                aws_config_free(config);
        }
        char name[5000];
        memset(name, 'x', sizeof name);
        name[sizeof name - 1] = '\0';
        setenv("AWS_CONFIG_FILE", name, 1);
        assert_non_null(strstr(load_failing(-ENAMETOOLONG, NULL, NULL), "AWS_CONFIG_FILE"));
}

static void test_environment_names_the_files(void **state)
{
        (void)state;
        setenv("AWS_CONFIG_FILE", write_file("config", "[default]\na=1\n"), 1);
        setenv("AWS_SHARED_CREDENTIALS_FILE", write_file("credentials", "[default]\nb=2\n"), 1);
        AwsConfig *config = load(NULL, NULL, NULL);
        assert_string_equal(aws_config_get(config, "default", "a"), "1");
        assert_string_equal(aws_config_get(config, "default", "b"), "2");
        aws_config_free(config);

        write_file(".aws/config", "[default]\na=3\n");
        setenv("AWS_CONFIG_FILE", "", 1);
        config = load(NULL, path_of("none"), NULL);
        assert_string_equal(aws_config_get(config, "default", "a"), "3");
        assert_null(aws_config_get(config, "default", "b"));
        aws_config_free(config);
}

static void test_profile_is_chosen(void **state)
{
        (void)state;
        const struct {
                const char *option, *profile, *default_profile, *expected;
                bool is_explicit;
        } cases[] = {
                {NULL, NULL, NULL, "default", false},
                {NULL, "", "", "default", false},
                {NULL, NULL, "c", "c", true},
                {NULL, "b", NULL, "b", true},
                {NULL, "b", "c", "c", true},
                {"a", "b", "c", "a", true},
                {"default", NULL, NULL, "default", true},
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                unsetenv("AWS_PROFILE");
                unsetenv("AWS_DEFAULT_PROFILE");
                if (cases[i].profile)
                        setenv("AWS_PROFILE", cases[i].profile, 1);
                if (cases[i].default_profile)
                        setenv("AWS_DEFAULT_PROFILE", cases[i].default_profile, 1);
                AwsConfig *config = load(NULL, NULL, cases[i].option);
                assert_string_equal(aws_config_profile(config), cases[i].expected);
                assert_int_equal(aws_config_profile_is_explicit(config), cases[i].is_explicit);
                aws_config_free(config);
        }
}

static void set_times(const char *path, time_t seconds)
{
        struct timespec times[2] = {{seconds, 0}, {seconds, 0}};
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_changes_are_seen(void **state)
{
        (void)state;
        char config_file[128], credentials_file[128];
        snprintf(config_file, sizeof config_file, "%s/config", directory);
        snprintf(credentials_file, sizeof credentials_file, "%s/credentials", directory);
        AwsConfig *config = load(config_file, credentials_file, NULL);
        assert_false(aws_config_is_outdated(config));
        write_file("credentials", "[default]\na=1\n"); /* comes */
        assert_true(aws_config_is_outdated(config));
        aws_config_free(config);

        set_times(credentials_file, 1000);
        config = load(config_file, credentials_file, NULL);
        assert_false(aws_config_is_outdated(config));
        set_times(credentials_file, 1001); /* changes in its time alone */
        assert_true(aws_config_is_outdated(config));
        aws_config_free(config);

        config = load(config_file, credentials_file, NULL);
        write_file("other", "[default]\na=2\n");
        set_times(path_of("other"), 1001);
        assert_int_equal(
                rename(path_of("other"), credentials_file), 0); /* another of the same size and time */
        assert_true(aws_config_is_outdated(config));
        aws_config_free(config);

        config = load(config_file, credentials_file, NULL);
        assert_false(aws_config_is_outdated(config));
        assert_int_equal(unlink(credentials_file), 0); /* goes */
        assert_true(aws_config_is_outdated(config));
        aws_config_free(config);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_both_files_are_merged, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_sections, setup, teardown),
                cmocka_unit_test_setup_teardown(test_broken_file, setup, teardown),
                cmocka_unit_test_setup_teardown(test_later_spelling_counts, setup, teardown),
                cmocka_unit_test_setup_teardown(test_many_entries, setup, teardown),
                cmocka_unit_test_setup_teardown(test_missing_files_are_empty, setup, teardown),
                cmocka_unit_test_setup_teardown(test_size_limit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unreadable_file, setup, teardown),
                cmocka_unit_test_setup_teardown(test_paths_are_expanded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_environment_names_the_files, setup, teardown),
                cmocka_unit_test_setup_teardown(test_profile_is_chosen, setup, teardown),
                cmocka_unit_test_setup_teardown(test_changes_are_seen, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
