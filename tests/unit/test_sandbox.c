/* The sandbox: what must go on working inside, and what must not work any more. Each case runs in a process of its own,
 * as there is no way out. */

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/landlock.h"
#include "worker/sandbox-private.h"
#include "tokenfs/worker/sandbox.h"
#include "worker/seccomp.h"
#include "tokenfs/base/cleanup.h"

typedef int Attempt(void);

/* The wait status of a process that enters the filter and then makes the attempt, whose result is its exit status. */
static int run_filtered(Attempt *attempt)
{
        int wait_status = 0;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall_filter_enter() < 0)
                        _exit(100);
                _exit(attempt());
        }
        assert_int_equal(waitpid(pid, &wait_status, 0), pid);
        return wait_status;
}

static void *add_one(void *number)
{
        ++*(int *)number;
        return NULL;
}

static int use_threads(void)
{
        pthread_t thread;
        int number = 1;
        return pthread_create(&thread, NULL, add_one, &number) == 0 && pthread_join(thread, NULL) == 0 &&
                               number == 2
                       ? 0
                       : 1;
}

static int use_memory(void)
{
        char *memory = malloc(1 << 22);
        if (!memory)
                return 1;
        memset(memory, 1, 1 << 22);
        free(memory);
        return 0;
}

static int use_resolver(void)
{
        struct addrinfo *found = NULL;
        if (getaddrinfo("localhost", "443", &(struct addrinfo){.ai_socktype = SOCK_STREAM}, &found) != 0)
                return 1;
        freeaddrinfo(found);
        return 0;
}

static int use_files(void)
{
        FILE *file = fopen("/etc/passwd", "re");
        char line[256];
        bool is_read = file && fgets(line, sizeof line, file);
        if (file)
                (void)fclose(file);
        return is_read ? 0 : 1;
}

static int use_network(void)
{
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return fd >= 0 && close(fd) == 0 ? 0 : 1;
}

static void test_serving_goes_on(void **state)
{
        (void)state;
        Attempt *const attempts[] = {use_threads, use_memory, use_resolver, use_files, use_network};
        for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
                int wait_status = run_filtered(attempts[i]);
                if (wait_status != 0)
                        print_error("attempt %zu: wait status %d\n", i, wait_status);
                assert_int_equal(wait_status, 0);
        }
}

static int execute_program(void)
{
        (void)execl("/bin/true", "true", (char *)NULL);
        return 1;
}

static int fork_process(void)
{
        if (fork() == 0)
                _exit(0);
        return 1;
}

static int trace_parent(void)
{
        (void)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
        return 1;
}

static int mount_something(void)
{
        (void)umount2("/nonexistent", 0);
        return 1;
}

static int become_root(void)
{
        return setresuid(0, 0, 0) == 0 ? 1 : 2;
}

static int accept_callers(void)
{
        (void)listen(0, 1);
        return 1;
}

static void test_attackers_calls_kill(void **state)
{
        (void)state;
        Attempt *const attempts[] = {
                execute_program, fork_process, trace_parent, mount_something, become_root, accept_callers};
        for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
                int wait_status = run_filtered(attempts[i]);
                if (!WIFSIGNALED(wait_status))
                        print_error("attempt %zu: wait status %d\n", i, wait_status);
                assert_true(WIFSIGNALED(wait_status));
                assert_int_equal(WTERMSIG(wait_status), SIGSYS);
        }
}

static int fails_as_unknown(bool failed)
{
        return failed && errno == ENOSYS ? 0 : 1;
}

static int map_writable_code(void)
{
        return fails_as_unknown(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
}

static int make_code(void)
{
        void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return memory == MAP_FAILED ? 2 : fails_as_unknown(mprotect(memory, 4096, PROT_READ | PROT_EXEC) < 0);
}

static int open_packet_socket(void)
{
        return fails_as_unknown(socket(AF_PACKET, SOCK_RAW, 0) < 0);
}

static int become_dumpable(void)
{
        return fails_as_unknown(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0);
}

static int raise_limit(void)
{
        return fails_as_unknown(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) < 0);
}

