"""A random walk against a simple model of what may be seen.

The stand-in keeps every version that a token ever had, and when it was current; this test keeps when a token was
denied and when the API failed. Then, for every read between `start` and `end`, by whatever way:

  - the bytes are exactly one version of that token (of a name: of a token that the name meant);
  - that version was current at some time since `start` - ttl; while the API fails (and until the next probe finds it
    well again), since ttl before it began to fail;
  - a token that was read well since the daemon last forgot it or was refused it gives no error of a failing API;
  - ENOENT and EACCES are told only where the token was gone or denied; and once told, nothing else follows until it is
    there again: a copy does not come back;
  - .json is the whole of one version; sizes are those of a version; ls shows what existed all the time, and nothing
    that never did.

SOAK_SECONDS (20) and MODEL_SEED choose another walk; the seed is printed.
"""

import errno
import json
import os
import random
import time

import pytest
import reading
from mounting import bounded, error_of, read_file

SECONDS = float(os.environ.get("SOAK_SECONDS") or 20)
pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 150)]
TTL = 0.3
STALE = 60
TIMEOUT = 0.5
# What a busy machine may put between our clock and the daemon's look at its own.
SLACK = 0.7
# The longest pause between two probes of an endpoint that failed (src/api/retry.h), and a probe.
RECOVERY = 5 + 1
# Errors other than "no such token" are remembered for a second, so that a loop of readers is no storm of calls.
HOLD = 1
# A file that is bound by itself shows its version this much longer (a read that has begun ends whole).
GRACE = 5
API_ERRORS = {"EREMOTEIO", "EBUSY", "EHOSTUNREACH", "EBADMSG", "ETIMEDOUT"}
EFFECTS = [("status", {"status": 500}), ("status", {"status": 503}), ("throttle", {}), ("reset", {}), ("close", {}),
           ("malformed", {})]


class Intervals:
    """Times during which something held: [[start, end or None]]."""

    def __init__(self):
        self.all = []

    @property
    def is_open(self):
        """True if it holds now."""
        return bool(self.all) and self.all[-1][1] is None

    def begin(self):
        """It holds from now on."""
        if not self.is_open:
            self.all.append([time.monotonic(), None])

    def end(self):
        """It holds no longer; called after what ended it."""
        if self.is_open:
            self.all[-1][1] = time.monotonic()

    def touches(self, start, end, linger=0):
        """True if it held at some time of [start, end]; `linger`: and what lasts so long after it."""
        return any(a <= end and (b is None or b + linger >= start) for a, b in self.all)

    def covers(self, start, end):
        """True if it held all the time."""
        return any(a <= start and (b is None or b >= end) for a, b in self.all)

    def group_start(self, start, end, linger):
        """Where the run of intervals begins that reaches [start, end], each lasting `linger` longer; None: none does."""
        found = None
        for a, b in reversed(self.all):
            if a <= end and (b is None or b + linger >= start):
                found, start = a, a
        return found


