/* The worker's sandbox.
 *
 * Why: an attacker who takes over the parsing of answers has a process without capabilities. The sandbox takes files and
 * system calls from it as well. How: Landlock leaves it the files that serving needs. Rules are for directories, since
 * configuration, certificates and tokens are replaced by renaming: the system's libraries, /etc (resolver, certificates),
 * the AWS configuration, the CA bundle, and the token files that the environment or the profile names. It writes to the
 * caches of IAM Identity Center and `aws login` and to persist='s directory alone. seccomp leaves it the calls that
 * serving needs.
 *
 * The worker can execute no program. A helper that was forked before (programs/launcher) runs credential_process; it
 * reads the command from the configuration, and takes none from the worker.
 *
 * Landlock binds its rules to files, not to names. When a name leads elsewhere later (a network manager makes
 * /etc/resolv.conf a link, a directory is made), a new worker makes a new sandbox: after SIGHUP, and when sandbox-watch.c
 * sees the change. Landlock restricts open(), but not stat(), access() and readlink(). So the worker can find out that
 * the sandbox alone keeps it from reading a file. */

#include "tokenfs/worker/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "landlock.h"
#include "sandbox-private.h"
#include "seccomp.h"
#include "tokenfs/aws/environment.h"
#include "tokenfs/aws/path.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/log.h"
#include "tokenfs/base/users.h"

#define SOURCE_PROFILES_MAX 8

static const char *state = "off";

const char *sandbox_state(void)
{
        return state;
}

/* --- The places ----------------------------------------------------------------------------------------------- */

/* As the AWS tools find it: HOME, else the user's entry. "" if there is none. */
static const char *home_directory(void)
{
        const char *home = secure_getenv("HOME");
        if (home && *home)
                return home;
        static User user;
        return users_find_by_uid(geteuid(), &user) == 0 ? user.home : "";
}

/* Leaves out NULL, "", relative and too long paths, and places beyond the maximum, which no configuration reaches. */
static void add_place(Sandbox *sandbox, const char *path, Place kind)
{
        if (!path || !*path || sandbox->count == SANDBOX_PLACES_MAX)
                return;
        bool is_in_home = path[0] == '~' && path[1] == '/';
        if (asprintf(&kind.path, "%s%s", is_in_home ? home_directory() : "", path + is_in_home) < 0)
                return;
        if (kind.path[0] != '/' || strlen(kind.path) >= PATH_MAX) {
                free(kind.path);
                return;
        }
        sandbox->places[sandbox->count++] = kind;
}

static void add_file(Sandbox *sandbox, const char *path)
{
        add_place(sandbox, path, (Place){0});
}

static void add_directory(Sandbox *sandbox, const char *path)
{
        add_place(sandbox, path, (Place){.is_directory = true});
}

/* Names in /etc that may be links out of it: on NixOS, or by a network manager. */
static void add_system(Sandbox *sandbox)
{
        static const char *const files[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",
                "/etc/host.conf", "/etc/gai.conf", "/etc/hostname", "/etc/services", "/etc/protocols",
                "/etc/passwd", "/etc/group", "/etc/localtime", "/etc/ssl/openssl.cnf",
                "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
                "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs/ca-bundle.crt"};
        static const char *const directories[] = {"/etc/ssl/certs", "/etc/pki/tls/certs"};
        for (size_t i = 0; i < ARRAY_LEN(files); i++)
                add_file(sandbox, files[i]);
        for (size_t i = 0; i < ARRAY_LEN(directories); i++)
                add_directory(sandbox, directories[i]);
}

/* SSL_CERT_DIR is a list of directories, separated by colons. */
static void add_certificate_directories(Sandbox *sandbox, const char *names)
{
        CLEANUP(cleanup_free) char *copy = names ? strdup(names) : NULL;
        for (char *rest = copy, *name; rest && (name = strsep(&rest, ":"));)
                add_directory(sandbox, name);
}

