/* The command line.
 *
 * Why not libfuse's parser: it passes unknown options on to the kernel. So a mistyped option fails after the mount was
 * tried, with a message of the kernel's. It also refuses words that mount(8) passes. How: getopt reads the switches.
 * The texts of all -o are cut at commas, and libfuse's escapes undone (`\,` is a comma, `\040` a byte). Each word is
 * looked up in the table. Called as mount.<something>, the program has mount(8)'s switches: -f is a dry run, and -n,
 * -s, -v and -t have no effect. */

#include "tokenfs/options/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "table.h"
#include "tokenfs/api/token.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/persist/persist.h"
#include "tokenfs/base/parse.h"

static void option_list_deinit(OptionList *list)
{
        for (size_t i = 0; i < list->count; i++)
                free(list->items[i]);
        free(list->items);
        *list = (OptionList){NULL, 0};
}

void options_deinit(Options *options)
{
        char *strings[] = {options->source, options->mountpoint, options->check_token_id, options->unit,
                options->wait_path, options->region, options->endpoint_url, options->profile,
                options->ca_bundle, options->user, options->on_change, options->persist,
                options->persist_key};
        for (size_t i = 0; i < ARRAY_LEN(strings); i++)
                free(strings[i]);
        option_list_deinit(&options->token_ids);
        option_list_deinit(&options->dns_view_ids);
        option_list_deinit(&options->resolver_ids);
        option_list_deinit(&options->watch_names);
        option_list_deinit(&options->mount_options);
        *options = (Options){.action = OPTIONS_NOTHING};
}

static bool is_octal(const char *text)
{
        return text[0] >= '0' && text[0] <= '3' && text[1] >= '0' && text[1] <= '7' && text[2] >= '0' &&
               text[2] <= '7';
}

/* Moves the next word, up to a comma, from *text to `word` (as long as the text at least), without its escapes. False: one
 * of them would have ended the word here. */
static bool take_word(const char **text, char *word)
{
        const char *c = *text;
        while (*c && *c != ',') {
                if (c[0] == '\\' && is_octal(c + 1)) {
                        char byte = (char)((c[1] - '0') << 6 | (c[2] - '0') << 3 | (c[3] - '0'));
                        *word++ = byte;
                        if (byte == '\0')
                                return false;
                        c += 4;
                        continue;
                }
                if (c[0] == '\\' && c[1])
                        c++;
                *word++ = *c++;
        }
        *word = '\0';
        *text = *c ? c + 1 : c;
        return true;
}

static int unknown_option(const char *name, Buf *error)
{
        (void)buf_appendf(error, "unknown option '%.80s' (tokenfs -h lists all)", name);
        return -EINVAL;
}

static int parse_word(char *word, Options *options, Buf *error)
{
        char *value = strchr(word, '=');
        if (value)
                *value++ = '\0';
        const OptionSpec *spec = option_find(word);
        return spec ? option_set(spec, value, options, error) : unknown_option(word, error);
}

