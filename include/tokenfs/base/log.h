#pragma once
/* The log: standard error in the foreground, syslog otherwise. No function logs a Secret. Nothing here blocks: a line that
 * isn't taken is lost and counted, and the next line that is taken comes after the number of lost ones. */

#include <stdbool.h>

typedef enum LogLevel { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG } LogLevel;

/* Sets where and how much is logged. At the start: standard error, info. Lines for the journal begin with their level. */
void log_open(LogLevel level, bool to_syslog);
/* From now on nothing is logged, not even errors: --check reports them in its own way. */
void log_silence(void);
LogLevel log_level(void);
/* Reads "error", "warning", "info" or "debug". Returns 0 or -EINVAL. */
int log_level_parse(const char *name, LogLevel *ret_level);

void log_write(LogLevel level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Logs at LOG_LEVEL_INFO, whatever the level of the log is. False: the line isn't taken now, and isn't counted as lost; the
 * caller tries again or fails. */
bool log_try(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