class Walk:
    """The walk: the stand-in, the mount, and what is known of both."""

    def __init__(self, fs, resolver, seed, binds):
        self.fs, self.resolver, self.random, self.binds = fs, resolver, random.Random(seed), binds
        self.ids = list(resolver.model.tokens)
        self.denied = {id: Intervals() for id in self.ids}
        self.rules = {}
        self.failing = Intervals()
        self.fault = None
        self.number = 0
        self.good = set()       # read well since the last forgetting or refusal
        self.has_listing = False    # one was had since the last forgetting
        self.refused = {}       # id -> when a refusal was told
        self.trace = []
        self.counts = {}

    # What the model says

    def since(self, start, end, extra=0):
        """How far back a version may have been current."""
        oldest = start - TTL - SLACK - extra
        group = self.failing.group_start(oldest, end, RECOVERY)
        return oldest if group is None else min(oldest, group - TTL - SLACK)

    def versions(self, id, start, end):
        """What the token was in this time, None among it where it wasn't."""
        return self.resolver.versions_between(id, start, end)

    def was_inaccessible(self, id, start, end):
        """Gone or denied at some time."""
        return None in self.versions(id, start, end) or self.denied[id].touches(start, end)

    def is_inaccessible_throughout(self, id, start, end):
        """Gone or denied, from start to end without a gap (denials and deletions don't share a boundary here)."""
        return set(map(bool, self.versions(id, start, end))) == {False} or self.denied[id].covers(start, end)

    def meant(self, name, start, end):
        """The ids that a name may have meant in this time (None: none)."""
        times = {start, end} | {t for id in self.ids for t, _ in self.resolver.history(id) if start < t <= end}
        found = set()
        for moment in times:
            there = []
            for id in self.ids:
                document = self.resolver.version_at(id, moment)
                if document and document.get("name") == name:
                    there.append((document["status"] == "OPERATIONAL", document["createdAt"], id))
            found.add(max(there)[2] if there else None)
        return found

    # Checks

    def fail(self, text):
        """Says what is wrong, with the last steps."""
        raise AssertionError(text + "\nthe last steps:\n  " + "\n  ".join(self.trace[-40:]))

    def check_bytes(self, way, ids, what, data, start, end, extra):
        """The bytes of a read that succeeded; gives the id."""
        oldest = self.since(start, end, extra)
        for id in ids:
            for document in self.versions(id, oldest, end):
                if document is None:
                    continue
                matches = json.loads(data) == document if what == ".json" else data == document[what].encode()
                if not matches:
                    continue
                told = self.refused.get(id)
                if told is not None and start > told + SLACK and self.is_inaccessible_throughout(id, told, end):
                    self.fail(f"{way}: a copy of {id} came back after it was refused {start - told:.3f} s before")
                return id
        history = {id: [(round(t - start, 3), d and d["value"][:24]) for t, d in self.resolver.history(id)][-6:]
                   for id in ids}
        return self.fail(f"{way}: {data!r} is no version since {oldest - start:.3f} s: {history}")

    def check_error(self, way, ids, error, start, end, extra):
        """An error must have its reason."""
        oldest = self.since(start, end, extra) - HOLD
        if error in ("ENOENT", "EACCES", "ESTALE"):
            if None in ids or any(self.was_inaccessible(id, oldest, end) for id in ids if id):
                return
            self.fail(f"{way}: {error}, but nothing was gone or denied since {oldest - start:.3f} s")
        if error not in API_ERRORS:
            self.fail(f"{way}: {error}?")
        if not self.failing.touches(oldest - TIMEOUT, end, RECOVERY):
            self.fail(f"{way}: {error}, but the API did not fail since {oldest - start:.3f} s")
        if len(ids) == 1 and ids <= self.good:
            self.fail(f"{way}: {error}, but there is a good copy of {ids}")

    # Steps

    def read(self, way, path, ids_of, what, extra=0, how=read_file):
        """One read and its check."""
        start = time.monotonic()
        data = []
        error = error_of(lambda: data.append(how(path)))
        end = time.monotonic()
        ids = ids_of(self.since(start, end, extra) - TTL, end)
        self.note(f"{way} {what} of {sorted(map(str, ids))} → {error} {data[0][:24] if data else ''}")
        if error == "OK":
            id = self.check_bytes(way, {i for i in ids if i}, what, data[0], start, end, extra)
            if not self.was_inaccessible(id, start - TTL - SLACK, end):
                self.good.add(id)
            return
        self.check_error(way, ids, error, start, end, extra)
        if error in ("ENOENT", "EACCES"):
            self.good -= ids
            # A name's refusal may have been another token's; a bound file's, one that has been superseded.
            if len(ids) == 1 and way == "path":
                self.refused[next(iter(ids))] = end

    def step_path(self):
        """A field, by id."""
        id, what = self.random.choice(self.ids), self.random.choice(["value", "value", "updatedAt", ".json", "status"])
        self.read("path", self.fs.at(id, what), lambda a, b: {id}, what)

    def step_name(self):
        """A field, by name."""
        what = self.random.choice(["value", ".json", "id"])
        self.read("name", self.fs.at(".by_name", "web", what), lambda a, b: self.meant("web", a, b), what)

    def step_bind(self):
        """A field, through one of the binds."""
        way = self.random.choice(list(self.binds))
        path, id = self.binds[way]
        extra = GRACE if way.startswith("file") else 0
        ids_of = (lambda a, b: {id}) if id else (lambda a, b: self.meant("web", a, b))
        how = self.random.choice(["read", "sendfile", "direct"])
        self.read(f"{way} by {how}", path, ids_of, "value", extra, reading.WAYS[how])

    def step_stat(self):
        """A size, by id."""
        id, start, sizes = self.random.choice(self.ids), time.monotonic(), []
        error = error_of(lambda: sizes.append(os.stat(self.fs.at(id, "value")).st_size))
        end = time.monotonic()
        self.note(f"stat {id} → {error} {sizes}")
        if error != "OK":
            self.check_error("stat", {id}, error, start, end, 0)
            return
        allowed = {len(d["value"].encode()) for d in self.versions(id, self.since(start, end), end) if d}
        if sizes[0] not in allowed:
            self.fail(f"stat: size {sizes[0]} of {id} is none of {allowed}")

    def names_in(self, start, *parts):
        """What ls shows; None: an error, as there may be while the API fails and there was no listing before."""
        try:
            return set(self.fs.ls(*parts))
        except OSError as error:
            name, oldest, end = errno.errorcode[error.errno], self.since(start, time.monotonic()), time.monotonic()
            self.note(f"ls {parts} → {name}")
            if name not in API_ERRORS or self.has_listing or not self.failing.touches(oldest - HOLD, end, RECOVERY):
                self.fail(f"ls {parts}: {name}?")
            return None

    def step_ls(self):
        """The tokens and the names."""
        start = time.monotonic()
        shown, names = self.names_in(start), self.names_in(start, ".by_name")
        if shown is None or names is None:
            return
        end = time.monotonic()
        self.note(f"ls → {len(shown)} tokens, {names}")
        oldest = self.since(start, end)
        is_well = not self.failing.touches(oldest - HOLD, end, RECOVERY)
        for id in self.ids:
            there = list(map(bool, self.versions(id, oldest, end)))
            if all(there) and id not in shown and (is_well or self.has_listing):
                self.fail(f"ls: {id} is missing")
            if not any(there) and id in shown:
                self.fail(f"ls: {id} is not there")
        meant = self.meant("web", oldest, end)
        is_missing = None not in meant and "web" not in names and (is_well or self.has_listing)
        if is_missing or (meant == {None} and "web" in names):
            self.fail(f"ls .by_name: {names}, but the name meant {meant}")
        self.has_listing = self.has_listing or is_well

    def step_change(self):
        """Another value, of another length."""
        id = self.random.choice(self.ids)
        if id in self.resolver.model.tokens:
            self.number += 1
            value = f"{self.number:06d}-" + "x" * self.random.randrange(90)
            self.resolver.update_token(id, value=value)
            self.note(f"change {id} to {value[:6]}")

    def step_delete(self):
        """Deletes a token, or makes it again."""
        id = self.random.choice(self.ids)
        if id in self.resolver.model.tokens:
            self.resolver.delete_token(id)
            self.good.discard(id)
            self.note(f"delete {id}")
        else:
            self.number += 1
            self.resolver.add_token(id=id, name=self.names[id], value=f"{self.number:06d}-again")
            self.refused.pop(id, None)
            self.note(f"make {id} again")

    def step_deny(self):
        """Denies a token, or allows it again."""
        id = self.random.choice(self.ids)
        if id in self.rules:
            self.resolver.allow(self.rules.pop(id))
            self.denied[id].end()
            self.refused.pop(id, None)
            self.note(f"allow {id}")
        else:
            self.denied[id].begin()
            self.good.discard(id)
            self.rules[id] = self.resolver.deny(token=id, operation="GetAccessToken")
            self.note(f"deny {id}")

    def step_fail(self):
        """The API begins to fail."""
        if self.fault is None:
            effect, parameters = self.random.choice(EFFECTS)
            self.failing.begin()
            self.fault = self.resolver.add_fault(effect, **parameters)
            self.note(f"fail: {effect} {parameters}")

    def step_recover(self):
        """The API is well again."""
        if self.fault is not None:
            self.resolver.remove_fault(self.fault)
            self.fault = None
            self.failing.end()
            self.note("recover")

    def step_wait(self):
        """Some time passes."""
        seconds = self.random.choice([0.01, 0.05, 0.1, TTL])
        time.sleep(seconds)
        self.note(f"wait {seconds}")

    def step_forget(self):
        """SIGHUP."""
        self.fs.forget()
        self.good.clear()
        self.has_listing = False
        self.note("SIGHUP")

    def note(self, text):
        """Remembers a step."""
        self.trace.append(f"{time.monotonic():.3f} {text}")

    WEIGHTS = {"path": 40, "name": 12, "bind": 18, "stat": 8, "ls": 4, "change": 12, "delete": 2, "deny": 2, "fail": 0.5,
               "recover": 1.5, "wait": 6, "forget": 0.5}

    def run(self, seconds):
        """Walks so long; gives the number of steps."""
        self.names = {id: self.resolver.model.tokens[id].get("name") for id in self.ids}
        end = time.monotonic() + seconds
        kinds, weights = list(self.WEIGHTS), list(self.WEIGHTS.values())
        done = 0
        while time.monotonic() < end:
            kind = self.random.choices(kinds, weights)[0]
            getattr(self, "step_" + kind)()
            self.counts[kind] = self.counts.get(kind, 0) + 1
            done += 1
        return done


