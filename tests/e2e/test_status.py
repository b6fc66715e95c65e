""".service_status, .service_metrics, audit: what the daemon says of itself, without secrets and without calls."""

import os
import time

import pytest
from mounting import bounded, error_of, read_file, until
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.core


def test_status(mount, resolver, token):
    """JSON that says what is known, whole at each read, without a call."""
    fs = mount(ttl=60)
    fresh = fs.status()
    assert resolver.counters()["calls"] == 0
    assert (fresh["supervisor"]["pid"], fresh["worker"]["pid"]) == (fs.pid, fs.worker)
    assert fresh["version"] and fresh["uptimeSeconds"] >= 0 and fresh["tokens"] == []
    fs.read(token["id"], "value")
    fs.read_error("at-none", "value")
    status = fs.status()
    by_id = {entry["id"]: entry for entry in status["tokens"]}
    assert by_id[token["id"]]["state"] == "fresh" and by_id[token["id"]]["name"] == "web"
    assert by_id[token["id"]]["expiresAt"][:19] == token["expiresAt"][:19]
    assert by_id[token["id"]]["lastSuccessAt"] and by_id[token["id"]]["error"] is None
    assert by_id["at-none"]["state"] == "not_found" and by_id["at-none"]["error"] == "not_found"
    assert status["endpoint"]["url"].rstrip("/") == resolver.url and status["endpoint"]["state"] == "ok"
    assert status["credentials"]["provider"] and status["credentials"]["error"] is None
    assert status["worker"]["restarts"] == 0 and status["worker"]["pid"] == fs.worker
    assert status["cache"]["tokens"] == 1
    assert resolver.counters()["calls"] == 2


def test_no_secrets_in_them(mount, resolver, token):
    """Neither has a value, a key, or a session token in it."""
    fs = mount()
    fs.read(token["id"], "value")
    fs.ls(".by_name")
    for name in (".service_status", ".service_metrics"):
        text = fs.text(name)
        assert all(secret not in text for secret in fs.resolver_secrets())
        key = next(iter(resolver.verifier.keys))
        assert key not in text


def test_they_are_live(mount, resolver, token):
    """Each opening gets what was there a second ago at most, whatever the kernel caches; stat's size doesn't cut it."""
    fs = mount()
    before = len(fs.status()["tokens"])
    for one in resolver.add_tokens(200):
        fs.read(one["id"], "status")
    after = fs.status()
    assert before == 0 and len(after["tokens"]) == 200
    first = fs.metric("tokenfs_api_calls_total", operation="GetAccessToken", result="ok")
    fs.read(token["id"], "status")
    assert fs.metric("tokenfs_api_calls_total", operation="GetAccessToken", result="ok") == first + 1
    size = fs.stat(".service_status").st_size
    assert size > 0 and fs.run("cat", fs.at(".service_status")).stdout.endswith(b"\n")


def test_they_are_whole_while_they_change(mount, resolver):
    """Read over and over while tokens come and go: always one whole document."""
    ids = [t["id"] for t in resolver.add_tokens(50)]
    fs = mount(ttl=0.01, max_tokens=20)
    for number in range(150):
        bounded(read_file, fs.at(ids[number * 7 % 50], "status"))
        assert fs.json(".service_status")["version"]
        assert list(text_string_to_metric_families(fs.text(".service_metrics")))


