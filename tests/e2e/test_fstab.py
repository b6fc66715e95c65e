"""fstab, mount(8), umount(8) and fusermount3 for real, in a mount namespace with the program installed."""

import os
import signal
import subprocess

import pytest

import boxed
from mounting import BINARY, HANG, children_of, until
from mute_mount import MuteMount

pytestmark = pytest.mark.skipif(boxed.why_not() is not None, reason=f"NOTHING OF fstab WAS TESTED: {boxed.why_not()}")
NOBODY = 65534


@pytest.fixture
def box(resolver, directory):
    """A box with the stand-in's environment and one mount point."""
    with boxed.Box(directory, resolver.environ()) as made:
        (directory / "mnt").mkdir()
        made.path = str(directory / "mnt")
        yield made


WORDS = "_netdev,nofail,x-systemd.automount,x-systemd.requires=network-online.target,x-foo,comment=ours,relatime"


@pytest.mark.parametrize("kind", ["tokenfs", "fuse.tokenfs"])
def test_life(box, token, kind):
    """mount -a, twice; findmnt; df; umount; mount by its mount point; both types."""
    box.write("/etc/fstab", f"office {box.path} {kind} ttl=30,{WORDS},allow_other 0 0\n")
    box.run("mount", "-a")
    assert box.run("cat", f"{box.path}/{token['id']}/value").stdout == token["value"]
    found = box.run("findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", box.path).stdout.split()
    assert found[:2] == ["office", "fuse.tokenfs"]
    options = found[2].split(",")
    assert {"ro", "nosuid", "nodev", "noexec", "noatime", "default_permissions", "allow_other"} <= set(options), options
    box.run("mount", "-a")
    assert box.mounts() == [box.path]
    assert len(box.daemons()) == 2
    assert "office" in box.run("df", box.path).stdout
    assert box.path not in box.run("df").stdout
    box.run("umount", box.path)
    assert box.mounts() == []
    until(lambda: not box.daemons(), "the daemon's end")
    box.run("mount", box.path)
    assert box.run("cat", f"{box.path}/.by_name/web/id").stdout == token["id"]
    box.run("umount", box.path)


def test_words_of_a_life(box, token):
    """noauto waits to be asked; a fake mount and a wrong option mount nothing; the status is the program's."""
    box.write("/etc/fstab", f"a {box.path} tokenfs noauto 0 0\n")
    box.run("mount", "-a")
    assert box.mounts() == []
    box.run("mount", "-f", box.path)
    assert box.mounts() == []
    box.run("mount", "-v", box.path)
    assert box.mounts() == [box.path]
    again = box.run("mount", box.path, check=False)
    assert again.returncode != 0 and "mounted already" in again.stderr
    assert box.mounts() == [box.path]
    box.run("umount", box.path)
    box.write("/etc/fstab", f"a {box.path} tokenfs tll=5,nofail 0 0\n")
    wrong = box.run("mount", box.path, check=False)
    assert wrong.returncode != 0 and "unknown option 'tll'" in wrong.stderr
    assert box.mounts() == []
    assert box.run("cat", f"{box.path}/{token['id']}/value", check=False).returncode != 0


def test_spaces_and_commas(box, token):
    """A source and a mount point with blanks, as fstab writes them."""
    os.mkdir(box.path + "/a place")
    box.write("/etc/fstab", f"the\\040office {box.path}/a\\040place tokenfs defaults 0 0\n")
    box.run("mount", "-a")
    box.run("mount", "-a")
    assert len(box.mounts()) == 1
    assert box.run("findmnt", "-n", "-o", "SOURCE", box.path + "/a place").stdout.strip() == "the office"
    assert box.run("cat", f"{box.path}/a place/{token['id']}/id").stdout == token["id"]
    box.run("umount", box.path + "/a place")


def test_remount(box, token):
    """Is refused with a sentence, and harms nothing."""
    box.write("/etc/fstab", f"a {box.path} tokenfs ttl=30 0 0\n")
    box.run("mount", box.path)
    done = box.run("mount", "-o", "remount,ttl=5", box.path, check=False)
    assert done.returncode != 0 and "can't be changed" in done.stderr
    assert box.mounts() == [box.path]
    assert box.run("cat", f"{box.path}/{token['id']}/value").stdout == token["value"]


@pytest.mark.parametrize("cached", [False, True])
def test_dead_mount_is_repaired(box, token, cached):
    """Supervisor and worker are killed: the next mount takes the dead one away, whatever the kernel still has cached."""
    box.write("/etc/fstab", f"a {box.path} tokenfs ttl=30 0 0\n")
    box.run("mount", box.path)
    if cached:
        box.run("ls", "-l", box.path)
        box.run("cat", f"{box.path}/{token['id']}/value")
    box.kill_daemons()
    # (A value that is cached may still be read: the kernel has it. A request under way ends with another error.)
    until(lambda: "not connected" in box.run("ls", box.path + "/.by_name", check=False).stderr, "the connection's end")
    done = box.run("mount", box.path)
    assert "dead mount" in done.stderr, done
    assert box.mounts() == [box.path]
    assert box.run("cat", f"{box.path}/{token['id']}/value").stdout == token["value"]
    box.run("umount", box.path)
    assert box.mounts() == []


def test_mute_mount_is_left_alone(directory):
    """Whether a mount is dead is found out without waiting for who serves it: one that is wedged is in use."""
    mute = MuteMount(directory)
    try:
        done = subprocess.run([BINARY, directory], capture_output=True, text=True, timeout=HANG, check=False)
        assert done.returncode != 0 and "mounted already" in done.stderr
        assert mute.taken > 0
    finally:
        mute.close()


