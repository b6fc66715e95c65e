"""Networks that fail in part: dead addresses among good ones, addresses that moved, connections that died silently."""
# pylint: disable=redefined-outer-name

import os
import time

import pytest
from mounting import background, bounded, read_file

import far

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing was tested of networks that fail")


@pytest.fixture
def host(directory):
    """See FarHost."""
    with far.FarHost(directory) as there:
        yield there


@pytest.mark.parametrize("how", ["swallow", "refuse"])
@pytest.mark.parametrize("addresses", [
    (far.DEAD, far.GOOD), (far.GOOD, far.DEAD), (far.DEAD_V6, far.GOOD_V6), (far.GOOD_V6, far.DEAD_V6),
    (far.DEAD_V6, far.GOOD), (far.GOOD, far.DEAD_V6), (far.GOOD_V6, far.DEAD), (far.DEAD, "10.9.8.5", far.GOOD)], ids="-".join)
def test_dead_address_among_good_ones(host, how, addresses):
    """A lone reader gets its value, whichever address is dead and however it is."""
    host.also_at(far.GOOD_V6)
    for address in set(addresses) - {far.GOOD, far.GOOD_V6}:
        getattr(host, how)(address)
    host.name(*addresses)
    # glibc puts IPv6 first; within a family the order is ours.
    assert host.order() == sorted(addresses, key=lambda address: ":" not in address)
    token = host.service.add_token()
    fs = host.mount(timeout=10)
    assert fs.text(token["id"], "value") == token["value"]


@pytest.mark.parametrize("how", ["swallow", "refuse"])
def test_address_that_moved(host, how):
    """A name that has another address is looked up again, though a connection to the old one had just been tried."""
    getattr(host, how)(far.DEAD)
    host.name(far.DEAD)
    tokens = [host.service.add_token() for _ in range(2)]
    fs = host.mount(timeout=8)
    waiting = background(read_file, fs.at(tokens[0]["id"], "value"))
    time.sleep(1)
    host.name(far.GOOD)
    # The one that waits gets its value, as does one that comes.
    assert bounded(waiting.result).decode() == tokens[0]["value"]
    assert fs.text(tokens[1]["id"], "value") == tokens[1]["value"]


@pytest.mark.parametrize("tls", [None, "good"], ids=["plain", "TLS"])
def test_connections_that_died_silently(directory, tls):
    """Idle connections whose packets vanish (a firewall that lost its state) cost a reader a quarter of its time-out, not
    its value; and so, however many there are."""
    with far.FarHost(directory, tls) as host:
        read_over_dead_connections(host)


def read_over_dead_connections(host):
    """See above."""
    host.name(far.GOOD)
    tokens = [host.service.add_token() for _ in range(12)]
    late = host.service.add_token()
    host.service.latency = 0.3
    fs = host.mount(timeout=8, ttl=300, token=[token["id"] for token in [*tokens, late]])
    reads = [background(read_file, fs.at(token["id"], "value")) for token in tokens]
    assert [bounded(read.result).decode() for read in reads] == [token["value"] for token in tokens]
    assert host.service.counters()["accepted"] >= 8
    # The old address swallows; the name leads to the new one.
    host.swallow(far.GOOD)
    host.also_at(far.GOOD_V6)
    host.name(far.GOOD_V6)
    assert fs.text(late["id"], "value") == late["value"]
    assert host.service.count("GetAccessToken", token=late["id"]) == 1