static int kill_somebody(void)
{
        return fails_as_unknown(kill(getppid(), 0) < 0);
}

static int change_owner(void)
{
        return fails_as_unknown(chown("/nonexistent", 0, 0) < 0);
}

static void test_others_are_unknown(void **state)
{
        (void)state;
        Attempt *const attempts[] = {map_writable_code, make_code, open_packet_socket, become_dumpable,
                raise_limit, kill_somebody, change_owner};
        for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
                int wait_status = run_filtered(attempts[i]);
                if (wait_status != 0)
                        print_error("attempt %zu: wait status %d\n", i, wait_status);
                assert_int_equal(wait_status, 0);
        }
}

static Sandbox *sandbox; /* in the child */

static char directory[] = "/tmp/tokenfs-sandbox-XXXXXX";

static const char *in_directory(const char *name)
{
        static char path[200];
        (void)snprintf(path, sizeof path, "%s/%s", directory, name);
        return path;
}

static int try_open(const char *name, int flags)
{
        int fd = open(in_directory(name), flags | O_CLOEXEC, 0600);
        if (fd < 0)
                return errno;
        (void)close(fd);
        return 0;
}

static void make_file(const char *name)
{
        assert_int_equal(try_open(name, O_WRONLY | O_CREAT), 0);
}

/* In the child: the number of the first expectation that doesn't hold; 0: all do. */
static int look_around(void)
{
        const struct {
                const char *name;
                int flags, error;
        } cases[] = {
                {"conf/config", O_RDONLY, 0}, {"conf/config", O_WRONLY, EACCES},
                {"conf/new", O_WRONLY | O_CREAT, EACCES}, {"outside", O_RDONLY, EACCES},
                {"tokens/real/token", O_RDONLY, 0}, /* named by a link elsewhere */
                {"tokens/other", O_RDONLY, EACCES}, {"home/.aws/credentials", O_RDONLY, 0},
                {"home/.aws/sso/cache/a.json", O_RDWR, 0}, {"home/.aws/sso/cache/new", O_WRONLY | O_CREAT, 0},
                {"home/other", O_RDONLY, EACCES}, {"persist/new", O_RDWR | O_CREAT, 0},
                {"", O_RDONLY | O_DIRECTORY, EACCES}, /* --reload relies on it */
        };
        for (size_t i = 0; i < sandbox->count; i++)
                if (sandbox->places[i].is_given_up)
                        return 49;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                if (try_open(cases[i].name, cases[i].flags) != cases[i].error)
                        return (int)i + 1;
        char from[200], to[200];
        (void)snprintf(from, sizeof from, "%s/home/.aws/sso/cache/new", directory);
        (void)snprintf(to, sizeof to, "%s/home/.aws/sso/cache/a.json", directory);
        if (rename(from, to) < 0)
                return 50;
        return access("/etc/passwd", R_OK) == 0 ? 0 : 51;
}

/* Where there is no ~/.aws, the rest of the home stays closed. */
static int look_around_bare_home(void)
{
        if (try_open("bare/other", O_RDONLY) != EACCES)
                return 1;
        return try_open("conf/config", O_RDONLY) == 0 ? 0 : 2;
}

/* The version of Landlock; 0: there is none. */
static int landlock_version(void)
{
        Landlock landlock;
        if (landlock_begin(&landlock) < 0)
                return 0;
        landlock_discard(&landlock);
        return landlock.abi;
}

