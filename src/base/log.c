/* The log. One line a message; control characters that came in with outside text are shown as '?', so that nobody
 * writes a log line of his own through an error message.
 *
 * Nobody waits for whoever takes the lines: a mount must not hang because a pipe's reader sleeps, or syslog's daemon
 * does. A reader that is merely slow gets a moment; after that lines are dropped, until one is taken again, which is
 * told how many there were. The descriptor isn't made nonblocking for this, as that would hold for everybody who has
 * the same one: a terminal's shell, too.
 *
 * syslog is spoken to directly, since syslog(3) waits for room. Each message has a socket of its own, so there is none
 * that others could close, and a daemon that was started anew needs no care. */

#include "tokenfs/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "tokenfs/base/cleanup.h"

#define MESSAGE_MAX 1024
#define LINE_MAX_BYTES (MESSAGE_MAX + 128) /* with what stands before it */
#define PATIENCE_MS 20

static LogLevel current_level = LOG_LEVEL_INFO;
static bool use_syslog, is_silent, has_prefix;
static bool is_trying; /* the caller tries again: a slow reader gets no moment */
static unsigned lost_lines; /* since the last one that was taken */

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

/* The journal takes a line's level from "<3>" at its beginning. It names its socket as standard error had it when the
 * service was started; whoever redirected that since doesn't write to the journal. */
static bool is_journal(void)
{
        const char *journal = secure_getenv("JOURNAL_STREAM");
        struct stat status;
        char own[64];
        if (!journal || fstat(STDERR_FILENO, &status) < 0)
                return false;
        (void)snprintf(own, sizeof own, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
        return strcmp(journal, own) == 0;
}

void log_open(LogLevel level, bool to_syslog)
{
        current_level = level;
        use_syslog = to_syslog;
        has_prefix = !to_syslog && is_journal();
        is_silent = false;
        lost_lines = 0;
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

/* In these, true: the line was taken. */

static bool write_to_syslog(LogLevel level, const char *message)
{
        static const struct sockaddr_un address = {AF_UNIX, _PATH_LOG};
        /* A stream is what some daemons of old have; there, the NUL ends the message. */
        static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
        char line[LINE_MAX_BYTES], date[32];
        time_t now = time(NULL);
        struct tm local;
        if (!localtime_r(&now, &local) || strftime(date, sizeof date, "%b %e %T", &local) == 0)
                return false;
        int len = snprintf(line, sizeof line, "<%d>%s tokenfs[%ld]: %s", LOG_DAEMON | priorities[level], date,
                (long)getpid(), message);
        for (size_t i = 0; i < ARRAY_LEN(types) && len > 0; i++) {
                int fd CLEANUP(cleanup_close) = socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                if (fd < 0)
                        return false;
                if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
                        return send(fd, line, (size_t)len + (types[i] == SOCK_STREAM), MSG_NOSIGNAL) >= 0;
                if (errno != EPROTOTYPE)
                        return false;
        }
        return false;
}

/* Standard error is a socket (the journal's), a pipe, a terminal or a file. */
static bool write_to_stderr(LogLevel level, const char *message)
{
        char line[LINE_MAX_BYTES], prefix[8] = "";
        if (has_prefix)
                (void)snprintf(prefix, sizeof prefix, "<%d>", priorities[level]);
        int len = snprintf(line, sizeof line, "%stokenfs: %s: %s\n", prefix, level_names[level], message);
        struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
        if (len < 0 || poll(&room, 1, lost_lines > 0 || is_trying ? 0 : PATIENCE_MS) <= 0 ||
                !(room.revents & POLLOUT))
                return false;
        ssize_t written = send(STDERR_FILENO, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written >= 0 || errno != ENOTSOCK)
                return written >= 0;
        /* Whoever else writes to a pipe may have taken the room since. Kernels before 6.4 can't be asked for this. */
        struct stat status;
        if (fstat(STDERR_FILENO, &status) == 0 && S_ISFIFO(status.st_mode)) {
                const struct iovec piece = {line, (size_t)len};
                written = pwritev2(STDERR_FILENO, &piece, 1, -1, RWF_NOWAIT);
                if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
                        return written >= 0;
        }
        return write(STDERR_FILENO, line, (size_t)len) >= 0;
}

static bool write_message(LogLevel level, const char *message)
{
        return use_syslog ? write_to_syslog(level, message) : write_to_stderr(level, message);
}

static bool tell_lost_lines(void)
{
        char message[80];
        (void)snprintf(message, sizeof message, "log: nobody took %u lines before this one: they are lost",
                lost_lines);
        return write_message(LOG_LEVEL_WARNING, message);
}

static void format_message(char ret_message[static MESSAGE_MAX], const char *format, va_list args)
{
        int len = vsnprintf(ret_message, MESSAGE_MAX, format, args);
        if (len < 0)
                ret_message[0] = '\0';
        if (len >= MESSAGE_MAX)
                memcpy(ret_message + MESSAGE_MAX - 4, "...", 4);
        for (char *c = ret_message; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        *c = '?';
}

/* After the count of lines that were lost before. */
static bool deliver(LogLevel level, const char *message)
{
        if (lost_lines > 0 && tell_lost_lines())
                lost_lines = 0;
        return lost_lines == 0 && write_message(level, message);
}

void log_write(LogLevel level, const char *format, ...)
{
        if (is_silent || level > current_level)
                return;
        int saved_errno = errno;
        char message[MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        format_message(message, format, args);
        va_end(args);
        if (!deliver(level, message))
                lost_lines++;
        errno = saved_errno;
}

bool log_try(const char *format, ...)
{
        if (is_silent)
                return true;
        int saved_errno = errno;
        char message[MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        format_message(message, format, args);
        va_end(args);
        is_trying = true;
        bool is_taken = deliver(LOG_LEVEL_INFO, message);
        is_trying = false;
        errno = saved_errno;
        return is_taken;
}
