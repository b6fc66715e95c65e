"""While the API is slow, throttled or down: stale copies within their bounds, ends at once, no storm, quick recovery."""

import threading
import time

import pytest
from mounting import HANG, background, read_file, until

pytestmark = pytest.mark.core


def stale_answers(fs):
    """How many answers were stale copies so far."""
    return fs.metric("tokenfs_cache_answers_total", kind="stale", default=0)


OUTAGES = {
    "500": ("status", {"status": 500}), "503": ("status", {"status": 503}), "throttled": ("throttle", {}),
    "reset": ("reset", {}), "closed": ("close", {}), "malformed": ("malformed", {}), "hang": ("hang", {}),
    "half": ("hang", {"when": "middle"}), "cut": ("cut", {}), "no HTTP": ("not_http", {}),
}


@pytest.mark.parametrize("what", OUTAGES)
def test_stale_if_error(mount, resolver, token, what):
    """Each kind of transient failure: the last good copy, no error; after it the new value."""
    effect, parameters = OUTAGES[what]
    fs = mount(ttl=0.2, timeout=1)
    assert fs.text(token["id"], "value") == token["value"]
    fault = resolver.add_fault(effect, **parameters)
    until(lambda: fs.text(token["id"], "value") == token["value"] and stale_answers(fs) > 3, "stale answers")
    assert fs.text(token["id"], "arn") == token["arn"]
    assert fs.json(token["id"], ".json") == token
    resolver.update_token(token["id"], value="after the outage")
    resolver.remove_fault(fault)
    until(lambda: fs.text(token["id"], "value") == "after the outage", "recovery")


def test_refused_connections(mount, resolver, token):
    """The service is not there at all, and comes back."""
    fs = mount(ttl=0.2, timeout=1)
    assert fs.text(token["id"], "value") == token["value"]
    resolver.stop()
    until(lambda: fs.text(token["id"], "value") == token["value"] and stale_answers(fs) > 3, "stale answers")
    resolver.start()
    resolver.update_token(token["id"], value="after the outage")
    until(lambda: fs.text(token["id"], "value") == "after the outage", "recovery")


def test_stale_zero(mount, resolver, token):
    """stale=0: past ttl the error is told."""
    fs = mount(ttl=0.2, stale=0, timeout=1)
    assert fs.text(token["id"], "value") == token["value"]
    resolver.add_fault("status", status=500)
    until(lambda: fs.read_error(token["id"], "value") == "EREMOTEIO", "the error")
    for _ in range(20):
        assert fs.read_error(token["id"], "value") == "EREMOTEIO"


def test_stale_is_bounded(mount, resolver, token):
    """Served until ttl + stale, not longer."""
    fs = mount(ttl=0.5, stale=2, timeout=1)
    start = time.monotonic()
    assert fs.text(token["id"], "value") == token["value"]
    resolver.add_fault("status", status=500)
    until(lambda: fs.read_error(token["id"], "value") == "EREMOTEIO", "the error")
    assert time.monotonic() - start >= 2.5
    assert stale_answers(fs) > 0
    for _ in range(20):
        assert fs.read_error(token["id"], "value") == "EREMOTEIO"
        assert fs.read_error(token["id"], "status") == "EREMOTEIO"


def test_stale_never_past_expiry(mount, resolver):
    """A token that expires during the outage ends then, whatever stale says."""
    token = resolver.add_token(expires_in=4)
    expires = time.time() + 4
    fs = mount(ttl=0.5, stale=3600, timeout=1)
    assert fs.text(token["id"], "value") == token["value"]
    resolver.add_fault("status", status=500)
    until(lambda: fs.read_error(token["id"], "value") == "EREMOTEIO", "the end")
    assert time.time() >= expires - 0.1
    for _ in range(20):
        assert fs.read_error(token["id"], "value") == "EREMOTEIO"


@pytest.mark.parametrize("end", ["deleted", "denied", "key gone"])
def test_ends_at_once(mount, resolver, token, end):
    """404, AccessDenied and refused credentials end a copy; no read gives it after the first refusal."""
    fs = mount(ttl=0.2, timeout=2)
    assert fs.text(token["id"], "value") == token["value"]
    if end == "deleted":
        resolver.delete_token(token["id"])
    elif end == "denied":
        resolver.deny(token=token["id"])
    else:
        key = next(iter(resolver.verifier.keys))
        kept = resolver.verifier.keys[key]
        resolver.remove_key(key)
    expected = {"deleted": "ENOENT", "denied": "EACCES", "key gone": "EKEYREJECTED"}[end]
    until(lambda: fs.read_error(token["id"], "value") == expected, "the end")
    for _ in range(30):
        assert fs.read_error(token["id"], "value") == expected
        assert fs.read_error(token["id"], ".json") == expected
    if end == "key gone":
        resolver.verifier.keys[key] = kept


