"""Searches the whole readable memory of processes for bytes that should not be there (any more). Needs root."""

import os
import pathlib
import re
from typing import NamedTuple

CHUNK = 1 << 22
OVERLAP = 4096
MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+\s*(.*)")


class Hit(NamedTuple):
    """One place where something was found."""
    pid: int
    what: str
    address: int
    mapping: str        # its name, or "anonymous"
    around: bytes

    def __str__(self):
        return f"{self.what} in process {self.pid} at {self.address:#x} ({self.mapping}): {self.around!r}"


def mappings(pid):
    """The mappings that can be read: [(start, end, name)]."""
    found = []
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        start, end, mode, name = MAPPING.match(line).groups()
        if mode[0] == "r" and name not in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
            found.append((int(start, 16), int(end, 16), name or "anonymous"))
    return found


def search(pids, needles):
    """Every place in these processes where one of {what: bytes} stands."""
    if not hasattr(pids, "__iter__"):
        return _search_process(pids, needles)
    hits = []
    for pid in pids:
        try:
            hits += _search_process(pid, needles)
        except (FileNotFoundError, ProcessLookupError):     # one of a family, which has ended meanwhile
            pass
    return hits


def _search_process(pid, needles):
    hits = []
    file = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        for start, end, name in mappings(pid):
            hits += _search_mapping(pid, file, start, end, name, needles)
    finally:
        os.close(file)
    return hits


def _search_mapping(pid, file, start, end, name, needles):
    hits, at = [], start
    while at < end:
        try:
            data = os.pread(file, min(CHUNK, end - at), at)
        except OSError:         # reserved, never touched, or beyond the end of a file
            at += CHUNK
            continue
        if not data:
            break
        for what, needle in needles.items():
            place = data.find(needle)
            while place >= 0:
                around = data[max(0, place - 48):place + len(needle) + 16]
                hits.append(Hit(pid, what, at + place, name, around))
                place = data.find(needle, place + 1)
        at += max(len(data) - OVERLAP, 1) if len(data) == CHUNK else len(data)
    return sorted(set(hits))


def flags_at(pid, address):
    """The VmFlags of the mapping that an address lies in: {"rd", "wr", "lo", "dd", …}."""
    inside = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if match := MAPPING.match(line):
            inside = int(match[1], 16) <= address < int(match[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return set(line.split()[1:])
    return set()


def family(pid):
    """A process and all its descendants."""
    found = [pid]
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            found += family(int(child))
        except FileNotFoundError:
            pass
    return found
