"""The measures. Each is a generator of Row; what is compared runs in turn, in one process' time, and medians count."""

import statistics
import subprocess
import threading
import time
from dataclasses import dataclass

from rig import REGION, memory_kib, wakeups      # it makes the next importable

from mounting import until                      # pylint: disable=wrong-import-order


@dataclass
class Row:
    """One line of the table. `figure` is what the goal speaks of; `goal` its bound (None: no goal, only told)."""
    name: str
    figure: float
    unit: str
    goal: float | None = None
    detail: str = ""
    at_least: bool = False

    @property
    def reached(self):
        """True if there is no goal, or it is met."""
        return self.goal is None or (self.figure >= self.goal if self.at_least else self.figure <= self.goal)


def alternating(rounds, *functions):
    """Calls the functions in turn, some rounds; gives the median of each."""
    found = [[] for _ in functions]
    for _ in range(rounds):
        for values, function in zip(found, functions):
            values.append(function())
    return [statistics.median(values) for values in found]


def warm_reads(rig):
    """A warm open+read+close against the same on a tmpfs, by 1, 8 and 64 readers; the daemon does nothing for it."""
    id = rig.service.tokens(1)[0]
    fs = rig.mount(ttl=3600)
    path, other = fs.at(id, "value"), rig.copy_to_tmpfs(fs, id, "value")
    count = rig.count(200_000, 200)
    rig.read_ns(10, path)
    before = fs.metric("tokenfs_requests_total", operation="lookup"), fs.metric("tokenfs_requests_total",
                                                                                operation="read")
    cost = fs.metric("tokenfs_requests_total", operation="read") - before[1]
    cpus = f"{rig.cpu},{rig.service_cpu}"
    for readers in (1, 8, 64):
        where = rig.cpu if readers == 1 else cpus
        ours, theirs = alternating(rig.count(5, 1), lambda: rig.read_ns(count, path, readers=readers, cpus=where),
                                   lambda: rig.read_ns(count, other, readers=readers, cpus=where))
        yield Row(f"warm read, {readers} reader{'s' if readers > 1 else ''} / tmpfs", ours / theirs, "×", 1.7,
                  f"{ours / 1000:.2f} µs against {theirs / 1000:.2f} µs")
    reads = fs.metric("tokenfs_requests_total", operation="read") - before[1] - 2 * cost
    yield Row("requests to the daemon for all these reads", max(reads, 0), "", 3)
    rig.unmount(fs)


def cold_reads(rig):
    """A first read of a token against a bare, signing, kept-alive libcurl loop, on a stand-in in C with some latencies."""
    count = rig.count(400, 10)
    rounds = rig.count(5, 1)
    ids = [f"at-{i:04}" for i in range(count)]
    order = ids[::2] + ids[1::2][::-1]      # no scan: nothing may be fetched ahead
    for latency_ms, goal in ((0, 1.5), (1, None), (20, 1.02)) if not rig.smoke else ((0, None),):
        with rig.quick_api(latency_ms) as url:
            def ours(url=url):
                fs = rig.mount(token=ids, ttl=3600, endpoint_url=url)
                found = rig.read_ns(count, *[fs.at(id, "value") for id in order])
                calls = fs.metric("tokenfs_api_calls_total", operation="GetAccessToken")
                assert calls == count, f"{calls} calls for {count} reads"
                rig.unmount(fs)
                return found

            urls = [f"{url}/tokens/{id}" for id in ids]
            found, bare = alternating(rounds, ours, lambda urls=urls: rig.run("get", count, REGION, *urls)[0])
        yield Row(f"cold read / bare libcurl, {latency_ms} ms latency", found / bare, "×", goal,
                  f"{found / 1000:.0f} µs against {bare / 1000:.0f} µs")


def memory(rig):
    """Resident memory of the worker."""
    sizes = [1000, 10_000] if not rig.smoke else [20, 50]
    ids = rig.service.tokens(sizes[-1])
    fs = rig.mount(ttl=3600, max_tokens=sizes[-1])
    fs.ls()
    start = memory_kib(fs.worker)
    empty = rig.mount(ttl=3600)
    until(lambda: empty.worker, "the worker")
    yield Row("worker's memory at start", memory_kib(empty.worker) / 1024, "MiB", 10)
    yield Row("supervisor's memory", memory_kib(empty.pid) / 1024, "MiB")
    rig.unmount(empty)
    done = 0
    for size in sizes:
        for at in range(done, size, 500):
            paths = [fs.at(id, "status") for id in ids[at:min(at + 500, size)]]
            rig.read_ns(len(paths), *paths)
        done = size
        used = memory_kib(fs.worker) - start
        yield Row(f"memory a token, {size:,} tokens", used / size, "KiB", 2,
                  f"{memory_kib(fs.worker) / 1024:.1f} MiB in all")
    rig.unmount(fs)


