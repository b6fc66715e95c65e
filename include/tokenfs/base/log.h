#pragma once
/* The log: stderr in the foreground, syslog otherwise. A log line never holds a secret; Secret has no way in.
 * Nothing here waits: what nobody takes is lost, and counted in the next line that somebody takes. */

#include <stdbool.h>

typedef enum LogLevel { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG } LogLevel;

/* Sets where and how much is logged. At the start: stderr, info. Lines for the journal begin with their level. */
void log_open(LogLevel level, bool to_syslog);
/* From now on nothing is logged, errors neither: for who tells them in another way. */
void log_silence(void);
LogLevel log_level(void);
/* Reads "error", "warning", "info" or "debug". Returns 0 or -EINVAL. */
int log_level_parse(const char *name, LogLevel *ret_level);

void log_write(LogLevel level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Logs at LOG_LEVEL_INFO whatever the level is, but only if the line is taken now. False: it isn't, and nothing is lost but
 * the line; the caller tries again or fails. */
bool log_try(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
