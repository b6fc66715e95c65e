/* The command line: what every option means, and the sentence for each refusal. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "options/table.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/options/options.h"

#define MAX_WORDS 16

/* Splits at blanks ('~' stands for one inside a word) and parses. */
static int parse(const char *line, Options *ret_options, Buf *error)
{
        static char text[4096];
        char *argv[MAX_WORDS + 1];
        int argc = 0;
        assert_true(strlen(line) < sizeof text);
        memcpy(text, line, strlen(line) + 1);
        for (char *c = text, *rest = text; rest && argc < MAX_WORDS;) {
                c = strsep(&rest, " ");
                for (char *blank = c; (blank = strchr(blank, '~'));)
                        *blank = ' ';
                argv[argc++] = c;
        }
        argv[argc] = NULL;
        return options_parse(argc, argv, error, ret_options);
}

static Options accept(const char *line)
{
        Buf error = BUF_INIT(1024);
        Options options;
        int r = parse(line, &options, &error);
        if (r < 0)
                print_error("%s: %s\n", line, buf_str(&error));
        assert_int_equal(r, 0);
        assert_int_equal(error.len, 0);
        buf_deinit(&error);
        return options;
}

/* All of `parts` (up to a NULL) must stand in the sentence. */
static void refuse(const char *line, const char *const *parts)
{
        Buf error = BUF_INIT(1024);
        Options options = {.source = NULL, .max_tokens = 77};
        int r = parse(line, &options, &error);
        if (r != -EINVAL)
                print_error("accepted: %s\n", line);
        assert_int_equal(r, -EINVAL);
        assert_int_equal(options.max_tokens, 77); /* untouched */
        for (; *parts; parts++) {
                if (!strstr(buf_str(&error), *parts))
                        print_error("%s: no '%s' in: %s\n", line, *parts, buf_str(&error));
                assert_non_null(strstr(buf_str(&error), *parts));
        }
        assert_null(strchr(buf_str(&error), '\n'));
        buf_deinit(&error);
}
#define REFUSE(line, ...) refuse(line, (const char *const[]){__VA_ARGS__, NULL})

static void test_defaults(void **state)
{
        (void)state;
        Options options = accept("tokenfs /mnt");
        assert_int_equal(options.action, OPTIONS_MOUNT);
        assert_string_equal(options.mountpoint, "/mnt");
        assert_null(options.source);
        assert_false(options.foreground || options.debug || options.json || options.audit || options.newline);
        assert_false(options.use_fips || options.allow_plain_http || options.remount);
        assert_true(options.sandbox);
        assert_int_equal(options.ttl_ns, 60 * NS_PER_S);
        assert_int_equal(options.negative_ttl_ns, 5 * NS_PER_S);
        assert_int_equal(options.stale_ns, 3600 * NS_PER_S);
        assert_int_equal(options.timeout_ns, 10 * NS_PER_S);
        assert_int_equal(options.watchdog_ns, 30 * NS_PER_S);
        assert_int_equal(options.max_tokens, 10000);
        assert_int_equal(options.mode, 0444);
        assert_int_equal(options.secret_mode, 0400);
        assert_int_equal(options.uid, getuid());
        assert_int_equal(options.gid, getgid());
        assert_int_equal(options.log_level, LOG_LEVEL_INFO);
        assert_null(options.user);
        assert_int_equal(options.mount_options.count, 0);
        options_deinit(&options);
}