def rest(rig):
    """Wake-ups of a daemon that has nothing to do."""
    id = rig.service.tokens(1)[0]
    fs = rig.mount(ttl=3600)
    fs.read(id, "value")
    time.sleep(rig.count(15, 1))        # what follows the last call (idle connections) is over
    pids = fs.worker, fs.pid
    before = [wakeups(pid) for pid in pids]
    seconds = rig.count(30, 2)
    time.sleep(seconds)
    worker, supervisor = (wakeups(pid) - count for pid, count in zip(pids, before))
    yield Row(f"worker's wake-ups at rest in {seconds} s", worker, "", 0, "where fusectl is mounted, as usual")
    yield Row("supervisor's, for the watchdog", supervisor, "")
    rig.unmount(fs)


def scan(rig):
    """cat */status over cold tokens with 20 ms latency, against as many serial calls."""
    count = rig.count(1000, 20)
    ids = rig.service.tokens(count)
    rig.service.control("POST", "latency", seconds=0.02)
    fs = rig.mount(ttl=3600)
    assert len(fs.tokens()) == count
    rig.service.control("DELETE", "counters")
    start = time.monotonic()
    subprocess.run(["sh", "-c", f"cat {fs.path}/*/status >/dev/null"], check=True, timeout=600)
    ours = time.monotonic() - start
    calls = rig.service.control("GET", "count?operation=GetAccessToken")
    some = rig.count(100, 10)
    serial = rig.run("get", some, REGION, *[f"{rig.service.url}/tokens/{id}" for id in ids[:some]])[0] / 1e9 * count
    rig.service.control("POST", "latency", seconds=0)
    yield Row(f"cat */status of {count:,}, 20 ms latency: faster than serial calls", serial / ours, "×", 30,
              f"{ours:.2f} s against {serial:.2f} s", at_least=True)
    yield Row("calls made for it, for one token", calls / count, "", 1)
    rig.unmount(fs)


def outage(rig):
    """Reads of a stale token while the endpoint hangs, against warm reads."""
    id = rig.service.tokens(1)[0]
    fs = rig.mount(ttl=1, timeout=2)
    path = fs.at(id, "value")
    count = rig.count(2000, 50)
    warm = rig.read_ns(count, path)
    rig.service.control("POST", "faults", effect="hang")
    time.sleep(1.2)
    fs.read(id, "value")                # finds out that the endpoint hangs
    ours, longest = rig.run("read", count, 1, path)
    rig.service.control("DELETE", "faults")
    yield Row("stale read during an outage / warm read", ours / warm, "×", 50,
              f"{ours / 1000:.1f} µs against {warm / 1000:.2f} µs; the longest {longest / 1e6:.2f} ms")
    yield Row("the longest of these reads / the time-out", longest / 2e9, "", 0.5)
    rig.unmount(fs)


def calls_by_ttl(rig):
    """What ttl costs in calls: one reader every 20 ms."""
    id = rig.service.tokens(1)[0]
    for ttl in (0, 0.2, 1, 5) if not rig.smoke else (0, 0.2):
        fs = rig.mount(ttl=ttl)
        fs.read(id, "value")
        rig.service.control("DELETE", "counters")
        seconds = rig.count(5, 0.5)
        reads, stop = [0], threading.Event()

        def read_on(fs=fs, reads=reads, stop=stop):
            while not stop.wait(0.02):
                fs.read(id, "value")
                reads[0] += 1

        thread = threading.Thread(target=read_on)
        thread.start()
        time.sleep(seconds)
        stop.set()
        thread.join()
        yield Row(f"calls a second of reading, ttl={ttl:g}", rig.service.calls() / seconds, "/s", None,
                  f"{reads[0] / seconds:.0f} reads/s")
        rig.unmount(fs)


ALL = {"warm": warm_reads, "cold": cold_reads, "memory": memory, "rest": rest, "scan": scan, "outage": outage,
       "ttl": calls_by_ttl}
