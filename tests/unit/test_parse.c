/* The readers of text from outside: what they take, and above all what they don't. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/base/parse.h"

static void test_uint(void **state)
{
        (void)state;
        uint64_t value = 77;
        static const char *const bad[] = {
                "", " ", "-1", "+1", " 1", "1 ", "1x", "0x1", "1.0", "1e3", "\xD9\xA1"};
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                assert_int_equal(parse_uint(bad[i], UINT64_MAX, &value), -EINVAL);
        assert_int_equal(parse_uint("11", 10, &value), -ERANGE);
        assert_int_equal(parse_uint("18446744073709551616", UINT64_MAX, &value), -ERANGE);
        assert_int_equal(parse_uint("99999999999999999999999999", UINT64_MAX, &value), -ERANGE);
        /* wraps around to something small */
        assert_int_equal(parse_uint("36893488147419103233", 10, &value), -ERANGE);
        /* what is no number at all is that, however long */
        assert_int_equal(parse_uint("99999999999999999999999999x", UINT64_MAX, &value), -EINVAL);
        assert_int_equal(value, 77);
        assert_int_equal(parse_uint("10", 10, &value), 0);
        assert_int_equal(value, 10);
        assert_int_equal(parse_uint("0", 0, &value), 0);
        assert_int_equal(value, 0);
        assert_int_equal(parse_uint("0000000000000000000000007", 10, &value), 0);
        assert_int_equal(value, 7);
        assert_int_equal(parse_uint("18446744073709551615", UINT64_MAX, &value), 0);
        assert_true(value == UINT64_MAX);
}

static void test_octal(void **state)
{
        (void)state;
        uint64_t value = 77;
        assert_int_equal(parse_octal("8", 0777, &value), -EINVAL);
        assert_int_equal(parse_octal("0o7", 0777, &value), -EINVAL);
        assert_int_equal(parse_octal("", 0777, &value), -EINVAL);
        assert_int_equal(parse_octal("1000", 0777, &value), -ERANGE);
        assert_int_equal(value, 77);
        assert_int_equal(parse_octal("0640", 0777, &value), 0);
        assert_int_equal(value, 0640);
        assert_int_equal(parse_octal("777", 0777, &value), 0);
        assert_int_equal(value, 0777);
}

static void test_iso8601(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                int64_t wall_ns;
        } good[] = {
                {"1970-01-01T00:00:00Z", 0},
                {"2026-01-02T03:04:05Z", INT64_C(1767323045000000000)},
                {"2026-01-02t03:04:05z", INT64_C(1767323045000000000)},
                {"2026-01-02 03:04:05Z", INT64_C(1767323045000000000)},
                {"2026-01-02T03:04:05.678Z", INT64_C(1767323045678000000)},
                {"2026-01-02T03:04:05,678Z", INT64_C(1767323045678000000)},
                {"2026-01-02T03:04:05.000000001Z", INT64_C(1767323045000000001)},
                {"2026-01-02T03:04:05.00000000199999999999999999999Z", INT64_C(1767323045000000001)},
                {"2026-01-02T03:04:05+00:00", INT64_C(1767323045000000000)},
                {"2026-01-02T05:34:05+02:30", INT64_C(1767323045000000000)},
                {"2026-01-01T22:04:05-0500", INT64_C(1767323045000000000)},
                {"2024-02-29T00:00:00Z", INT64_C(1709164800000000000)},
                {"2000-02-29T00:00:00Z", INT64_C(951782400000000000)},
                {"2026-06-30T23:59:60Z", INT64_C(1782864000000000000)},
                {"2200-12-31T23:59:59Z", INT64_C(7289654399000000000)},
                {"2200-12-31T23:59:59.999999999-23:59", INT64_C(7289740739999999999)},
        };
        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                int64_t wall_ns = -7;
                assert_int_equal(parse_iso8601(good[i].text, &wall_ns), 0);
                assert_true(wall_ns == good[i].wall_ns);
        }
        static const char *const bad[] = {
                "",
                "2026",
                "2026-01-02",
                "2026-01-02T03:04Z",
                "2026-01-02T03:04:05",
                "2026-01-02T03:04:05.Z",
                "2026-01-02T03:04:05ZZ",
                "2026-01-02T03:04:05Z ",
                " 2026-01-02T03:04:05Z",
                "2026-1-02T03:04:05Z",
                "26-01-02T03:04:05Z",
                "2026-01-02T3:04:05Z",
                "2026/01/02T03:04:05Z",
                "2026-00-02T03:04:05Z",
                "2026-13-02T03:04:05Z",
                "2026-01-00T03:04:05Z",
                "2026-01-32T03:04:05Z",
                "2026-02-29T03:04:05Z",
                "2100-02-29T03:04:05Z",
                "2026-04-31T03:04:05Z",
                "2026-01-02T24:00:00Z",
                "2026-01-02T03:60:05Z",
                "2026-01-02T03:04:61Z",
                "1969-12-31T23:59:59Z",
                "1970-01-01T00:00:00+00:01",
                "2026-01-02T03:04:05+",
                "2026-01-02T03:04:05+1",
                "2026-01-02T03:04:05+24:00",
                "2026-01-02T03:04:05+01:60",
                "2026-01-02T03:04:05+01",
                "2026-01-02T03:04:05+01:00Z",
                "-026-01-02T03:04:05Z",
                "2026--1-02T03:04:05Z",
                "1767323045",
                "+2026-01-02T03:04:05Z",
        };
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                int64_t wall_ns = -7;
                if (parse_iso8601(bad[i], &wall_ns) != -EINVAL)
                        fail_msg("accepted: %s", bad[i]);
                assert_int_equal(wall_ns, -7);
        }
}

