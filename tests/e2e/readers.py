#!/usr/bin/python3
"""Readers of every kind that go on and on, in a program of their own, and what they saw.

    readers.py '[["name", "kind", "path"], …]'     a line on its input: a line of JSON; the end of its input: its end

Kinds:
    read    opens, reads, closes
    fd      one descriptor, opened once, read from its start each time
    ls      the names in a directory
    slow    the same through one open directory, a few names at a time, with pauses
    stat    the size

What is seen is counted by reader and result, with the end of the first and the start of the last look that gave it
(CLOCK_MONOTONIC, which is the stand-in's clock too). An error is "!" and its name. From tests: class Readers.
"""

import errno
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))

import dirents                                                  # noqa: E402

PAUSE = 0.003


def read_whole(fd):
    """All bytes behind a descriptor, from the start."""
    parts, at = [], 0
    while part := os.pread(fd, 65536, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts).decode(errors="replace")


class Reader(threading.Thread):
    """One reader: looks, counts, pauses, until it is told to stop."""

    def __init__(self, name, kind, path):
        super().__init__(daemon=True)
        self.label, self.kind, self.path = name, kind, path
        self.seen = {}          # result -> [count, end of the first, start of the last]
        self.looks, self.longest, self.since = 0, 0.0, None
        self.is_stopping = False
        self.fd = os.open(path, os.O_RDONLY) if kind == "fd" else None

    def look(self):
        """One look; gives what was seen."""
        if self.kind == "fd":
            return read_whole(self.fd)
        if self.kind == "stat":
            return str(os.stat(self.path).st_size)
        if self.kind == "ls":
            return " ".join(sorted(os.listdir(self.path)))
        if self.kind == "slow":
            return " ".join(sorted(dirents.names(self.path, 256, between=lambda: time.sleep(0.05))))
        fd = os.open(self.path, os.O_RDONLY)
        try:
            return read_whole(fd)
        finally:
            os.close(fd)

    def run(self):
        while not self.is_stopping:
            start = self.since = time.monotonic()
            try:
                result = self.look()
            except OSError as error:
                result = "!" + errno.errorcode[error.errno]
            end = time.monotonic()
            self.since = None
            self.longest = max(self.longest, end - start)
            entry = self.seen.setdefault(result, [0, end, start])
            entry[0] += 1
            entry[2] = start
            self.looks += 1
            time.sleep(PAUSE)

    def report(self):
        """What there is to say."""
        since = self.since
        return {"looks": self.looks, "longest": self.longest, "seen": dict(self.seen),
                "waiting": time.monotonic() - since if since else 0}


def main():
    """The program."""
    readers = [Reader(*one) for one in json.loads(sys.argv[1])]
    for reader in readers:
        reader.start()
    while sys.stdin.readline():
        print(json.dumps({reader.label: reader.report() for reader in readers}), flush=True)
    for reader in readers:
        reader.is_stopping = True
    end = time.monotonic() + 60
    for reader in readers:
        reader.join(max(0, end - time.monotonic()))
    print(json.dumps({reader.label: reader.report() for reader in readers}), flush=True)
    os._exit(0)         # one that hangs is no reason to stay; its report says that it waits


class Readers:
    """The program, from a test: with Readers({"name": ("kind", path)}) as readers: …"""

    def __init__(self, what):
        words = [[name, kind, path] for name, (kind, path) in what.items()]
        self.process = subprocess.Popen([sys.executable, str(HERE), json.dumps(words)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.final = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(60)

    def look(self):
        """The reports so far."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def advance(self, looks=2, limit=60):
        """Waits until every reader has ended so many looks more, none of them begun before now."""
        start = {name: one["looks"] for name, one in self.look().items()}
        end = time.monotonic() + limit
        while True:
            now = self.look()
            late = {name: one["waiting"] for name, one in now.items() if one["looks"] < start[name] + looks + 1}
            if not late:
                return now
            assert time.monotonic() < end, f"these readers hang (for so many seconds): {late}"
            time.sleep(0.02)

    def stop(self):
        """Ends all; gives the reports. None may still wait."""
        self.process.stdin.close()
        self.final = json.loads(self.process.stdout.readline())
        self.process.wait(60)
        hung = {name: one["waiting"] for name, one in self.final.items() if one["waiting"]}
        assert not hung, f"these readers hang: {hung}"
        return self.final


def errors_in(reports):
    """{"reader: !ERRNO": count} of all that went wrong."""
    return {f"{name}: {result}": count for name, one in reports.items()
            for result, (count, *_) in one["seen"].items() if result.startswith("!")}


if __name__ == "__main__":
    main()