static void test_every_option(void **state)
{
        (void)state;
        Options options = accept(
                "tokenfs -f -o region=eu-west-1,endpoint_url=http://127.0.0.1:1/a,use_fips,profile=p~q "
                "-o ca_bundle=/etc/passwd,token=a-1,token=b.2 -otoken=a-1,dns_view=v,resolver=r "
                "-o ttl=0.5,negative_ttl=0,stale=2h,timeout=1.25s,max_tokens=5,uid=1,gid=2,mode=0640 "
                "-o secret_mode=600,audit,newline,sandbox=off,watchdog=5m,log_level=warning "
                "-o allow_plain_http,allow_other,max_read=4096 Source /mnt/x");
        assert_true(options.foreground);
        assert_string_equal(options.region, "eu-west-1");
        assert_string_equal(options.endpoint_url, "http://127.0.0.1:1/a");
        assert_string_equal(options.profile, "p q");
        assert_string_equal(options.ca_bundle, "/etc/passwd");
        assert_true(options.use_fips && options.allow_plain_http);
        assert_int_equal(options.token_ids.count, 2); /* the repeated one once */
        assert_string_equal(options.token_ids.items[0], "a-1");
        assert_string_equal(options.token_ids.items[1], "b.2");
        assert_string_equal(options.dns_view_ids.items[0], "v");
        assert_string_equal(options.resolver_ids.items[0], "r");
        assert_int_equal(options.ttl_ns, NS_PER_S / 2);
        assert_int_equal(options.negative_ttl_ns, 0);
        assert_int_equal(options.stale_ns, 7200 * NS_PER_S);
        assert_int_equal(options.timeout_ns, NS_PER_S + NS_PER_S / 4);
        assert_int_equal(options.watchdog_ns, 300 * NS_PER_S);
        assert_int_equal(options.max_tokens, 5);
        assert_int_equal(options.uid, 1);
        assert_int_equal(options.gid, 2);
        assert_int_equal(options.mode, 0640);
        assert_int_equal(options.secret_mode, 0600);
        assert_true(options.audit && options.newline && !options.sandbox);
        assert_int_equal(options.log_level, LOG_LEVEL_WARNING);
        assert_int_equal(options.mount_options.count, 2);
        assert_string_equal(options.mount_options.items[0], "allow_other");
        assert_string_equal(options.mount_options.items[1], "max_read=4096");
        assert_string_equal(options.source, "Source");
        assert_string_equal(options.mountpoint, "/mnt/x");
        options_deinit(&options);
}

static void test_values(void **state)
{
        (void)state;
        assert_int_equal(chdir("/etc"), 0);
        Options options = accept("tokenfs -o uid=root,gid=root,ttl=1d,stale=720h,user=root,log_level=debug "
                                 "-o ca_bundle=passwd,watchdog=0 /mnt");
        assert_int_equal(options.uid, 0);
        assert_int_equal(options.gid, 0);
        assert_int_equal(options.ttl_ns, 86400 * NS_PER_S);
        assert_int_equal(options.stale_ns, 30 * UINT64_C(86400) * NS_PER_S);
        assert_string_equal(options.ca_bundle, "/etc/passwd");
        assert_int_equal(options.watchdog_ns, 0);
        if (geteuid() == 0)
                assert_null(options.user); /* root is who mounts: nothing to drop */
        options_deinit(&options);

        if (geteuid() == 0) {
                options = accept("tokenfs -o user=nobody,user=root /mnt");
                assert_null(options.user);
                options_deinit(&options);
                options = accept("tokenfs -o user=root,user=nobody /mnt");
                assert_string_equal(options.user, "nobody");
                options_deinit(&options);
        }

        /* The last one counts; fsname= before the source in words. */
        options = accept("tokenfs -o ttl=5,ttl=7 -o fsname=name -d word /mnt");
        assert_int_equal(options.ttl_ns, 7 * NS_PER_S);
        assert_string_equal(options.source, "name");
        assert_true(options.foreground && options.debug);
        assert_int_equal(options.log_level, LOG_LEVEL_DEBUG);
        options_deinit(&options);

        options = accept("tokenfs -o stale=604800 /mnt"); /* a week, as 7d */
        assert_int_equal(options.stale_ns, 7 * 86400 * NS_PER_S);
        options_deinit(&options);
}

static void test_escapes(void **state)
{
        (void)state;
        Options options =
                accept("tokenfs -o profile=a\\,b\\\\c\\040d\\e,newline,context=u:r:t:s0:c1\\,c2 /mnt");
        assert_string_equal(options.profile, "a,b\\c de");
        assert_true(options.newline);
        assert_string_equal(options.mount_options.items[0], "context=u:r:t:s0:c1\\,c2");
        options_deinit(&options);
        options = accept("tokenfs -o profile=x\\ /mnt"); /* a backslash that escapes nothing is one */
        assert_string_equal(options.profile, "x\\");
        options_deinit(&options);
}

