"""The hot upgrade: SIGUSR2 goes on with the binary that is installed now, and nobody notices; one that is no good is not
gone on with."""

import collections
import os
import pathlib
import shutil
import signal
import subprocess
import time

import mounting
import old_kernel
import pytest
from dirents import names
from mounting import HANG, MountFailed, background, bounded, children_of, is_alive, kill, mounts_at, read_file, until
from readers import Readers, errors_in

pytestmark = pytest.mark.core
# What happens without is in test_old_kernel.py.
needs_resend = pytest.mark.skipif(not old_kernel.can_resend(), reason="the kernel sends nothing again (before 6.9)")


@pytest.fixture
def binary(directory, monkeypatch):
    """The program as something that can be replaced; what the mounts of this test run."""
    path = directory / "tokenfs"
    shutil.copy(mounting.BINARY, path)
    monkeypatch.setattr(mounting, "BINARY", str(path))
    return path


def version_of(path):
    """What a binary says of itself: b"1.0.0"."""
    return subprocess.run([path, "-V"], check=True, capture_output=True, timeout=HANG).stdout.split()[1]


def put(path, data, mode=0o755):
    """Replaces a file as an installation does: another one, renamed over it."""
    new = path.with_name("new")
    new.write_bytes(data)
    new.chmod(mode)
    new.rename(path)


def other_build(path):
    """The same program under another version, of the same length."""
    old = version_of(path)
    new = old[:-1] + bytes([b"0123456789"[(old[-1] - 47) % 10]])
    data = path.read_bytes().replace(old, new)
    put(path, data)
    assert version_of(path) == new
    return new.decode()


def upgrade(fs):
    """SIGUSR2; comes back when the next worker serves under the new supervisor."""
    before, old = fs.log().count("took over"), fs.worker
    bounded(os.statvfs, fs.path)        # a worker serves
    put_off = -1
    while fs.log().count("took over") == before:
        if put_off < fs.log().count("no upgrade now"):          # its first word may still be on its way
            put_off = fs.log().count("no upgrade now")
            fs.signal(signal.SIGUSR2)
        until(lambda n=put_off: fs.log().count("took over") > before or fs.log().count("no upgrade now") > n,
              "the upgrade")
    until(lambda: any(pid != old for pid in children_of(fs.pid)) and not is_alive(old), "the new worker")


def refused(fs, limit=HANG):
    """SIGUSR2; comes back when it was refused."""
    before = fs.log().count("going on with the binary that runs")
    fs.signal(signal.SIGUSR2)
    until(lambda: fs.log().count("going on with the binary that runs") > before, "the refusal", limit=limit)


def all_kinds(fs, token):
    """Readers of every kind."""
    return {
        "path": ("read", fs.at(token["id"], "value")),
        "by name": ("read", fs.at(".by_name", token["name"], "value")),
        "open file": ("fd", fs.at(token["id"], "value")),
        "size": ("stat", fs.at(token["id"], "value")),
        "list": ("ls", fs.at(token["id"])),
        "root": ("ls", fs.path),
        "slow list": ("slow", fs.path),
        "names": ("slow", fs.at(".by_name")),
    }


def test_upgrades_under_readers(mount, resolver, binary):
    """Many, each to another build, under readers of every kind: no error, right bytes, whole lists; and it is told."""
    token = resolver.add_token(name="web")
    resolver.add_tokens(30)
    fs = mount(ttl=0.3)
    names_before, tokens_before = fs.ls(".by_name"), fs.tokens()
    with Readers(all_kinds(fs, token)) as readers:
        readers.advance()
        for _ in range(8):
            version = other_build(binary)
            upgrade(fs)
            readers.advance(1)
            assert fs.status()["version"] == version
        reports = readers.stop()
    assert not errors_in(reports)
    for name in ("path", "by name", "open file"):
        assert set(reports[name]["seen"]) == {token["value"]}
    for name in ("root", "slow list"):
        for seen in reports[name]["seen"]:
            assert set(seen.split()) >= set(tokens_before) and len(seen.split()) == len(set(seen.split()))
    assert {tuple(seen.split()) for seen in reports["names"]["seen"]} == {tuple(sorted(names_before))}
    worker = fs.status()["worker"]
    assert worker["upgrades"] == 8 and worker["restarts"] == 0 and not worker["crashLoop"]
    assert fs.metric("tokenfs_upgrades_total", default=8) == 8
    assert fs.process.poll() is None and children_of(fs.pid) == [worker["pid"]]


