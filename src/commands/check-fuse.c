/* May this process mount?
 *
 * The answers are libfuse's, asked beforehand: it opens /dev/fuse as the mounting user, mounts by itself where it has
 * CAP_SYS_ADMIN, and has fusermount3, which is setuid root, do it where not. That helper reads /etc/fuse.conf. Only the
 * first obstacle is reported: behind it the others may look different. */

#include "check-fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tokenfs/base/cleanup.h"

#define DEVICE "/dev/fuse"
#define DEVICE_MAJOR 10
#define DEVICE_MINOR 229
#define HELPER "fusermount3"
#define CONF "/etc/fuse.conf"
#define CONF_MAX ((size_t)64 * 1024)

/* Reports that the step failed. Returns false. */
static bool fail(CheckReport *report, const char *remedy, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static bool fail(CheckReport *report, const char *remedy, const char *format, ...)
{
        char detail[PATH_MAX + 256];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(detail, sizeof detail, format, args);
        va_end(args);
        check_report_step(report, "fuse", "FUSE", CHECK_FAILED, remedy, "%s", detail);
        return false;
}

static bool check_device(CheckReport *report)
{
        struct stat state;
        if (stat(DEVICE, &state) < 0)
                return fail(report,
                        "load the kernel's module (modprobe fuse); a container must be given the device "
                        "(--device " DEVICE ")",
                        "%s: %s", DEVICE, strerrordesc_np(errno));
        if (!S_ISCHR(state.st_mode) || state.st_rdev != makedev(DEVICE_MAJOR, DEVICE_MINOR))
                return fail(report,
                        "make it the character device 10:229 (--device " DEVICE " in a container)",
                        "%s isn't the FUSE device", DEVICE);
        int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
                (void)close(fd);
                return true;
        }
        if (errno == EACCES)
                return fail(report, "let this user read and write it (usually its mode is 0666)", "%s: %s",
                        DEVICE, strerrordesc_np(errno));
        return fail(report,
                "load the kernel's module (modprobe fuse); a container must be allowed to use the device "
                "(--device " DEVICE ")",
                "%s: %s", DEVICE, strerrordesc_np(errno));
}

static bool may_mount_directly(void)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
        return syscall(SYS_capget, &header, data) == 0 &&
               (data[CAP_SYS_ADMIN / 32].effective & (1U << (CAP_SYS_ADMIN % 32)));
}

/* Where libfuse's build expects it, then along PATH. */
static bool find_helper(char *ret_path, size_t size)
{
        const char *path = secure_getenv("PATH");
        char directories[PATH_MAX];
        (void)snprintf(directories, sizeof directories, "/usr/bin:/bin:/usr/local/bin:%s", path ? path : "");
        for (char *rest = directories, *directory; (directory = strsep(&rest, ":"));) {
                (void)snprintf(ret_path, size, "%s/" HELPER, directory);
                if (*directory && access(ret_path, X_OK) == 0)
                        return true;
        }
        return false;
}

/* Running as root at least; the rights of a file's capabilities aren't looked into. */
static bool has_rights_of_its_own(const char *path)
{
        struct stat state;
        struct statvfs filesystem;
        if (stat(path, &state) < 0)
                return false;
        if (statvfs(path, &filesystem) == 0 && (filesystem.f_flag & ST_NOSUID))
                return false;
        return (state.st_uid == 0 && (state.st_mode & S_ISUID)) ||
               getxattr(path, "security.capability", NULL, 0) > 0;
}

bool check_conf_allows_other(char *text)
{
        for (char *line; (line = strsep(&text, "\n"));) {
                line[strcspn(line, "#")] = '\0';
                line += strspn(line, " \t\r\v\f");
                size_t len = strlen(line);
                while (len > 0 && strchr(" \t\r\v\f", line[len - 1]))
                        line[--len] = '\0';
                if (strcmp(line, "user_allow_other") == 0)
                        return true;
        }
        return false;
}

static bool conf_allows_other(void)
{
        int fd CLEANUP(cleanup_close) = open(CONF, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        char text[CONF_MAX];
        size_t len = 0;
        while (fd >= 0 && len < sizeof text - 1) {
                ssize_t got = read(fd, text + len, sizeof text - 1 - len);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got <= 0)
                        break;
                len += (size_t)got;
        }
        text[len] = '\0';
        return check_conf_allows_other(text);
}

static const char *find_mount_option(const Options *options, const char *name)
{
        for (size_t i = 0; i < options->mount_options.count; i++)
                if (strcmp(options->mount_options.items[i], name) == 0)
                        return options->mount_options.items[i];
        return NULL;
}

static bool check_helper(CheckReport *report, const Options *options, char *path, size_t size)
{
        if (!find_helper(path, size))
                return fail(report, "install it (Debian: apt install fuse3)",
                        HELPER ", which mounts for users without CAP_SYS_ADMIN, isn't there");
        if (geteuid() != 0 && !has_rights_of_its_own(path))
                return fail(report, "make it setuid root (chmod u+s), on a filesystem that isn't nosuid",
                        "%s can't get the right to mount", path);
        if (geteuid() != 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
                return fail(report,
                        "start it without no_new_privs (NoNewPrivileges= of systemd, security options of a "
                        "container), or as root",
                        "%s can't get the right to mount: no_new_privs is set", path);
        if (find_mount_option(options, "allow_other") && getuid() != 0 && !conf_allows_other())
                return fail(report, "add a line user_allow_other to " CONF ", or leave the option out",
                        "allow_other is for root only here: " CONF " doesn't say user_allow_other");
        return true;
}

void check_fuse(CheckReport *report, const Options *options)
{
        char helper[PATH_MAX];
        bool is_direct = may_mount_directly();
        bool needs_helper = !is_direct || find_mount_option(options, "auto_unmount");
        if (!check_device(report))
                return;
        if (!is_direct && geteuid() == 0)
                (void)fail(report,
                        "give the container CAP_SYS_ADMIN (--cap-add SYS_ADMIN), or mount outside of it",
                        "root has no CAP_SYS_ADMIN here, and can't mount");
        else if (!needs_helper)
                check_report_step(report, "fuse", "FUSE", CHECK_OK, NULL, DEVICE ", mounted directly");
        else if (check_helper(report, options, helper, sizeof helper))
                check_report_step(
                        report, "fuse", "FUSE", CHECK_OK, NULL, DEVICE ", mounted through %s", helper);
}