static void test_words_of_mount(void **state)
{
        (void)state;
        Options options = accept("/sbin/mount.tokenfs src /mnt -n -s -v -t fuse.tokenfs -o "
                                 "rw,ro,suid,nosuid,dev,nodev,exec,noexec,relatime,norelatime,noatime,"
                                 "nodiratime,strictatime,lazytime,"
                                 "iversion,mand,silent,nosymfollow,bg,nonempty,acl,user_xattr,_netdev,nofail,"
                                 "noauto,auto,user,users,"
                                 "owner,group,defaults,comment=x,x-systemd.automount,x-foo=bar\\,baz,X-mount."
                                 "mkdir,subtype=tokenfs,,"
                                 "default_permissions,ttl=3,");
        assert_int_equal(options.ttl_ns, 3 * NS_PER_S);
        assert_int_equal(options.mount_options.count, 0);
        assert_null(options.user);
        assert_string_equal(options.source, "src");
        assert_string_equal(options.mountpoint, "/mnt");
        options_deinit(&options);

        options = accept("tokenfs  /mnt"); /* fstab's empty source */
        assert_null(options.source);
        options_deinit(&options);
}

static void test_mount_helper(void **state)
{
        (void)state;
        /* mount -f is a dry run; it still refuses what is wrong. */
        Options options = accept("/sbin/mount.tokenfs src /mnt -f -n -o rw,ttl=5");
        assert_int_equal(options.action, OPTIONS_NOTHING);
        assert_false(options.foreground);
        options_deinit(&options);
        REFUSE("/sbin/mount.tokenfs src /mnt -f -o ttll=5", "'ttll'");
}

static void test_actions(void **state)
{
        (void)state;
        static const struct {
                const char *line;
                OptionsAction action;
        } cases[] = {
                {"tokenfs -h", OPTIONS_HELP},
                {"tokenfs --help", OPTIONS_HELP},
                {"tokenfs -V -o nonsense", OPTIONS_VERSION},
                {"tokenfs --version", OPTIONS_VERSION},
                {"tokenfs --check", OPTIONS_CHECK},
                {"tokenfs --check --json -o ttl=5 abc.d-1", OPTIONS_CHECK},
                {"tokenfs --foreground /mnt", OPTIONS_MOUNT},
                {"tokenfs --wait /mnt/x/value", OPTIONS_WAIT},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Options options = accept(cases[i].line);
                assert_int_equal(options.action, cases[i].action);
                options_deinit(&options);
        }
        Options options = accept("tokenfs --wait --timeout=1m value");
        assert_string_equal(options.wait_path, "value");
        assert_int_equal(options.wait_ns, 60 * NS_PER_S);
        options_deinit(&options);
        options = accept("tokenfs --wait value --timeout 0.5");
        assert_int_equal(options.wait_ns, NS_PER_S / 2);
        options_deinit(&options);
        options = accept("tokenfs --wait value");
        assert_int_equal(options.wait_ns, CLOCK_NEVER);
        options_deinit(&options);
        options = accept("tokenfs --check --json abc.d-1");
        assert_string_equal(options.check_token_id, "abc.d-1");
        assert_true(options.json);
        options_deinit(&options);
}

