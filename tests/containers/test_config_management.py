"""Configuration management with the real tools, and with what src/dist/examples/ shows: a first run writes, a second one
changes nothing, a run after a rotation changes what has the token."""

import os
import pathlib
import re
import subprocess
import time

import pytest
from mounting import TREE, until
from tools import need

EXAMPLES = TREE / "src/dist/examples"
# Both start an interpreter that takes its time on a busy machine.
LIMIT = 120
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def old(resolver):
    """The token named web, an hour old; its value has what a URL must write differently."""
    return resolver.add_token(name="web", value="first value/+", created_at=time.time() - 3600)


@pytest.fixture
def target(directory):
    """Where the configuration goes."""
    path = directory / "target"
    path.mkdir()
    return path


def state(directory):
    """Bytes, mtimes, inodes and modes."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino, path.stat().st_mode & 0o777)
            for path in directory.iterdir()}


def rotate(fs, resolver, old):
    """A new token of that name; comes back when the mount shows it."""
    new = resolver.rotate_token(old["id"], value="second value/+")
    until(lambda: fs.text(".by_name", "web", "value") == new["value"], "the rotation")
    return new


def run(command, directory, **environ):
    """Runs a tool with a home of its own."""
    home = directory / "tool"
    home.mkdir(exist_ok=True)
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False, cwd=directory,
                          stdin=subprocess.DEVNULL,
                          env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "HOME": str(home), "LC_ALL": "C.UTF-8",
                               "TMPDIR": str(directory), **environ})


def test_ansible(mount, resolver, old, directory, target):
    """lookup('file'), copy, slurp, template: ok and changed as they should be; the value isn't shown."""
    need("ansible-playbook")
    fs = mount(ttl=1)

    def play():
        done = run(["ansible-playbook", "-i", "localhost,", "-e", f"tokens={fs.path}", "-e", f"target={target}",
                    str(EXAMPLES / "ansible.yml")], directory, ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="False",
                   ANSIBLE_PYTHON_INTERPRETER="/usr/bin/python3", ANSIBLE_LOCAL_TEMP=str(directory / "tool/tmp"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "value/+" not in done.stdout + done.stderr
        found = re.search(r"ok=(\d+)\s+changed=(\d+)\s+unreachable=0\s+failed=0", done.stdout)
        assert found and found[1] == "4", done.stdout
        return int(found[2])

    assert play() == 3
    first = state(target)
    assert first["resolver.conf"][0] == b"url = https://resolver.example/dns-query?token=first%20value/%2B\n"
    assert first["token"][0] == old["value"].encode()
    assert first["expiry"][0] == f"web expires at {old['expiresAt']}\n".encode()
    assert [first[name][3] for name in ("resolver.conf", "token", "expiry")] == [0o600, 0o600, 0o644]
    assert play() == 0
    fs.forget()
    assert play() == 0
    assert state(target) == first
    new = rotate(fs, resolver, old)
    assert play() == 3
    assert (target / "token").read_text() == new["value"]
    assert (target / "expiry").read_text() == f"web expires at {new['expiresAt']}\n"
    assert play() == 0


def test_puppet(mount, resolver, old, directory, target):
    """file() and source: --detailed-exitcodes says 2 (changes) and 0 (none); the value isn't shown."""
    puppet = need("puppet")
    fs = mount(ttl=1)

    def apply():
        done = run([puppet, "apply", "--detailed-exitcodes", f"--confdir={directory}/tool/conf",
                    f"--vardir={directory}/tool/var", str(EXAMPLES / "resolver.pp")], directory,
                   FACTER_tokens=fs.path, FACTER_target=str(target))
        assert done.returncode in (0, 2), done.stdout + done.stderr
        assert "value/+" not in done.stdout + done.stderr
        return done.returncode

    assert apply() == 2
    first = state(target)
    assert first["token"][0] == old["value"].encode() and first["token"][3] == 0o600
    assert first["resolver.conf"][0] == f"url = https://resolver.example/dns-query?token={old['value']}\n".encode()
    fs.forget()
    assert apply() == 0
    assert state(target) == first
    new = rotate(fs, resolver, old)
    assert apply() == 2
    assert (target / "token").read_text() == new["value"]
    assert new["value"] in (target / "resolver.conf").read_text()
    assert apply() == 0


def test_the_same_by_shell(mount, resolver, old, target):
    """What both do, for those who have neither: compare, write beside it, rename."""
    fs = mount(ttl=1)
    script = 'cmp -s "$1" "$2" || { install -m 0600 "$1" "$2.new" && mv "$2.new" "$2" && echo changed; }'
    once = lambda: fs.run("sh", "-c", script, "sh", fs.at(".by_name", "web", "value"), str(target / "token")).stdout  # noqa: E731
    assert [once(), once()] == [b"changed\n", b""]
    new = rotate(fs, resolver, old)
    assert [once(), once()] == [b"changed\n", b""]
    assert pathlib.Path(target / "token").read_text() == new["value"]