static void add_environment(Sandbox *sandbox)
{
        static const char *const names[] = {"AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "SSL_CERT_FILE"};
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                add_file(sandbox, secure_getenv(names[i]));
        add_certificate_directories(sandbox, secure_getenv("SSL_CERT_DIR"));
}

/* The files that the profile names, and those of the profiles that it builds on. */
static void add_profiles(Sandbox *sandbox, const AwsConfig *config)
{
        const char *profile = aws_config_profile(config);
        for (int i = 0; i < SOURCE_PROFILES_MAX && profile; i++) {
                add_file(sandbox, aws_config_get(config, profile, "web_identity_token_file"));
                add_file(sandbox, aws_config_get(config, profile, "ca_bundle"));
                profile = aws_config_get(config, profile, "source_profile");
        }
}

static void add_login_cache(Sandbox *sandbox)
{
        const char *named = environment_get("AWS_LOGIN_CACHE_DIRECTORY");
        CLEANUP(cleanup_free) char *directory = NULL;
        if (aws_path_expand(named ? named : "~/.aws/login/cache", &directory) == 0)
                add_place(sandbox, directory, (Place){.is_directory = true, .is_written = true});
}

static void add_aws_files(Sandbox *sandbox, const Options *options, const AwsConfig *config)
{
        add_file(sandbox, aws_config_config_file(config));
        add_file(sandbox, aws_config_credentials_file(config));
        add_file(sandbox, options->ca_bundle);
        add_file(sandbox, "~/.aws/config");
        add_place(sandbox, options->persist, (Place){.is_directory = true, .is_written = true});
        /* Renewed sign-ins are written back, as the AWS CLI does. */
        add_place(sandbox, "~/.aws/sso/cache/file", (Place){.is_written = true});
        add_login_cache(sandbox);
}

/* --- The rules ------------------------------------------------------------------------------------------------ */

/* The root directory, the directories of the Filesystem Hierarchy Standard right below it, and homes hold more than a
 * worker needs. The rule for a file there is for the file alone. */
static bool is_broad(const char *directory)
{
        static const char *const top[] = {"bin", "boot", "dev", "home", "lib", "media", "mnt", "nix", "opt",
                "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var"};
        char home[PATH_MAX];
        if (strcmp(directory, "/") == 0 || (realpath(home_directory(), home) && strcmp(directory, home) == 0))
                return true;
        for (size_t i = 0; i < ARRAY_LEN(top); i++)
                if (strcmp(directory + 1, top[i]) == 0)
                        return true;
        return strncmp(directory, "/home/", 6) == 0 && !strchr(directory + 6, '/');
}

static void close_directory(DIR **directory)
{
        if (*directory)
                (void)closedir(*directory);
}

static int allow_directory(Landlock *landlock, const char *directory, Place *place)
{
        char resolved[PATH_MAX];
        struct stat status;
        if (!realpath(directory, resolved) || is_broad(resolved))
                return 0;
        if (place->is_written && stat(resolved, &status) == 0) {
                place->device = status.st_dev;
                place->inode = status.st_ino;
        }
        return landlock_allow(landlock, resolved, place->is_written);
}

/* The files that a directory's entries link to: c_rehash(1) and ca-certificates make directories of such. Links within the
 * directory and to /etc and /usr, most of all, need no rule of their own. */
static int allow_linked_files(Landlock *landlock, const char *directory)
{
        DIR *entries CLEANUP(close_directory) = opendir(directory);
        const struct dirent *entry;
        struct stat status;
        char target[PATH_MAX];
        int r = 0;
        while (r == 0 && entries && (entry = readdir(entries))) {
                ssize_t len = entry->d_type == DT_LNK
                                      ? readlinkat(dirfd(entries), entry->d_name, target, sizeof target - 1)
                                      : 0;
                target[len > 0 ? len : 0] = '\0';
                bool is_elsewhere = target[0] == '/' && strncmp(target, "/etc/", 5) != 0 &&
                                    strncmp(target, "/usr/", 5) != 0;
                if (is_elsewhere && stat(target, &status) == 0 && S_ISREG(status.st_mode))
                        r = landlock_allow(landlock, target, false);
        }
        return r;
}

/* A rule for the directory of the file, and, if the path is a link, for the directory of its target: files are replaced by
 * renaming. A directory that doesn't exist yet can have no rule, and its parent holds too much: a home more than .aws. */
static int allow_place(Landlock *landlock, Place *place)
{
        char path[PATH_MAX], resolved[PATH_MAX];
        (void)snprintf(path, sizeof path, "%s", place->path);
        if (place->is_directory) {
                int r = allow_directory(landlock, path, place);
                return r < 0 || place->is_written ? r : allow_linked_files(landlock, path);
        }
        bool is_resolved = realpath(path, resolved) != NULL;
        int r = allow_directory(landlock, dirname(path), place);
        if (r == 0 && is_resolved)
                r = landlock_allow(landlock, resolved, place->is_written);
        if (r == 0 && is_resolved)
                r = allow_directory(landlock, dirname(resolved), place);
        return r;
}

/* The system's directories: libraries, configuration, and files that the resolver and TLS read. */
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
                "/nix/store",
                "/gnu/store",
                "/dev/urandom",
                "/proc/self",
                "/proc/sys",
                "/sys/devices/system/cpu",
                "/run/systemd/resolve",
                "/run/NetworkManager",
                "/run/connman",
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
        if (r == 0 && audit) /* /proc/PID/comm of programs that open secrets */
                r = landlock_allow(landlock, "/proc", false);
        return r;
}