/* The attempt's result in the sandbox of a worker with this home; the test does `meanwhile` at the same time. */
static int run_in_sandbox(const char *home, Attempt *attempt, void (*meanwhile)(void))
{
        int wait_status = 0;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void)alarm(60);
                AwsConfig *config = NULL;
                Buf error = BUF_INIT(256);
                Options options = {.sandbox = true, .persist = strdup(in_directory("persist"))};
                (void)setenv("HOME", in_directory(home), 1);
                (void)setenv("AWS_CONFIG_FILE", in_directory("conf/config"), 1);
                (void)unsetenv("AWS_SHARED_CREDENTIALS_FILE");
                (void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", in_directory("links/link"), 1);
                (void)setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", in_directory("links/loop"), 1);
                (void)setenv("AWS_CA_BUNDLE", in_directory("conf/./../conf/ca.pem"), 1);
                if (aws_config_load(&(AwsConfigPaths){.profile = NULL}, &error, &config) < 0)
                        _exit(101);
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                        _exit(102);
                sandbox = sandbox_enter(&options, config);
                if (strcmp(sandbox_state(), "seccomp, landlock") != 0)
                        _exit(103);
                _exit(attempt());
        }
        if (meanwhile)
                meanwhile();
        assert_int_equal(waitpid(pid, &wait_status, 0), pid);
        assert_true(WIFEXITED(wait_status));
        return WEXITSTATUS(wait_status);
}

static void test_files(void **state)
{
        (void)state;
        if (landlock_version() == 0)
                skip();
        assert_int_equal(run_in_sandbox("home", look_around, NULL), 0);
        assert_int_equal(run_in_sandbox("bare", look_around_bare_home, NULL), 0);
}

static int watching[2]; /* a pipe: the child watches */

static void on_denied(const char *path, void *loop)
{
        loop_quit(loop, strcmp(path, in_directory("links/link")) == 0 ? 0 : 3);
}

static int watch_host(void)
{
        Loop *loop = NULL;
        SandboxWatch *watch = NULL;
        if (loop_new(&loop) < 0 || sandbox_watch_new(sandbox, loop, on_denied, loop, &watch) < 0 || !watch)
                return 1;
        if (write(watching[1], "", 1) != 1)
                return 2;
        int r = loop_run(loop);
        sandbox_watch_free(watch);
        sandbox_free(sandbox);
        loop_free(loop);
        return r;
}

/* Two changes that the sandbox covers, and then one that it doesn't: the link leads to another directory. */
static void move_token(void)
{
        char byte, from[200];
        assert_int_equal(read(watching[0], &byte, 1), 1);
        make_file("conf/ca.pem");
        make_file("home/.aws/sso/cache/new");
        assert_int_equal(mkdir(in_directory("moved"), 0700), 0);
        make_file("moved/token");
        assert_int_equal(symlink("../moved/token", in_directory("links/new")), 0);
        (void)snprintf(from, sizeof from, "%s/links/new", directory);
        assert_int_equal(rename(from, in_directory("links/link")), 0);
}

static void test_watch(void **state)
{
        (void)state;
        if (landlock_version() == 0)
                skip();
        assert_int_equal(pipe2(watching, O_CLOEXEC), 0);
        assert_int_equal(run_in_sandbox("home", watch_host, move_token), 0);
        (void)close(watching[0]);
        (void)close(watching[1]);
}

