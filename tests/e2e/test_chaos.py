"""Everything that goes wrong at once, at random, under readers of every kind.

Workers are killed, stopped and starved, the binary is replaced and upgraded to, the API fails in every way that the
stand-in knows, credentials and configuration change, readers are interrupted. What must hold all the time:

  - a reader's error is one that the API's failing explains; never ENOTCONN, EIO or one that nobody planned;
  - a value is whole, one that its token had, not before it had it, and no older than ttl and stale allow;
  - nobody hangs; when it is over everybody sees what is current, and no descriptor and no memory has grown.

SOAK_SECONDS (20) and CHAOS_SEED choose another run; the seed is printed, and so are the figures.
"""

import collections
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import mounting
import old_kernel
import pytest
from mounting import HANG, children_of, is_alive, kill, until
from readers import Readers
from resolver import SECRET_KEY
from test_upgrade import other_build

SECONDS = float(os.environ.get("SOAK_SECONDS") or 20)
pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 150)]
TTL, STALE, TIMEOUT, WATCHDOG = 0.3, 2, 3, 2
# A copy's age counts from its call's start; a superseded file keeps telling its version for a second; and what a busy
# machine puts between a clock and the next look at it.
OLDEST = TTL + STALE + TIMEOUT + 1 + 10
# Deaths further apart than this are no crash loop: the next worker starts at once. In a loop it wouldn't, and readers
# would be told (test_supervisor.py).
EARNED = 1.5
API_ERRORS = {"EREMOTEIO", "EBUSY", "ETIMEDOUT", "EHOSTUNREACH", "EPROTO", "EBADMSG", "EKEYREJECTED", "EKEYEXPIRED",
              "ENOKEY", "EACCES", "EBADRQC"}
# ENOMEM: a worker's memory was limited. ESTALE: the bytes that would fit what a reader was told last went with the
# worker that had told it, and the token has changed since.
ALLOWED = API_ERRORS | {"ENOMEM", "ESTALE"}
if not old_kernel.can_resend():
    ALLOWED |= {"EIO"}      # what a worker was answering when it died
FAULTS = [
    ("status", {"status": 500}), ("status", {"status": 503, "retry_after": 1}), ("throttle", {}),
    ("throttle", {"retry_after": 1}), ("latency", {"seconds": 0.5}), ("hang", {}), ("hang", {"when": "middle"}),
    ("reset", {}), ("reset", {"when": "middle"}), ("close", {}), ("cut", {}), ("drip", {}), ("endless", {}),
    ("huge", {"size": 8 << 20}), ("gzip_bomb", {}), ("redirect", {"location": "http://127.0.0.1:9/latest/"}),
    ("body", {"body": "<html>"}), ("malformed", {}), ("content_type", {"content_type": "text/html"}), ("not_http", {}),
    ("long_header", {}), ("wrong_id", {}), ("duplicate", {"field": "value"}), ("deep", {}), ("nul", {"field": "name"}),
    ("invalid_utf8", {"field": "name"}), ("next_token_loop", {}), ("huge_listing", {"items": 2000}),
    ("status", {"status": 403, "code": "AccessDeniedException"}),
    ("status", {"status": 403, "code": "ExpiredTokenException"}),
    ("status", {"status": 403, "code": "InvalidSignatureException"}),
]


def value_of(number):
    """The value of version `number`: whole or not can be seen; of one length, see test_supervisor.py."""
    return f"{number:08d}" + "abcdefghijklmnopqrstuvwxyz"[number % 26] * 32


def is_whole(text):
    """True if it is one version."""
    return text[:8].isdigit() and text == value_of(int(text[:8]))


