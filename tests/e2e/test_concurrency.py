"""Many readers at once, slow ones beside fast ones, and readers who give up."""

import os
import signal
import subprocess
import sys
import time

import pytest
from mounting import FIELDS, HANG, background, bounded, is_alive, kill, read_file, until

pytestmark = pytest.mark.core


def test_hundred_readers_one_call(mount, resolver, token):
    """100 programs that read a cold token at once make exactly one call, and all get the value."""
    resolver.latency = 0.5
    fs = mount()
    readers = [subprocess.Popen(["cat", fs.at(token["id"], "value")], stdout=subprocess.PIPE) for _ in range(100)]
    found = [reader.communicate(timeout=HANG)[0].decode() for reader in readers]
    assert found == [token["value"]] * 100
    assert resolver.count("GetAccessToken") == 1


def test_all_fields_at_once_one_call(mount, resolver, token):
    """The fields of a directory, read at once and cold, come from one call, by id and by name."""
    resolver.latency = 0.3
    fs = mount()
    reads = {(place, field): background(read_file, fs.at(place, field))
             for field in [*FIELDS, ".json"] for place in (token["id"], ".by_name/web")}
    for (_, field), read in reads.items():
        if field != ".json":
            assert read.result(HANG).decode() == token[field]
    assert resolver.count("GetAccessToken") == 1


def test_failing_readers_one_call(mount, resolver):
    """Readers of a token that isn't there share the answer, too."""
    resolver.latency = 0.5
    fs = mount()
    reads = [background(read_file, fs.at("at-none", "value")) for _ in range(50)]
    assert {type(read.exception(HANG)) for read in reads} == {FileNotFoundError}
    assert resolver.count("GetAccessToken") == 1


def test_slow_token_beside_fast_ones(mount, resolver):
    """A call that hangs delays nothing else: cached and cold reads of others, ls, stat, df, status."""
    slow, cached, cold = [t["id"] for t in resolver.add_tokens(3)]
    fs = mount(timeout=HANG)
    fs.read(cached, "value")
    names = fs.ls()
    fault = resolver.add_fault("hang", token=slow)
    waiting = background(read_file, fs.at(slow, "value"))
    until(lambda: resolver.count("GetAccessToken", token=slow, result="pending") == 1, "the call")
    before = resolver.counters()["calls"]
    assert fs.text(cached, "value") == resolver.model.tokens[cached]["value"]
    assert fs.text(cached, "arn") == resolver.model.tokens[cached]["arn"]
    assert fs.ls() == names
    assert fs.stat(cached, "value").st_size > 0
    bounded(os.statvfs, fs.path)
    assert fs.status() and fs.metrics()
    assert resolver.counters()["calls"] == before
    assert fs.text(cold, "value") == resolver.model.tokens[cold]["value"]
    assert not waiting.done()
    resolver.remove_fault(fault)
    assert waiting.result(HANG).decode() == resolver.model.tokens[slow]["value"]


def test_all_calls_hang_cached_is_served(mount, resolver, token):
    """While nothing answers, what is cached is read, listed and stated as ever."""
    fs = mount(timeout=HANG)
    document = fs.json(token["id"], ".json")
    names = fs.ls(), fs.ls(token["id"]), fs.ls(".by_name")
    resolver.add_fault("hang")
    waiting = [background(read_file, fs.at(f"at-{i}", "value")) for i in range(40)]
    until(lambda: resolver.counters()["concurrent"] >= 4, "the calls")
    for _ in range(5):
        assert fs.json(token["id"], ".json") == document
        assert fs.text(".by_name", "web", "value") == token["value"]
        assert (fs.ls(), fs.ls(token["id"]), fs.ls(".by_name")) == names
    resolver.clear_faults()
    assert {type(read.exception(HANG)) for read in waiting} == {FileNotFoundError}


def test_bounded_calls_in_flight(mount, resolver):
    """At most 16 calls at once for ids that may be made up, over connections that are kept; all are answered."""
    ids = [t["id"] for t in resolver.add_tokens(60)]
    resolver.latency = 0.1
    fs = mount()
    reads = {id: background(read_file, fs.at(id, "value")) for id in ids}
    for id, read in reads.items():
        assert read.result(HANG).decode() == resolver.model.tokens[id]["value"]
    counters = resolver.counters()
    assert counters["operations"] == {"GetAccessToken": 60}
    assert 2 <= counters["max_concurrent"] <= 16
    assert counters["connections"] <= 16


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_interrupted_reader_ends_soon(mount, resolver, token, number):
    """A waiting cat can be ended: a request that the daemon holds can't be left otherwise, not even by SIGKILL."""
    fs = mount(timeout=3600)
    fault = resolver.add_fault("hang", token=token["id"])
    reader = subprocess.Popen(["cat", fs.at(token["id"], "value")], stderr=subprocess.PIPE)
    try:
        until(lambda: resolver.count("GetAccessToken", result="pending") == 1, "the call")
        reader.send_signal(number)
        assert reader.wait(HANG) == -number
    finally:
        kill(reader.pid)
    resolver.remove_fault(fault)
    assert fs.text(token["id"], "value") == token["value"]


SIGNALLED_READER = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda number, frame: None)
signal.siginterrupt(signal.SIGUSR1, False)
print("ready", flush=True)
if sys.argv[2] == "stat":
    os.stat(sys.argv[1])        # Python repeats open() and read() after EINTR, and not this
