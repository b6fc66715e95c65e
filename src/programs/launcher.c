/* The helper that runs credential_process.
 *
 * A worker in its sandbox can't start programs, and neither must an attacker who takes the worker over. The worker
 * forks a helper before it enters the sandbox. The helper serves one request: run the credential_process of a profile.
 * It reads the command line from the configuration itself, so it executes only the commands of the owner of those
 * files. The worker can't write them.
 *
 * A request brings two descriptors: one for the output, and a lifeline, a socket whose end says that the worker needs
 * no answer. For each request the helper forks a runner, which starts the program, waits for its end or the
 * lifeline's, and reports. So a program that hangs delays no other. Helper and runners are forked before there are
 * secrets, and have none of the worker's descriptors. */

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
#define HELPER_SOCKET 3 /* the helper's only descriptor but the standard streams */

typedef struct Request {
        char profile[PROFILE_MAX];
        int output_fd, lifeline;
} Request;

static int launcher_socket = -1;

/* The present credential_process of the profile. */
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

/* Waits for the end of the program, or of the lifeline, which kills the program and its children. A child that
 * outlives a program that ended (a caching daemon, say) stays. */
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

/* Serves one request; does not return. */
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

/* 1: a request. 0: no further request will come. -EBADMSG: an invalid request. */
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

/* Signals for the supervisor also reach the helper if they are sent by name (pkill -HUP tokenfs), to a unit, or by a
 * terminal. The worker can't replace an ended helper. The programs get the defaults back (spawn_program). */
static void ignore_signals(void)
{
        static const int others[] = {SIGHUP, SIGINT, SIGUSR1, SIGUSR2};
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
                (void)signal(others[i], SIG_IGN);
        (void)signal(SIGCHLD, SIG_IGN); /* no wait for runners is needed */
        sigset_t none;
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Does not return. */
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
                cleanup_close(&ends[0]);
                cleanup_close(&ends[1]);
                return -errno;
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

/* Does not return. A process in the sandbox can't start another helper; the next worker has one. */
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