@needs_resend
def test_readers_wait_across(mount, resolver, token, binary):
    """Reads that wait for the API are answered after two upgrades and a death."""
    fs = mount(timeout=HANG)
    fault = resolver.add_fault("hang", operation="GetAccessToken")
    waiting = [background(read_file, fs.at(token["id"], name)) for name in ("value", "value", "arn")]
    resolver.wait_for(1, "GetAccessToken", timeout=HANG)
    other_build(binary)
    upgrade(fs)
    resolver.wait_for(2, "GetAccessToken", timeout=HANG)
    upgrade(fs)
    resolver.wait_for(3, "GetAccessToken", timeout=HANG)
    fs.may_restart = True
    kill(fs.worker)
    resolver.wait_for(4, "GetAccessToken", timeout=HANG)
    assert not any(one.done() for one in waiting)
    resolver.remove_fault(fault)
    assert [one.result(HANG).decode() for one in waiting] == [token["value"], token["value"], token["arn"]]


@pytest.mark.parametrize("how", ["upgrade", "death"])
def test_open_directories_go_on(mount, resolver, binary, how):
    """A directory read in small pieces, another worker for each piece: every name once, none missing."""
    resolver.add_tokens(300)
    fs = mount(ttl=600)
    everything = fs.ls()
    assert len(everything) >= 300
    rounds = []

    def between():
        if len(rounds) >= 6:
            return
        rounds.append(1)
        if how == "upgrade":
            upgrade(fs)
        else:
            fs.may_restart = True
            old = fs.worker
            kill(old)
            until(lambda: children_of(fs.pid) not in ([], [old]), "the next worker")

    found = bounded(names, fs.path, 1024, between, limit=2 * HANG)
    assert len(rounds) == 6
    assert sorted(found) == everything
    assert sorted(bounded(names, fs.at(".by_name"), 512)) == fs.ls(".by_name")


BAD = {
    "status 1": (b"#!/bin/sh\nexit 1\n", 0o755),
    "status 0, but it is another program": (b"#!/bin/sh\nexit 0\n", 0o755),
    "killed": (b"#!/bin/sh\nkill -9 $$\n", 0o755),
    "not executable": (b"#!/bin/sh\nexit 0\n", 0o644),
    "garbage": (bytes(range(256)) * 64, 0o755),
    "empty": (b"", 0o755),
    "a library is missing": (b"#!/no/such/interpreter\n", 0o755),
}


@pytest.mark.parametrize("what", BAD)
def test_a_binary_that_is_no_good(mount, resolver, token, binary, what):
    """The old one serves on, with the same worker, and says so; when a good one is there, it is gone on with."""
    good = binary.read_bytes()
    fs = mount(ttl=0.2)
    assert fs.text(token["id"], "value") == token["value"]
    worker = fs.worker
    put(binary, *BAD[what])
    refused(fs)
    resolver.update_token(token["id"], value="the old one serves")
    until(lambda: fs.text(token["id"], "value") == "the old one serves", "the new value")
    assert fs.worker == worker and children_of(fs.pid) == [worker]
    assert str(binary) in fs.log()
    put(binary, good)
    upgrade(fs)
    assert fs.status()["worker"]["upgrades"] == 1
    assert fs.text(token["id"], "value") == "the old one serves"


def test_the_binary_is_gone(mount, token, binary):
    """Uninstalled while it runs: the same."""
    fs = mount()
    worker = fs.worker
    binary.unlink()
    refused(fs)
    assert fs.worker == worker and fs.text(token["id"], "value") == token["value"]


def test_a_half_written_binary(mount, token, binary):
    """The beginning of a good one."""
    data = binary.read_bytes()
    fs = mount()
    worker = fs.worker
    put(binary, data[:20000])
    refused(fs)
    assert fs.worker == worker and fs.text(token["id"], "value") == token["value"]


def test_a_binary_that_hangs(mount, resolver, token, binary):
    """While it is tried, everything goes on; the end of the mount doesn't wait for it, and leaves nothing of it."""
    fs = mount(ttl=0.2)
    put(binary, b"#!/bin/sh\nsleep 1234 &\nwait\n")
    fs.signal(signal.SIGUSR2)
    until(lambda: len(children_of(fs.pid)) == 2, "the attempt")
    attempt = max(children_of(fs.pid))
    sleeping = until(lambda: children_of(attempt), "its child")
    resolver.update_token(token["id"], value="meanwhile")
    until(lambda: fs.text(token["id"], "value") == "meanwhile", "the new value")
    fs.signal(signal.SIGUSR2)           # one is enough
    until(lambda: "one is under way" in fs.log(), "the refusal")
    fs.stop()
    until(lambda: not is_alive(attempt) and not any(map(is_alive, sleeping)), "its end")


