"""audit in the background: whatever a user does to syslog's socket, an open of a secret is in the log or is refused."""
# pylint: disable=redefined-outer-name

import os
import pathlib
import re
import socket

import boxed
import pytest
from mounting import background, until

pytestmark = pytest.mark.skipif(boxed.why_not() is not None, reason=f"THE AUDIT TO syslog WAS NOT TESTED: {boxed.why_not()}")

# A /dev of the box's own, with a socket of syslog that the test makes and reads.
OWN_DEV = """
mkdir "$1"
mount -t tmpfs -o mode=0755 tmpfs "$1"
mknod -m 0666 "$1/fuse" c 10 229; mknod -m 0666 "$1/null" c 1 3; mknod -m 0666 "$1/urandom" c 1 9; ln -s /proc/self/fd "$1/fd"
mount --move "$1" /dev
"""


class Syslog:
    """The daemon of syslog in a box, which takes lines when it is asked to."""

    def __init__(self, box, directory):
        self.box = box
        box.run("sh", "-ec", OWN_DEV, "sh", str(directory / "dev"))
        self.path = f"/proc/{box.process.pid}/root/dev/log"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)
        self.socket.setblocking(False)
        self.lines = []

    def take(self):
        """Takes all lines that wait; gives those of all times that are the audit's."""
        try:
            while True:
                self.lines.append(self.socket.recv(65536).decode())
        except BlockingIOError:
            return [line for line in self.lines if "audit: open of" in line]

    def flood(self):
        """Fills the queue, as any user can: a sender may have so much in it, so there are several."""
        sent = True
        while sent:
            sent = False
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.connect(self.path)
                try:
                    while True:
                        sender.send(b"<14>noise")
                        sent = True
                except BlockingIOError:
                    pass


@pytest.fixture
def box(directory, resolver):
    """A box."""
    with boxed.Box(directory, resolver.environ()) as made:
        yield made


@pytest.fixture
def syslog(box, directory):
    """Its daemon of syslog."""
    made = Syslog(box, directory)
    yield made
    made.socket.close()


def start(box, directory, options):
    """A mount in the background; its path."""
    path = directory / "mnt"
    path.mkdir()
    box.run("tokenfs", "-o", options, str(path))
    return path


def cat(box, path, token):
    """Reads the value by a program in the box: the finished process."""
    return box.run("cat", str(path / token["id"] / "value"), check=False)


def metric(box, path, name):
    """The value of a metric."""
    text = box.run("cat", str(path / ".service_metrics")).stdout
    return int(re.search(rf"^{name}{{[^}}]*}} (\d+)$", text, re.MULTILINE)[1])


def test_flooded_socket(box, syslog, token, directory):
    """An open waits while nobody takes its line, and succeeds when the line is taken: each line once, none is lost; also at
    a log_level that leaves such lines out."""
    path = start(box, directory, "audit,timeout=60,log_level=error")
    for number in range(1, 4):
        syslog.flood()
        reads = [background(cat, box, path, token) for _ in range(5)]
        until(lambda: metric(box, path, "tokenfs_requests_waiting") == 5, "five opens that wait")
        assert not any(read.done() for read in reads)
        # The daemon takes what there is, again and again, as it does.
        until(lambda n=number: len(syslog.take()) == 5 * n, "the lines")
        assert [read.result().stdout for read in reads] == [token["value"]] * 5
    assert len(syslog.take()) == 15
    assert all(f"{token['id']}/value" in line and "(cat)" in line for line in syslog.take())


def test_nobody_takes_lines(box, syslog, token, directory):
    """An open whose line nobody takes until its deadline is refused and counted; nothing of it is in the log; later ones are."""
    path = start(box, directory, "audit,timeout=1")
    assert cat(box, path, token).stdout == token["value"]
    assert len(syslog.take()) == 1
    syslog.flood()
    done = cat(box, path, token)
    assert done.returncode != 0 and done.stdout == "" and "Device or resource busy" in done.stderr
    assert len(syslog.take()) == 1
    assert metric(box, path, "tokenfs_audit_refused_total") == 1
    assert cat(box, path, token).stdout == token["value"]
    assert len(syslog.take()) == 2


def test_no_syslog_at_all(box, syslog, token, directory):
    """Where the socket is gone the same holds."""
    path = start(box, directory, "audit,timeout=1")
    syslog.socket.close()
    pathlib.Path(syslog.path).unlink()
    assert "Device or resource busy" in cat(box, path, token).stderr
    assert box.run("cat", str(path / token["id"] / "status")).stdout == "OPERATIONAL"
