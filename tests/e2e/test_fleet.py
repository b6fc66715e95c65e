"""The simulation of fleets (tests/bench/fleet) against real mounts, on a stand-in that throttles."""
# pylint: disable=redefined-outer-name

import json
import os
import pathlib
import subprocess
import threading
import time

import pytest
from mounting import BINARY, read_file

FLEET = pathlib.Path(BINARY).resolve().parent.parent / "tests/bench/fleet"
HOSTS, TOKENS, READ = 4, 20, 0.25
RUNS = 200
pytestmark = pytest.mark.skipif(not os.access(FLEET, os.X_OK), reason=f"NO {FLEET}: nothing was tested of fleets")


def simulate(**settings):
    """What the simulation says of such a fleet, in the second half of its time."""
    words = [f"{name}={value}" for name, value in settings.items()]
    done = subprocess.run([FLEET, *words], check=True, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


class Readers:
    """For each mount a thread that reads each token every READ seconds. In `with`."""

    def __init__(self, mounts, ids):
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(fs, id, n), daemon=True)
                        for fs in mounts for n, id in enumerate(ids)]

    def _run(self, fs, id, number):
        path = fs.at(id, "status")
        self.ended.wait(READ * number / TOKENS)
        while not self.ended.wait(READ):
            try:
                read_file(path)
            except OSError:
                pass

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(60)


def measure(mount, resolver, seconds, limit, **options):
    """Calls a second and the throttled share, of real mounts, in the second half of that time; and the mounts."""
    ids = [token["id"] for token in resolver.add_tokens(TOKENS)]
    resolver.latency = 0.02
    mounts = [mount(token=ids, timeout=10, **options) for _ in range(HOSTS)]
    resolver.rate_limit = limit
    with Readers(mounts, ids):
        time.sleep(seconds / 2)
        before = resolver.count("GetAccessToken"), resolver.count("GetAccessToken", result="ThrottlingException")
        time.sleep(seconds / 2)
        after = resolver.count("GetAccessToken"), resolver.count("GetAccessToken", result="ThrottlingException")
        status = [fs.status()["endpoint"] for fs in mounts]
    calls, throttled = after[0] - before[0], after[1] - before[1]
    return calls / (seconds / 2), throttled / calls, status


@pytest.mark.parametrize("limit, ttl, stale", [
    (8, 2, 120),        # asks for 40 calls/s: settles at the limit
    (5, 1, 7),          # asks for more than the limit even when stretched as far as stale= allows
    (100, 2, 120)])     # is not throttled
def test_the_simulation_is_true(mount, resolver, limit, ttl, stale):
    """Calls a second and the throttled share lie where simulated fleets have theirs: backoffs are random, and so few calls
    differ much from run to run. And what the daemon says of it."""
    seconds = 40
    rate, share, status = measure(mount, resolver, seconds, limit, ttl=ttl, stale=stale)
    fleets = [simulate(hosts=HOSTS, tokens=TOKENS, burst=1, ttl=ttl, stale=stale, limit=limit, read=READ,
                       minutes=seconds / 60) for _ in range(RUNS)]
    rates = [said["calls_per_s"] for said in fleets]
    shares = [said["throttled"] for said in fleets]
    print(f"mounts: {rate:.1f} calls/s, {share:.1%} throttled; simulation: {min(rates)} to {max(rates)} calls/s, "
          f"{min(shares):.1%} to {max(shares):.1%} throttled")
    assert 0.9 * min(rates) <= rate <= 1.1 * max(rates)
    assert min(shares) - 0.02 <= share <= max(shares) + 0.02
    stretched = [endpoint for endpoint in status if endpoint["effectiveTtlSeconds"] is not None]
    assert bool(stretched) == (limit < 100)
    for endpoint in stretched:
        assert endpoint["effectiveTtlSeconds"] > ttl and endpoint["sufficientTtlSeconds"] > ttl


@pytest.mark.parametrize("limit", [15, 30, 100, 200])
def test_a_fleet_settles(limit):
    """1,000 hosts of 20 tokens ask for 333 calls/s at ttl=60: they settle at the limit, few calls are throttled, and the
    ttl that they name is about the one that they need."""
    said = simulate(hosts=1000, tokens=20, ttl=60, limit=limit, minutes=120)
    assert said["throttled"] <= 0.05
    assert 0.9 * limit <= said["calls_per_s"] <= 1.06 * limit
    assert said["failed"] < 0.001
    assert 0.8 <= 60 * said["would_do"] / (1000 * 20 / (0.8 * limit)) <= 2


def test_no_herd_after_an_outage():
    """10 minutes without the API end a minute before the second half: no rush, and reads are fresh within two ttl."""
    steady = simulate(hosts=1000, tokens=20, ttl=60, limit=1000, minutes=10)["calls_per_s"]
    said = simulate(hosts=1000, tokens=20, ttl=60, limit=1000, minutes=40, outage_at=9, outage=10)
    assert said["peak_per_s"] <= 2 * steady and said["throttled"] == 0
    assert said["fresh"] >= 0.99