@pytest.mark.parametrize("seed", [int(s) for s in os.environ.get("MODEL_SEED", "1 2 3").split()])
def test_random_walk(mount, resolver, directory, seed):
    """Thousands of steps, each checked."""
    ids = ["at-a", "at-b", "at-c", "at-d"]
    for number, id in enumerate(ids):
        resolver.add_token(id=id, name="web" if number < 3 else "other", value=f"first-{number}",
                           created_at=time.time() - 100 + number)
    fs = mount(ttl=TTL, stale=STALE, timeout=TIMEOUT, negative_ttl=0.1)
    for name in ("file", "file of a name"):
        (directory / name.replace(" ", "-")).touch()
    for name in ("directory", "name"):
        (directory / name).mkdir()
    binds = {
        "file": (fs.bind("at-a/value", directory / "file"), "at-a"),
        "directory": (fs.bind("at-b", directory / "directory") + "/value", "at-b"),
        "name": (fs.bind(".by_name/web", directory / "name") + "/value", None),
        "file of a name": (fs.bind(".by_name/web/value", directory / "file-of-a-name"), None),
    }
    walk = Walk(fs, resolver, seed, binds)
    print(f"MODEL_SEED={seed}")
    steps = walk.run(SECONDS)
    print(f"{steps} steps: {walk.counts}; {resolver.counters()['results']}")
    assert steps > 300
    resolver.clear_faults()
    resolver.allow_all()
    bounded(fs.forget)