static void test_times_that_are_too_far(void **state)
{
        (void)state;
        int64_t wall_ns = -7;
        assert_int_equal(parse_iso8601("2201-01-01T00:00:00Z", &wall_ns), -ERANGE);
        assert_int_equal(parse_iso8601("9999-12-31T23:59:59.999+01:00", &wall_ns), -ERANGE);
        assert_int_equal(parse_iso8601("9999-12-32T23:59:59Z", &wall_ns), -EINVAL);
        assert_int_equal(parse_iso8601("9999-12-31T23:59:59", &wall_ns), -EINVAL);
        assert_int_equal(wall_ns, -7);
}

static void test_civil_agrees_with_the_c_library(void **state)
{
        (void)state;
        for (int64_t seconds = 0; seconds < INT64_C(7289740800); seconds += 86400 * 9 + 3671) {
                time_t time = (time_t)seconds;
                struct tm tm;
                assert_non_null(gmtime_r(&time, &tm));
                assert_true(parse_civil_seconds(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                                    tm.tm_min, tm.tm_sec) == seconds);
        }
}

static void test_http_date(void **state)
{
        (void)state;
        int64_t seconds = -7;
        assert_int_equal(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT", &seconds), 0);
        assert_int_equal(seconds, 784111777);
        assert_int_equal(parse_http_date("Thu, 01 Jan 1970 00:00:00 GMT", &seconds), 0);
        assert_int_equal(seconds, 0);
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        for (int month = 0; month < 12; month++) {
                char text[] = "Mon, 01 xxx 2026 00:00:00 GMT";
                memcpy(text + 8, months + 3 * month, 3);
                assert_int_equal(parse_http_date(text, &seconds), 0);
                assert_true(seconds == parse_civil_seconds(2026, month + 1, 1, 0, 0, 0));
        }
        static const char *const bad[] = {
                "",
                "Sun",
                "Sun,",
                "Sun, ",
                "Sun, 06",
                "Sun, 06 ",
                "Sun, 06 No",
                "Sun, 06 Nov",
                "Sun, 06 Nov ",
                "Sun, 06 Nov 1994",
                "Sun, 06 Nov 1994 08:49:37",
                "Sun, 06 Nov 1994 08:49:37 UTC",
                "Sun, 06 Nov 1994 08:49:37 GMT ",
                "Sun, 06 Nov 1994 08:49:37 gmt",
                "Sun, 6 Nov 1994 08:49:37 GMT",
                "Sun, 06 nov 1994 08:49:37 GMT",
                "Sun, 06 anF 1994 08:49:37 GMT",
                "Sun, 31 Feb 1994 08:49:37 GMT",
                "Sun, 06 Nov 1994 24:49:37 GMT",
                "Sun, 06 Nov 1969 08:49:37 GMT",
                "Sun,06 Nov 1994 08:49:37 GMT",
                "Sunday, 06-Nov-94 08:49:37 GMT",
                "Sun Nov  6 08:49:37 1994",
                "784111777",
        };
        seconds = -7;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                if (parse_http_date(bad[i], &seconds) != -EINVAL)
                        fail_msg("accepted: %s", bad[i]);
        assert_int_equal(seconds, -7);
}

static void test_bool(void **state)
{
        (void)state;
        static const char *const yes[] = {"1", "true", "yes", "on", "TRUE", "Yes"};
        static const char *const no[] = {"0", "false", "no", "off", "False", "OFF"};
        static const char *const bad[] = {"", "2", "y", "true ", "truefalse", "enabled"};
        bool value;
        for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
                value = false;
                assert_int_equal(parse_bool(yes[i], &value), 0);
                assert_true(value);
                assert_int_equal(parse_bool(no[i], &value), 0);
                assert_false(value);
        }
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                assert_int_equal(parse_bool(bad[i], &value), -EINVAL);
}

