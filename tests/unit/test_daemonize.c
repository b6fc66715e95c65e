/* The background: paths in the environment, which mean something in the directory of the start only. */

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/daemonize.h"

static void check(const char *name, const char *value, const char *expected)
{
        assert_int_equal(setenv(name, value, 1), 0);
        assert_int_equal(daemonize_fix_environment(), 0);
        assert_string_equal(secure_getenv(name), expected);
        assert_int_equal(daemonize_fix_environment(), 0); /* once more changes nothing */
        assert_string_equal(secure_getenv(name), expected);
        assert_int_equal(unsetenv(name), 0);
}

static void test_paths(void **state)
{
        (void)state;
        assert_int_equal(chdir("/usr"), 0);
        check("AWS_CONFIG_FILE", "a/config", "/usr/a/config");
        check("AWS_CA_BUNDLE", "a:b", "/usr/a:b"); /* one path */
        check("SSL_CERT_FILE", "/a/b", "/a/b");
        check("AWS_SHARED_CREDENTIALS_FILE", "~/credentials", "~/credentials");
        check("AWS_WEB_IDENTITY_TOKEN_FILE", "$HOME/token", "$HOME/token");
        check("AWS_CONFIG_FILE", "", "");
        check("HOME", "a", "a");
        assert_int_equal(daemonize_fix_environment(), 0);
        assert_null(secure_getenv("SSL_CERT_FILE"));
}

static void test_lists(void **state)
{
        (void)state;
        assert_int_equal(chdir("/usr"), 0);
        check("SSL_CERT_DIR", "a", "/usr/a");
        check("SSL_CERT_DIR", "a:/b::c/d:", "/usr/a:/b::/usr/c/d:");
        check("SSL_CERT_DIR", ":", ":");
        check("SSL_CERT_DIR", "", "");
}

static void test_too_long(void **state)
{
        (void)state;
        static char value[1 << 17];
        memset(value, 'a', sizeof value - 1);
        check("AWS_CONFIG_FILE", value, value);
}

static void test_without_directory(void **state)
{
        (void)state;
        char directory[] = "/tmp/tokenfs-daemonize-XXXXXX";
        assert_non_null(mkdtemp(directory));
        assert_int_equal(chdir(directory), 0);
        assert_int_equal(rmdir(directory), 0);
        check("AWS_CONFIG_FILE", "config", "config");
        assert_int_equal(chdir("/"), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_paths),
                cmocka_unit_test(test_lists),
                cmocka_unit_test(test_too_long),
                cmocka_unit_test(test_without_directory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