def test_denial_ends_a_stale_copy(mount, resolver, token):
    """First the API fails (stale), then it answers with a denial: the copy ends, and stays ended when it fails again."""
    fs = mount(ttl=0.2, timeout=1, negative_ttl=0)
    assert fs.text(token["id"], "value") == token["value"]
    fault = resolver.add_fault("status", status=503)
    until(lambda: fs.text(token["id"], "value") == token["value"] and stale_answers(fs) > 3, "stale answers")
    resolver.deny(token=token["id"])
    resolver.remove_fault(fault)
    until(lambda: fs.read_error(token["id"], "value") == "EACCES", "the denial")
    resolver.add_fault("status", status=503)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert fs.read_error(token["id"], "value") in ("EACCES", "EREMOTEIO")


def test_readers_of_stale_copies_do_not_wait(mount, resolver):
    """The endpoint hangs: once that is known, stale tokens are answered at once, all of them, not each after the
    time-out; and one probe after the other goes on."""
    ids = [t["id"] for t in resolver.add_tokens(20)]
    values = {id: resolver.model.tokens[id]["value"] for id in ids}
    timeout = 10
    fs = mount(ttl=0.5, timeout=timeout)
    for id in ids:
        fs.read(id, "value")
    time.sleep(0.6)
    fault = resolver.add_fault("hang")
    assert fs.text(ids[0], "value") == values[ids[0]]
    # The endpoint is known to hang from here on. Were each of these to wait, it would take 20 times 20 time-outs.
    start = time.monotonic()
    for _ in range(20):
        for id in ids:
            assert fs.text(id, "value") == values[id]
    assert time.monotonic() - start < 6 * timeout
    assert resolver.counters()["concurrent"] <= 16
    resolver.remove_fault(fault)
    resolver.update_token(ids[3], value="after the outage")
    until(lambda: fs.text(ids[3], "value") == "after the outage", "recovery")


def test_stale_reads_make_few_calls(mount, resolver, token):
    """Thousands of reads during an outage: the number of calls is bounded by time, not by reads."""
    fs = mount(ttl=0.1, timeout=1)
    assert fs.text(token["id"], "value") == token["value"]
    resolver.add_fault("status", status=500)
    time.sleep(0.2)
    resolver.reset_counters()
    start, reads = time.monotonic(), 0
    while time.monotonic() < start + 4:
        assert fs.text(token["id"], "value") == token["value"]
        reads += 1
    calls, seconds = resolver.count("GetAccessToken"), time.monotonic() - start
    print(f"{reads} reads, {calls} calls in {seconds:.1f} s of outage")
    assert calls <= 25 + seconds


def test_throttling_makes_no_storm(mount, resolver):
    """429 for every call, 100 readers in a loop: the calls are bounded by the retry budget (20 saved, one a second)
    and what was in flight; after it everything is served."""
    ids = [t["id"] for t in resolver.add_tokens(100)]
    fs = mount(timeout=1, negative_ttl=0)
    fault = resolver.add_fault("throttle")
    stop = threading.Event()

    def read_on(id):
        errors = set()
        while not stop.is_set():
            try:
                read_file(fs.at(id, "value"))
            except OSError as error:
                errors.add(error.errno)
        return errors

    start = time.monotonic()
    readers = [background(read_on, id) for id in ids]
    time.sleep(8)
    calls, seconds = resolver.count(), time.monotonic() - start
    resolver.remove_fault(fault)
    stop.set()
    errors = set().union(*(reader.result(HANG) for reader in readers))
    print(f"100 readers, {seconds:.1f} s of 429: {calls} calls; errnos {errors}")
    assert calls <= 16 + 20 + seconds + 4
    assert errors == {16}, "EBUSY and nothing else"
    for id in ids:
        until(lambda id=id: fs.read_error(id, "value") == "OK", "recovery")