static void test_refuses_words(void **state)
{
        (void)state;
        REFUSE("tokenfs", "no mount point");
        REFUSE("tokenfs -f", "no mount point");
        REFUSE("tokenfs a b c", "'c'");
        REFUSE("tokenfs a ", "mount point is empty");
        REFUSE("tokenfs -x /mnt", "'-x'");
        REFUSE("tokenfs --chekc /mnt", "'--chekc'");
        REFUSE("tokenfs --help=x", "'--help=x'", "takes no value");
        REFUSE("tokenfs --foreground=yes /mnt", "'--foreground=yes'", "takes no value");
        REFUSE("tokenfs --check=at-1", "'--check=at-1'", "takes no value");
        REFUSE("tokenfs -t 30 /mnt", "unknown switch '-t'"); /* mount(8)'s: not --timeout */
        REFUSE("tokenfs -n /mnt", "unknown switch '-n'");
        REFUSE("tokenfs -s /mnt", "unknown switch '-s'");
        REFUSE("tokenfs -v /mnt", "unknown switch '-v'");
        REFUSE("tokenfs --wait --check /mnt", "--wait and --check don't go together");
        REFUSE("tokenfs --check --mount-only /mnt", "--check and --mount-only");
        REFUSE("tokenfs /mnt -o", "-o needs");
        REFUSE("tokenfs --json /mnt", "--json", "--check");
        REFUSE("tokenfs --check a b", "one token id");
        REFUSE("tokenfs --wait", "one path");
        REFUSE("tokenfs --wait a b", "one path");
        REFUSE("tokenfs --wait --timeout=-1 a", "--timeout", "'-1'");
        REFUSE("tokenfs --wait --timeout", "--timeout needs");
        REFUSE("tokenfs --timeout=5 /mnt", "--timeout", "--wait");
        REFUSE("tokenfs --check ..", "'..'");
        REFUSE("tokenfs -o ttll=5 /mnt", "'ttll'", "tokenfs -h");
        REFUSE("tokenfs -o endpoint=http://x /mnt", "'endpoint'");
        REFUSE("tokenfs -o alow_other /mnt", "'alow_other'");
        REFUSE("tokenfs -o dnsview=x /mnt", "'dnsview'");
        REFUSE("tokenfs -o loglevel=x /mnt", "'loglevel'");
        REFUSE("tokenfs -o TTL=5 /mnt", "unknown option 'TTL'");
        REFUSE("tokenfs -o =5 /mnt", "unknown option ''");
}

static void test_refuses_values(void **state)
{
        (void)state;
        static const char *const times[] = {"", "x", "-1", "1x", "1.", ".5", "1.5.2", "5 m", "1e3", "0x10",
                "5mm", "1.0000000001", "86401", "25h", "99999999999999999999", "999999999999999999999999",
                "18446744074", "213503982334602d"};
        for (size_t i = 0; i < ARRAY_LEN(times); i++) {
                char line[128];
                (void)snprintf(line, sizeof line, "tokenfs -o ttl=%s /mnt", times[i]);
                for (char *c = line + 15; *c != '/'; c++)
                        if (*c == ' ' && c[1] != '/')
                                *c = '~';
                REFUSE(line, "option ttl");
        }
        REFUSE("tokenfs -o ttl=5x /mnt", "option ttl", "'5x'", "0 to 86400 seconds");
        REFUSE("tokenfs -o ttl /mnt", "option ttl", "needs a value");
        REFUSE("tokenfs -o timeout=0 /mnt", "timeout", "0.01 to");
        REFUSE("tokenfs -o max_tokens=0 /mnt", "max_tokens", "'0'", "1 to 1000000");
        REFUSE("tokenfs -o max_tokens=1k /mnt", "max_tokens", "'1k'");
        REFUSE("tokenfs -o mode=0888 /mnt", "mode", "'0888'", "octal");
        REFUSE("tokenfs -o mode=4755 /mnt", "mode", "777");
        REFUSE("tokenfs -o uid=no-such-user-here /mnt", "uid", "'no-such-user-here'");
        REFUSE("tokenfs -o uid=4294967295 /mnt", "uid");
        REFUSE("tokenfs -o gid=no-such-group-here /mnt", "gid", "'no-such-group-here'");
        REFUSE("tokenfs -o user=no-such-user-here /mnt", "user", "'no-such-user-here'");
        REFUSE("tokenfs -o user= /mnt", "user", "needs a value");
        REFUSE("tokenfs -o log_level=loud /mnt", "log_level", "'loud'", "error, warning, info, debug");
        REFUSE("tokenfs -o token=.. /mnt", "token", "'..'");
        REFUSE("tokenfs -o token=a_b /mnt", "token", "'a_b'");
        REFUSE("tokenfs -o token=0123456789012345678901234567890123456789012345678901234567890123456 /mnt",
                "token");
        REFUSE("tokenfs -o audit=yes /mnt", "audit", "takes no value", "'yes'");
        REFUSE("tokenfs -o sandbox /mnt", "sandbox", "needs a value", "on|off");
        REFUSE("tokenfs -o sandbox=disabled /mnt", "sandbox", "'disabled'");
        REFUSE("tokenfs -o allow_other=1 /mnt", "allow_other", "no value");
        REFUSE("tokenfs -o region= /mnt", "region", "needs a value");
        REFUSE("tokenfs -o ca_bundle=/nonexistent/ca.pem /mnt", "option ca_bundle", "'/nonexistent/ca.pem'");
        REFUSE("tokenfs -o persist=/nonexistent /mnt", "option persist", "make it first");
        REFUSE("tokenfs -o watchdog=0.5 /mnt", "option watchdog", "'0.5'", "0 and 1 to 3600 seconds");
        REFUSE("tokenfs -o max_read=abc /mnt", "option max_read", "'abc'");
        REFUSE("tokenfs -o ttl=30\\000junk /mnt", "'ttl=30\\000'", "NUL");
        REFUSE("tokenfs -o allow_root /mnt", "allow_root", "use allow_other");
}

