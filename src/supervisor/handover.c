/* From binary to binary.
 *
 * Why: an upgrade that unmounts breaks every container that binds the mount. How: the supervisor executes the new
 * binary in its own process, with its own command line, and leaves it the descriptors that matter: the connection to
 * the kernel, the INIT message, the slot table and the line to the worker, which serves on meanwhile. An
 * environment variable says which is which, behind a version: a binary that doesn't know that version says so when it
 * is probed, and nothing happens. */

#include "handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenfs/base/cleanup.h"
#include "tokenfs/base/parse.h"

#define VARIABLE "TOKENFS_HANDOVER"
#define VERSION "1"
#define STORE_MAX ((size_t)16 * 1024 * 1024)

/* "1 probe=0 background=1 fuse=5 init=6 slots=7 worker=123 control=8 mountpoint=/mnt/x": the last to the end. */
int handover_write(const Handover *handover, Buf *out)
{
        return buf_appendf(out,
                VERSION " probe=%d background=%d fuse=%d init=%d slots=%d worker=%d control=%d mountpoint=%s",
                handover->is_probe, handover->is_background, handover->fuse_fd, handover->init_fd,
                handover->slots_fd, (int)handover->worker_pid, handover->worker_control,
                handover->mountpoint);
}

/* Moves past " key=number" at *text. "-1" is a number too. */
static int take_number(const char **text, const char *key, int *ret_value)
{
        size_t key_len = strlen(key);
        if (**text != ' ' || strncmp(*text + 1, key, key_len) != 0 || (*text)[1 + key_len] != '=')
                return -EINVAL;
        const char *start = *text + key_len + 2;
        size_t len = strcspn(start, " ");
        char digits[12];
        if (len == 0 || len >= sizeof digits)
                return -EINVAL;
        memcpy(digits, start, len);
        digits[len] = '\0';
        uint64_t value = 0;
        bool is_none = strcmp(digits, "-1") == 0;
        if (!is_none && parse_uint(digits, INT32_MAX, &value) < 0)
                return -EINVAL;
        *ret_value = is_none ? -1 : (int)value;
        *text = start + len;
        return 0;
}

int handover_read(const char *text, Handover *ret_handover)
{
        static const char *const keys[] = {
                "probe", "background", "fuse", "init", "slots", "worker", "control"};
        static const char mountpoint[] = " mountpoint=";
        size_t version_len = strcspn(text, " ");
        if (version_len != strlen(VERSION) || strncmp(text, VERSION, version_len) != 0)
                return -EPROTONOSUPPORT;
        text += version_len;
        int values[ARRAY_LEN(keys)];
        for (size_t i = 0; i < ARRAY_LEN(keys); i++)
                if (take_number(&text, keys[i], &values[i]) < 0)
                        return -EINVAL;
        if (strncmp(text, mountpoint, sizeof mountpoint - 1) != 0 || !text[sizeof mountpoint - 1])
                return -EINVAL;
        if (values[2] < 0 || values[3] < 0 || values[4] < 0)
                return -EINVAL;
        char *copy = strdup(text + sizeof mountpoint - 1);
        if (!copy)
                return -ENOMEM;
        *ret_handover = (Handover){
                .is_probe = values[0] != 0,
                .is_background = values[1] != 0,
                .fuse_fd = values[2],
                .init_fd = values[3],
                .slots_fd = values[4],
                .worker_pid = values[5] > 0 ? values[5] : 0,
                .worker_control = values[6],
                .mountpoint = copy,
        };
        return 0;
}

void handover_deinit(Handover *handover)
{
        cleanup_close(&handover->fuse_fd);
        cleanup_close(&handover->init_fd);
        cleanup_close(&handover->slots_fd);
        cleanup_close(&handover->worker_control);
        free(handover->mountpoint);
        *handover = HANDOVER_INIT;
}

bool handover_is_offered(void)
{
        return secure_getenv(VARIABLE) != NULL;
}

int handover_receive(Handover *ret_handover)
{
        const char *text = secure_getenv(VARIABLE);
        if (!text)
                return -ENOENT;
        Handover handover = HANDOVER_INIT;
        int r = handover_read(text, &handover);
        (void)unsetenv(VARIABLE);
        if (r < 0)
                return r;
        int fds[] = {handover.fuse_fd, handover.init_fd, handover.slots_fd, handover.worker_control};
        for (size_t i = 0; i < ARRAY_LEN(fds); i++)
                if (fds[i] >= 0 && fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0)
                        r = -EBADF;
        if (r < 0) {
                free(handover.mountpoint);
                return r;
        }
        *ret_handover = handover;
        return 0;
}

/* A duplicate that the next program keeps. -1 stays -1. */
static int dup_for_exec(int fd, int *ret_fd)
{
        *ret_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD, 3);
        return fd >= 0 && *ret_fd < 0 ? -errno : 0;
}

int handover_exec(const Handover *handover, const char *program, char *const argv[])
{
        Handover next = HANDOVER_INIT;
        Buf text = BUF_INIT(8192);
        next.is_probe = handover->is_probe;
        next.is_background = handover->is_background;
        next.worker_pid = handover->worker_pid;
        next.mountpoint = strdup(handover->mountpoint);
        int r = next.mountpoint ? 0 : -ENOMEM;
        if (r == 0)
                r = dup_for_exec(handover->fuse_fd, &next.fuse_fd);
        if (r == 0)
                r = dup_for_exec(handover->init_fd, &next.init_fd);
        if (r == 0)
                r = dup_for_exec(handover->slots_fd, &next.slots_fd);
        if (r == 0)
                r = dup_for_exec(handover->worker_control, &next.worker_control);
        if (r == 0)
                r = handover_write(&next, &text);
        if (r == 0 && setenv(VARIABLE, buf_str(&text), 1) < 0)
                r = -errno;
        if (r == 0) {
                (void)execv(program, argv);
                r = -errno;
        }
        (void)unsetenv(VARIABLE);
        handover_deinit(&next);
        buf_deinit(&text);
        return r;
}

int handover_store(const void *data, size_t len, int *ret_fd)
{
        int fd CLEANUP(cleanup_close) = memfd_create("tokenfs-handover", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;
        ssize_t written = pwrite(fd, data, len, 0);
        if (written < 0)
                return -errno;
        if ((size_t)written != len)
                return -ENOSPC;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

int handover_load(int fd, void **ret_data, size_t *ret_len)
{
        struct stat status;
        if (fstat(fd, &status) < 0)
                return -errno;
        if (status.st_size <= 0 || (size_t)status.st_size > STORE_MAX)
                return -EINVAL;
        size_t len = (size_t)status.st_size;
        CLEANUP(cleanup_free) void *data = malloc(len);
        if (!data)
                return -ENOMEM;
        if (pread(fd, data, len, 0) != (ssize_t)len)
                return -EIO;
        *ret_data = TAKE(data);
        *ret_len = len;
        return 0;
}
