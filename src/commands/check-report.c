/* The report of --check.
 *
 * People get a mark, a label and a sentence a step, and below it an arrow with what to do; as each step ends, since a
 * step may take as long as a time-out. On a terminal long sentences are wrapped below themselves; into a pipe they
 * stay whole, for grep. Texts may come from elsewhere (paths, a server's message): control characters don't get out.
 * Machines get it all as one object, at the end. */

#include "check-report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define JSON_MAX ((size_t)16 * 1024 * 1024)
#define TEXT_MAX ((size_t)4096)
#define LABEL_WIDTH 13
#define INDENT (2 + LABEL_WIDTH + 2)
#define WIDTH_MIN 40 /* a terminal that is narrower gets lines that it breaks itself */
#define ELLIPSIS "\xE2\x80\xA6"

/* As setlocale would choose; nothing set counts as UTF-8. */
static bool locale_is_ascii(void)
{
        static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                const char *locale = secure_getenv(names[i]);
                if (locale && *locale)
                        return strcmp(locale, "C") == 0 || strcmp(locale, "POSIX") == 0;
        }
        return false;
}

static size_t terminal_width(void)
{
        struct winsize size;
        if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
                return 0;
        return size.ws_col >= WIDTH_MIN ? size.ws_col : 0;
}

void check_report_init(CheckReport *report, bool as_json)
{
        *report = (CheckReport){
                .out = stdout,
                .as_json = as_json,
                .is_ascii = locale_is_ascii(),
                .width = terminal_width(),
                .text = BUF_INIT(JSON_MAX),
        };
        if (!as_json)
                return;
        report->json = (JsonWriter){&report->text, 0, true};
        json_write_open(&report->json, NULL, '{');
        json_write_open(&report->json, "steps", '[');
}

static void write_json(
        CheckReport *report, const char *name, CheckOutcome outcome, const char *detail, const char *remedy)
{
        JsonWriter *json = &report->json;
        json_write_open(json, NULL, '{');
        json_write_string(json, "name", name);
        if (outcome == CHECK_SKIPPED)
                json_write_string(json, "ok", NULL);
        else
                json_write_bool(json, "ok", outcome == CHECK_OK);
        json_write_string(json, "detail", detail);
        json_write_string(json, "remedy", remedy);
        json_write_close(json, '}');
}

static bool is_control(unsigned char c)
{
        return c < 0x20 || c == 0x7F;
}

/* One character, as it may be shown. Returns its end. */
static const char *write_character(CheckReport *report, const char *c)
{
        if (report->is_ascii && strncmp(c, ELLIPSIS, 3) == 0) {
                (void)fputs("...", report->out);
                return c + 3;
        }
        (void)fputc(is_control((unsigned char)*c) ? '?' : *c, report->out);
        return c + 1;
}

/* Columns up to the next space: bytes of UTF-8 that go on with a character have none. */
static size_t word_width(const char *word)
{
        size_t width = 0;
        for (; *word && *word != ' '; word++)
                width += ((unsigned char)*word & 0xC0) != 0x80;
        return width;
}

/* The text from `column` on, wrapped to there. */
static void write_wrapped(CheckReport *report, size_t column, const char *text)
{
        size_t at = column;
        while (*text) {
                size_t width = word_width(text);
                bool is_first = at == column;
                if (!is_first && report->width && at + 1 + width > report->width) {
                        (void)fprintf(report->out, "\n%*s", (int)column, "");
                        at = column;
                        is_first = true;
                }
                if (!is_first)
                        (void)fputc(' ', report->out);
                at += width + !is_first;
                while (*text && *text != ' ')
                        text = write_character(report, text);
                while (*text == ' ')
                        text++;
        }
        (void)fputc('\n', report->out);
}

static void write_line(
        CheckReport *report, const char *label, CheckOutcome outcome, const char *detail, const char *remedy)
{
        static const char *const marks[] = {[CHECK_SKIPPED] = "\xE2\x80\x93",
                [CHECK_OK] = "\xE2\x9C\x93",
                [CHECK_FAILED] = "\xE2\x9C\x97"};
        static const char *const ascii_marks[] = {
                [CHECK_SKIPPED] = "-", [CHECK_OK] = "+", [CHECK_FAILED] = "x"};
        const char *mark = (report->is_ascii ? ascii_marks : marks)[outcome];
        (void)fprintf(report->out, "%s %-*s  ", mark, LABEL_WIDTH, label);
        write_wrapped(report, INDENT, detail);
        if (!remedy)
                return;
        const char *arrow = report->is_ascii ? "->" : "\xE2\x86\x92";
        (void)fprintf(report->out, "%*s%s ", INDENT, "", arrow);
        write_wrapped(report, INDENT + (report->is_ascii ? 3 : 2), remedy);
}

void check_report_step(CheckReport *report, const char *name, const char *label, CheckOutcome outcome,
        const char *remedy, const char *format, ...)
{
        char detail[TEXT_MAX];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(detail, sizeof detail, format, args);
        va_end(args);
        report->failed += outcome == CHECK_FAILED;
        if (report->as_json) {
                write_json(report, name, outcome, detail, remedy);
                return;
        }
        write_line(report, label, outcome, detail, remedy);
        (void)fflush(report->out);
}

static void end_json(CheckReport *report)
{
        json_write_close(&report->json, ']');
        json_write_bool(&report->json, "ok", report->failed == 0);
        json_write_close(&report->json, '}');
        if (report->text.error)
                report->failed++;
        else
                (void)fputs(buf_str(&report->text), report->out);
}

int check_report_end(CheckReport *report)
{
        if (report->as_json)
                end_json(report);
        else if (report->failed == 0)
                (void)fputs("\nA mount would work.\n", report->out);
        else
                (void)fprintf(report->out, "\nA mount would not work: %u %s failed.\n", report->failed,
                        report->failed == 1 ? "step" : "steps");
        bool is_written = fflush(report->out) == 0 && !ferror(report->out);
        buf_deinit(&report->text);
        return is_written && report->failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

const char *check_cut_remedy(char *text, const char *otherwise)
{
        char *cut = NULL;
        int depth = 0;
        for (char *c = text; *c; c++) {
                depth += (*c == '(') - (*c == ')');
                if (depth <= 0 && c[0] == ';' && c[1] == ' ')
                        cut = c;
        }
        if (!cut)
                return otherwise;
        *cut = '\0';
        return cut + 2;
}