static int find_inotify(void)
{
        char link[40], target[40] = "";
        for (int fd = 3; fd < 100; fd++) {
                (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
                ssize_t len = readlink(link, target, sizeof target - 1);
                if (len > 0 && strncmp(target, "anon_inode:inotify", (size_t)len) == 0)
                        return fd;
        }
        return -1;
}

typedef struct Flooded {
        Loop *loop;
        int inotify, turns;
} Flooded;

/* In the second turn the watch has been called, whichever is first in a turn. */
static void on_turn(int fd, short revents, void *userdata)
{
        (void)fd;
        (void)revents;
        Flooded *flooded = userdata;
        int waiting = 0;
        if (++flooded->turns == 2)
                loop_quit(flooded->loop,
                        ioctl(flooded->inotify, FIONREAD, &waiting) == 0 && waiting > 0 ? 0 : 3);
}

/* More events than one turn takes: other descriptors have their turn meanwhile. */
static int watch_flood(void)
{
        Flooded flooded = {0};
        SandboxWatch *watch = NULL;
        LoopFd *source = NULL;
        char name[60];
        if (loop_new(&flooded.loop) < 0 ||
                sandbox_watch_new(sandbox, flooded.loop, on_denied, flooded.loop, &watch) < 0 || !watch ||
                write(watching[1], "", 1) != 1 ||
                loop_fd_new(flooded.loop, watching[0], POLLIN, on_turn, &flooded, &source) < 0)
                return 1;
        flooded.inotify = find_inotify();
        for (int i = 0; i < 1000; i++) {
                (void)snprintf(name, sizeof name, "home/.aws/sso/cache/%d", i);
                if (try_open(name, O_WRONLY | O_CREAT) != 0 || unlink(in_directory(name)) < 0)
                        return 2;
        }
        int r = loop_run(flooded.loop);
        loop_fd_free(source);
        sandbox_watch_free(watch);
        sandbox_free(sandbox);
        loop_free(flooded.loop);
        return r;
}

static void test_watch_in_a_flood(void **state)
{
        (void)state;
        if (landlock_version() == 0)
                skip();
        assert_int_equal(pipe2(watching, O_CLOEXEC), 0);
        assert_int_equal(run_in_sandbox("home", watch_flood, NULL), 0);
        (void)close(watching[0]);
        (void)close(watching[1]);
}

/* An address in the abstract namespace, which needs no file. */
static const struct sockaddr_un *abstract_address(void)
{
        static struct sockaddr_un address = {.sun_family = AF_UNIX};
        (void)snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s", directory);
        return &address;
}

static int connect_outside(void)
{
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return 1;
        return connect(fd, (const struct sockaddr *)abstract_address(), sizeof(struct sockaddr_un)) < 0 &&
                               errno == EPERM
                       ? 0
                       : 2;
}

static void test_abstract_sockets(void **state)
{
        (void)state;
        if (landlock_version() < 6)
                skip();
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(
                bind(fd, (const struct sockaddr *)abstract_address(), sizeof(struct sockaddr_un)), 0);
        assert_int_equal(run_in_sandbox("home", connect_outside, NULL), 0);
        assert_int_equal(close(fd), 0);
}

static void test_off(void **state)
{
        (void)state;
        Options options = {.sandbox = false};
        assert_null(sandbox_enter(&options, NULL));
        assert_string_equal(sandbox_state(), "off");
        assert_int_equal(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 0);
}

static const char *const directories[] = {"bare", "conf", "home", "home/.aws", "home/.aws/sso",
        "home/.aws/sso/cache", "links", "persist", "tokens", "tokens/real"};
static const char *const files[] = {"conf/config", "outside", "tokens/real/token", "tokens/other",
        "home/.aws/credentials", "home/.aws/sso/cache/a.json", "home/other", "bare/other"};

static int set_up(void **state)
{
        (void)state;
        if (!mkdtemp(directory))
                return -1;
        for (size_t i = 0; i < ARRAY_LEN(directories); i++)
                if (mkdir(in_directory(directories[i]), 0700) < 0)
                        return -1;
        for (size_t i = 0; i < ARRAY_LEN(files); i++)
                make_file(files[i]);
        if (symlink("loop", in_directory("links/loop")) < 0)
                return -1;
        return symlink("../tokens/real/token", in_directory("links/link"));
}

static int tear_down(void **state)
{
        (void)state;
        static const char *const made[] = {"links/link", "links/loop", "links/new", "conf/ca.pem",
                "moved/token", "home/.aws/sso/cache/new", "persist/new"};
        for (size_t i = 0; i < ARRAY_LEN(made); i++)
                (void)unlink(in_directory(made[i]));
        (void)rmdir(in_directory("moved"));
        for (size_t i = 0; i < ARRAY_LEN(files); i++)
                (void)unlink(in_directory(files[i]));
        for (size_t i = ARRAY_LEN(directories); i > 0; i--)
                (void)rmdir(in_directory(directories[i - 1]));
        return rmdir(directory);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_serving_goes_on),
                cmocka_unit_test(test_attackers_calls_kill),
                cmocka_unit_test(test_others_are_unknown),
                cmocka_unit_test(test_files),
                cmocka_unit_test(test_watch),
                cmocka_unit_test(test_watch_in_a_flood),
                cmocka_unit_test(test_abstract_sockets),
                cmocka_unit_test(test_off),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