static int enter_landlock(Sandbox *sandbox, bool audit)
{
        Landlock landlock;
        int r = landlock_begin(&landlock);
        if (r < 0)
                return r;
        r = allow_system(&landlock, audit);
        for (size_t i = 0; sandbox && i < sandbox->count && r == 0; i++)
                r = allow_place(&landlock, &sandbox->places[i]);
        if (r < 0) {
                landlock_discard(&landlock);
                return r;
        }
        return landlock_enforce(&landlock);
}

/* --- Denied places -------------------------------------------------------------------------------------------- */

/* True if the directory was made or replaced since. Whether the sandbox lets a file be made there can't be tested without
 * making one. */
static bool is_another_directory(const Place *place)
{
        char path[PATH_MAX];
        struct stat status;
        (void)snprintf(path, sizeof path, "%s", place->path);
        return stat(place->is_directory ? path : dirname(path), &status) == 0 &&
               (status.st_ino != place->inode || status.st_dev != place->device);
}

bool sandbox_is_denied(const Place *place)
{
        if (place->is_written)
                return is_another_directory(place);
        struct stat status;
        if (stat(place->path, &status) < 0 || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) ||
                access(place->path, R_OK) < 0)
                return false;
        int fd CLEANUP(cleanup_close) = open(place->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        return fd < 0 && errno == EACCES;
}

/* A new sandbox would deny these places again, so that they are no reason for one. */
static void give_up_denied(Sandbox *sandbox)
{
        for (size_t i = 0; sandbox && i < sandbox->count; i++) {
                Place *place = &sandbox->places[i];
                place->is_given_up = sandbox_is_denied(place);
                if (place->is_given_up)
                        log_warning("the sandbox can't open %s to the worker", place->path);
        }
}

Sandbox *sandbox_enter(const Options *options, const AwsConfig *config)
{
        if (!options->sandbox)
                return NULL;
        Sandbox *sandbox = calloc(1, sizeof *sandbox);
        if (sandbox) {
                add_system(sandbox);
                add_environment(sandbox);
                add_profiles(sandbox, config);
                add_aws_files(sandbox, options, config);
        }
        int files = enter_landlock(sandbox, options->audit);
        if (files == -EOPNOTSUPP)
                log_info("this kernel has no Landlock: the worker may read any file that its user may");
        else if (files < 0)
                log_warning("Landlock: %s: the worker may read any file that its user may", strerror(-files));
        int calls = syscall_filter_enter();
        if (calls < 0)
                log_warning("seccomp: %s: the worker may make any system call", strerror(-calls));
        state = files == 0 ? (calls == 0 ? "seccomp, landlock" : "landlock")
                           : (calls == 0 ? "seccomp" : "off");
        if (files < 0)
                return sandbox_free(sandbox);
        give_up_denied(sandbox);
        return sandbox;
}

Sandbox *sandbox_free(Sandbox *sandbox)
{
        if (!sandbox)
                return NULL;
        for (size_t i = 0; i < sandbox->count; i++)
                free(sandbox->places[i].path);
        free(sandbox);
        return NULL;
}
