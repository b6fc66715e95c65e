/* The helper that runs credential_process.
 *
 * Why: a worker that is locked in can't start programs, and whoever takes it over must not be able to. How: the worker
 * forks a helper before it locks itself in, and may ask it for one thing only: to run the credential_process of a
 * profile. The helper reads the command line out of the configuration by itself, so that nothing but what the owner
 * of those files wrote is ever executed; and as the worker can't write those files, it can't choose either.
 *
 * Each request brings two descriptors: where the output goes, and a lifeline, a socket whose end means that nobody is
 * interested any more. A runner is forked for each: it starts the program, waits for its end or for that of the
 * lifeline, and reports. So a program that hangs holds up nothing. Helper and runners hold no secrets, as they are
 * forked before there are any, and none of the worker's descriptors. */

#include "launcher-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn.h"
#include "tokenfs/base/shellwords.h"
#include "tokenfs/aws/config.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/pidfd.h"
#include "tokenfs/base/secret.h"

#define PROFILE_MAX 1024
#define HELPER_SOCKET 3 /* the helper's only descriptor besides the standard streams */

typedef struct Request {
        char profile[PROFILE_MAX];
        int output_fd, lifeline;
} Request;

static int launcher_socket = -1;

/* What the profile's credential_process is now. */
static int read_command(const char *profile, char ***ret_argv)
{
        CLEANUP(aws_config_free_p) AwsConfig *config = NULL;
        Buf error = BUF_INIT(256);
        int r = aws_config_load(&(AwsConfigPaths){.profile = profile}, &error, &config);
        buf_deinit(&error);
        if (r < 0)
                return r;
        const char *line = aws_config_get(config, profile, "credential_process");
        return line ? shellwords_split(line, ret_argv) : -ENOENT;
}

static int start_program(const Request *request, pid_t *ret_pid)
{
        CLEANUP(secret_free_p) char **argv = NULL;
        int r = read_command(request->profile, &argv);
        return r < 0 ? r : spawn_program(argv, request->output_fd, ret_pid);
}

/* Waits for the end of the program, or of the interest in it, which kills it with what it started. What a program that
 * ended by itself leaves behind (a daemon that caches, say) is its own affair. */
static void wait_for_end(pid_t pid, int lifeline, LauncherReport *report)
{
        int pid_fd CLEANUP(cleanup_close) = pidfd_get(pid);
        struct pollfd fds[] = {{.fd = pid_fd, .events = POLLIN}, {.fd = lifeline, .events = POLLIN}};
        while (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno == EINTR)
                ;
        siginfo_t info = {0};
        if (fds[0].revents && waitid(P_PID, (id_t)pid, &info, WEXITED) == 0) {
                report->code = info.si_code;
                report->status = info.si_status;
                return;
        }
        (void)kill(-pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
}

/* The runner of one request; doesn't return. */
static void run(const Request *request)
{
        LauncherReport report = {0};
        pid_t pid = 0;
        (void)signal(SIGCHLD, SIG_DFL);
        int r = start_program(request, &pid);
        (void)close(request->output_fd);
        if (r < 0)
                report.error = -r;
        else
                wait_for_end(pid, request->lifeline, &report);
        (void)send(request->lifeline, &report, sizeof(report), MSG_NOSIGNAL);
        _exit(0);
}

/* 1: a request. 0: nobody will ask any more. -EBADMSG: none that can be served. */
static int receive(Request *ret_request)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(2 * sizeof(int))];
        } control;
        struct iovec data = {ret_request->profile, sizeof(ret_request->profile) - 1};
        struct msghdr message = {
                .msg_iov = &data,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t len = recvmsg(HELPER_SOCKET, &message, MSG_CMSG_CLOEXEC);
        if (len <= 0)
                return len < 0 && errno == EINTR ? -EBADMSG : 0;
        ret_request->profile[len] = '\0';
        const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(2 * sizeof(int)))
                return -EBADMSG;
        int fds[2];
        memcpy(fds, CMSG_DATA(header), sizeof(fds));
        ret_request->output_fd = fds[0];
        ret_request->lifeline = fds[1];
        return 1;
}

/* What means something to the supervisor reaches the helper too, when it is sent by name (pkill -HUP tokenfs), to a unit,
 * or by a terminal; and an end of the helper is one for good. The programs have their defaults again (spawn_program). */
static void ignore_signals(void)
{
        static const int others[] = {SIGHUP, SIGINT, SIGUSR1, SIGUSR2};
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
                (void)signal(others[i], SIG_IGN);
        (void)signal(SIGCHLD, SIG_IGN); /* runners need no waiting for */
        sigset_t none;
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Doesn't return. */
static void be_helper(int socket_fd)
{
        int null CLEANUP(cleanup_close) = open("/dev/null", O_RDWR | O_CLOEXEC);
        for (int stream = 0; stream <= 2; stream++)
                (void)dup2(null, stream);
        if (dup2(socket_fd, HELPER_SOCKET) < 0)
                _exit(1);
        (void)close_range(HELPER_SOCKET + 1, ~0U, 0);
        (void)fcntl(HELPER_SOCKET, F_SETFD, FD_CLOEXEC);
        (void)prctl(PR_SET_NAME, "tokenfs-helper", 0, 0, 0);
        ignore_signals();
        for (;;) {
                Request request = {.output_fd = -1, .lifeline = -1};
                int r = receive(&request);
                if (r == 0)
                        _exit(0);
                if (r < 0)
                        continue;
                if (fork() == 0)
                        run(&request);
                (void)close(request.output_fd);
                (void)close(request.lifeline);
        }
}

int launcher_start(void)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        pid_t pid = fork();
        if (pid < 0) {
                int r = -errno;
                (void)close(ends[0]);
                (void)close(ends[1]);
                return r;
        }
        if (pid == 0)
                be_helper(ends[1]);
        (void)close(ends[1]);
        launcher_stop();
        launcher_socket = ends[0];
        return 0;
}

void launcher_stop(void)
{
        cleanup_close(&launcher_socket);
}

bool launcher_is_running(void)
{
        return launcher_socket >= 0;
}

static int send_request(const char *profile, int output_fd, int lifeline)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(2 * sizeof(int))];
        } control;
        memset(&control, 0, sizeof(control));
        const int fds[2] = {output_fd, lifeline};
        char name[PROFILE_MAX];
        size_t len = strlen(profile);
        if (len == 0 || len >= sizeof(name))
                return -EINVAL;
        memcpy(name, profile, len);
        struct iovec data = {name, len};
        struct msghdr message = {
                .msg_iov = &data,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){
                .cmsg_len = CMSG_LEN(sizeof(fds)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(header), fds, sizeof(fds));
        return sendmsg(launcher_socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* Doesn't return. Whoever is locked in can't start another helper; the worker that takes over has one. */
static void end_without_helper(void)
{
        log_error("the helper that runs credential_process is gone: ending, for a worker that has one");
        _exit(EXIT_FAILURE);
}

int launcher_run(const char *profile, int output_fd, int *ret_lifeline)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
                return -errno;
        int r = send_request(profile, output_fd, ends[1]);
        (void)close(ends[1]);
        if (r == -EPIPE || r == -ECONNRESET)
                end_without_helper();
        if (r < 0) {
                (void)close(ends[0]);
                return r;
        }
        *ret_lifeline = ends[0];
        return 0;
}