class Chaos:
    """What is done to one mount, and what was counted."""

    def __init__(self, fs, resolver, seed, binary):
        self.fs, self.resolver, self.binary = fs, resolver, binary
        self.random = random.Random(seed)
        self.done = collections.Counter()
        self.number = 0
        self.last_death = time.monotonic()
        self.keys = [next(iter(resolver.verifier.keys))]
        self.cats = []

    def write_credentials(self, id, secret):
        """The shared file, replaced by renaming."""
        directory = pathlib.Path(self.fs.home) / ".aws"
        directory.mkdir(exist_ok=True)
        (directory / "new").write_text(f"[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
        (directory / "new").rename(directory / "credentials")

    def victim(self):
        """The worker, if the one before died long enough ago that another death is nothing but a death; else 0."""
        return max(children_of(self.fs.pid), default=0) if time.monotonic() - self.last_death > EARNED else 0

    def died(self, pid):
        """Waits until it has, and another is there; gives that one."""
        until(lambda: not is_alive(pid), "the worker's end")
        self.last_death = time.monotonic()
        return until(lambda: max(set(children_of(self.fs.pid)) - {pid}, default=0), "the next worker")

    # The deeds

    def kill_worker(self):
        """By a signal; sometimes the next one too."""
        pid = self.victim()
        number = self.random.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL])
        for _ in range(self.random.choice([1, 1, 1, 2]) if pid else 0):
            kill(pid, number)
            self.done[f"killed by {number.name}"] += 1
            pid = self.died(pid)

    def stop_worker(self):
        """For a moment, or until the watchdog ends it."""
        pid = self.victim()
        if not pid:
            return
        kill(pid, signal.SIGSTOP)
        if self.random.random() < 0.6:
            time.sleep(self.random.uniform(0, 0.5))
            kill(pid, signal.SIGCONT)
            self.done["stopped for a moment"] += 1
            return
        self.died(pid)
        self.done["stopped"] += 1

    def starve_worker(self):
        """No memory for a while."""
        pid, free = self.victim(), resource.RLIM_INFINITY
        if not pid:
            return
        try:
            pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[0])
            resource.prlimit(pid, resource.RLIMIT_AS, ((pages - 64) * resource.getpagesize(), free))
            time.sleep(self.random.uniform(0, 1))
            resource.prlimit(pid, resource.RLIMIT_AS, (free, free))
        except (ProcessLookupError, FileNotFoundError, IndexError):
            self.died(pid)
        self.done["starved"] += 1

    def upgrade(self):
        """To another build."""
        if self.random.random() < 0.7:
            other_build(self.binary)
        self.fs.signal(signal.SIGUSR2)
        self.done["SIGUSR2"] += 1

    def reload(self):
        """SIGHUP."""
        self.fs.signal(signal.SIGHUP)
        self.done["SIGHUP"] += 1

    def fail_api(self):
        """A fault, for a while; the others go on."""
        effect, parameters = self.random.choice(FAULTS)
        if self.random.random() < 0.5:
            self.resolver.clear_faults()
        self.resolver.add_fault(effect, probability=self.random.choice([0.2, 0.6, 1.0]), **parameters)
        self.done["faults"] += 1

    def end_faults(self):
        """All is well with the API."""
        self.resolver.clear_faults()

    def break_connections(self):
        """The load balancer has enough, or the service is away."""
        if self.random.random() < 0.6:
            self.resolver.close_connections(self.random.random() < 0.5)
            self.done["connections closed"] += 1
            return
        self.resolver.stop()
        time.sleep(self.random.uniform(0, 0.5))
        self.resolver.start()
        self.done["outages"] += 1

    def change_credentials(self):
        """Another key; the one before is refused from now on, or a little later."""
        id, secret = f"AKIDCHAOS{len(self.keys):011d}", f"chaos-secret-{len(self.keys):06d}-of/forty+characters"
        self.resolver.add_key(id, secret)
        self.write_credentials(id, secret)
        if self.random.random() < 0.5:
            self.fs.signal(signal.SIGHUP)
        if len(self.keys) > 1:
            self.resolver.remove_key(self.keys[-2])
        self.keys.append(id)
        self.done["credentials changed"] += 1

    def change_tokens(self):
        """New values for some."""
        for id in self.random.sample(list(self.resolver.model.tokens), 3):
            self.number += 1
            self.resolver.update_token(id, value=value_of(self.number))

    def interrupt_reader(self):
        """A cat that is told to stop."""
        id = self.random.choice(list(self.resolver.model.tokens))
        cat = subprocess.Popen(["cat", self.fs.at(id, "value")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.cats.append(cat)
        time.sleep(self.random.uniform(0, 0.05))
        cat.send_signal(self.random.choice([signal.SIGINT, signal.SIGKILL]))
        self.done["readers interrupted"] += 1

    DEEDS = [(kill_worker, 10), (stop_worker, 3), (starve_worker, 3), (upgrade, 2), (reload, 1), (fail_api, 6),
             (end_faults, 3), (break_connections, 2), (change_credentials, 1), (change_tokens, 8),
             (interrupt_reader, 2)]

    def run(self, seconds):
        """Deeds at random for so long."""
        deeds, weights = zip(*self.DEEDS)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.random.choices(deeds, weights)[0](self)
            time.sleep(self.random.choice([0, 0.02, 0.1, 0.3]))

    def calm(self, readers, paths):
        """Peace; comes back when every reader of a value has seen the last one of its token."""
        self.resolver.clear_faults()
        self.fs.signal(signal.SIGHUP)
        last = {}
        for id in self.resolver.model.tokens:
            self.number += 1
            last[id] = value_of(self.number)
            self.resolver.update_token(id, value=last[id])
        until(lambda: all(last[id] in report["seen"] for report, id in
                          ((report, paths[name]) for name, report in readers.look().items() if name in paths)),
              "everybody to see what is current", limit=2 * HANG, pause=0.2)
        for cat in self.cats:
            cat.wait(HANG)
        self.cats.clear()


def figures(pid):
    """(descriptors less sockets, sockets, resident KiB) of a process."""
    kinds = []
    for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            kinds.append(os.readlink(path))
        except FileNotFoundError:
            pass
    sockets = sum(kind.startswith("socket:") for kind in kinds)
    rss = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() // 1024
    return len(kinds) - sockets, sockets, rss


def at_rest(fs, readers):
    """figures of supervisor and of a new worker that has served for a while, when there are no other processes: what
    one holds that has met 8 MiB of padding says nothing of the next."""
    until(lambda: len(children_of(fs.pid)) == 1, "one worker")
    time.sleep(EARNED)
    old = fs.worker
    kill(old)
    until(lambda: not is_alive(old), "its end")
    readers.advance(15)
    until(lambda: len(children_of(fs.pid)) == 1 and fs.read_error(".service_status") == "OK", "one worker")
    return figures(fs.pid), figures(fs.worker)


def check_values(resolver, reports, paths):
    """Every value against what the stand-in knows; gives the oldest age."""
    oldest = 0
    for name, id in paths.items():
        since, superseded = {}, {}
        history = resolver.history(id)
        for index, (when, document) in enumerate(history):
            since[document["value"]] = when
            superseded[document["value"]] = history[index + 1][0] if index + 1 < len(history) else float("inf")
        for text, (_, first, last) in reports[name]["seen"].items():
            if text.startswith("!"):
                continue
            assert is_whole(text) and text in since, (name, text)
            assert first >= since[text], f"{name}: {text} before it was there"
            oldest = max(oldest, last - superseded[text])
    assert oldest <= OLDEST, f"a value was told {oldest:.1f} s after it had been superseded"
    return oldest


def test_chaos(mount, resolver, directory, monkeypatch):
    """The run."""
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
    print(f"CHAOS_SEED={seed} SOAK_SECONDS={SECONDS:g}")
    binary = directory / "tokenfs"
    shutil.copy(mounting.BINARY, binary)
    monkeypatch.setattr(mounting, "BINARY", str(binary))
    ids = [resolver.add_token(name=f"token-{i}", value=value_of(0))["id"] for i in range(6)]
    fs = mount(start=False, environ={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None})
    fs.may_restart = True
    key = next(iter(resolver.verifier.keys))
    pathlib.Path(fs.home, ".aws").mkdir()
    pathlib.Path(fs.home, ".aws", "credentials").write_text(
        f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET_KEY}\n")
    fs.start({"ttl": TTL, "stale": STALE, "timeout": TIMEOUT, "watchdog": WATCHDOG, "negative_ttl": 0.2})

    (directory / "bound").mkdir()
    (directory / "file").touch()
    bound, single = fs.bind(ids[3], directory / "bound"), fs.bind(f"{ids[4]}/value", directory / "file")
    kinds = {
        "path 1": ("read", fs.at(ids[0], "value")), "path 2": ("read", fs.at(ids[1], "value")),
        "path 3": ("read", fs.at(ids[0], "value")), "open file": ("fd", fs.at(ids[2], "value")),
        "directory bind": ("read", f"{bound}/value"), "file bind": ("read", single),
        "name": ("read", fs.at(".by_name", "token-5", "value")),
        "size": ("stat", fs.at(ids[0], "value")), "list": ("ls", fs.at(ids[1])), "root": ("ls", fs.path),
        "slow root": ("slow", fs.path), "status": ("read", fs.at(".service_status")),
    }
    paths = {"path 1": ids[0], "path 2": ids[1], "path 3": ids[0], "open file": ids[2], "directory bind": ids[3],
             "file bind": ids[4], "name": ids[5]}
    started = time.monotonic()
    chaos = Chaos(fs, resolver, seed, binary)
    with Readers(kinds) as readers:
        readers.advance()
        chaos.run(SECONDS / 4)
        chaos.calm(readers, paths)
        before = at_rest(fs, readers)
        chaos.run(SECONDS * 3 / 4)
        chaos.calm(readers, paths)
        after = at_rest(fs, readers)
        worker = fs.status()["worker"]
        reports = readers.stop()
    errors, unexpected = collections.Counter(), []
    for name, one in reports.items():
        for error, count in [(result[1:], count) for result, (count, *_) in one["seen"].items() if result[:1] == "!"]:
            errors[error] += count
            # A name means what the list says, and wrong_id has it say something else.
            if error not in ALLOWED and (error, name) != ("ENOENT", "name"):
                unexpected.append(f"{count} {error} of {name}")
    oldest = check_values(resolver, reports, paths)
    looks = sum(one["looks"] for one in reports.values())
    told = [f"chaos of {time.monotonic() - started:.0f} s, seed {seed}: {looks} looks of {len(reports)} readers, "
            f"{resolver.counters()['calls']} calls, {worker['restarts']} restarts, {worker['upgrades']} upgrades",
            "deeds: " + ", ".join(f"{count} {what}" for what, count in sorted(chaos.done.items())),
            "errors: " + (", ".join(f"{count} {what}" for what, count in errors.most_common()) or "none"),
            f"longest look {max(one['longest'] for one in reports.values()):.1f} s, "
            f"oldest value {oldest:.1f} s after its end",
            f"descriptors, sockets, KiB of supervisor and worker: {before}, at the end {after}"]
    print("\n".join(told))
    print("\n".join(told), file=sys.__stderr__)
    assert not unexpected
    assert {result for result in reports["status"]["seen"] if result[:1] == "!"} <= {"!ENOMEM", "!ESTALE"}
    assert max(one["longest"] for one in reports.values()) < HANG
    for name, (old, new) in {"supervisor": (before[0], after[0]), "worker": (before[1], after[1])}.items():
        assert new[0] <= old[0], f"{name}: descriptors"
        assert new[1] <= max(old[1], 24), f"{name}: sockets"
        assert mounting.SANITIZED or new[2] <= old[2] + 4096, f"{name}: memory"
    fs.stop()
    assert children_of(fs.pid) == []