static void test_refuses_long_values(void **state)
{
        (void)state;
        char longer[1500], line[2048 + 1024];
        memset(longer, 'x', sizeof longer);
        longer[sizeof longer - 1] = '\0';
        (void)snprintf(line, sizeof line, "tokenfs -o context=%s%.600s /mnt", longer, longer);
        REFUSE(line, "option context", "too long", "2048");
        (void)snprintf(line, sizeof line, "tokenfs -o fsname=%s%.600s /mnt", longer, longer);
        REFUSE(line, "option fsname", "too long");
        (void)snprintf(line, sizeof line, "tokenfs %s%.600s /mnt", longer, longer);
        REFUSE(line, "source", "too long");
}

static void test_what_does_not_go_together(void **state)
{
        (void)state;
        static const char *const cases[][2] = {
                {"remount,ro", "option remount: the options of a mount can't be changed"},
                {"on_change=/bin/true", "on_change needs names"},
                {"max_tokens=1,token=a,token=b", "max_tokens=1 is too few for the 2 tokens"},
                {"max_tokens=1,token=a,watch=b", "max_tokens=1 is too few for the 2 tokens"},
        };
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                char line[128];
                (void)snprintf(line, sizeof line, "tokenfs -o %s /mnt", cases[i][0]);
                REFUSE(line, cases[i][1]);
                (void)snprintf(line, sizeof line, "tokenfs --check -o %s", cases[i][0]);
                REFUSE(line, cases[i][1]);
        }
        Options options = accept("tokenfs -o max_tokens=2,token=a,watch=b,on_change=true /mnt");
        options_deinit(&options);
}

static void test_texts(void **state)
{
        (void)state;
        Buf out = BUF_INIT(16384);
        options_help(&out);
        assert_int_equal(out.error, 0);
        for (const char *line = buf_str(&out); *line; line = strchr(line, '\n') + 1)
                assert_true(strcspn(line, "\n") <= 100);
        assert_non_null(strstr(buf_str(&out), "secret_mode=OCTAL"));
        assert_non_null(strstr(buf_str(&out), "--check"));
        buf_clear(&out);
        options_version(&out);
        assert_true(strncmp(buf_str(&out), "tokenfs ", 8) == 0);
        assert_non_null(strstr(buf_str(&out), "libcurl"));
        buf_deinit(&out);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_every_option),
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_escapes),
                cmocka_unit_test(test_words_of_mount),
                cmocka_unit_test(test_mount_helper),
                cmocka_unit_test(test_actions),
                cmocka_unit_test(test_refuses_words),
                cmocka_unit_test(test_refuses_values),
                cmocka_unit_test(test_refuses_long_values),
                cmocka_unit_test(test_what_does_not_go_together),
                cmocka_unit_test(test_texts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