def test_metrics_are_for_prometheus(mount, resolver, token):
    """Parsed by Prometheus' own parser: types, help, units, a histogram that adds up, bounded labels."""
    fs = mount()
    fs.read(token["id"], "value")
    fs.read_error("at-none", "value")
    text = fs.text(".service_metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, family in families.items():
        assert name.startswith("tokenfs_") and family.documentation, name
        assert family.type in ("counter", "gauge", "histogram"), name
    histogram = families["tokenfs_api_call_duration_seconds"]
    buckets = [(float(s.labels["le"]), s.value) for s in histogram.samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets) and buckets[-1][0] == float("inf")
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    count = next(s.value for s in histogram.samples if s.name.endswith("_count"))
    assert buckets[-1][1] == count == 2
    assert fs.metric("tokenfs_api_calls_total", operation="GetAccessToken", result="ok") == 1
    assert fs.metric("tokenfs_api_calls_total", operation="GetAccessToken", result="not_found") == 1


def test_warm_reads_cost_the_daemon_nothing(mount, token):
    """The kernel answers warm reads: the daemon's request counters don't move, for reads, stat, and open."""
    fs = mount(ttl=600)
    paths = [fs.at(token["id"], "value"), fs.at(token["id"], "status"), fs.at(".by_name", "web", "value")]
    for _ in range(2):
        for path in paths:
            bounded(read_file, path)
            bounded(os.stat, path)
    fs.metrics()
    before = fs.metrics()["tokenfs_requests_total"]
    fs.metrics()
    own = fs.metrics()["tokenfs_requests_total"]
    # What reading the metrics costs by itself, once more; then a thousand reads may cost no more than that.
    expected = [(labels, 2 * value - dict_of(before)[labels["operation"]]) for labels, value in own]
    for _ in range(1000):
        for path in paths:
            bounded_read(path)
    after = dict_of(fs.metrics()["tokenfs_requests_total"])
    for labels, value in expected:
        assert after[labels["operation"]] <= value + 3, labels


def bounded_read(path):
    """A read in this thread: warm, so that it can't hang."""
    return read_file(path)


def dict_of(samples):
    """{operation: value}"""
    return {labels["operation"]: value for labels, value in samples}


def test_answers_by_kind(mount, resolver, token):
    """hits and misses are counted as what they are."""
    fs = mount(ttl=60, negative_ttl=60)
    fs.read(token["id"], "value")
    assert fs.metric("tokenfs_cache_answers_total", kind="miss") == 1
    fs.read(token["id"], "arn")
    assert fs.metric("tokenfs_cache_answers_total", kind="miss") == 1
    assert fs.metric("tokenfs_cache_answers_total", kind="fresh") >= 1
    fs.read_error("at-none", "value")
    fs.read_error("at-none", "value")
    assert fs.metric("tokenfs_cache_answers_total", kind="error") >= 1


def audit_lines(fs):
    """The lines of the audit in the log."""
    return [line for line in fs.log().splitlines() if "audit" in line]


def test_audit(mount, resolver, token):
    """Every open of a secret file is logged with who did it; others aren't; every read gives the bytes."""
    fs = mount(audit=True, allow_other=True, secret_mode="0444")
    for number in range(1, 4):
        assert fs.run("cat", fs.at(token["id"], "value")).stdout.decode() == token["value"]
        until(lambda number=number: len(audit_lines(fs)) == number, "the line")
    fs.run("setpriv", "--reuid=1234", "--regid=4321", "--clear-groups", "cat", fs.at(".by_name", "web", ".json"))
    until(lambda: len(audit_lines(fs)) == 4, "the line")
    fs.run("cat", fs.at(token["id"], "status"))
    time.sleep(0.2)
    lines = audit_lines(fs)
    assert len(lines) == 4, lines
    for line in lines[:3]:
        assert f"{token['id']}/value" in line and "cat" in line
    assert "1234" in lines[3] and "4321" in lines[3] and ".by_name/web/.json" in lines[3]
    assert str(os.getuid()) in lines[0]


def test_audit_of_an_open_file(mount, resolver, token):
    """An open file goes on with its version over a change; where that went with the worker, with an error."""
    resolver.update_token(token["id"], value="A" * 20)
    fs = mount(audit=True, ttl=0.2)
    for forget, rest in ((False, b"A" * 10), (True, None)):
        fd = bounded(os.open, fs.at(token["id"], "value"), os.O_RDONLY)
        try:
            before = bounded(os.read, fd, 10)
            resolver.update_token(token["id"], value="B" * 40)
            until(lambda: fs.text(token["id"], "value") == "B" * 40, "the change")
            if forget:
                fs.forget()
            if rest is not None:
                assert before + bounded(os.read, fd, 100) == b"A" * 20
                assert bounded(os.read, fd, 100) == b""
            else:
                assert error_of(os.read, fd, 100) == "ESTALE"
        finally:
            os.close(fd)
        resolver.update_token(token["id"], value="A" * 20)
        until(lambda: fs.text(token["id"], "value") == "A" * 20, "the change back")


@pytest.mark.parametrize("is_bound", [False, True])
def test_audit_sizes(mount, resolver, token, directory, is_bound):
    """An open file's size is that of the bytes it gives. A file that is bound by itself is as one that is overwritten in place:
    it may give a mix at a change, and the next access is right."""
    fs = mount(audit=True, ttl=0.2)
    path = fs.at(token["id"], "value")
    if is_bound:
        (directory / "bound").touch()
        path = fs.bind(f"{token['id']}/value", directory / "bound")

    def read_size():
        fd = os.open(path, os.O_RDONLY)
        try:
            return os.read(fd, os.fstat(fd).st_size).decode()
        finally:
            os.close(fd)

    values = [token["value"]]
    for number in range(5):
        values.append(f"value {number} " + "x" * 20 * (number % 3))
        resolver.update_token(token["id"], value=values[-1])
        mixes = []

        def has_changed():
            found = bounded(read_size)
            if found not in values:
                mixes.append(found)
            return found == values[-1]

        until(has_changed, "the change")
        assert len(mixes) <= is_bound, mixes


def test_audit_names_are_printable(mount, resolver, token, directory):
    """A program with a hostile name can't forge lines."""
    fs = mount(audit=True)
    odd = directory / "a\nERR b"
    odd.symlink_to("/usr/bin/cat")
    fs.run(str(odd), fs.at(token["id"], "value"))
    until(lambda: audit_lines(fs), "the line")
    assert len(audit_lines(fs)) == 1
    assert not any(line.startswith("ERR b") for line in fs.log().splitlines())


def test_audit_follows_changes(mount, resolver, token):
    """Without the kernel's cache, too, changes are seen and sizes are right."""
    fs = mount(audit=True, ttl=0.1)
    for number in range(5):
        resolver.update_token(token["id"], value="x" * (number * 20 + 1))
        until(lambda number=number: fs.text(token["id"], "value") == "x" * (number * 20 + 1), "the change")
        assert fs.stat(token["id"], "value").st_size == number * 20 + 1
