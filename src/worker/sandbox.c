/* The worker's sandbox.
 *
 * Why: whoever finds a hole in the parsing of what comes over TLS has a process without capabilities; this takes the
 * files and system calls from it as well. How: Landlock leaves it the files that serving needs, by directories, since
 * configuration, certificates and tokens are replaced by renaming: the system's libraries, /etc (resolver,
 * certificates), the AWS configuration, the CA bundle, the token files that the environment or the profile name; and
 * the cache of IAM Identity Center, the one place that it writes to. seccomp leaves it the calls that serving needs.
 *
 * No program can be started from inside. credential_process is run by a helper that was forked before (aws/launcher),
 * and that runs what the configuration says, not what it is told.
 *
 * What the configuration names after the start, elsewhere, isn't reachable, nor is a directory that is made later, or
 * that a link in the path leads to later; a hot upgrade (SIGUSR2), or a restart, makes a new worker with a new sandbox. */

#include "tokenfs/worker/sandbox.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "landlock.h"
#include "seccomp.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/users.h"

#define SOURCE_PROFILES_MAX 8

static const char *state = "off";

const char *sandbox_state(void)
{
        return state;
}

/* As the AWS tools find it: HOME, else the user's entry. "" if there is none. */
static const char *home_directory(void)
{
        const char *home = secure_getenv("HOME");
        if (home && *home)
                return home;
        static User user;
        return users_find_by_uid(geteuid(), &user) == 0 ? user.home : "";
}

/* The root directory is too much to be allowed, however it is called. */
static int allow_directory(Landlock *landlock, const char *directory, bool write)
{
        char resolved[PATH_MAX];
        bool is_allowed = realpath(directory, resolved) && strcmp(resolved, "/") != 0;
        return is_allowed ? landlock_allow(landlock, resolved, write) : 0;
}

/* The directory that a file lies in, and, where the path is a link, the one that it points to: files are replaced. One
 * that isn't there can't be allowed before it is made, and what it will be made in is too much: a home holds more than
 * .aws. */
static int allow_directory_of(Landlock *landlock, const char *file, bool write)
{
        if (!file || !*file)
                return 0;
        char path[PATH_MAX], resolved[PATH_MAX] = "";
        bool is_in_home = file[0] == '~' && file[1] == '/';
        if (snprintf(path, sizeof path, "%s%s", is_in_home ? home_directory() : "", file + is_in_home) >=
                (int)sizeof path)
                return 0;
        bool is_resolved = realpath(path, resolved) != NULL;
        int r = allow_directory(landlock, dirname(path), write);
        if (r == 0 && is_resolved) /* in the root directory: the file alone */
                r = landlock_allow(landlock, resolved, write);
        if (r == 0 && is_resolved)
                r = allow_directory(landlock, dirname(resolved), write);
        return r;
}

static int allow_system(Landlock *landlock, bool audit)
{
        static const char *const paths[] = {
                "/etc",
                "/usr/lib",
                "/usr/lib32",
                "/usr/lib64",
                "/usr/local/lib",
                "/usr/share",
                "/usr/local/share/ca-certificates",
                "/lib",
                "/lib32",
                "/lib64",
                "/dev/urandom",
                "/proc/self",
                "/proc/sys",
                "/sys/devices/system/cpu",
                "/run/systemd/resolve",
                "/run/NetworkManager",
                "/run/resolvconf",
                "/run/nscd",
                "/var/lib/sss",
                "/var/lib/ca-certificates",
        };
        int r = 0;
        for (size_t i = 0; i < ARRAY_LEN(paths) && r == 0; i++)
                r = landlock_allow(landlock, paths[i], false);
        if (r == 0)
                r = landlock_allow(landlock, "/dev/null", true);
        if (r == 0 && audit) /* the names of programs that open secrets */
                r = landlock_allow(landlock, "/proc", false);
        if (r == 0)
                r = allow_directory_of(landlock, "/etc/resolv.conf", false);
        return r;
}

static int allow_environment(Landlock *landlock)
{
        static const char *const names[] = {"AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "SSL_CERT_FILE"};
        int r = 0;
        for (size_t i = 0; i < ARRAY_LEN(names) && r == 0; i++)
                r = allow_directory_of(landlock, secure_getenv(names[i]), false);
        const char *certificates = secure_getenv("SSL_CERT_DIR");
        if (r == 0 && certificates && *certificates)
                r = landlock_allow(landlock, certificates, false);
        return r;
}

/* The files that the profile names, and those of the profiles that it builds on. */
static int allow_profile(Landlock *landlock, const AwsConfig *config)
{
        const char *profile = aws_config_profile(config);
        int r = 0;
        for (int i = 0; i < SOURCE_PROFILES_MAX && profile && r == 0; i++) {
                r = allow_directory_of(
                        landlock, aws_config_get(config, profile, "web_identity_token_file"), false);
                if (r == 0)
                        r = allow_directory_of(landlock, aws_config_get(config, profile, "ca_bundle"), false);
                profile = aws_config_get(config, profile, "source_profile");
        }
        return r;
}

static int allow_aws_files(Landlock *landlock, const Options *options, const AwsConfig *config)
{
        int r = allow_directory_of(landlock, aws_config_config_file(config), false);
        if (r == 0)
                r = allow_directory_of(landlock, aws_config_credentials_file(config), false);
        if (r == 0)
                r = allow_directory_of(landlock, options->ca_bundle, false);
        if (r == 0)
                r = allow_directory_of(landlock, "~/.aws/config", false);
        if (r == 0) /* refreshed sign-ins are written back, as the AWS CLI does */
                r = allow_directory_of(landlock, "~/.aws/sso/cache/file", true);
        return r;
}

static int enter_landlock(const Options *options, const AwsConfig *config)
{
        Landlock landlock;
        int r = landlock_begin(&landlock);
        if (r < 0)
                return r;
        r = allow_system(&landlock, options->audit);
        if (r == 0)
                r = allow_environment(&landlock);
        if (r == 0)
                r = allow_profile(&landlock, config);
        if (r == 0)
                r = allow_aws_files(&landlock, options, config);
        if (r < 0) {
                landlock_discard(&landlock);
                return r;
        }
        return landlock_enforce(&landlock);
}

void sandbox_enter(const Options *options, const AwsConfig *config)
{
        if (!options->sandbox)
                return;
        int files = enter_landlock(options, config);
        if (files == -EOPNOTSUPP)
                log_info("this kernel has no Landlock: the worker may read any file that its user may");
        else if (files < 0)
                log_warning("Landlock: %s: the worker may read any file that its user may", strerror(-files));
        int calls = syscall_filter_enter();
        if (calls < 0)
                log_warning("seccomp: %s: the worker may make any system call", strerror(-calls));
        state = files == 0 ? (calls == 0 ? "seccomp, landlock" : "landlock")
                           : (calls == 0 ? "seccomp" : "off");
}