def test_the_end_while_one_is_tried(mount, token, binary, directory):
    """SIGTERM before the new binary has said that it can: the mount ends, and it isn't gone on with."""
    fs = mount()
    kill(fs.worker, signal.SIGSTOP)     # it takes its time to leave
    put(binary, f"#!/bin/sh\nuntil [ -e {directory}/go ]; do sleep 0.02; done\nexit 93\n".encode())
    fs.signal(signal.SIGUSR2)
    attempt = max(until(lambda: len(children_of(fs.pid)) == 2 and children_of(fs.pid), "the attempt"))
    fs.signal(signal.SIGTERM)
    until(lambda: "unmounting" in fs.log(), "the beginning of the end")
    (directory / "go").touch()
    assert fs.process.wait(HANG) == 0
    assert "going on with" not in fs.log() and not fs.is_mounted()
    until(lambda: not is_alive(attempt), "its end")


def test_the_command_line_stays_true(mount, resolver, token, binary):
    """Options hold across it: modes, owner, scopes, time-outs; the credentials are found again."""
    other = resolver.add_token()
    fs = mount(ttl=600, token=token["id"], mode="0440", secret_mode="0400", uid=1234, gid=4321, negative_ttl=600)
    assert fs.text(token["id"], "value") == token["value"]
    before = fs.stat(token["id"], "value")
    upgrade(fs)
    after = fs.stat(token["id"], "value")
    assert (before.st_mode, before.st_uid, before.st_ino, before.st_mtime_ns) == \
        (after.st_mode, after.st_uid, after.st_ino, after.st_mtime_ns)
    assert fs.read_error(other["id"], "value") == "ENOENT"
    assert fs.text(token["id"], "value") == token["value"]
    assert fs.tokens() == [token["id"]]


def test_signals_after_it(mount, resolver, token, binary):
    """SIGHUP and SIGTERM mean what they meant; the process is the one that was started."""
    fs = mount(ttl=600)
    assert fs.text(token["id"], "value") == token["value"]
    upgrade(fs)
    resolver.update_token(token["id"], value="after SIGHUP")
    fs.forget()
    assert fs.text(token["id"], "value") == "after SIGHUP"
    fs.stop()
    assert fs.process.returncode == 0 and not mounts_at(fs.path)


def test_a_storm_of_them(mount, resolver, token, binary):
    """As many as can be sent, with deaths in between: at the end it serves, with one worker, and ends cleanly."""
    fs = mount(ttl=0.2)
    fs.may_restart = True
    with Readers(all_kinds(fs, token)) as readers:
        readers.advance()
        end = time.monotonic() + 4
        while time.monotonic() < end:
            fs.signal(signal.SIGUSR2)
            time.sleep(0.07)
            if pids := children_of(fs.pid):
                kill(min(pids)) if int(time.monotonic() * 10) % 9 == 0 else None
        readers.advance(limit=2 * HANG)
        assert not errors_in(old_kernel.without_eio(readers.stop()))
    until(lambda: len(children_of(fs.pid)) == 1, "one worker")
    assert fs.status()["worker"]["upgrades"] >= 1


def descriptors(pid):
    """What a process has open, without what is numbered at random."""
    found = []
    for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(path).split("[")[0].split(":[")[0])
        except FileNotFoundError:
            pass
    return sorted(found)


def test_nothing_is_left_over(mount, resolver, token, binary):
    """The supervisor's descriptors are the same after one upgrade and after six."""
    fs = mount(ttl=600)
    assert fs.text(token["id"], "value") == token["value"]
    upgrade(fs)
    assert fs.text(token["id"], "arn") == token["arn"]
    supervisor = until(lambda: len(children_of(fs.pid)) == 1 and collections.Counter(descriptors(fs.pid)), "rest")
    for _ in range(5):
        upgrade(fs)
    # What the last upgrade used is closed a moment after it; what five of them left would stay.
    until(lambda: not collections.Counter(descriptors(fs.pid)) - supervisor, "no descriptor that wasn't there before")


