"""The start, whatever the process that starts it is like: its streams, signals, descriptors; and what ends a start."""

import os
import signal
import subprocess

import mounting
import pytest
from mounting import HANG, MountFailed, bounded, children_of, is_alive, kill, read_file, until
from mute_mount import MuteMount
from test_options import daemon_of


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_streams(mount, token, closed):
    """A starter without standard streams (init, cron): it mounts, says so by its status, serves, and can be ended."""
    fs = mount(start=False)
    fs.ended = True
    done = subprocess.run(["sh", "-c", f'exec "$0" "$1" {closed}', mounting.BINARY, fs.path], env=fs.environ, timeout=HANG,
                          check=False)
    fs.pid = daemon_of(fs)
    try:
        assert done.returncode == 0
        assert fs.text(token["id"], "value") == token["value"]
        os.kill(fs.pid, signal.SIGTERM)
        until(lambda: not is_alive(fs.pid), "the end")
        assert not fs.is_mounted()
    finally:
        fs.destroy()


@pytest.mark.parametrize("environ, says", [
    ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "credentials: none found"), ({}, "")],
    ids=["without", "with credentials"])
def test_background_without_credentials(mount, token, environ, says):
    """The mount stands, and one line on standard error says what is missing; with credentials nothing is said."""
    fs = mount(start=False, environ=environ)
    fs.ended = True
    done = subprocess.run(fs.command({}, foreground=False), env=fs.environ, timeout=HANG, capture_output=True, text=True,
                          check=True)
    fs.pid = daemon_of(fs)
    try:
        lines = done.stderr.splitlines()
        assert len(lines) == bool(says) and all(says in line for line in lines), done
        assert fs.read_error(token["id"], "value") == ("ENOKEY" if says else "OK")
    finally:
        fs.destroy()


def test_children_that_are_ignored(mount, token):
    """A starter that ignores SIGCHLD, as its children then do: the mount is made, and a worker that dies is replaced."""
    fs = mount(start=False)
    fs.may_restart = True
    fs.start({}, through=["env", "--ignore-signal=CHLD"])
    assert fs.text(token["id"], "value") == token["value"]
    kill(fs.worker)
    until(lambda: "the next one starts in" in fs.log(), "the death to be noticed")
    assert fs.text(token["id"], "id") == token["id"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_signals_during_the_start(mount, directory, number):
    """What is to be read before the mount lies on a filesystem that hangs: a signal ends the start all the same. Those that
    are for who serves don't."""
    (directory / "mute").mkdir()
    mute = MuteMount(directory / "mute")
    fs = mount(start=False, environ={"AWS_CONFIG_FILE": f"{directory}/mute/config"})
    try:
        fs.launch({})
        fs.ended = True
        until(lambda: mute.taken, "the look at the configuration")
        looking = children_of(fs.pid)
        for one in (signal.SIGHUP, signal.SIGUSR2, number):
            fs.signal(one)
        assert fs.process.wait(HANG) == -number
        assert not fs.is_mounted()
    finally:
        mute.close()
        fs.destroy()
    until(lambda: not any(map(is_alive, looking)), "the end of what looked")


def serve(fs, fd):
    """Starts the program on a descriptor."""
    fs.path = f"/dev/fd/{fd}"
    fs.launch({}, pass_fds=[fd])
    fs.ended = True


def test_connection_that_was_served(mount, token, connection):
    """/dev/fd/N, served, killed and given once more: the kernel begins no conversation twice, and that is said."""
    path, fd = connection
    first, second = mount(start=False), mount(start=False)
    serve(first, fd)
    try:
        assert bounded(read_file, f"{path}/{token['id']}/value").decode() == token["value"]
        family = [first.pid, *children_of(first.pid)]
        for pid in family:
            kill(pid)
        first.process.wait(HANG)
        until(lambda: not any(map(is_alive, family)), "the end of the first")
        serve(second, fd)
        assert second.process.wait(HANG) == 32
        assert "has been served before" in second.log()
    finally:
        first.destroy()
        second.destroy()


def test_descriptor_of_something_else(mount, directory):
    """/dev/fd/N of a file, of nothing, and of a connection to no mount."""
    with open(directory / "file", "w+b") as file:
        for fd in (file.fileno(), 1000):
            fs = mount(start=False)
            fs.path = f"/dev/fd/{fd}"
            with pytest.raises(MountFailed, match=f"status 32.*/dev/fd/{fd} is no descriptor of /dev/fuse"):
                fs.start({}, pass_fds=[file.fileno()])
    with open("/dev/fuse", "r+b", buffering=0) as device:
        fs = mount(start=False)
        fs.path = f"/dev/fd/{device.fileno()}"
        with pytest.raises(MountFailed, match=f"(?s)status 32.*nothing is mounted with {fs.path}"):
            fs.start({}, pass_fds=[device.fileno()])


def test_inherited_descriptors(mount, token):
    """`( flock 9; tokenfs MNT ) 9>lock`: the lock is free once the mount answers, and so is any other thing."""
    fs = mount(start=False)
    fs.ended = True
    lock = fs.directory / "lock"
    try:
        subprocess.run(["bash", "-c", 'exec 9>"$2"; flock 9; "$0" "$1" 9>&9 30>&9', mounting.BINARY, fs.path, lock],
                       env=fs.environ, check=True, timeout=HANG, stdin=subprocess.DEVNULL)
        fs.pid = daemon_of(fs)
        assert fs.text(token["id"], "value") == token["value"]
        subprocess.run(["flock", "-n", lock, "true"], check=True, timeout=HANG)
    finally:
        fs.pid = daemon_of(fs)
        fs.destroy()


def test_descriptors_beside_the_connection(mount, token, connection):
    """/dev/fd/N is kept, those below and above it aren't."""
    path, fd = connection
    ends = os.pipe()
    beside = [os.dup2(ends[1], fd + 100, inheritable=False), os.dup2(ends[1], fd + 102, inheritable=False)]
    given = os.dup2(fd, fd + 101, inheritable=False)
    fs = mount(start=False)
    fs.path = f"/dev/fd/{given}"
    fs.launch({}, pass_fds=[given, *beside])
    fs.ended = True
    for one in (*beside, given, ends[1]):
        os.close(one)
    try:
        assert bounded(read_file, f"{path}/{token['id']}/value").decode() == token["value"]
        assert bounded(os.read, ends[0], 1) == b""      # nobody has the other end
    finally:
        os.close(ends[0])
        fs.destroy()
