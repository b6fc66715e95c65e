/* The table of options, and what is made from it: look-ups and the help text.
 *
 * Why one table: a parser, a help text and a completion that are written apart drift apart. The table has the words of
 * mount(8) as well, since mount passes many of them to its helpers. They have no effect: the mount is read-only,
 * nosuid, nodev and noexec in any case. */

#include "table.h"

#include <stdio.h>
#include <string.h>

#include "config.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"

#define AT(member) offsetof(Options, member)
#define SECOND NS_PER_S
#define DAY (UINT64_C(86400) * NS_PER_S)

/* The versions of clang-format disagree on braces in a macro. */
/* clang-format off */
#define FLAG(name, member, help) {name, OPTION_FLAG, AT(member), 0, 0, NULL, help}
#define TEXT(name, member, argument, help) {name, OPTION_TEXT, AT(member), 0, 0, argument, help}
#define PATH(name, member, argument, help) {name, OPTION_PATH, AT(member), 0, 0, argument, help}
#define SECONDS(name, member, min, max, help) {name, OPTION_SECONDS, AT(member), min, max, "SECONDS", help}
#define COUNT(name, member, min, max, help) {name, OPTION_COUNT, AT(member), min, max, "N", help}
#define ID(name, member, help) {name, OPTION_ID, AT(member), 0, 0, "ID", help}
#define FUSE(name, argument, help) {name, OPTION_FUSE, 0, 0, 0, argument, help}
#define MOUNT(name) {name, OPTION_MOUNT, 0, 0, 0, NULL, NULL}
/* clang-format on */

static const OptionSpec table[] = {
        TEXT("region", region, "REGION", "region of the API (us-east-2, whatever AWS_REGION says)"),
        TEXT("endpoint_url", endpoint_url, "URL", "another endpoint than Amazon's"),
        FLAG("use_fips", use_fips, "the FIPS endpoint"),
        FLAG("allow_plain_http", allow_plain_http, "accept http:// beyond this host: secrets go unencrypted"),
        TEXT("profile", profile, "NAME", "profile of the AWS configuration (AWS_PROFILE)"),
        PATH("ca_bundle", ca_bundle, "FILE", "certificates to trust instead of the system's"),
        ID("token", token_ids, "only this token; repeatable, as the next two"),
        ID("dns_view", dns_view_ids, "only tokens of this DNS view"),
        ID("resolver", resolver_ids, "only tokens of this global resolver"),
        SECONDS("ttl", ttl_ns, 0, DAY, "how long a fetched token is fresh (60)"),
        SECONDS("negative_ttl", negative_ttl_ns, 0, DAY, "how long \"no such token\" is remembered (5)"),
        SECONDS("stale", stale_ns, 0, 30 * DAY,
                "past ttl, how long the last copy is served while the API fails (3600)"),
        SECONDS("timeout", timeout_ns, SECOND / 100, SECOND * 3600,
                "how long a read waits before its error (10)"),
        PATH("persist", persist, "DIRECTORY",
                "keep encrypted copies there, for a start while the API can't be reached"),
        PATH("persist_key", persist_key, "FILE",
                "its key of 32 bytes (a systemd credential, if there is one)"),
        COUNT("max_tokens", max_tokens, 1, 1000000, "tokens held at once (10000)"),
        {"uid", OPTION_UID, AT(uid), 0, 0, "USER", "owner of all files (mounting user)"},
        {"gid", OPTION_GID, AT(gid), 0, 0, "GROUP", "group of all files (mounting user)"},
        {"mode", OPTION_MODE, AT(mode), 0, 0777, "OCTAL", "mode of files (0444)"},
        {"secret_mode", OPTION_MODE, AT(secret_mode), 0, 0777, "OCTAL",
                "mode of value, .json and .doh_url (0400)"},
        {"user", OPTION_USER, AT(user), 0, 0, "NAME", "the part that talks and parses runs as this user"},
        {"sandbox", OPTION_SWITCH, AT(sandbox), 0, 0, "on|off",
                "lock the worker in by seccomp and Landlock (on)"},
        {"watchdog", OPTION_SECONDS_OR_NEVER, AT(watchdog_ns), SECOND, SECOND * 3600, "SECONDS",
                "a worker that hangs for so long while readers wait is replaced; 0: never (30)"},
        {"watch", OPTION_NAME, AT(watch_names), 0, 0, "NAME",
                "keep this name's token fresh though nobody reads; repeatable"},
        {"on_change", OPTION_COMMAND, AT(on_change), 0, 0, "COMMAND",
                "run when a watched name (or that of a token=) means another token"},
        FLAG("audit", audit, "log every open of value, .json and .doh_url; turns the kernel's cache off"),
        FLAG("newline", newline, "end every field's file with a newline"),
        {"log_level", OPTION_LOG_LEVEL, AT(log_level), 0, 0, "LEVEL", "error, warning, info or debug (info)"},
        TEXT("fsname", source, "NAME", "the source that df and mount show (tokenfs)"),
        FUSE("allow_other", NULL, "other users may look in too, as the modes allow"),
        FUSE("auto_unmount", NULL, "fusermount3 unmounts if the daemon is gone"),
        {"allow_root", OPTION_REFUSED, 0, 0, 0, NULL,
                "the kernel answers others from its cache, without asking who they are; use allow_other, "
                "with "
                "uid=, mode= and secret_mode= that leave them out"},
        {"max_read", OPTION_FUSE_COUNT, 0, 0, UINT32_MAX, "BYTES", NULL},
        FUSE("context", "CONTEXT", NULL),
        FUSE("fscontext", "CONTEXT", NULL),
        FUSE("defcontext", "CONTEXT", NULL),
        FUSE("rootcontext", "CONTEXT", NULL),
        {"remount", OPTION_FLAG, AT(remount), 0, 0, NULL, NULL},
        MOUNT("acl"),
        MOUNT("async"),
        MOUNT("atime"),
        MOUNT("auto"),
        MOUNT("bg"),
        MOUNT("comment"),
        MOUNT("default_permissions"),
        MOUNT("defaults"),
        MOUNT("dev"),
        MOUNT("diratime"),
        MOUNT("dirsync"),
        MOUNT("exec"),
        MOUNT("fg"),
        MOUNT("group"),
        MOUNT("helper"),
        MOUNT("iversion"),
        MOUNT("lazytime"),
        MOUNT("loud"),
        MOUNT("mand"),
        MOUNT("noacl"),
        MOUNT("noatime"),
        MOUNT("noauto"),
        MOUNT("nodev"),
        MOUNT("nodiratime"),
        MOUNT("noexec"),
        MOUNT("nofail"),
        MOUNT("nogroup"),
        MOUNT("noiversion"),
        MOUNT("nolazytime"),
        MOUNT("nomand"),
        MOUNT("nonempty"),
        MOUNT("noowner"),
        MOUNT("norelatime"),
        MOUNT("nostrictatime"),
        MOUNT("nosuid"),
        MOUNT("nosymfollow"),
        MOUNT("nouser"),
        MOUNT("nouser_xattr"),
        MOUNT("nousers"),
        MOUNT("owner"),
        MOUNT("relatime"),
        MOUNT("ro"),
        MOUNT("rw"),
        MOUNT("silent"),
        MOUNT("strictatime"),
        MOUNT("subtype"),
        MOUNT("suid"),
        MOUNT("symfollow"),
        MOUNT("sync"),
        MOUNT("uhelper"),
        MOUNT("user_xattr"),
        MOUNT("users"),
        MOUNT("_netdev"),
};

