/* The command line: each line of the input is an argument. Whatever is said, it is either understood, within the limits
 * that the help names, or refused with a sentence. */

#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tokenfs/api/token.h"
#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/clock.h"
#include "tokenfs/options/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ARGUMENTS_MAX 16
#define DAY_NS (86400 * NS_PER_S)

static void require(bool condition)
{
        if (!condition)
                abort();
}

static void check_ids(const OptionList *ids)
{
        for (size_t i = 0; i < ids->count; i++)
                require(token_id_is_valid(ids->items[i]));
}

/* An option of libfuse's must stay one when libfuse splits it at its commas. */
static void check_mount_options(const OptionList *options)
{
        static const char *const known[] = {"allow_other", "auto_unmount",
                "max_read=", "context=", "fscontext=", "defcontext=", "rootcontext="};
        for (size_t i = 0; i < options->count; i++) {
                const char *text = options->items[i];
                bool is_known = false;
                for (size_t k = 0; k < ARRAY_LEN(known); k++)
                        is_known |= strncmp(text, known[k], strlen(known[k])) == 0;
                require(is_known);
                for (const char *c = text; *c; c++) {
                        require(*c != ',');
                        if (*c == '\\' && c[1])
                                c++;
                }
        }
}

static void check_understood(const Options *options)
{
        bool mounts = options->action == OPTIONS_MOUNT || options->action == OPTIONS_MOUNT_ONLY;
        require(!mounts || (options->mountpoint && *options->mountpoint));
        require(options->ttl_ns <= DAY_NS && options->negative_ttl_ns <= DAY_NS &&
                options->stale_ns <= 30 * DAY_NS);
        require(options->action != OPTIONS_MOUNT || options->timeout_ns > 0);
        require(options->mode <= 0777 && options->secret_mode <= 0777);
        require(!options->ca_bundle || options->ca_bundle[0] == '/');
        check_ids(&options->token_ids);
        check_ids(&options->dns_view_ids);
        check_ids(&options->resolver_ids);
        check_mount_options(&options->mount_options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char program[] = "tokenfs", *argv[ARGUMENTS_MAX + 2] = {program};
        int argc = 1;
        char *text = malloc(size + 1);
        require(text);
        if (size)
                memcpy(text, data, size);
        text[size] = '\0';
        for (char *line = text, *next; line && argc <= ARGUMENTS_MAX; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = '\0';
                argv[argc++] = line;
        }
        Options options;
        memset(&options, 0, sizeof options);
        Buf error = BUF_INIT(1024);
        optind = 0; /* getopt begins anew */
        int r = options_parse(argc, argv, &error, &options);
        require(r == 0 || r == -EINVAL);
        if (r == 0)
                check_understood(&options);
        else
                require(error.len > 0 && strlen(buf_str(&error)) == error.len);
        if (r == 0)
                options_deinit(&options);
        buf_deinit(&error);
        free(text);
        return 0;
}
