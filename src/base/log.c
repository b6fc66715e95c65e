/* The log. One line a message; control characters that came in with outside text are shown as '?', so that nobody
 * writes a log line of his own through an error message. */

#include "tokenfs/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "tokenfs/base/cleanup.h"

static LogLevel current_level = LOG_LEVEL_INFO;
static bool use_syslog, is_silent;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_open(LogLevel level, bool to_syslog)
{
        current_level = level;
        if (to_syslog && !use_syslog)
                openlog("tokenfs", LOG_PID, LOG_DAEMON);
        use_syslog = to_syslog;
        is_silent = false;
}

void log_silence(void)
{
        is_silent = true;
}

LogLevel log_level(void)
{
        return current_level;
}

int log_level_parse(const char *name, LogLevel *ret_level)
{
        for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
                if (strcmp(name, level_names[i]) == 0) {
                        *ret_level = (LogLevel)i;
                        return 0;
                }
        return -EINVAL;
}

void log_write(LogLevel level, const char *format, ...)
{
        static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
        if (is_silent || level > current_level)
                return;
        int saved_errno = errno;
        char line[1024];
        va_list args;
        va_start(args, format);
        int len = vsnprintf(line, sizeof line, format, args);
        va_end(args);
        if (len < 0)
                line[0] = '\0';
        if (len >= (int)sizeof line)
                memcpy(line + sizeof line - 4, "...", 4);
        for (char *c = line; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        *c = '?';
        if (use_syslog)
                syslog(priorities[level], "%s", line);
        else
                fprintf(stderr, "tokenfs: %s: %s\n", level_names[level], line);
        errno = saved_errno;
}