static bool is_shown(const OptionSpec *spec)
{
        return spec->help && spec->kind != OPTION_REFUSED;
}

/* `x-…` and `X-…` belong to other programs: systemd's, a graphical shell's, an administrator's notes. */
static const OptionSpec foreign = MOUNT("x-");

const OptionSpec *option_find(const char *name)
{
        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (strcmp(table[i].name, name) == 0)
                        return &table[i];
        if (strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0)
                return &foreign;
        return NULL;
}

static const char usage[] =
        "Usage: tokenfs [-f] [-d] [-o OPTION[,OPTION...]] [SOURCE] MOUNTPOINT\n"
        "       tokenfs --wait [--timeout=SECONDS] PATH\n"
        "       tokenfs --check [--json] [-o OPTION[,OPTION...] | --unit=NAME] [TOKEN-ID]\n"
        "\n"
        "Shows access tokens of Amazon Route 53 Global Resolver as files.\n"
        "\n"
        "  -f, --foreground    stay in the foreground, log to stderr\n"
        "  -d, --debug         the same, and say everything\n"
        "  -o OPTION[,...]     see below; repeatable\n"
        "      --check         say what works and what doesn't, change nothing\n"
        "      --unit=NAME     check what tokenfs@NAME.service would do\n"
        "      --json          the same for machines\n"
        "      --wait          wait until the content of a file has changed\n"
        "      --timeout=S     but not longer than this: exit status 2\n"
        "      --reload=PID    other options for the mount of a service with that main process\n"
        "      --mount-only    mount, and let the service manager keep the descriptor for -f\n"
        "  -h, --help          this text\n"
        "  -V, --version       the version\n"
        "\n"
        "Options (a comma in a value is written \\,):\n";

#define HELP_COLUMN 23

void options_help(Buf *out)
{
        (void)buf_append_str(out, usage);
        for (size_t i = 0; i < ARRAY_LEN(table); i++) {
                const OptionSpec *spec = &table[i];
                if (!is_shown(spec))
                        continue;
                char left[64];
                int len = snprintf(left, sizeof left, "%s%s%s", spec->name, spec->argument ? "=" : "",
                        spec->argument ? spec->argument : "");
                (void)buf_appendf(out, "  %-*s%s%s\n", HELP_COLUMN - 3, left,
                        len > HELP_COLUMN - 4 ? " " : "", spec->help);
        }
        (void)buf_append_str(out,
                "\nSECONDS may have a fraction, or end in s, m, h or d: 0.5, 90, 5m.\n"
                "Signals: SIGHUP forgets everything and reads the configuration again; SIGTERM unmounts;\n"
                "SIGUSR2 goes on with the binary that is installed now.\n");
}

void options_version(Buf *out)
{
        (void)buf_append_str(out, "tokenfs " TOKENFS_VERSION "\nbuilt with libfuse " TOKENFS_FUSE_VERSION
                                  ", libcurl " TOKENFS_CURL_VERSION "\n");
}
