/* Other options for a mount that serves.
 *
 * Why: a service manager reads a service's configuration again for each reload, and starts a program for it; that
 * program has the new command line and environment, the supervisor the mount. How: the program (--reload) sends them over
 * a socket in the service's runtime directory ($RUNTIME_DIRECTORY, systemd.exec(5)), where no other user can make one.
 * Both ends ask the kernel for the other's credentials. The supervisor refuses what a mount can't change, and hands the
 * rest to the binary's next image, as in a hot upgrade: the same probe has to find it fine. Only a supervisor that a
 * service manager started, with a runtime directory, listens.
 *
 * A reload can name programs (on_change=), so a worker in its sandbox must not ask for one. The worker may have the
 * supervisor's user, and Landlock doesn't restrict UNIX sockets that have a path. But Landlock keeps the worker from
 * opening the directory. So the client sends a descriptor of the directory with its request. */

#include "reload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fdpass.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/daemonize.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/secret.h"
#include "tokenfs/supervisor/reload.h"

#define REQUEST_MAX ((size_t)8 * 1024 * 1024) /* execve(2) takes 6 MiB at most */
#define STRINGS_MAX 100000
#define ANSWER_MAX 2048
#define SOCKET_NAME "/tokenfs-reload"
#define ANSWER_MS 60000 /* the probe has 20 s */

/* In front of the strings: the directory, the arguments, the environment, each with its NUL. */
typedef struct ReloadHeader {
        uint32_t argc, variables;
} ReloadHeader;

typedef struct ReloadPlace {
        char directory[sizeof((struct sockaddr_un *)NULL)->sun_path];
        struct sockaddr_un socket;
} ReloadPlace;

/* In the first directory of $RUNTIME_DIRECTORY. 0, -ENXIO (there is none), or -ENAMETOOLONG (for a socket's address). */
static int find_place(ReloadPlace *ret_place)
{
        const char *list = secure_getenv("RUNTIME_DIRECTORY");
        size_t len = list ? strcspn(list, ":") : 0, size = sizeof ret_place->directory;
        if (len == 0)
                return -ENXIO;
        if (len + sizeof SOCKET_NAME >= size)
                return -ENAMETOOLONG;
        *ret_place = (ReloadPlace){.socket.sun_family = AF_UNIX};
        memcpy(ret_place->directory, list, len);
        (void)snprintf(ret_place->socket.sun_path, size, "%.*s%s", (int)len, list, SOCKET_NAME);
        return 0;
}

static bool is_peer(int fd, struct ucred *ret_peer)
{
        socklen_t len = sizeof *ret_peer;
        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &len) == 0 && len == sizeof *ret_peer;
}

/* --- The supervisor ------------------------------------------------------------------------------------------- */

int reload_listen(int *ret_fd)
{
        ReloadPlace place;
        int r = find_place(&place);
        if (r < 0)
                return r;
        /* A killed supervisor left its socket. fchmod sets the mode that bind gives the file (Linux alone). */
        (void)unlink(place.socket.sun_path);
        int fd CLEANUP(cleanup_close) = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || fchmod(fd, 0600) < 0 ||
                bind(fd, (struct sockaddr *)&place.socket, sizeof place.socket) < 0 || listen(fd, 4) < 0)
                return -errno;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

/* What the service manager said to this process, and to no other. */
static bool is_ours_alone(const char *variable)
{
        static const char *const names[] = {
                "NOTIFY_SOCKET=", "WATCHDOG_PID=", "WATCHDOG_USEC=", "LISTEN_PID=", "LISTEN_FDS=",
                "LISTEN_FDNAMES=", "MAINPID=", "SYSTEMD_EXEC_PID=", "JOURNAL_STREAM=", "RUNTIME_DIRECTORY="};
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (strncmp(variable, names[i], strlen(names[i])) == 0)
                        return true;
        return false;
}

/* Moves *at past `count` strings before `end`, into *ret_strings with a NULL behind them, and room for more. */
static int take_strings(char **at, const char *end, size_t count, size_t room, char ***ret_strings)
{
        CLEANUP(cleanup_free) char **strings = calloc(count + room + 1, sizeof *strings);
        if (!strings)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++) {
                size_t left = (size_t)(end - *at), len = strnlen(*at, left);
                if (len == left)
                        return -EPROTO;
                strings[i] = *at;
                *at += len + 1;
        }
        *ret_strings = TAKE(strings);
        return 0;
}

static void merge_environment(char **environment)
{
        size_t kept = 0;
        for (size_t i = 0; environment[i]; i++)
                if (!is_ours_alone(environment[i]))
                        environment[kept++] = environment[i];
        for (size_t i = 0; environ[i]; i++)
                if (is_ours_alone(environ[i]))
                        environment[kept++] = environ[i];
        environment[kept] = NULL;
}

