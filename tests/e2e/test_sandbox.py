"""The worker locked in: what it may not do any more, and that credential_process works none the less."""

import json
import os
import pathlib
import pwd
import signal

import pytest

from mounting import SANITIZED, child_of, children_of, is_alive, kill, until
from resolver import ACCESS_KEY, SECRET_KEY


def process_status(pid):
    """/proc/<pid>/status as a dict."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def configure_process(fs, script):
    """Makes `script` (sh) the default profile's credential_process; gives the path of the program."""
    program = fs.directory / "print-credentials"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    config = pathlib.Path(fs.home, ".aws", "config")
    config.parent.mkdir(exist_ok=True)
    config.write_text(f"[default]\ncredential_process = {program}\n")
    return program


def prints(secret=SECRET_KEY, id=ACCESS_KEY):
    """A script that prints a key, by default the stand-in's."""
    return "cat <<'X'\n" + json.dumps({"Version": 1, "AccessKeyId": id, "SecretAccessKey": secret}) + "\nX\n"


def rotate(resolver, program):
    """From now on the service knows another key only, and the program prints that: the next call has the program run."""
    resolver.add_key("AKIDROTATED000000001", "the-secret-of-the-rotated-key")
    program.write_text("#!/bin/sh\n" + prints("the-secret-of-the-rotated-key", "AKIDROTATED000000001"))
    resolver.remove_key(ACCESS_KEY)


NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


@pytest.mark.parametrize("sandbox", ["on", "off"])
def test_credential_process(mount, token, sandbox):
    """Keys come from the configured program, also after it changed; nothing of it is left running."""
    fs = mount(start=False, environ=NO_KEYS)
    program = configure_process(fs, f"echo once >> {fs.directory}/calls\n" + prints())
    fs.start({"ttl": 0.2, "sandbox": sandbox})
    assert fs.text(token["id"], "value") == token["value"]
    assert fs.status()["credentials"]["provider"].startswith("credential_process")
    assert (fs.directory / "calls").read_text() == "once\n"
    program.write_text("#!/bin/sh\n" + prints("another/secret+key/of/forty/characters.."))
    fs.forget()
    assert fs.read_error(token["id"], "value") == "EKEYREJECTED"
    program.write_text("#!/bin/sh\n" + prints())
    fs.forget()
    assert fs.text(token["id"], "value") == token["value"]
    until(lambda: not [pid for helper in children_of(fs.worker) for pid in children_of(helper)], "no runner")


@pytest.mark.parametrize("script, says", [
    ("exit 3", "status 3"),
    ("kill -9 $$", "signal 9"),
    ("echo no json", "no JSON"),
    (None, "can't be started"),
])
def test_credential_process_fails(mount, token, script, says):
    """The log says why, as without a sandbox."""
    fs = mount(start=False, environ=NO_KEYS)
    program = configure_process(fs, script or "")
    if script is None:
        program.unlink()
    fs.start({"ttl": 0.2, "timeout": 1})
    assert fs.read_error(token["id"], "value") in ("ENOKEY", "EHOSTUNREACH", "ETIMEDOUT", "EREMOTEIO")
    assert says in fs.log()


@pytest.mark.parametrize("sandbox", ["on", "off"])
def test_credential_process_leaves_a_daemon(mount, token, sandbox):
    """One that caches, say, its output closed: it lives on."""
    fs = mount(start=False, environ=NO_KEYS)
    configure_process(fs, f"sleep 600 >/dev/null 2>&1 </dev/null & echo $! > {fs.directory}/pid\n" + prints())
    fs.start({"sandbox": sandbox})
    try:
        assert fs.text(token["id"], "value") == token["value"]
        until(lambda: not [pid for helper in children_of(fs.worker) for pid in children_of(helper)], "no runner")
        assert is_alive(int((fs.directory / "pid").read_text()))
    finally:
        kill(int((fs.directory / "pid").read_text()))


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's process can't be locked in")
def test_locked_in(mount, resolver):
    """No capability, no new privileges, a filter of system calls, once it serves; the next worker as the first."""
    fs = mount()
    fs.may_restart = True
    for _ in range(2):
        # A token that the kernel holds nothing of: this worker answers.
        token = resolver.add_token()
        assert fs.text(token["id"], "value") == token["value"]
        worker = fs.worker
        status = process_status(worker)
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0, name
        assert "seccomp" in fs.status()["worker"]["sandbox"]
        os.kill(worker, signal.SIGKILL)
        until(lambda gone=worker: children_of(fs.pid) and gone not in children_of(fs.pid), "the next worker")


def wait_for_child(fs, name):
    """The worker's child of this name, which it takes once it has closed what it doesn't need: that may be after the worker
    serves."""
    return until(lambda: child_of(fs.worker, name), name)


