"""A mount namespace of the daemon's own, in which /dev and /sys are as on most machines: /dev/fuse for everybody, the
FUSE control filesystem mounted. What it mounts below the test's directory is seen outside as well."""

import os
import subprocess

import pytest

PREPARE = r"""
mount --make-rprivate /dev
mount --make-rprivate /sys
mount --bind "$1/fuse" /dev/fuse
mount -t fusectl fusectl /sys/fs/fuse/connections
shift
exec "$@"
"""


def _run(*command, check=True):
    subprocess.run(command, check=check, capture_output=True, timeout=60)


@pytest.fixture
def usual_machine(directory):
    """The words that a command is put after, so that it runs there. To be asked for before `mount`."""
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: nothing was tested of a namespace's own /dev/fuse")
    _run("mount", "--bind", directory, directory)
    try:
        _run("mount", "--make-shared", directory)
        os.mknod(directory / "fuse", 0o020666, os.makedev(10, 229))
        os.chmod(directory / "fuse", 0o666)
        yield ("unshare", "--mount", "--propagation", "unchanged", "sh", "-euc", PREPARE, "sh", str(directory))
    finally:
        _run("umount", "-l", directory, check=False)