static int parse_request(size_t len, ReloadRequest *request)
{
        ReloadHeader header;
        char *at = request->memory + sizeof header, *end = request->memory + len;
        CLEANUP(cleanup_free) char **directory = NULL;
        size_t own = 0;
        while (environ[own])
                own++;
        memcpy(&header, request->memory, sizeof header);
        if (header.argc == 0 || header.argc > STRINGS_MAX || header.variables > STRINGS_MAX)
                return -EPROTO;
        int r = take_strings(&at, end, 1, 0, &directory);
        if (r == 0)
                r = take_strings(&at, end, header.argc, 0, &request->argv);
        if (r == 0)
                r = take_strings(&at, end, header.variables, own, &request->environment);
        if (r < 0)
                return r;
        request->directory = directory[0];
        request->argc = (int)header.argc;
        merge_environment(request->environment);
        return 0;
}

static int read_request(int fd, ReloadRequest *request)
{
        struct stat status;
        if (fstat(fd, &status) < 0)
                return -errno;
        if (status.st_size <= (off_t)sizeof(ReloadHeader) || (size_t)status.st_size > REQUEST_MAX)
                return -EPROTO;
        size_t len = (size_t)status.st_size;
        request->memory = secret_malloc(len);
        if (!request->memory)
                return -ENOMEM;
        return pread(fd, request->memory, len, 0) == (ssize_t)len ? parse_request(len, request) : -EPROTO;
}

void reload_end(ReloadRequest *request)
{
        cleanup_close(&request->client_fd);
        free(request->argv);
        free(request->environment);
        secret_free(request->memory);
        *request = RELOAD_REQUEST_INIT;
}

