#pragma once
/* Writing metrics in Prometheus' text format. */

#include <stddef.h>

#include "tokenfs/base/buf.h"

typedef struct Exposition {
        Buf *out; /* borrowed */
        const char *
                mountpoint; /* borrowed; a label of each sample: several mounts' files may be scraped together */
} Exposition;

typedef struct Label {
        const char *name;
        const char *value; /* any bytes; borrowed */
} Label;

/* Begins a family of samples: `name` without "tokenfs_", `type` "counter", "gauge" or "histogram", `help` one line. */
void exposition_begin(const Exposition *exposition, const char *name, const char *type, const char *help);
/* How many bytes a label's value takes in the text. */
size_t exposition_label_bytes(const char *value);
/* One sample of the family; `suffix` is "" or a histogram's "_bucket", "_sum", "_count". */
void exposition_add(const Exposition *exposition, const char *name, const char *suffix, const Label *labels,
        size_t label_count, double value);
/* A family with one sample that has no labels of its own. */
void exposition_gauge(const Exposition *exposition, const char *name, const char *help, double value);
void exposition_counter(const Exposition *exposition, const char *name, const char *help, double value);

/* exposition_add with the labels as arguments: LABELS({"operation", name}, {"result", "ok"}). */
#define LABELS(...) (const Label[]){__VA_ARGS__}, sizeof((const Label[]){__VA_ARGS__}) / sizeof(Label)
