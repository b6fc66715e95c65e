"""Neighbours on a shared mount: one user's floods cost the others nothing."""
# pylint: disable=redefined-outer-name

import os
import subprocess
import sys
import threading
import time

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing was tested of other users")

LATENCY = 0.1
STRANGER = 65534
FLOOD = """
import os, sys, threading
os.setgid({uid}); os.setuid({uid})
def run(n):
    for i in range(10 ** 6):
        try:
            os.stat("{path}/at-made-up-%d-%d" % (n, i))
        except OSError:
            pass
for n in range({threads}):
    threading.Thread(target=run, args=(n,), daemon=True).start()
sys.stdin.read()
"""


class Flood:
    """Threads of an unprivileged user that look up ids that don't exist. In `with`."""

    def __init__(self, fs, threads=200):
        text = FLOOD.format(uid=STRANGER, path=fs.path, threads=threads)
        self.process = subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(60)
        self.process.stdin.close()


def test_made_up_ids_have_a_small_share(mount, resolver):
    """200 threads ask for ids that don't exist; each read of a listed token waits for one call's latency, and one more at
    most: of the calls in flight when its own arrives, twelve of sixteen are free of made-up ids."""
    tokens = resolver.add_tokens(40)
    fs = mount(allow_other=True, ttl=600, negative_ttl=0)
    assert len(fs.tokens()) == 40
    resolver.latency = LATENCY
    with Flood(fs):
        wait_for_calls(resolver, 20)
        counts = []
        for token in tokens:
            before = resolver.count("GetAccessToken")
            assert fs.text(token["id"], "value") == token["value"]
            counts.append(resolver.count("GetAccessToken") - before)
    # What was answered while a read waited: its own call and four made-up ones for each latency that passed.
    counts.sort()
    assert counts[len(counts) // 2] <= 1 + 2 * 4, counts
    assert resolver.counters()["max_concurrent"] <= 8     # of 16


def test_users_take_turns(mount, resolver):
    """Made-up ids of another user don't wait behind those of the first."""
    fs = mount(allow_other=True, negative_ttl=0)
    resolver.latency = LATENCY
    with Flood(fs):
        wait_for_calls(resolver, 20)
        before = resolver.count("GetAccessToken")
        for i in range(5):
            assert fs.read_error(f"at-of-root-{i}", "value") == "ENOENT"
        # Each waits for its turn (one answer of the four in flight), and for its own answer, not for 200 others.
        assert resolver.count("GetAccessToken") - before <= 5 * 3 * 4


def test_made_up_ids_leave_the_limit_to_others(mount, resolver):
    """An API that throttles: made-up ids adapt to what it leaves, so that known tokens are refreshed as ttl= says."""
    tokens = resolver.add_tokens(5)
    fs = mount(allow_other=True, ttl=1)
    assert len(fs.tokens()) == 5
    resolver.rate_limit = 50
    with Flood(fs, threads=50):
        while resolver.count("GetAccessToken") < 300:
            for token in tokens:
                assert fs.text(token["id"], "value") == token["value"]
            time.sleep(0.1)
        assert fs.metric("tokenfs_effective_ttl_seconds") <= 2
    assert resolver.count(result="ThrottlingException") < 30


def wait_for_calls(resolver, count):
    """The flood is under way."""
    end = time.monotonic() + 60
    while resolver.count("GetAccessToken") < count:
        assert time.monotonic() < end and threading.main_thread().is_alive()
        time.sleep(0.02)
