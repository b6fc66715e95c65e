"""The host around a mount: limits, a missing /proc, directories that their owner moves."""

import os
import signal
import subprocess

import pytest
from mounting import HANG, MountFailed, mounts_at, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing of the host around a mount was tested")


def test_limit_of_file_sizes(mount):
    """ulimit -f below what node table and state need: the start fails and names the limit."""
    fs = mount(start=False)
    with pytest.raises(MountFailed, match="(?s)status 32.*the memory that outlives a worker.*ulimit -f"):
        fs.start({}, through=["prlimit", "--fsize=4096:4096"])


def test_without_proc(mount):
    """As in a chroot that has none: the start fails and names /proc, not the mount point."""
    fs = mount(start=False)
    with pytest.raises(MountFailed, match="status 32.*/proc isn't mounted"):
        fs.start({}, through=["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$@"', "sh"])


def test_moved_mount_point(mount, directory, token):
    """A directory on the way is replaced by a link to somewhere else: what is mounted there isn't unmounted at the end."""
    user, other = directory / "user", directory / "other"
    (user / "mnt").mkdir(parents=True)
    (other / "mnt").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", other / "mnt"], check=True, timeout=HANG)
    fs = mount(start=False)
    fs.path = str(user / "mnt")
    try:
        fs.start({})
        assert fs.text(token["id"], "value") == token["value"]
        user.rename(directory / "moved")
        user.symlink_to(other)
        fs.path = str(directory / "moved" / "mnt")
        fs.signal(signal.SIGTERM)
        until(lambda: "a part of its path is a link now" in fs.log(), "the refusal")
        fs.process.wait(HANG)
        assert [kind for kind, *_ in mounts_at(other / "mnt")] == ["tmpfs"]
    finally:
        fs.destroy()
        subprocess.run(["umount", "-l", other / "mnt"], check=True, timeout=HANG)
