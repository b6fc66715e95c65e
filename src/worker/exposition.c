/* Prometheus' text format.
 *
 * Why: names and mount points come from outside; a quote or a line feed in one must not make another sample of it. All
 * samples of a family follow its HELP and TYPE. Source: "Exposition formats" of the Prometheus documentation. */

#include "exposition.h"

#include <string.h>

void exposition_begin(const Exposition *exposition, const char *name, const char *type, const char *help)
{
        (void)buf_appendf(
                exposition->out, "# HELP tokenfs_%s %s\n# TYPE tokenfs_%s %s\n", name, help, name, type);
}

static const char special[] = "\"\\\n";

size_t exposition_label_bytes(const char *value)
{
        size_t bytes = 0;
        for (; *value; value++)
                bytes += strchr(special, *value) ? 2 : 1;
        return bytes;
}

static void add_label(const Exposition *exposition, const char *name, const char *value)
{
        (void)buf_appendf(exposition->out, "%s=\"", name);
        for (;;) {
                size_t plain = strcspn(value, special);
                (void)buf_append(exposition->out, value, plain);
                value += plain;
                if (!*value)
                        break;
                (void)buf_append_char(exposition->out, '\\');
                (void)buf_append_char(exposition->out, *value == '\n' ? 'n' : *value);
                value++;
        }
        (void)buf_append_char(exposition->out, '"');
}

void exposition_add(const Exposition *exposition, const char *name, const char *suffix, const Label *labels,
        size_t label_count, double value)
{
        (void)buf_appendf(exposition->out, "tokenfs_%s%s{", name, suffix);
        add_label(exposition, "mountpoint", exposition->mountpoint);
        for (size_t i = 0; i < label_count; i++) {
                (void)buf_append_char(exposition->out, ',');
                add_label(exposition, labels[i].name, labels[i].value);
        }
        (void)buf_appendf(exposition->out, "} %.17g\n", value);
}

static void add_single(
        const Exposition *exposition, const char *name, const char *type, const char *help, double value)
{
        exposition_begin(exposition, name, type, help);
        exposition_add(exposition, name, "", NULL, 0, value);
}

void exposition_gauge(const Exposition *exposition, const char *name, const char *help, double value)
{
        add_single(exposition, name, "gauge", help, value);
}

void exposition_counter(const Exposition *exposition, const char *name, const char *help, double value)
{
        add_single(exposition, name, "counter", help, value);
}
