/* The system call filter.
 *
 * There are three groups. Calls that serving needs are allowed, some with certain arguments only: no memory that is both
 * writable and executable, no sockets but those of the network, syslog and the resolver, no process but threads. Calls
 * that only an attacker makes kill the process; the next worker takes over, and the log shows it. All others fail with
 * ENOSYS, as on an older kernel: libraries then fall back to an older call, which EPERM wouldn't make them do. */

#include "seccomp.h"

#include <asm/termbits.h>
#include <errno.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h> /* NOLINT(readability-duplicate-include): libseccomp's */
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "tokenfs/base/cleanup.h"

static const int allowed[] = {
        /* data */
        SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev),
        SCMP_SYS(pwrite64), SCMP_SYS(pwritev2), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg),
        SCMP_SYS(recv), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg), SCMP_SYS(send),
        SCMP_SYS(splice), SCMP_SYS(vmsplice), SCMP_SYS(tee),
        /* descriptors */
        SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3),
        SCMP_SYS(fcntl), SCMP_SYS(fcntl64), SCMP_SYS(pipe), SCMP_SYS(pipe2), SCMP_SYS(socketpair),
        SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(signalfd4),
        SCMP_SYS(inotify_init1), SCMP_SYS(inotify_add_watch),
        /* waiting */
        SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(ppoll_time64), SCMP_SYS(select), SCMP_SYS(_newselect),
        SCMP_SYS(pselect6), SCMP_SYS(pselect6_time64), SCMP_SYS(epoll_create), SCMP_SYS(epoll_create1),
        SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
        SCMP_SYS(futex), SCMP_SYS(futex_time64), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep),
        SCMP_SYS(clock_nanosleep_time64), SCMP_SYS(restart_syscall), SCMP_SYS(sched_yield), SCMP_SYS(wait4),
        SCMP_SYS(waitid), SCMP_SYS(waitpid),
        /* network */
        SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(setsockopt),
        SCMP_SYS(getsockopt), SCMP_SYS(shutdown),
        /* files: Landlock restricts which */
        SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2),
        SCMP_SYS(stat), SCMP_SYS(stat64), SCMP_SYS(lstat), SCMP_SYS(lstat64), SCMP_SYS(fstat),
        SCMP_SYS(fstat64), SCMP_SYS(newfstatat), SCMP_SYS(fstatat64), SCMP_SYS(statx), SCMP_SYS(statfs),
        SCMP_SYS(fstatfs), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents), SCMP_SYS(getdents64),
        SCMP_SYS(lseek), SCMP_SYS(_llseek), SCMP_SYS(getcwd), SCMP_SYS(rename), SCMP_SYS(renameat),
        SCMP_SYS(renameat2), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
        SCMP_SYS(fchmod), SCMP_SYS(fchown), SCMP_SYS(fchown32), SCMP_SYS(ftruncate), SCMP_SYS(ftruncate64),
        SCMP_SYS(flock), SCMP_SYS(umask),
        /* memory */
        SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mlock),
        SCMP_SYS(mlock2), SCMP_SYS(munlock), SCMP_SYS(membarrier),
        /* this process and its threads */
        SCMP_SYS(set_robust_list), SCMP_SYS(set_tid_address), SCMP_SYS(rseq), SCMP_SYS(gettid),
        SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(tgkill), SCMP_SYS(sched_getaffinity),
        SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(exit), SCMP_SYS(exit_group),
        SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(getuid32),
        SCMP_SYS(geteuid32), SCMP_SYS(getgid32), SCMP_SYS(getegid32), SCMP_SYS(getresuid),
        SCMP_SYS(getresgid), SCMP_SYS(getgroups), SCMP_SYS(getrlimit), SCMP_SYS(ugetrlimit),
        SCMP_SYS(getrusage), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sigreturn), SCMP_SYS(sigaltstack),
        /* time, chance and the system */
        SCMP_SYS(clock_gettime), SCMP_SYS(clock_gettime64), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday),
        SCMP_SYS(time), SCMP_SYS(getrandom), SCMP_SYS(uname), SCMP_SYS(sysinfo)};

static const int deadly[] = {SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork),
        SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_getfd),
        SCMP_SYS(bpf), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(mount),
        SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(setns), SCMP_SYS(unshare),
        SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
        SCMP_SYS(kexec_file_load), SCMP_SYS(userfaultfd), SCMP_SYS(perf_event_open), SCMP_SYS(io_uring_setup),
        SCMP_SYS(open_by_handle_at), SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(reboot),
        SCMP_SYS(swapon), SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid),
        SCMP_SYS(setresuid), SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(capset),
        SCMP_SYS(personality)};

/* Leaves out calls that this architecture doesn't have. */
static int add_all(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                int r = seccomp_rule_add(filter, action, calls[i], 0);
                if (r < 0 && r != -EDOM && r != -EOPNOTSUPP)
                        return r;
        }
        return 0;
}

static int allow_where(scmp_filter_ctx filter, int call, struct scmp_arg_cmp condition)
{
        int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, condition);
        return r == -EDOM || r == -EOPNOTSUPP ? 0 : r;
}

static int add_memory(scmp_filter_ctx filter)
{
        /* Writable or executable, not both; and mapped memory can't become executable later. */
        static const int maps[] = {SCMP_SYS(mmap), SCMP_SYS(mmap2)};
        int r = 0;
        for (size_t i = 0; i < ARRAY_LEN(maps) && r == 0; i++) {
                r = allow_where(filter, maps[i], SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
                if (r == 0)
                        r = allow_where(filter, maps[i], SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE, 0));
        }
        if (r == 0)
                r = allow_where(filter, SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        return r;
}

static int add_processes(scmp_filter_ctx filter)
{
        /* A thread. A filter can't see clone3()'s arguments; when clone3() gives ENOSYS, glibc calls clone(). */
        int r = allow_where(filter, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
        if (r == 0)
                r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
                        SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
        if (r == 0) /* reads a limit, sets none */
                r = allow_where(filter, SCMP_SYS(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0, 0));
        if (r == 0)
                r = allow_where(filter, SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0));
        return r;
}

static int add_descriptors(scmp_filter_ctx filter)
{
        static const int domains[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
        static const unsigned requests[] = {FIONBIO, FIONREAD, TCGETS};
        int r = 0;
        for (size_t i = 0; i < ARRAY_LEN(domains) && r == 0; i++)
                r = allow_where(filter, SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)domains[i], 0));
        for (size_t i = 0; i < ARRAY_LEN(requests) && r == 0; i++)
                r = allow_where(filter, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, requests[i], 0));
        return r;
}

int syscall_filter_enter(void)
{
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
        if (!filter)
                return -ENOMEM;
        (void)seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        (void)seccomp_attr_set(
                filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree: few comparisons for each call */
        int r = add_all(filter, SCMP_ACT_ALLOW, allowed, ARRAY_LEN(allowed));
        if (r == 0)
                r = add_all(filter, SCMP_ACT_KILL_PROCESS, deadly, ARRAY_LEN(deadly));
        if (r == 0)
                r = add_memory(filter);
        if (r == 0)
                r = add_processes(filter);
        if (r == 0)
                r = add_descriptors(filter);
        if (r == 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r;
}
