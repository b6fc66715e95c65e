"""A kernel that can't send requests again (FUSE_NOTIFY_RESEND came with 6.9): the one that runs, or one that is emulated.

Emulated, the program runs with a preloaded library that takes the ability out of the kernel's INIT and refuses the
notification, as an older kernel does. TOKENFS_TEST_OLD_KERNEL=1 emulates it for every mount of the tests.
"""

import functools
import os
import pathlib
import subprocess
import tempfile

RELEASE = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
EVERYWHERE = "TOKENFS_TEST_OLD_KERNEL" in os.environ

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Flag 39, FUSE_HAS_RESEND, is bit 7 of flags2. */
#define HAS_RESEND2 (UINT32_C(1) << 7)
#define FLAGS2_AT (sizeof(struct fuse_in_header) + 4 * sizeof(uint32_t))

ssize_t read(int fd, void *data, size_t size)
{
        ssize_t len = syscall(SYS_read, fd, data, size);
        struct fuse_in_header in;
        uint32_t flags2;
        if (len < (ssize_t)(FLAGS2_AT + sizeof flags2))
                return len;
        memcpy(&in, data, sizeof in);
        if (in.len != len || in.opcode != FUSE_INIT)
                return len;
        memcpy(&flags2, (char *)data + FLAGS2_AT, sizeof flags2);
        flags2 &= ~HAS_RESEND2;
        memcpy((char *)data + FLAGS2_AT, &flags2, sizeof flags2);
        return len;
}

ssize_t __read_chk(int fd, void *data, size_t size, size_t room)
{
        (void)room;
        return read(fd, data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
        struct fuse_out_header out;
        if (size == sizeof out) {
                memcpy(&out, data, sizeof out);
                if (out.len == sizeof out && out.unique == 0 && out.error == 7) {
                        errno = EINVAL;
                        return -1;
                }
        }
        return syscall(SYS_write, fd, data, size);
}
"""


@functools.lru_cache(maxsize=1)
def _directory():
    # Kept as an object: it is removed when the process ends.
    return tempfile.TemporaryDirectory(prefix="old-kernel-")       # pylint: disable=consider-using-with


@functools.lru_cache(maxsize=1)
def library():
    """The path of the library that emulates it."""
    directory = pathlib.Path(_directory().name)
    directory.chmod(0o755)
    (directory / "shim.c").write_text(SOURCE)
    path = directory / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", path, directory / "shim.c"], check=True, timeout=60)
    return str(path)


def environ():
    """What a program's environment needs, so that it runs as on such a kernel."""
    return {} if RELEASE < (6, 9) else {"LD_PRELOAD": library()}


def can_resend():
    """True if the kernel under the tests' mounts can send requests again."""
    return RELEASE >= (6, 9) and not EVERYWHERE


def without_eio(reports):
    """What readers saw (class Readers), less the EIO of requests that a dead worker had, where nothing is sent again."""
    if can_resend():
        return reports
    return {name: {**one, "seen": {result: times for result, times in one["seen"].items() if result != "!EIO"}}
            for name, one in reports.items()}
