/* Readers of numbers, times and text from outside. The C library's functions accept signs, spaces and locales that no
 * format here has. */

#include "tokenfs/base/parse.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "tokenfs/base/clock.h"
#include "tokenfs/base/cleanup.h"

#define YEAR_MAX 2200 /* 64 bits hold nanoseconds since 1970 until 2262 */

static int parse_digits(const char *text, unsigned base, uint64_t max, uint64_t *ret_value)
{
        uint64_t value = 0;
        if (!*text)
                return -EINVAL;
        bool overflow = false;
        for (; *text; text++) {
                unsigned digit = (unsigned)(*text - '0');
                if (*text < '0' || digit >= base)
                        return -EINVAL;
                overflow |= __builtin_mul_overflow(value, base, &value);
                overflow |= __builtin_add_overflow(value, digit, &value);
        }
        if (overflow || value > max)
                return -ERANGE;
        *ret_value = value;
        return 0;
}

int parse_uint(const char *text, uint64_t max, uint64_t *ret_value)
{
        return parse_digits(text, 10, max, ret_value);
}

int parse_octal(const char *text, uint64_t max, uint64_t *ret_value)
{
        return parse_digits(text, 8, max, ret_value);
}

/* Reads exactly `count` digits at *text and moves past them. -1 if they aren't there. */
static int take_digits(const char **text, int count)
{
        int value = 0;
        for (int i = 0; i < count; i++) {
                char c = (*text)[i];
                if (c < '0' || c > '9')
                        return -1;
                value = value * 10 + (c - '0');
        }
        *text += count;
        return value;
}

static bool take_char(const char **text, char c)
{
        if (**text != c)
                return false;
        (*text)++;
        return true;
}

static int days_in_month(int year, int month)
{
        static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        return days[month - 1] + (month == 2 && leap);
}

int64_t parse_civil_seconds(int year, int month, int day, int hour, int minute, int second)
{
        /* Days from 1 March of year 0: from March on, months have a fixed pattern, and the leap day comes last. */
        int y = month <= 2 ? year - 1 : year;
        int64_t from_march = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
        int64_t days = (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + from_march - 719468;
        return days * 86400 + hour * 3600 + minute * 60 + second;
}

static bool is_valid_civil(int year, int month, int day, int hour, int minute, int second)
{
        return year >= 1970 && month >= 1 && month <= 12 && day >= 1 && day <= days_in_month(year, month) &&
               hour >= 0 && hour <= 23 && minute >= 0 && minute <= 59 && second >= 0 && second <= 60;
}

int parse_iso8601(const char *text, int64_t *ret_wall_ns)
{
        int year = take_digits(&text, 4);
        if (!take_char(&text, '-'))
                return -EINVAL;
        int month = take_digits(&text, 2);
        if (!take_char(&text, '-'))
                return -EINVAL;
        int day = take_digits(&text, 2);
        if (!take_char(&text, 'T') && !take_char(&text, 't') && !take_char(&text, ' '))
                return -EINVAL;
        int hour = take_digits(&text, 2);
        if (!take_char(&text, ':'))
                return -EINVAL;
        int minute = take_digits(&text, 2);
        if (!take_char(&text, ':'))
                return -EINVAL;
        int second = take_digits(&text, 2);
        if (!is_valid_civil(year, month, day, hour, minute, second))
                return -EINVAL;

        int64_t fraction_ns = 0;
        if (take_char(&text, '.') || take_char(&text, ',')) {
                int64_t unit = (int64_t)NS_PER_S / 10;
                if (*text < '0' || *text > '9')
                        return -EINVAL;
                for (; *text >= '0' && *text <= '9'; text++, unit /= 10)
                        fraction_ns += (*text - '0') * unit;
        }

        int64_t offset = 0;
        if (*text == '+' || *text == '-') {
                int sign = *text++ == '-' ? -1 : 1;
                int hours = take_digits(&text, 2);
                (void)take_char(&text, ':');
                int minutes = take_digits(&text, 2);
                if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
                        return -EINVAL;
                offset = sign * (hours * 3600 + minutes * 60);
        } else if (!take_char(&text, 'Z') && !take_char(&text, 'z')) {
                return -EINVAL;
        }
        if (*text)
                return -EINVAL;
        if (year > YEAR_MAX)
                return -ERANGE;
        int64_t seconds = parse_civil_seconds(year, month, day, hour, minute, second) - offset;
        if (seconds < 0)
                return -EINVAL;
        *ret_wall_ns = seconds * (int64_t)NS_PER_S + fraction_ns;
        return 0;
}

int parse_http_date(const char *text, int64_t *ret_seconds)
{
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        const char *comma = strchr(text, ',');
        if (!comma || comma[1] != ' ')
                return -EINVAL;
        text = comma + 2;
        int day = take_digits(&text, 2);
        if (day < 0 || !take_char(&text, ' ') || strnlen(text, 4) < 4)
                return -EINVAL;
        int month = 0;
        for (int i = 0; i < 12; i++)
                if (memcmp(text, months + 3 * i, 3) == 0)
                        month = i + 1;
        text += 3;
        if (!take_char(&text, ' '))
                return -EINVAL;
        int year = take_digits(&text, 4);
        if (year < 0 || !take_char(&text, ' '))
                return -EINVAL;
        int hour = take_digits(&text, 2);
        if (hour < 0 || !take_char(&text, ':'))
                return -EINVAL;
        int minute = take_digits(&text, 2);
        if (minute < 0 || !take_char(&text, ':'))
                return -EINVAL;
        int second = take_digits(&text, 2);
        if (strcmp(text, " GMT") != 0 || year > YEAR_MAX ||
                !is_valid_civil(year, month, day, hour, minute, second))
                return -EINVAL;
        *ret_seconds = parse_civil_seconds(year, month, day, hour, minute, second);
        return 0;
}

int parse_bool(const char *text, bool *ret_value)
{
        static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
                if (strcasecmp(text, words[i]) == 0) {
                        *ret_value = i % 2;
                        return 0;
                }
        return -EINVAL;
}

bool parse_is_utf8(const char *data, size_t len)
{
        const unsigned char *c = (const unsigned char *)data;
        for (size_t i = 0; i < len;) {
                unsigned char first = c[i++];
                if (first < 0x80)
                        continue;
                unsigned more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
                if (first < 0xC2 || first > 0xF4 || len - i < more)
                        return false;
                unsigned char low = 0x80, high = 0xBF;
                if (first == 0xE0)
                        low = 0xA0;
                else if (first == 0xED)
                        high = 0x9F;
                else if (first == 0xF0)
                        low = 0x90;
                else if (first == 0xF4)
                        high = 0x8F;
                for (unsigned k = 0; k < more; k++, i++, low = 0x80, high = 0xBF)
                        if (c[i] < low || c[i] > high)
                                return false;
        }
        return true;
}