/* An O_PATH descriptor proves nothing: Landlock doesn't restrict that. */
static bool is_our_directory(int fd)
{
        ReloadPlace place;
        struct stat ours, theirs;
        int flags = fcntl(fd, F_GETFL);
        return flags >= 0 && !(flags & O_PATH) && find_place(&place) == 0 &&
               stat(place.directory, &ours) == 0 && fstat(fd, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
               ours.st_ino == theirs.st_ino;
}

int reload_receive(int listen_fd, ReloadRequest *ret_request)
{
        char byte;
        int fds[FDPASS_MAX];
        size_t count = 0;
        pid_t sender;
        struct ucred peer;
        ReloadRequest request = RELOAD_REQUEST_INIT;
        request.client_fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (request.client_fd < 0)
                return -EAGAIN;
        bool is_allowed = is_peer(request.client_fd, &peer) && (peer.uid == 0 || peer.uid == geteuid());
        /* The client sends before this end is accepted, or a moment later. */
        struct pollfd ready = {.fd = request.client_fd, .events = POLLIN};
        if (is_allowed && poll(&ready, 1, 1000) > 0)
                (void)fdpass_receive(request.client_fd, &byte, 1, fds, &count, &sender);
        int r = !is_allowed                 ? -EPERM
                : count != 2                ? -EPROTO
                : !is_our_directory(fds[1]) ? -EPERM
                                            : read_request(fds[0], &request);
        fdpass_close(fds, count);
        if (r < 0) {
                reload_end(&request);
                return r;
        }
        *ret_request = request;
        return 0;
}

static bool is_same_text(const char *a, const char *b)
{
        return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool is_same_list(const OptionList *a, const OptionList *b)
{
        if (a->count != b->count)
                return false;
        for (size_t i = 0; i < a->count; i++)
                if (strcmp(a->items[i], b->items[i]) != 0)
                        return false;
        return true;
}

/* What the kernel took at the mount, or what files' nodes are made of. NULL: nothing of it changes. */
static const char *find_fixed(const Options *before, const Options *after)
{
        if (!is_same_text(before->mountpoint, after->mountpoint))
                return "the mount point";
        if (!is_same_text(before->source, after->source))
                return "fsname";
        if (!is_same_list(&before->mount_options, &after->mount_options))
                return "an option of FUSE (allow_other, auto_unmount, context, max_read)";
        if (before->audit != after->audit)
                return "audit";
        if (before->newline != after->newline)
                return "newline";
        return NULL;
}

int reload_check(const Options *before, const ReloadRequest *request, Buf *error)
{
        Options after;
        /* getopt reorders what it is given. */
        CLEANUP(cleanup_free) char **argv = calloc((size_t)request->argc + 1, sizeof *argv);
        if (!argv)
                return -ENOMEM;
        memcpy(argv, request->argv, (size_t)request->argc * sizeof *argv);
        int r = options_parse(request->argc, argv, error, &after);
        if (r < 0)
                return r;
        const char *fixed = after.action == OPTIONS_MOUNT ? find_fixed(before, &after) : "the command";
        options_deinit(&after);
        if (!fixed)
                return 0;
        (void)buf_appendf(error, "%s can't change while the mount serves: it needs a restart", fixed);
        return -EINVAL;
}

/* One message: empty, or why not. */
static void send_answer(const ReloadRequest *request, const char *text)
{
        if (request->client_fd >= 0)
                (void)send(request->client_fd, text, strlen(text) + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void reload_accept(const ReloadRequest *request)
{
        send_answer(request, "");
}

void reload_answer(ReloadRequest *request, const char *error)
{
        send_answer(request, error);
        reload_end(request);
}

/* --- The client ----------------------------------------------------------------------------------------------- */

static int write_request(int argc, char **argv, int *ret_fd)
{
        ReloadHeader header = {.argc = (uint32_t)argc};
        CLEANUP(cleanup_free) char *directory = getcwd(NULL, 0);
        CLEANUP(buf_deinit) Buf text = BUF_INIT(REQUEST_MAX);
        while (environ[header.variables])
                header.variables++;
        (void)buf_append(&text, &header, sizeof header);
        (void)buf_append(&text, directory ? directory : "/", strlen(directory ? directory : "/") + 1);
        for (int i = 0; i < argc; i++) {
                const char *word = strncmp(argv[i], "--reload", 8) == 0 ? "-f" : argv[i];
                (void)buf_append(&text, word, strlen(word) + 1);
        }
        for (size_t i = 0; i < header.variables; i++)
                (void)buf_append(&text, environ[i], strlen(environ[i]) + 1);
        int fd CLEANUP(cleanup_close) = memfd_create("tokenfs-reload", MFD_CLOEXEC);
        if (text.error || fd < 0)
                return text.error ? text.error : -errno;
        if (pwrite(fd, text.data, text.len, 0) != (ssize_t)text.len)
                return -ENOSPC;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

/* A socket to the process with that pid, and no other; and the socket's directory. */
static int connect_to(pid_t pid, int *ret_fd, int *ret_directory)
{
        ReloadPlace place;
        struct ucred peer;
        int r = find_place(&place);
        if (r < 0)
                return r;
        int directory CLEANUP(cleanup_close) = open(place.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int fd CLEANUP(cleanup_close) = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (directory < 0 || fd < 0 || connect(fd, (struct sockaddr *)&place.socket, sizeof place.socket) < 0)
                return -errno;
        if (!is_peer(fd, &peer) || peer.pid != pid)
                return -ESRCH;
        *ret_fd = fd;
        *ret_directory = directory;
        fd = directory = -1;
        return 0;
}

/* 0: done; else a negative errno, with a sentence in `answer` where the supervisor sent one. */
static int ask(const Options *options, int argc, char **argv, char answer[static ANSWER_MAX])
{
        int fd CLEANUP(cleanup_close) = -1, memory CLEANUP(cleanup_close) = -1;
        int directory CLEANUP(cleanup_close) = -1;
        int r = write_request(argc, argv, &memory);
        if (r == 0)
                r = connect_to(options->reload_pid, &fd, &directory);
        if (r == 0)
                r = fdpass_send(fd, "r", 1, (int[]){memory, directory}, 2);
        if (r < 0)
                return r;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, ANSWER_MS) <= 0)
                return -ETIMEDOUT;
        ssize_t len = recv(fd, answer, ANSWER_MAX - 1, 0);
        if (len <= 0)
                return len < 0 ? -errno : -ECONNRESET;
        answer[len] = '\0';
        return *answer ? -EINVAL : 0;
}

static const char *describe_failure(int r)
{
        switch (r) {
        case -ENXIO: return "RUNTIME_DIRECTORY isn't set; add RuntimeDirectory= to the unit";
        case -ENAMETOOLONG: return "the path of RUNTIME_DIRECTORY is too long for a socket";
        case -ENOENT:
        case -ECONNREFUSED:
        case -ESRCH: return "it isn't the supervisor that listens in RUNTIME_DIRECTORY";
        default: return strerrordesc_np(-r);
        }
}

int reload_run(const Options *options, int argc, char **argv)
{
        char answer[ANSWER_MAX] = "";
        log_open(LOG_LEVEL_INFO, false);
        int r = ask(options, argc, argv, answer);
        if (r == 0)
                return EXIT_SUCCESS;
        if (*answer)
                log_error("%s", answer);
        else
                log_error("process %ld takes no other options: %s", (long)options->reload_pid,
                        describe_failure(r));
        return EXIT_USAGE;
}