def test_between_two_workers(mount, resolver, token, binary):
    """Asked for when there is no worker, or one that doesn't serve yet: nothing breaks."""
    fs = mount(watchdog=0)
    fs.may_restart = True
    for _ in range(5):
        kill(fs.worker)
        fs.signal(signal.SIGUSR2)
        until(lambda: len(children_of(fs.pid)) == 1 and fs.read_error(".service_status") == "OK", "a worker")
    assert fs.text(token["id"], "value") == token["value"]


def test_out_of_a_crash_loop(mount, resolver, token, binary, directory):
    """Workers die again and again, and the next is far away: a binary that is better is gone on with."""
    fs = mount(ttl=0.2)
    fs.may_restart = True
    assert fs.text(token["id"], "value") == token["value"]
    while "starts in 5 s" not in fs.log():
        for pid in children_of(fs.pid):
            kill(pid)
        time.sleep(0.001)
    fs.signal(signal.SIGUSR2)
    until(lambda: any(text in fs.log() for text in ("took over", "no upgrade now")), "the upgrade")
    assert "took over" in fs.log()
    until(lambda: fs.read_error(token["id"], "value") == "OK", "a worker")
    worker = fs.status()["worker"]
    assert worker["upgrades"] == 1 and not worker["crashLoop"]


@pytest.mark.parametrize("text, says", [("1 probe=0", "another version"), ("2 something else", "Invalid argument"), ("2 999", "Bad file descriptor")])
def test_what_cannot_be_taken_over(mount, text, says):
    """A hand-over that this binary doesn't know is refused, and told."""
    fs = mount(start=False, environ={"TOKENFS_HANDOVER": text})
    with pytest.raises(MountFailed, match=f"status 32.*can't take over from the binary before: .*{says}"):
        fs.start({})


# Reads what another process of the same user shows of itself, as fast as it can; says what it got when it is told to end.
SPY = r"""
import ctypes, os, select, sys
libc = ctypes.CDLL(None, use_errno=True)
pid, found, looks = int(sys.argv[1]), set(), 0
pidfd = os.pidfd_open(pid)
print("looking", flush=True)
while looks % 64 or not select.select([0], [], [], 0)[0]:
    looks += 1
    try:
        text = open(f"/proc/{pid}/environ", "rb").read()
        found.add("environ")
        if b"AWS_SECRET_ACCESS_KEY" in text:
            found.add("keys")
    except OSError:
        pass
    for number in range(3, 24):
        fd = libc.syscall(438, pidfd, number, 0)        # pidfd_getfd
        if fd >= 0:
            name = os.readlink(f"/proc/self/fd/{fd}")
            os.close(fd)
            if name == "/dev/fuse" or "memfd" in name:
                found.add(name)
print(*sorted(found), sep="\n")
"""
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.mark.skipif(mounting.SANITIZED, reason="a sanitizer's process lets itself be read")
@pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing of other processes of the same user was tested")
def test_nothing_shows_while_it_is_loaded(mount, resolver, token, binary, connection):
    """Another process of the same user gets neither keys nor descriptors of the mount, before, after and in between."""
    path, fd = connection
    os.chown(binary.parent, 65534, 65534)
    fs = mount(start=False)
    fs.path = f"/dev/fd/{fd}"
    fs.launch({"ttl": 600}, through=NOBODY, pass_fds=[fd])
    fs.ended = True
    spy = None
    try:
        assert bounded(read_file, f"{path}/{token['id']}/value").decode() == token["value"]
        spy = subprocess.Popen([*NOBODY, "/usr/bin/python3", "-c", SPY, str(fs.pid)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
        assert spy.stdout.readline() == "looking\n"
        for number in range(1, 9):
            before = fs.worker
            fs.signal(signal.SIGUSR2)
            until(lambda n=number: fs.log().count("took over the mount") == n, "the upgrade")
            until(lambda b=before: children_of(fs.pid) and not is_alive(b), "the next worker")
            bounded(os.statvfs, f"{path}/{token['id']}")
        found = spy.communicate("\n", timeout=HANG)[0].split()
        # Between the kernel's execve and the program's first line the environment can be read; nothing is in it.
        assert set(found) <= {"environ"}, found
        assert bounded(read_file, f"{path}/{token['id']}/value").decode() == token["value"]
    finally:
        if spy is not None:
            spy.kill()
            spy.communicate()
        fs.destroy()
