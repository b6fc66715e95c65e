#pragma once
/* The command line. All that a user can say is read, checked and turned into units here, before anything is
 * mounted. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/log.h"
#include "tokenfs/cache/scopes.h"

typedef struct OptionList {
        char **items;
        size_t count;
} OptionList;

typedef enum OptionsAction {
        OPTIONS_MOUNT,
        OPTIONS_MOUNT_ONLY, /* another process will serve it */
        OPTIONS_RELOAD, /* other options for a mount that serves */
        OPTIONS_CHECK,
        OPTIONS_WAIT,
        OPTIONS_HELP,
        OPTIONS_VERSION,
        OPTIONS_NOTHING, /* `mount -f`, the dry run of mount(8): all was read and is right */
} OptionsAction;

/* Owns its strings. NULL: not given. */
typedef struct Options {
        OptionsAction action;
        bool foreground; /* -f, -d */
        bool debug; /* -d */
        bool json; /* --json */
        char *source; /* as `df` shows it */
        char *mountpoint;
        pid_t reload_pid; /* --reload: the supervisor's */
        char *check_token_id;
        char *unit; /* --unit: the instance of the service that --check is about */
        bool has_options; /* -o was given */
        char *wait_path;
        uint64_t wait_ns; /* --timeout; CLOCK_NEVER: none */

        char *region, *endpoint_url, *profile;
        char *ca_bundle; /* absolute */
        bool use_fips, allow_plain_http;
        OptionList token_ids, dns_view_ids, resolver_ids;
        OptionList watch_names; /* kept fresh, and given to on_change */
        char *persist, *persist_key; /* absolute: the directory and the key of the copies on disk */
        char *on_change; /* a command that can be split into words; the first is absolute or looked for in PATH */
        uint64_t ttl_ns, negative_ttl_ns, stale_ns, timeout_ns;
        uint64_t max_tokens;
        uid_t uid;
        gid_t gid;
        mode_t mode, secret_mode;
        char *user; /* a name that exists; NULL: the worker keeps the user */
        bool audit, newline, sandbox;
        uint64_t watchdog_ns; /* 0: off */
        LogLevel log_level;
        bool remount;
        OptionList mount_options; /* FUSE's own, as libfuse reads them: "allow_other", "context=a\\,b" */
} Options;

/* Reads the command line. Returns 0, -EINVAL (`error`: one sentence for the user that names the option, what was
 * wrong with it, and what is allowed) or -ENOMEM. `argv` may be reordered. The previous content of *ret_options isn't freed. */
int options_parse(int argc, char **argv, Buf *error, Options *ret_options);
void options_deinit(Options *options);
/* The ids of `token=`, `dns_view=` and `resolver=`. Borrowed. */
ScopeIds options_scopes(const Options *options);

/* The texts of -h and -V. */
void options_help(Buf *out);
void options_version(Buf *out);