/* A slow reader by the definition: decode, then look at what came out. */
static bool is_utf8_by_definition(const unsigned char *c, size_t len)
{
        for (size_t i = 0; i < len;) {
                size_t more = c[i] < 0x80 ? 0 : (c[i] & 0xE0) == 0xC0 ? 1 : (c[i] & 0xF0) == 0xE0 ? 2 : 3;
                if ((c[i] & 0xC0) == 0x80 || c[i] >= 0xF8 || i + more >= len)
                        return false;
                uint32_t point = more == 0 ? c[i] : c[i] & (0x3Fu >> more);
                for (size_t k = 1; k <= more; k++) {
                        if ((c[i + k] & 0xC0) != 0x80)
                                return false;
                        point = point << 6 | (c[i + k] & 0x3F);
                }
                static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
                if (point < least[more] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
                        return false;
                i += more + 1;
        }
        return true;
}

static void test_utf8(void **state)
{
        (void)state;
        assert_true(parse_is_utf8("", 0));
        assert_true(parse_is_utf8("a\0b", 3));
        /* every two bytes; then those that begin longer sequences, with bytes at the edges behind them */
        static const unsigned char edges[] = {
                0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xF4, 0xFF};
        unsigned char c[4];
        for (unsigned first = 0; first < 256; first++) {
                c[0] = (unsigned char)first;
                assert_int_equal(parse_is_utf8((char *)c, 1), is_utf8_by_definition(c, 1));
                for (unsigned second = 0; second < 256; second++) {
                        c[1] = (unsigned char)second;
                        assert_int_equal(parse_is_utf8((char *)c, 2), is_utf8_by_definition(c, 2));
                        for (size_t k = 0; k < ARRAY_LEN(edges) * ARRAY_LEN(edges); k++) {
                                c[2] = edges[k % ARRAY_LEN(edges)];
                                c[3] = edges[k / ARRAY_LEN(edges)];
                                if (parse_is_utf8((char *)c, 3) != is_utf8_by_definition(c, 3) ||
                                        parse_is_utf8((char *)c, 4) != is_utf8_by_definition(c, 4))
                                        fail_msg("%02x %02x %02x %02x", c[0], c[1], c[2], c[3]);
                        }
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_uint),
                cmocka_unit_test(test_octal),
                cmocka_unit_test(test_iso8601),
                cmocka_unit_test(test_times_that_are_too_far),
                cmocka_unit_test(test_civil_agrees_with_the_c_library),
                cmocka_unit_test(test_http_date),
                cmocka_unit_test(test_bool),
                cmocka_unit_test(test_utf8),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