@pytest.mark.parametrize("form", ["retry_after", "retry_after_date"])
@pytest.mark.parametrize("effect", ["throttle", "status"])
def test_retry_after(mount, resolver, token, form, effect):
    """Retry-After in both forms: the next call comes no earlier, and the read succeeds."""
    resolver.add_fault(effect, count=1, status={"throttle": 429, "status": 503}[effect], **{form: 3})
    fs = mount(timeout=30)
    assert fs.text(token["id"], "value") == token["value"]
    first, second = resolver.calls("GetAccessToken")
    # An HTTP date has whole seconds.
    assert second.start - first.end >= (2.95 if form == "retry_after" else 1.9)


def test_a_blip_is_retried_within_the_read(mount, resolver, token):
    """A failure or two, then success: the reader sees nothing of it."""
    for effect, more in (("status", {"status": 500}), ("reset", {}), ("close", {}), ("cut", {}), ("throttle", {})):
        resolver.add_fault(effect, count=1, **more)
        fs = mount(timeout=30)
        assert fs.text(token["id"], "value") == token["value"], effect


def test_connections_closed_by_the_server(mount, resolver, token):
    """Idle connections that the server closes (a load balancer does): no error reaches a reader."""
    fs = mount(ttl=0)
    for _ in range(20):
        assert fs.text(token["id"], "value") == token["value"]
        resolver.close_connections()
    for _ in range(20):
        resolver.close_connections()
        assert fs.text(token["id"], "value") == token["value"]


def test_one_failing_token_does_not_stop_others(mount, resolver):
    """One token whose calls fail (500, malformed, hang) leaves the others as they are."""
    bad, good = resolver.add_token()["id"], resolver.add_token()["id"]
    fs = mount(ttl=0.1, timeout=2)
    for effect, more in (("malformed", {}), ("wrong_id", {}), ("status", {"status": 500}), ("hang", {})):
        fault = resolver.add_fault(effect, token=bad, **more)
        reader = background(read_file, fs.at(bad, "value"))
        for _ in range(5):
            assert fs.text(good, "id") == good, effect
            time.sleep(0.05)
        assert isinstance(reader.exception(HANG), OSError)
        resolver.remove_fault(fault)


def test_failures_are_logged_by_state_not_by_read(mount, resolver, token):
    """Hundreds of reads of an API that fails: a few lines in the log, with the reason; and one when it is back."""
    fs = mount(ttl=0.1, timeout=1)
    assert fs.text(token["id"], "value") == token["value"]
    fault = resolver.add_fault("status", status=500)
    start = len(fs.log().splitlines())
    end = time.monotonic() + 3
    reads = 0
    while time.monotonic() < end:
        fs.read(token["id"], "value")
        reads += 1
    lines = fs.log().splitlines()[start:]
    assert 1 <= len(lines) <= 6 < reads, lines
    resolver.remove_fault(fault)
    resolver.update_token(token["id"], value="after the outage")
    until(lambda: fs.text(token["id"], "value") == "after the outage", "recovery")
    assert len(fs.log().splitlines()) - start <= 10


def test_status_tells_of_the_outage(mount, resolver, token):
    """.service_status and .service_metrics answer during it, without calls, and say what is wrong."""
    fs = mount(ttl=0.1, timeout=1)
    assert fs.text(token["id"], "value") == token["value"]
    resolver.add_fault("status", status=500)
    until(lambda: fs.text(token["id"], "value") == token["value"] and stale_answers(fs) > 3, "stale answers")
    text = fs.text(".service_status")
    assert "stale" in text and "server" in text and token["id"] in text
    assert token["value"] not in text


@pytest.mark.parametrize("known", ["a token that was read", "none"])
def test_one_open_waits_for_one_deadline(mount, resolver, token, known):
    """The kernel repeats a look-up that failed for a name that it knows; the reader waits once all the same."""
    fs = mount(ttl=0.2, stale=0, timeout=1, negative_ttl=0)
    if known != "none":
        assert fs.text(token["id"], "value") == token["value"]
    fault = resolver.add_fault("hang")
    time.sleep(0.5)
    assert fs.read_error(token["id"], "value") == "ETIMEDOUT"
    assert fs.metric("tokenfs_requests_timed_out_total") == 1
    resolver.remove_fault(fault)
    until(lambda: fs.read_error(token["id"], "value") == "OK", "the value")
