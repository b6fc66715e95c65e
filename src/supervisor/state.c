/* The supervisor's state.
 *
 * One memfd holds all that a successor can't find out by itself. It is written before each upgrade, and, where the
 * service manager keeps it, after each change. A supervisor may be killed in the middle of a write. The part that the
 * mount needs never changes and lies in front, so only the end, the changes, can be cut off. */

#include "state.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenfs/base/buf.h"
#include "tokenfs/base/cleanup.h"

#define MAGIC "tokenfs" /* with its NUL: eight bytes */
#define VERSION 1
#define STATE_MAX ((size_t)16 * 1024 * 1024)

/* In front of the file. The mount point, INIT and the changes follow; texts end with a NUL. */
typedef struct StateHeader {
        char magic[8];
        uint32_t version;
        uint32_t is_background, is_kept, is_reloading, audit, newline;
        int32_t worker, command, leaving[STATE_LEAVING_MAX];
        uint32_t mountpoint_len, init_len; /* the first with its NUL */
} StateHeader;

int state_new(int *ret_fd)
{
        *ret_fd = memfd_create("tokenfs-state", MFD_CLOEXEC);
        return *ret_fd < 0 ? -errno : 0;
}

int state_write(int fd, const State *state)
{
        StateHeader header = {
                .magic = MAGIC,
                .version = VERSION,
                .is_background = state->is_background,
                .is_kept = state->is_kept,
                .is_reloading = state->is_reloading,
                .audit = state->audit,
                .newline = state->newline,
                .worker = state->worker,
                .command = state->command,
                .mountpoint_len = (uint32_t)strlen(state->mountpoint) + 1,
                .init_len = (uint32_t)state->init_len,
        };
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++)
                header.leaving[i] = state->leaving[i];
        Buf text = BUF_INIT(STATE_MAX);
        (void)buf_append(&text, &header, sizeof header);
        (void)buf_append(&text, state->mountpoint, header.mountpoint_len);
        (void)buf_append(&text, state->init, state->init_len);
        (void)buf_append(&text, state->changes, strlen(state->changes) + 1);
        int r = text.error;
        if (r == 0) {
                ssize_t written = pwrite(fd, text.data, text.len, 0);
                r = written < 0 ? -errno : (size_t)written != text.len ? -ENOSPC : 0;
        }
        if (r == 0 && ftruncate(fd, (off_t)text.len) < 0)
                r = -errno;
        buf_deinit(&text);
        return r;
}

/* The whole file, and a NUL. */
static int load(int fd, char **ret_data, size_t *ret_len)
{
        struct stat status;
        if (fstat(fd, &status) < 0)
                return -errno;
        if (status.st_size < (off_t)sizeof(StateHeader) || (size_t)status.st_size > STATE_MAX)
                return -EINVAL;
        size_t len = (size_t)status.st_size;
        CLEANUP(cleanup_free) char *data = calloc(1, len + 1);
        if (!data)
                return -ENOMEM;
        if (pread(fd, data, len, 0) != (ssize_t)len)
                return -EIO;
        *ret_data = TAKE(data);
        *ret_len = len;
        return 0;
}

int state_read(int fd, State *ret_state)
{
        StateHeader header;
        CLEANUP(cleanup_free) char *data = NULL;
        size_t len = 0;
        int r = load(fd, &data, &len);
        if (!data)
                return r;
        memcpy(&header, data, sizeof header);
        if (memcmp(header.magic, MAGIC, sizeof header.magic) != 0)
                return -EINVAL;
        if (header.version != VERSION)
                return -EPROTONOSUPPORT;
        size_t fixed_len = sizeof header + (size_t)header.mountpoint_len + (size_t)header.init_len;
        const char *mountpoint = data + sizeof header;
        if (fixed_len > len || header.mountpoint_len < 2 || header.init_len == 0 ||
                strnlen(mountpoint, header.mountpoint_len) != header.mountpoint_len - 1)
                return -EINVAL;
        bool has_changes =
                len > fixed_len && data[len - 1] == '\0' && strlen(data + fixed_len) == len - fixed_len - 1;
        *ret_state = (State){
                .is_background = header.is_background != 0,
                .is_kept = header.is_kept != 0,
                .is_reloading = header.is_reloading != 0,
                .audit = header.audit != 0,
                .newline = header.newline != 0,
                .worker = header.worker > 1 ? header.worker : 0,
                .command = header.command > 1 ? header.command : 0,
                .mountpoint = mountpoint,
                .init = mountpoint + header.mountpoint_len,
                .init_len = header.init_len,
                .changes = has_changes ? data + fixed_len : "",
        };
        for (size_t i = 0; i < STATE_LEAVING_MAX; i++)
                ret_state->leaving[i] = header.leaving[i] > 1 ? header.leaving[i] : 0;
        ret_state->memory = TAKE(data);
        return 0;
}

void state_deinit(State *state)
{
        free(state->memory);
        *state = (State){0};
}
