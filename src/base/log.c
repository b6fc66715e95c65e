/* The log. One line a message; control characters in text from outside become '?', so that an error message can't forge
 * a log line.
 *
 * A mount must not hang because the reader of a pipe, or syslog's daemon, sleeps. A slow reader gets PATIENCE_MS; then
 * lines are dropped and counted, and the next line that is taken comes after their number. O_NONBLOCK isn't set: it
 * would hold for every process with the same open file, for example the terminal's shell.
 *
 * syslog(3) blocks while the socket's queue is full, so messages go to the socket directly. Each message has a socket of
 * its own: no other code can close it, and a restart of syslog's daemon needs no code. */

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
#define LINE_MAX_BYTES (MESSAGE_MAX + 128) /* with its prefix */
#define PATIENCE_MS 20

static LogLevel current_level = LOG_LEVEL_INFO;
static bool use_syslog, is_silent, has_prefix;
static bool is_trying; /* log_try(): the caller tries again, so a slow reader gets no time */
static unsigned lost_lines; /* since the last line that was taken */

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};

/* The journal reads a line's level from "<3>" at its beginning (sd-daemon(3)). JOURNAL_STREAM names the socket that was
 * standard error at the service's start; it differs if standard error was redirected since (systemd.exec(5)). */
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

/* These return true if the line was taken. */

static bool write_to_syslog(LogLevel level, const char *message)
{
        static const struct sockaddr_un address = {AF_UNIX, _PATH_LOG};
        /* Old daemons of syslog listen on a stream socket, where a NUL ends the message. */
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
        /* Another writer may have filled the pipe since poll(). Kernels before 6.4 have no RWF_NOWAIT for pipes. */
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

static bool write_lost_lines(void)
{
        char message[80];
        (void)snprintf(message, sizeof message, "log: nobody took %u lines before this one: they are lost",
                lost_lines);
        return write_message(LOG_LEVEL_WARNING, message);
}

__attribute__((format(printf, 2, 0))) static void format_message(
        char ret_message[static MESSAGE_MAX], const char *format, va_list args)
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

/* Writes the number of lost lines first, if there are any. Keeps errno. */
__attribute__((format(printf, 2, 0))) static bool deliver(LogLevel level, const char *format, va_list args)
{
        int saved_errno = errno;
        char message[MESSAGE_MAX];
        format_message(message, format, args);
        if (lost_lines > 0 && write_lost_lines())
                lost_lines = 0;
        bool is_taken = lost_lines == 0 && write_message(level, message);
        errno = saved_errno;
        return is_taken;
}

void log_write(LogLevel level, const char *format, ...)
{
        if (is_silent || level > current_level)
                return;
        va_list args;
        va_start(args, format);
        if (!deliver(level, format, args))
                lost_lines++;
        va_end(args);
}

bool log_try(const char *format, ...)
{
        if (is_silent)
                return true;
        va_list args;
        va_start(args, format);
        is_trying = true;
        bool is_taken = deliver(LOG_LEVEL_INFO, format, args);
        is_trying = false;
        va_end(args);
        return is_taken;
}