def test_binds_outlive_umount(box, token, directory):
    """A plain umount while something is bound leaves the daemon to those who bound it, and then it ends."""
    (directory / "bound").touch()
    box.run("tokenfs", box.path)
    box.run("mount", "--bind", f"{box.path}/{token['id']}/value", str(directory / "bound"))
    box.run("umount", box.path)
    assert box.run("cat", str(directory / "bound")).stdout == token["value"]
    assert len(box.daemons()) == 2
    box.run("umount", str(directory / "bound"))
    until(lambda: not box.daemons(), "the daemon's end")


def needs_fusermount(box):
    """Skips where fusermount3 can't mount for users."""
    if not os.access("/usr/bin/fusermount3", os.X_OK) or not os.stat("/usr/bin/fusermount3").st_mode & 0o4000:
        pytest.skip("NO set-user-ID fusermount3 HERE: mounts of users were not tested")
    os.chown(box.path, NOBODY, NOBODY)


def test_user_mount(box, token):
    """Without root, through fusermount3: its own files, root shut out, unmounted by its user."""
    needs_fusermount(box)
    box.run("tokenfs", "mine", box.path, uid=NOBODY)
    assert box.mounts() == [box.path]
    assert box.run("cat", f"{box.path}/{token['id']}/value", uid=NOBODY).stdout == token["value"]
    assert box.run("stat", "-c", "%u:%g", f"{box.path}/{token['id']}/value", uid=NOBODY).stdout == f"{NOBODY}:{NOBODY}\n"
    shut_out = box.run("cat", f"{box.path}/{token['id']}/value", check=False)
    assert "Permission denied" in shut_out.stderr
    box.run("fusermount3", "-u", box.path, uid=NOBODY)
    assert box.mounts() == []
    until(lambda: not box.daemons(), "the daemon's end")


def test_user_mount_without_path(box, token):
    """fusermount3 is found for unmounting as it was for mounting, whatever PATH is: a dead mount's place is taken, and
    SIGTERM unmounts."""
    needs_fusermount(box)
    for last in (False, True):
        box.run("env", "PATH=/nowhere", "/usr/sbin/tokenfs", box.path, uid=NOBODY)
        assert box.run("cat", f"{box.path}/{token['id']}/value", uid=NOBODY).stdout == token["value"]
        assert box.mounts() == [box.path]
        if not last:
            box.kill_daemons()
    supervisor, = (pid for pid in box.daemons() if children_of(pid) and set(children_of(pid)) < set(box.daemons()))
    os.kill(supervisor, signal.SIGTERM)
    until(lambda: not box.daemons(), "the daemon's end")
    assert box.mounts() == []


def test_user_mount_for_others(box, token):
    """allow_other is for users only where fuse.conf says so."""
    needs_fusermount(box)
    box.write("/etc/fuse.conf", "")
    refused = box.run("tokenfs", "-o", "allow_other", box.path, uid=NOBODY, check=False)
    assert refused.returncode != 0 and "user_allow_other" in refused.stderr
    assert box.mounts() == []
    box.write("/etc/fuse.conf", "user_allow_other\n")
    box.run("tokenfs", "-o", "allow_other", box.path, uid=NOBODY)
    assert box.run("cat", f"{box.path}/{token['id']}/id").stdout == token["id"]
    assert box.run("cat", f"{box.path}/{token['id']}/value", uid=1234, check=False).returncode != 0
    box.run("fusermount3", "-u", box.path, uid=NOBODY)


def test_user_mounts_by_fstab(box, token):
    """`user` in fstab: mount MNT and umount MNT by somebody who isn't root."""
    needs_fusermount(box)
    box.write("/etc/fstab", f"mine {box.path} tokenfs noauto,user 0 0\n")
    box.run("mount", box.path, uid=NOBODY)
    assert box.run("cat", f"{box.path}/{token['id']}/value", uid=NOBODY).stdout == token["value"]
    done = box.run("umount", box.path, uid=NOBODY, check=False)
    if done.returncode != 0:
        # umount(8) knows users by /run/mount/utab, which helpers don't write; fusermount3 knows them by the mount.
        box.run("fusermount3", "-u", box.path, uid=NOBODY)
    assert box.mounts() == []


def test_opened_descriptor(box, token):
    """/dev/fd/N: somebody else mounted, and the program serves without any privilege."""
    script = (
        "import ctypes, os, sys\n"
        "fd = os.open('/dev/fuse', os.O_RDWR)\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "text = f'fd={fd},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other'.encode()\n"
        "assert libc.mount(b'other', sys.argv[1].encode(), b'fuse.tokenfs', 1 | 2 | 4 | 8, text) == 0\n"
        "os.set_inheritable(fd, True)\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "os.execv('/usr/sbin/tokenfs', ['tokenfs', '-f', '-o', 'uid=0,gid=0', f'/dev/fd/{fd}'])\n")
    process = subprocess.Popen(["nsenter", "-t", str(box.process.pid), "-m", "--", "/usr/bin/python3", "-c", script, box.path],
                               env=box.environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until(box.mounts, "the mount")
        assert box.run("cat", f"{box.path}/{token['id']}/value").stdout == token["value"]
        status = open(f"/proc/{process.pid}/status", encoding="ascii").read()
        assert "CapEff:\t0000000000000000" in status
        box.run("umount", box.path)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.stderr.close()