def test_notifier_has_nothing(mount, token):
    """The process that tells watchers has no descriptor but its line, the mount's and the standard streams, and ends with
    its worker; a mount without it goes on."""
    fs = mount(ttl=0.2)
    fs.may_restart = True
    assert fs.text(token["id"], "value") == token["value"]
    notifier = wait_for_child(fs, "tokenfs-notify")
    links = {fd: os.readlink(f"/proc/{notifier}/fd/{fd}") for fd in os.listdir(f"/proc/{notifier}/fd")}
    assert [links.pop(fd) for fd in "012"] == ["/dev/null"] * 3
    assert sorted(link.split(":")[0] for link in links.values()) == ["/dev/fuse", "socket"]
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(notifier, number)
    os.kill(fs.worker, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{notifier}/fd") or not os.listdir(f"/proc/{notifier}/fd"), "its end")
    assert fs.text(token["id"], "value") == token["value"]
    os.kill(wait_for_child(fs, "tokenfs-notify"), signal.SIGKILL)
    until(lambda: "get no event any more" in fs.log(), "the warning")
    assert fs.text(token["id"], "value") == token["value"]


def test_helper_has_nothing(mount, token):
    """The helper has no descriptor but its socket and the standard streams, and ends with its worker."""
    fs = mount()
    fs.may_restart = True
    assert fs.text(token["id"], "value") == token["value"]
    helper = wait_for_child(fs, "tokenfs-helper")
    links = {fd: os.readlink(f"/proc/{helper}/fd/{fd}") for fd in os.listdir(f"/proc/{helper}/fd")}
    assert [links[fd] for fd in "012"] == ["/dev/null"] * 3
    assert set(links) == {"0", "1", "2", "3"} and links["3"].startswith("socket:"), links
    os.kill(fs.worker, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{helper}/fd") or not os.listdir(f"/proc/{helper}/fd"), "its end")


def test_helper_outlives_signals(mount, resolver, token):
    """What `pkill -HUP tokenfs` and a unit's `kill -s` send to all leaves the helper alive; its program has the defaults."""
    fs = mount(start=False, environ=NO_KEYS)
    program = configure_process(fs, f"grep SigIgn /proc/$$/status >>{fs.directory}/ignored\n" + prints())
    fs.start({"ttl": 0})
    assert fs.text(token["id"], "value") == token["value"]
    helper = wait_for_child(fs, "tokenfs-helper")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(helper, number)
    rotate(resolver, program)
    assert fs.text(token["id"], "value") == token["value"]
    assert child_of(fs.worker, "tokenfs-helper") == helper
    ignored = [int(line.split()[1], 16) for line in (fs.directory / "ignored").read_text().splitlines()]
    # (The C library has posix_spawn ignore the two that it uses itself, 32 and 33.)
    assert [mask & 0x7fffffff for mask in ignored] == [0]


def test_helper_is_killed(mount, resolver, token):
    """Whatever ends it (want of memory): the worker goes as well, and the next one has a helper."""
    fs = mount(start=False, environ=NO_KEYS)
    program = configure_process(fs, prints())
    fs.start({"ttl": 0})
    fs.may_restart = True
    assert fs.text(token["id"], "value") == token["value"]
    helper = wait_for_child(fs, "tokenfs-helper")
    os.kill(helper, signal.SIGKILL)
    until(lambda: not is_alive(helper), "its end")
    rotate(resolver, program)
    assert fs.text(token["id"], "value") == token["value"]
    assert "helper that runs credential_process is gone" in fs.log()


def test_off(mount, token):
    """sandbox=off: neither filter nor helper."""
    fs = mount(sandbox="off")
    assert fs.text(token["id"], "value") == token["value"]
    assert process_status(fs.worker)["Seccomp"] == "0"
    assert child_of(fs.worker, "tokenfs-helper") is None
    assert fs.status()["worker"]["sandbox"] == "off"


def test_another_user(mount, token):
    """user=: the worker and its helper are that user's, with nothing left of root's; the mount is as ever."""
    nobody = pwd.getpwnam("nobody")
    fs = mount(user="nobody")
    fs.may_restart = True
    assert fs.text(token["id"], "value") == token["value"]
    for pid in [fs.worker, *children_of(fs.worker)]:
        status = process_status(pid)
        assert set(status["Uid"].split()) == {str(nobody.pw_uid)}
        assert set(status["Gid"].split()) == {str(nobody.pw_gid)}
        assert "0" not in status["Groups"].split()
        assert int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
    assert process_status(fs.pid)["Uid"].split()[0] == "0"
    os.kill(fs.worker, signal.SIGKILL)
    assert fs.text(token["id"], "id") == token["id"]
