"""What the two processes may do: the worker as little as can be, the supervisor without a network; sandbox=off."""

import os
import pathlib
import pwd
import signal
import subprocess

import mounting
import pytest
from memory_search import family
from mounting import MountFailed, SANITIZED, children_of, is_alive, kill, until

pytest_plugins = ["mountns"]
pytestmark = [pytest.mark.core,
              pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing of giving up privileges was tested")]
LANDLOCK = "landlock" in pathlib.Path("/sys/kernel/security/lsm").read_text() \
    if os.path.exists("/sys/kernel/security/lsm") else None


def status_of(pid):
    """/proc/PID/status: {"Uid": ["0", …]}"""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def sockets_of(pid):
    """How the sockets of a process are called in /proc/net: [protocol]."""
    found = []
    inodes = set()
    for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(path)
        except FileNotFoundError:
            continue
        if name.startswith("socket:["):
            inodes.add(name[8:-1])
    for protocol in ("tcp", "tcp6", "udp", "udp6", "unix", "netlink", "raw", "packet"):
        table = pathlib.Path(f"/proc/{pid}/net/{protocol}")
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        found += [protocol for line in lines if inodes & set(line.split())]
    return found


def check_locked_in(pid, uid, by_root=True):
    """No capability, no new privileges, filtered. Only root can drop the bounding set, which then means nothing."""
    status = status_of(pid)
    assert status["Uid"] == [str(uid)] * 4, status["Uid"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb") + ("CapBnd",) * by_root:
        assert int(status[name][0], 16) == 0, name
    assert status["NoNewPrivs"] == ["1"]
    return status


def test_another_user(mount, token):
    """user=nobody: uid, gid, groups, in the worker and whatever it starts; also in the next worker."""
    entry = pwd.getpwnam("nobody")
    fs = mount(user="nobody", ttl=0.2)
    assert fs.text(token["id"], "value") == token["value"]
    fs.may_restart = True
    for _ in range(2):
        # The kernel may have answered the reads. The filter is the last that a worker puts into force.
        until(lambda: SANITIZED or status_of(fs.worker)["Seccomp"] == ["2"], "the filter")
        for pid in family(fs.worker):
            status = check_locked_in(pid, entry.pw_uid)
            assert status["Gid"] == [str(entry.pw_gid)] * 4
            assert set(status["Groups"]) <= {str(entry.pw_gid)}
        old = fs.worker
        kill(old)
        until(lambda old=old: fs.worker != old and fs.read_error(".service_status") == "OK", "the next worker")
    assert fs.text(token["id"], "value") == token["value"]
    assert status_of(fs.pid)["Uid"] == ["0"] * 4


@pytest.mark.skipif(SANITIZED, reason="the sanitizers' build is run without the sandbox")
def test_root_without_its_powers(mount, token):
    """Without user=: the same user, and not one capability; system calls filtered; in .service_status."""
    fs = mount()
    assert fs.text(token["id"], "value") == token["value"]
    for pid in family(fs.worker):
        check_locked_in(pid, 0)
    assert status_of(fs.worker)["Seccomp"] == ["2"]
    sandbox = fs.status()["worker"]["sandbox"]
    assert "seccomp" in sandbox
    if LANDLOCK is not None:
        assert ("landlock" in sandbox) == LANDLOCK


def test_sandbox_off(mount, token):
    """sandbox=off: no filter, which is told; capabilities are given up all the same; it works."""
    fs = mount(sandbox="off")
    assert fs.text(token["id"], "value") == token["value"]
    check_locked_in(fs.worker, 0)
    assert status_of(fs.worker)["Seccomp"] == ["0"]
    assert fs.status()["worker"]["sandbox"] == "off"


@pytest.mark.skipif(SANITIZED, reason="the sanitizers' run-time has memory that is writable and executable")
def test_no_memory_is_writable_and_executable(mount, token):
    """In neither of them."""
    fs = mount()
    assert fs.text(token["id"], "value") == token["value"]
    for pid in family(fs.pid):
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            assert not ("w" in line.split()[1] and "x" in line.split()[1]), line


def test_the_supervisor_has_no_network(mount, resolver, token):
    """Its sockets are lines to its children; it has no thread of libcurl's or OpenSSL's."""
    fs = mount(ttl=0.1)
    for _ in range(20):
        assert fs.text(token["id"], "value") == token["value"]
    assert set(sockets_of(fs.pid)) == {"unix"}
    assert "tcp" in sockets_of(fs.worker)
    assert len(os.listdir(f"/proc/{fs.pid}/task")) == 1


def test_nothing_is_inherited(mount, token):
    """Neither has a descriptor of whoever mounted it, but for its standard ones; and none of them is a directory."""
    with open("/etc/hostname", "rb") as extra:
        os.set_inheritable(extra.fileno(), True)
        fs = mount()
    assert fs.text(token["id"], "value") == token["value"]
    for pid in (fs.pid, fs.worker):
        for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            name = os.readlink(path)
            assert not os.path.isdir(name), name
        assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_files_outside(mount, resolver, directory):
    """What the configuration comes to name after the start, elsewhere than the worker may look, is found after SIGHUP,
    which makes a new worker in a new sandbox."""
    token = resolver.add_token()
    key = next(iter(resolver.verifier.keys.values()))
    outside = directory / "outside"
    outside.mkdir(mode=0o755)
    (outside / "jwt").write_text("a-web-identity-token")
    fs = mount(start=False, environ={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None})
    config = pathlib.Path(fs.home, ".aws", "config")
    config.parent.mkdir()
    good = f"[default]\naws_access_key_id = {key.id}\naws_secret_access_key = {key.secret}\n"
    config.write_text(good)
    fs.start({"ttl": 0.2, "timeout": 3, "log_level": "debug"})
    assert fs.text(token["id"], "value") == token["value"]
    config.write_text("[default]\nrole_arn = arn:aws:iam::123456789012:role/r\n"
                      f"web_identity_token_file = {outside}/jwt\nsts_regional_endpoints = regional\n"
                      "region = us-east-2\nendpoint_url = http://127.0.0.1:9\n")
    fs.forget()
    assert fs.read_error(token["id"], "value") != "OK"
    assert "web identity" in fs.log() and "127.0.0.1:9 can't be reached" in fs.log()
    config.write_text(good)
    fs.forget()
    until(lambda: fs.read_error(token["id"], "value") == "OK", "recovery")


def test_unusable_configuration(mount, resolver, directory):
    """SIGHUP with a configuration that can't be used: the log says why, and the same worker goes on as before."""
    token = resolver.add_token()
    fs = mount(start=False)
    config = pathlib.Path(fs.home, ".aws", "config")
    config.parent.mkdir()
    config.write_text("[default]\n")
    fs.start({"ttl": 3600})
    assert fs.text(token["id"], "value") == token["value"]
    worker = fs.worker
    config.write_text("no section\n")
    fs.signal(signal.SIGHUP)
    until(lambda: "the configuration can't be used now" in fs.log(), "the refusal")
    assert "no section" in fs.log() or f"{config}" in fs.log()
    resolver.update_token(token["id"], value="changed")
    assert fs.text(token["id"], "value") == token["value"] and fs.worker == worker
    config.write_text("[default]\n")
    fs.forget()
    assert fs.text(token["id"], "value") == "changed"
    until(lambda: worker not in children_of(fs.pid), "the end of the worker that was replaced")


def test_a_user_that_is_not_there(mount):
    """Refused before the mount, naming it."""
    with pytest.raises(MountFailed) as failed:
        mount(user="no-such-user-at-all")
    assert "no-such-user-at-all" in failed.value.text and failed.value.status != 0


def test_nothing_survives_the_worker(mount, token):
    """Whatever the worker started goes when it is killed."""
    fs = mount()
    assert fs.text(token["id"], "value") == token["value"]
    fs.may_restart = True
    for _ in range(3):
        old = family(fs.worker)
        kill(old[0])
        until(lambda old=old: not any(map(is_alive, old)), "their end")
        until(lambda: len(children_of(fs.pid)) == 1 and fs.read_error(".service_status") == "OK", "the next worker")
    last = family(fs.pid)
    fs.stop()
    until(lambda: not any(map(is_alive, last)), "their end")


@pytest.mark.skipif(SANITIZED, reason="the sanitizers' build is run without the sandbox")
def test_an_ordinary_user_mounts(usual_machine, resolver, mount, token):
    """By fusermount3, without any right: it works as for root, sandbox included."""
    assert os.stat("/usr/bin/fusermount3").st_mode & 0o4000
    fs = mount(start=False)
    fs.may_restart = True
    os.chown(fs.path, 65534, 65534)
    os.chmod(mounting.BINARY, 0o755)
    reader = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    fs.launch({}, through=[*usual_machine, *reader])
    until(lambda: fs.process.poll() is not None or fs.is_mounted(), "the mount")
    assert fs.process.poll() is None, fs.log()
    until(lambda: children_of(fs.pid), "the worker")
    assert fs.run(*reader, "cat", fs.at(token["id"], "value")).stdout.decode() == token["value"]
    worker = children_of(fs.pid)[0]
    check_locked_in(worker, 65534, by_root=False)
    kill(worker)
    assert fs.run(*reader, "cat", fs.at(token["id"], "arn")).stdout.decode() == token["arn"]