sys.stdout.write(open(sys.argv[1]).read())
"""


@pytest.mark.parametrize("operation, numbers", [("cat", [signal.SIGSTOP, signal.SIGCONT]), ("stat", [signal.SIGUSR1])])
def test_signals_that_end_no_reader(mount, resolver, operation, numbers):
    """A reader that is stopped and goes on (Ctrl-Z, a debugger), or that has signals of its own (Go's runtime, timers),
    gets its value: on other filesystems such signals interrupt nothing."""
    fs = mount(timeout=3600)
    ended = []
    # An answer that takes long after the signal, as may happen on a busy machine, leaves the reader EINTR.
    while 0 not in ended and len(ended) < 5:
        token = resolver.add_token()
        fault = resolver.add_fault("hang", token=token["id"])
        command = ["cat", fs.at(token["id"], "value")] if operation == "cat" else \
            [sys.executable, "-c", SIGNALLED_READER, fs.at(token["id"], "value"), operation]
        reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            until(lambda t=token: resolver.count("GetAccessToken", token=t["id"], result="pending") == 1, "the call")
            for number in numbers:
                reader.send_signal(number)
            time.sleep(0.1)     # the kernel and the worker see it
            resolver.remove_fault(fault)
            output, errors = reader.communicate(timeout=HANG)
        finally:
            kill(reader.pid)
        ended.append(reader.returncode)
        assert reader.returncode != 0 or output.removeprefix("ready\n") == token["value"]
        assert reader.returncode == 0 or "nterrupted" in errors, errors
    assert 0 in ended, errors


EINTR_READER = """
import errno, os, signal, sys
class Interrupted(Exception): pass
def handler(number, frame): raise Interrupted
signal.signal(signal.SIGINT, handler)
print("ready", flush=True)
try:
    os.open(sys.argv[1], os.O_RDONLY) if sys.argv[2] == "open" else os.stat(sys.argv[1])
except Interrupted:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("operation", ["open", "stat"])
def test_interrupted_call_returns(mount, resolver, token, operation):
    """A program with a handler of its own gets its EINTR, and the other reader of the same token its value."""
    fs = mount(timeout=3600)
    # Two who look for one name that the kernel doesn't know are one look-up to it, and the second can't be
    # interrupted. So the directory is made known first, and they want different files.
    assert fs.tokens() == [token["id"]]
    fault = resolver.add_fault("hang", token=token["id"])
    other = background(read_file, fs.at(token["id"], "arn"))
    reader = subprocess.Popen([sys.executable, "-c", EINTR_READER, fs.at(token["id"], "value"), operation],
                              stdout=subprocess.PIPE, text=True)
    try:
        assert bounded(reader.stdout.readline) == "ready\n"
        until(lambda: resolver.count("GetAccessToken", result="pending") == 1, "the call")
        until(lambda: fs.metric("tokenfs_requests_waiting") == 2, "both readers")
        reader.send_signal(signal.SIGINT)
        assert bounded(reader.stdout.readline) == "interrupted\n"
        assert bounded(reader.wait) == 0
    finally:
        kill(reader.pid)
        reader.stdout.close()
    assert not other.done()
    assert fs.metric("tokenfs_requests_interrupted_total") == 1
    resolver.remove_fault(fault)
    assert other.result(HANG).decode() == token["arn"]
    assert resolver.count("GetAccessToken") == 1


def test_each_reader_has_its_deadline(mount, resolver, token):
    """A reader that comes later waits its own time, not the rest of the first one's; both get ETIMEDOUT."""
    fs = mount(timeout=4)
    resolver.add_fault("hang", token=token["id"])

    def timed(name):
        start = time.monotonic()
        try:
            read_file(fs.at(token["id"], name))
        except TimeoutError:
            return time.monotonic() - start
        return None

    first = background(timed, "value")
    until(lambda: resolver.count("GetAccessToken", token=token["id"]) >= 1, "the call")
    time.sleep(1.5)
    second = background(timed, "status")
    assert first.result(HANG) >= 3.9
    assert second.result(HANG) >= 3.9


def test_unmount_answers_waiting_readers(mount, resolver, token):
    """SIGTERM while readers wait: they get an error, the daemon ends with status 0."""
    fs = mount(timeout=3600)
    resolver.add_fault("hang")
    waiting = [background(read_file, fs.at(f"at-{i}", "value")) for i in range(10)]
    until(lambda: resolver.count("GetAccessToken", result="pending") >= 4, "the calls")
    worker = fs.worker
    fs.stop()
    assert all(isinstance(read.exception(HANG), OSError) for read in waiting)
    until(lambda: not is_alive(worker), "the worker's end")


def test_umount_ends_the_daemon(mount, token):
    """umount(8) as well; the daemon goes by itself."""
    fs = mount()
    fs.read(token["id"], "value")
    fs.run("umount", fs.path)
    assert fs.process.wait(HANG) == 0
    fs.ended = True


def test_readers_that_are_killed_leave_nothing(mount, resolver, token):
    """Many readers, killed at random moments: afterwards nobody waits in the daemon, and it serves on."""
    resolver.latency = 0.05
    fs = mount(ttl=0, timeout=30)
    for round_ in range(10):
        readers = [subprocess.Popen(["cat", fs.at(token["id"], "value")], stdout=subprocess.DEVNULL) for _ in range(10)]
        time.sleep(0.01 * round_)
        for reader in readers:
            reader.kill()
        for reader in readers:
            reader.wait(HANG)
    assert fs.text(token["id"], "value") == token["value"]
