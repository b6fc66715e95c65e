"""A DNS proxy of Debian: its upstream is made of .doh_url, checked by itself, and follows a rotation through on_change."""

import base64
import os
import shutil
import socket
import subprocess

import pytest
from mounting import HANG, TREE, until

pytestmark = pytest.mark.skipif(shutil.which("dnsdist") is None,
                                reason="NO dnsdist HERE (apt-get install dnsdist): no proxy was reloaded")
SCRIPT = TREE / "src/dist/examples/dnsdist-upstream"


def free_port():
    """A port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Dnsdist:
    """A dnsdist, restarted by whoever says so through a file: what systemctl is elsewhere."""

    def __init__(self, directory):
        self.directory = directory
        self.config = directory / "dnsdist.conf"
        (directory / "conf.d").mkdir()
        self.upstream = directory / "conf.d/upstream.conf"
        key = base64.b64encode(os.urandom(32)).decode()
        self.config.write_text(f"""setLocal("127.0.0.1:{free_port()}")
setSecurityPollSuffix("")
controlSocket("127.0.0.1:{free_port()}")
setKey("{key}")
includeDirectory("{directory}/conf.d")
""")
        self.restart = directory / "restart"
        self.restart.write_text(f"#!/bin/sh\necho \"$TOKENFS_NEW_ID\" >>{directory}/restarts\n")
        self.restart.chmod(0o755)
        self.process = None

    def start(self):
        """Starts it, or another in its place."""
        self.stop()
        subprocess.run(["dnsdist", "--check-config", "-C", self.config], check=True, capture_output=True, timeout=HANG)
        self.process = subprocess.Popen(["dnsdist", "--supervised", "--disable-syslog", "-C", self.config],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        """Ends it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(HANG)
        self.process = None

    def servers(self):
        """What it says of its upstreams."""
        done = subprocess.run(["dnsdist", "-C", self.config, "-e", "showServers()"], check=False, capture_output=True,
                              text=True, timeout=HANG)
        return done.stdout

    def restarts(self):
        """The ids that it was restarted for."""
        path = self.directory / "restarts"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def dnsdist(directory):
    """One, ended after the test."""
    one = Dnsdist(directory)
    yield one
    one.stop()


def test_upstream_follows(mount, resolver, token, dnsdist):
    """The proxy uses the token of the name; after a rotation, without anybody's doing, the new one."""
    command = f"{SCRIPT} 127.0.0.1:443 {dnsdist.upstream} {dnsdist.restart}"
    fs = mount(ttl=1, watch="web", on_change=command)
    subprocess.run(command.split(), check=True, capture_output=True, timeout=HANG,
                   env={"PATH": os.environ["PATH"], "TOKENFS_MOUNTPOINT": fs.path, "TOKENFS_NAME": "web"})
    dnsdist.start()
    until(lambda: token["id"] in dnsdist.servers(), "the first upstream")
    dns_name = next(iter(resolver.model.resolvers.values()))["dnsName"]
    text = dnsdist.upstream.read_text()
    assert f'subjectName="{dns_name}"' in text and f'dohPath="/dns-query?token={token["value"]}"' in text
    assert dnsdist.upstream.stat().st_mode & 0o777 == 0o600

    second = resolver.rotate_token(token["id"])
    until(lambda: dnsdist.restarts() == [second["id"]], "the command")
    assert f'dohPath="/dns-query?token={second["value"]}"' in dnsdist.upstream.read_text()
    dnsdist.start()
    until(lambda: second["id"] in dnsdist.servers(), "the new upstream")
    assert token["id"] not in dnsdist.servers()


@pytest.mark.parametrize("address", ["nonsense", "'x\"y'"])
def test_refused_upstream_changes_nothing(mount, resolver, token, dnsdist, address):
    """What the proxy's own check refuses isn't put in place, and restarts nothing."""
    dnsdist.upstream.write_text("-- as it was\n")
    fs = mount(ttl=1, watch="web", on_change=f"{SCRIPT} {address} {dnsdist.upstream} {dnsdist.restart}")
    until(lambda: resolver.count("GetAccessToken") >= 2, "the name to be watched")
    resolver.rotate_token(token["id"])
    until(lambda: "on_change: the command ended by" in fs.log(), "the refusal")
    assert "dnsdist refuses" in fs.log()
    assert dnsdist.upstream.read_text() == "-- as it was\n"
    assert dnsdist.restarts() == []
