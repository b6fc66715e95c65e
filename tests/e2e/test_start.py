"""The start, whatever the process that starts it is like: its streams, signals, descriptors; and what ends a start."""

import os
import signal
import subprocess

import mounting
import pytest
from mounting import HANG, is_alive, kill, until
from test_options import daemon_of

pytestmark = pytest.mark.core


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


def test_children_that_are_ignored(mount, token):
    """A starter that ignores SIGCHLD, as its children then do: the mount is made, and a worker that dies is replaced."""
    fs = mount(start=False)
    fs.may_restart = True
    fs.start({}, through=["env", "--ignore-signal=CHLD"])
    assert fs.text(token["id"], "value") == token["value"]
    kill(fs.worker)
    until(lambda: "the next one starts in" in fs.log(), "the death to be noticed")
    assert fs.text(token["id"], "id") == token["id"]
