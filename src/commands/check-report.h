#pragma once
/* What --check prints: a line a step for people, as soon as the step is done, or one JSON object for machines. */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "tokenfs/base/jsonwriter.h"
#include "tokenfs/base/buf.h"

typedef enum CheckOutcome { CHECK_SKIPPED, CHECK_OK, CHECK_FAILED } CheckOutcome;

typedef struct CheckReport {
        FILE *out; /* borrowed */
        bool as_json;
        bool is_ascii; /* marks and ellipses of ASCII only */
        size_t width; /* columns to wrap at; 0: lines stay whole */
        unsigned failed;
        Buf text; /* the JSON */
        JsonWriter json;
} CheckReport;

/* For standard output: UTF-8, unless the locale's variables say C or POSIX; wrapped on a terminal. */
void check_report_init(CheckReport *report, bool as_json);
/* One step. `name` is for machines, `label` (at most 13 columns) for people; `remedy` NULL: there is nothing to do. */
void check_report_step(CheckReport *report, const char *name, const char *label, CheckOutcome outcome,
        const char *remedy, const char *format, ...) __attribute__((format(printf, 6, 7)));
/* The end; frees what the report owns. Returns the exit status: 0 if no step failed and all could be written. */
int check_report_end(CheckReport *report);

/* Our error texts say "what is wrong; what to do". Cuts the last such remedy off `text` and returns it, or `otherwise`
 * if there is none. */
const char *check_cut_remedy(char *text, const char *otherwise);