/* The text behind one -o. Empty words, as a trailing comma leaves them, are read over. */
static int parse_option_text(const char *text, Options *options, Buf *error)
{
        CLEANUP(cleanup_free) char *word = malloc(strlen(text) + 1);
        if (!word)
                return -ENOMEM;
        while (*text) {
                if (!take_word(&text, word)) {
                        (void)buf_appendf(error, "'%.80s\\000': a NUL can't be in an option", word);
                        return -EINVAL;
                }
                int r = *word ? parse_word(word, options, error) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

enum {
        SWITCH_CHECK = 256,
        SWITCH_JSON,
        SWITCH_MOUNT_ONLY,
        SWITCH_RELOAD,
        SWITCH_UNIT,
        SWITCH_WAIT,
        SWITCH_TIMEOUT
};

#define UNIT_MAX 200 /* of the 255 bytes of a unit's name */
#define WAIT_MAX_NS (UINT64_C(366) * 86400 * NS_PER_S)
static const OptionSpec wait_timeout = {
        "--timeout", OPTION_SECONDS, offsetof(Options, wait_ns), 0, WAIT_MAX_NS, "SECONDS", NULL};

static const struct option long_switches[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {"foreground", no_argument, NULL, 'f'},
        {"debug", no_argument, NULL, 'd'},
        {"check", no_argument, NULL, SWITCH_CHECK},
        {"json", no_argument, NULL, SWITCH_JSON},
        {"mount-only", no_argument, NULL, SWITCH_MOUNT_ONLY},
        {"unit", required_argument, NULL, SWITCH_UNIT},
        {"reload", required_argument, NULL, SWITCH_RELOAD},
        {"wait", no_argument, NULL, SWITCH_WAIT},
        {"timeout", required_argument, NULL, SWITCH_TIMEOUT},
        {NULL, 0, NULL, 0},
};

static bool is_mount_helper(const char *program)
{
        const char *slash = strrchr(program, '/');
        return strncmp(slash ? slash + 1 : program, "mount.", 6) == 0;
}

static bool is_long_switch(int value)
{
        for (const struct option *known = long_switches; known->name; known++)
                if (known->val == value)
                        return true;
        return false;
}

/* The AWS tools have switches (--profile, --endpoint-url) where a mount has options. NULL: no option has this name. */
static const OptionSpec *option_of_switch(const char *passed)
{
        char name[64];
        if (strncmp(passed, "--", 2) != 0)
                return NULL;
        size_t len = strcspn(passed + 2, "=");
        if (len == 0 || len >= sizeof name)
                return NULL;
        memcpy(name, passed + 2, len);
        name[len] = '\0';
        for (char *c = name; *c; c++)
                if (*c == '-')
                        *c = '_';
        const OptionSpec *option = option_find(name);
        return option && option->help && option->kind != OPTION_REFUSED ? option : NULL;
}

static int bad_switch(int argc, char **argv, int given, Buf *error)
{
        /* getopt names a short switch in optopt; it has just passed a long one. getopt refuses a known long switch if
         * it has a value but takes none. */
        const char *passed = optind > 0 && optind <= argc ? argv[optind - 1] : "";
        if (given == ':' && optopt == 'o')
                return (void)buf_append_str(error, "-o needs options behind it (-o ttl=30)"), -EINVAL;
        if (given == ':' && optopt == SWITCH_UNIT)
                return (void)buf_append_str(error, "--unit needs a name (--unit=office)"), -EINVAL;
        if (given == ':' && optopt == SWITCH_RELOAD)
                return (void)buf_append_str(error, "--reload needs a process id (--reload=123)"), -EINVAL;
        if (given == ':' && optopt == SWITCH_TIMEOUT)
                return (void)buf_append_str(error, "--timeout needs a value (--timeout=60)"), -EINVAL;
        if (given == ':')
                return (void)buf_appendf(error, "-%c needs an argument", optopt), -EINVAL;
        if (given == '?' && is_long_switch(optopt))
                return (void)buf_appendf(error, "switch '%.80s' takes no value", passed), -EINVAL;
        if (optopt > ' ' && optopt < 127)
                (void)buf_appendf(error, "unknown switch '-%c'", optopt);
        else
                (void)buf_appendf(error, "unknown switch '%.80s'", passed);
        const OptionSpec *option = option_of_switch(passed);
        if (option)
                (void)buf_appendf(error, "; use -o %s%s%s", option->name, option->argument ? "=" : "",
                        option->argument ? option->argument : "");
        else
                (void)buf_append_str(error, " (tokenfs -h lists all)");
        return -EINVAL;
}

/* What is to be done is said once. `chosen`: the switch that said it, or NULL. */
static int choose(Options *options, OptionsAction action, const char *name, const char **chosen, Buf *error)
{
        if (*chosen && options->action != action) {
                (void)buf_appendf(error, "%s and %s don't go together", *chosen, name);
                return -EINVAL;
        }
        options->action = action;
        *chosen = name;
        return 0;
}

/* The name of an instance, or the whole unit's, as systemctl takes it: tokenfs@NAME.service. */
static int set_unit(const char *unit, Options *options, Buf *error)
{
        static const char prefix[] = "tokenfs@", suffix[] = ".service";
        const char *name = unit + (strncmp(unit, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0);
        size_t len = strlen(name), suffix_len = strlen(suffix);
        if (len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0)
                len -= suffix_len;
        static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\";
        if (len == 0 || *name == '.' || len > UNIT_MAX || strspn(name, allowed) < len) {
                (void)buf_appendf(
                        error, "--unit: '%.80s' is no name of an instance (tokenfs@NAME.service)", unit);
                return -EINVAL;
        }
        free(options->unit);
        options->unit = strndup(name, len);
        return options->unit ? 0 : -ENOMEM;
}

static int parse_pid(const char *text, pid_t *ret_pid, Buf *error)
{
        uint64_t pid;
        if (parse_uint(text, INT32_MAX, &pid) == 0 && pid > 1) {
                *ret_pid = (pid_t)pid;
                return 0;
        }
        (void)buf_appendf(error, "--reload: '%.80s' is no process id", text);
        return -EINVAL;
}

/* All switches and options; the other words begin at argv[optind] afterwards. */
static int parse_switches(int argc, char **argv, Options *options, Buf *error)
{
        bool helper = argc > 0 && is_mount_helper(argv[0]);
        const char *switches = helper ? ":hVfdo:nsvt:" : ":hVfdo:", *chosen = NULL;
        optind = 0; /* GNU: start again, and forget an earlier command line */
        opterr = 0;
        for (;;) {
                int r = 0, given = getopt_long(argc, argv, switches, long_switches, NULL);
                if (given < 0)
                        return 0;
                switch (given) {
                case 'h': options->action = OPTIONS_HELP; break;
                case 'V': options->action = OPTIONS_VERSION; break;
                case SWITCH_CHECK: r = choose(options, OPTIONS_CHECK, "--check", &chosen, error); break;
                case SWITCH_JSON: options->json = true; break;
                case SWITCH_MOUNT_ONLY:
                        r = choose(options, OPTIONS_MOUNT_ONLY, "--mount-only", &chosen, error);
                        break;
                case SWITCH_UNIT: r = set_unit(optarg, options, error); break;
                case SWITCH_RELOAD:
                        r = choose(options, OPTIONS_RELOAD, "--reload", &chosen, error);
                        if (r == 0)
                                r = parse_pid(optarg, &options->reload_pid, error);
                        break;
                case SWITCH_WAIT: r = choose(options, OPTIONS_WAIT, "--wait", &chosen, error); break;
                case SWITCH_TIMEOUT: r = option_set(&wait_timeout, optarg, options, error); break;
                case 'o':
                        options->has_options = true;
                        r = parse_option_text(optarg, options, error);
                        break;
                case 'd':
                        options->debug = options->foreground = true;
                        options->log_level = LOG_LEVEL_DEBUG;
                        break;
                case 'f':
                        if (helper)
                                r = choose(options, OPTIONS_NOTHING, "-f", &chosen, error);
                        else
                                options->foreground = true;
                        break;
                case 'n': /* no mtab; sloppy; verbose; the type */
                case 's':
                case 'v':
                case 't': break;
                default: r = bad_switch(argc, argv, given, error); break;
                }
                if (r < 0)
                        return r;
                if (options->action == OPTIONS_HELP || options->action == OPTIONS_VERSION)
                        return 0;
        }
}

/* A key of systemd's, LoadCredentialEncrypted=, unless the option names one. */
static int find_persist_key(Options *options)
{
        const char *directory = secure_getenv("CREDENTIALS_DIRECTORY");
        char *path = NULL;
        if (options->persist_key || !directory)
                return 0;
        if (asprintf(&path, "%s/tokenfs-persist-key", directory) < 0)
                return -ENOMEM;
        if (access(path, F_OK) == 0)
                options->persist_key = path;
        else
                free(path);
        return 0;
}

static int parse_persist(Options *options, Buf *error)
{
        if (!options->persist && options->persist_key) {
                (void)buf_append_str(error, "option persist_key is of use with persist=DIRECTORY only");
                return -EINVAL;
        }
        if (!options->persist || options->action == OPTIONS_MOUNT_ONLY)
                return 0;
        int r = find_persist_key(options);
        if (r < 0)
                return r;
        if (!options->persist_key && options->action == OPTIONS_CHECK)
                return 0; /* --check says where the key is missing */
        if (!options->persist_key) {
                (void)buf_append_str(error, "option persist needs a key: persist_key=FILE, made with (umask "
                                            "077; head -c 32 /dev/urandom > "
                                            "FILE), or the systemd credential tokenfs-persist-key");
                return -EINVAL;
        }
        if (options->stale_ns == 0) {
                (void)buf_append_str(error, "option persist is of no use with stale=0");
                return -EINVAL;
        }
        Secret key = SECRET_INIT;
        (void)buf_append_str(error, "option persist_key: ");
        r = persist_key_load(options->persist_key, error, &key);
        secret_deinit(&key);
        if (r == 0)
                buf_clear(error);
        return r == 0 || r == -ENOMEM ? r : -EINVAL;
}

/* What no single option shows. A mount and --check refuse the same. */
static int parse_together(Options *options, Buf *error)
{
        if (options->remount) {
                (void)buf_append_str(error,
                        "option remount: the options of a mount can't be changed while it serves; umount it, "
                        "then mount it again (SIGHUP reads configuration and credentials again; systemctl "
                        "reload its settings)");
                return -EINVAL;
        }
        if (options->on_change && options->watch_names.count == 0 && options->token_ids.count == 0) {
                (void)buf_append_str(error, "option on_change needs names to watch: watch=NAME, or token=ID");
                return -EINVAL;
        }
        if (options->source && strlen(options->source) > OPTION_MOUNT_TEXT_MAX) {
                (void)buf_appendf(error, "option fsname: the source is too long; allowed are %d bytes",
                        OPTION_MOUNT_TEXT_MAX);
                return -EINVAL;
        }
        size_t kept = options->token_ids.count + options->watch_names.count;
        if (kept > options->max_tokens) {
                (void)buf_appendf(error,
                        "option max_tokens=%" PRIu64 " is too few for the %zu tokens of token= and watch=",
                        options->max_tokens, kept);
                return -EINVAL;
        }
        return parse_persist(options, error);
}

static int parse_check(int count, char **words, Options *options, Buf *error)
{
        int r = parse_together(options, error);
        if (r < 0)
                return r;
        if (count > 1) {
                (void)buf_append_str(error, "--check takes one token id at most");
                return -EINVAL;
        }
        if (count == 0)
                return 0;
        if (!token_id_is_valid(words[0])) {
                (void)buf_appendf(error,
                        "'%.80s' is no token id; an id has 1 to %d letters, digits, '-' and '.'", words[0],
                        TOKEN_ID_MAX);
                return -EINVAL;
        }
        options->check_token_id = strdup(words[0]);
        return options->check_token_id ? 0 : -ENOMEM;
}

static int parse_wait(int count, char **words, Options *options, Buf *error)
{
        if (count != 1 || !*words[0]) {
                (void)buf_append_str(
                        error, "--wait takes one path (tokenfs --wait [--timeout=SECONDS] PATH)");
                return -EINVAL;
        }
        options->wait_path = strdup(words[0]);
        return options->wait_path ? 0 : -ENOMEM;
}

static int parse_mount(int count, char **words, Options *options, Buf *error)
{
        if (count == 0) {
                (void)buf_append_str(
                        error, "no mount point given (tokenfs [-o OPTIONS] [SOURCE] MOUNTPOINT)");
                return -EINVAL;
        }
        if (count > 2) {
                (void)buf_appendf(
                        error, "'%.80s' is too much (tokenfs [-o OPTIONS] [SOURCE] MOUNTPOINT)", words[2]);
                return -EINVAL;
        }
        const char *mountpoint = words[count - 1];
        if (!*mountpoint) {
                (void)buf_append_str(error, "the mount point is empty");
                return -EINVAL;
        }
        options->mountpoint = strdup(mountpoint);
        /* fsname= is the more explicit of the two. */
        if (count == 2 && *words[0] && !options->source)
                options->source = strdup(words[0]);
        if (!options->mountpoint || (count == 2 && *words[0] && !options->source))
                return -ENOMEM;
        return parse_together(options, error);
}

static void set_defaults(Options *options)
{
        *options = (Options){
                .action = OPTIONS_MOUNT,
                .wait_ns = CLOCK_NEVER,
                .ttl_ns = 60 * NS_PER_S,
                .negative_ttl_ns = 5 * NS_PER_S,
                .stale_ns = 3600 * NS_PER_S,
                .timeout_ns = 10 * NS_PER_S,
                .max_tokens = 10000,
                .uid = getuid(),
                .gid = getgid(),
                .mode = 0444,
                .secret_mode = 0400,
                .sandbox = true,
                .watchdog_ns = 30 * NS_PER_S,
                .log_level = LOG_LEVEL_INFO,
        };
}

static int parse_all(int argc, char **argv, Options *options, Buf *error)
{
        int r = parse_switches(argc, argv, options, error);
        if (r < 0)
                return r;
        int count = argc - optind;
        char **words = argv + optind;
        if (options->json && options->action != OPTIONS_CHECK && options->action != OPTIONS_HELP) {
                (void)buf_append_str(error, "--json goes with --check only");
                return -EINVAL;
        }
        if (options->unit && (options->action != OPTIONS_CHECK || options->has_options)) {
                (void)buf_append_str(
                        error, "--unit goes with --check only, and takes the unit's options, not -o");
                return -EINVAL;
        }
        if (options->wait_ns != CLOCK_NEVER && options->action != OPTIONS_WAIT) {
                (void)buf_append_str(error, "--timeout goes with --wait only (-o timeout= is another)");
                return -EINVAL;
        }
        switch (options->action) {
        case OPTIONS_HELP:
        case OPTIONS_VERSION: return 0;
        case OPTIONS_WAIT: return parse_wait(count, words, options, error);
        case OPTIONS_CHECK: return parse_check(count, words, options, error);
        case OPTIONS_MOUNT:
        case OPTIONS_MOUNT_ONLY:
        case OPTIONS_RELOAD:
        case OPTIONS_NOTHING: return parse_mount(count, words, options, error);
        }
        return -EINVAL;
}

int options_parse(int argc, char **argv, Buf *error, Options *ret_options)
{
        Options options;
        set_defaults(&options);
        int r = parse_all(argc, argv, &options, error);
        if (r < 0) {
                options_deinit(&options);
                return r;
        }
        *ret_options = options;
        return 0;
}

ScopeIds options_scopes(const Options *options)
{
        return (ScopeIds){
                .token_ids = (const char *const *)options->token_ids.items,
                .token_id_count = options->token_ids.count,
                .dns_view_ids = (const char *const *)options->dns_view_ids.items,
                .dns_view_id_count = options->dns_view_ids.count,
                .resolver_ids = (const char *const *)options->resolver_ids.items,
                .resolver_id_count = options->resolver_ids.count,
        };
}
