"""Bytes that change under readers: never a mix of two versions, and everybody comes to see the new one."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from hammer import value_of
from mounting import HANG, bounded, read_file, until

SECONDS = 4


class Changer:
    """Changes a token's value as fast as it can (up to `rate` a second), in a thread, until it is stopped."""

    def __init__(self, resolver, id, rate=500):
        self.resolver = resolver
        self.id = id
        self.pause = 1 / rate
        self.number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def change(self):
        """One change."""
        self.number += 1
        self.resolver.update_token(self.id, value=value_of(self.number))

    def _run(self):
        while not self._stop.wait(self.pause):
            self.change()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def hammers(count, seconds, *paths):
    """Starts so many programs that read these files; gives the processes."""
    script = os.path.join(os.path.dirname(__file__), "hammer.py")
    return [subprocess.Popen([sys.executable, script, str(seconds), *paths], stdout=subprocess.PIPE)
            for _ in range(count)]


def results(processes):
    """What they saw."""
    return [json.loads(process.communicate(timeout=HANG)[0]) for process in processes]


@pytest.mark.core
@pytest.mark.parametrize("ttl", [0, 0.005, 0.05])
def test_no_torn_reads(mount, resolver, ttl):
    """Several readers, values of changing length, hundreds of changes a second."""
    id = resolver.add_token(name="web", value=value_of(0))["id"]
    fs = mount(ttl=ttl)
    fs.read(id, "value")
    with Changer(resolver, id) as changer:
        found = results(hammers(3, SECONDS, fs.at(id, "value"), fs.at(".by_name", "web", "value")))
    print(f"{changer.number} changes; readers:", *found, sep="\n")
    for one in found:
        assert one["torn"] == 0, one
        assert not one["errors"], one
        assert one["versions"] > 1, one
    resolver.update_token(id, value=value_of(changer.number + 1))
    until(lambda: fs.text(id, "value") == value_of(changer.number + 1), "the last version")


def test_no_torn_reads_through_binds(mount, resolver, directory):
    """The same through a single file, a token's directory and a name's directory that are bound elsewhere."""
    id = resolver.add_token(name="web", value=value_of(0))["id"]
    fs = mount(ttl=0.02)
    file, place, name = directory / "file", directory / "place", directory / "name"
    file.touch()
    place.mkdir()
    name.mkdir()
    paths = [fs.bind(f"{id}/value", file), fs.bind(id, place) + "/value", fs.bind(".by_name/web", name) + "/value"]
    with Changer(resolver, id) as changer:
        found = results(hammers(2, SECONDS, *paths))
    print(f"{changer.number} changes; readers:", *found, sep="\n")
    for one in found:
        assert one["torn"] == 0, one
        assert not one["errors"], one
        assert one["versions"] > 1, one


@pytest.mark.core
def test_size_and_bytes_agree(mount, resolver):
    """What fstat says of an open file is what reading it gives, whatever changes meanwhile."""
    id = resolver.add_token(value=value_of(0))["id"]
    fs = mount(ttl=0.01)

    def look():
        start = time.monotonic()
        fd = os.open(fs.at(id, "value"), os.O_RDONLY)
        try:
            time.sleep(0.02)
            size = os.fstat(fd).st_size
            time.sleep(0.02)
            data = os.read(fd, 4096)
            time.sleep(0.02)
            again = os.fstat(fd).st_size
            return time.monotonic() - start, size, data.decode(), again
        finally:
            os.close(fd)

    at_once = 0
    with Changer(resolver, id):
        for _ in range(50):
            took, size, data, again = bounded(look)
            assert data == value_of(int(data[:8]))
            # A moment's access is to one version. One that a busy machine draws out may see the next.
            at_once += took < 0.2
            assert took >= 0.2 or size == len(data) == again
    assert at_once > 10


@pytest.mark.core
@pytest.mark.parametrize("what", ["file", "directory", "name", "file of a name"])
def test_binds_follow_a_change(mount, resolver, directory, what):
    """A bind mount, as a container has it, shows each new value; the mount itself need not be touched."""
    id = resolver.add_token(name="web", value="first value")["id"]
    fs = mount(ttl=0.3)
    target = directory / "target"
    if what.startswith("file"):
        target.touch()
        place = path = fs.bind(f"{id}/value" if what == "file" else ".by_name/web/value", target)
    else:
        target.mkdir()
        place = fs.bind(id if what == "directory" else ".by_name/web", target)
        path = os.path.join(place, "value")
    assert bounded(read_file, path) == b"first value"
    for value in ("second", "the third value is longer", "", "fourth"):
        resolver.update_token(id, value=value or "x")
        until(lambda wanted=(value or "x").encode(): bounded(read_file, path) == wanted, f"{value!r} through the bind")
        assert bounded(os.stat, path).st_size == len(value or "x")


@pytest.mark.core
def test_open_file_follows_whole(mount, resolver):
    """A descriptor held open gives whole versions, and in the end the newest one."""
    id = resolver.add_token(value=value_of(0))["id"]
    fs = mount(ttl=0.1)
    fd = bounded(os.open, fs.at(id, "value"), os.O_RDONLY)
    try:
        for number in range(1, 20):
            resolver.update_token(id, value=value_of(number))
            data = bounded(os.pread, fd, 4096, 0).decode()
            assert data == value_of(int(data[:8]))
            time.sleep(0.02)
        until(lambda: bounded(os.pread, fd, 4096, 0).decode() == value_of(19), "the newest version")
    finally:
        os.close(fd)


@pytest.mark.core
def test_tail_of_inotify_free_pollers(mount, resolver):
    """A poller that compares mtime and size (as make, rsync and cp -u do) never misses a change."""
    id = resolver.add_token(value="same-length-0")["id"]
    fs = mount(ttl=0.05)
    seen, bytes_of = None, {}
    for number in range(1, 8):
        resolver.update_token(id, value=f"same-length-{number}", updatedAt="2025-05-05T05:05:05Z")

        def look():
            info = fs.stat(id, "value")
            return (info.st_mtime_ns, info.st_size), fs.text(id, "value")

        until(lambda wanted=f"same-length-{number}": look()[1] == wanted, "the change")
        seen, data = look()
        assert bytes_of.setdefault(seen, data) == data
    assert len(bytes_of) == 7


def test_fields_of_one_snapshot(mount, resolver):
    """.json is one document that was current at some time: its members belong together."""
    id = resolver.add_token(value=value_of(0), name="n0")["id"]
    fs = mount(ttl=0.01)
    stop = threading.Event()

    def change():
        number = 0
        while not stop.wait(0.002):
            number += 1
            resolver.update_token(id, value=value_of(number), name=f"n{number}")

    thread = threading.Thread(target=change, daemon=True)
    thread.start()
    try:
        for _ in range(300):
            document = fs.json(id, ".json")
            assert document["value"] == value_of(int(document["name"][1:]))
    finally:
        stop.set()
        thread.join()


@pytest.mark.core
def test_deleted_and_made_again(mount, resolver):
    """An id that goes and comes back: gone while it is gone, then the new bytes; directories keep working."""
    token = resolver.add_token(id="at-phoenix", value="old")
    fs = mount(ttl=0.2, negative_ttl=0.1)
    assert fs.text("at-phoenix", "value") == "old"
    for round_ in range(3):
        resolver.delete_token(token["id"])
        until(lambda: fs.read_error("at-phoenix", "value") == "ENOENT", "the deletion")
        until(lambda: "at-phoenix" not in fs.tokens(), "the listing")
        resolver.add_token(id="at-phoenix", value=f"new{round_}")
        until(lambda: fs.read_error("at-phoenix", "value") == "OK", "the return")
        assert fs.text("at-phoenix", "value") == f"new{round_}"


def test_name_field_appears_and_goes(mount, resolver):
    """An optional field that the token gets and loses: its file comes and goes."""
    id = resolver.add_token(name=None)["id"]
    fs = mount(ttl=0.1, negative_ttl=0.1)
    assert fs.read_error(id, "name") == "ENOENT"
    resolver.update_token(id, name="now")
    until(lambda: fs.read_error(id, "name") == "OK", "the file")
    assert fs.text(id, "name") == "now" and "name" in fs.ls(id)
    resolver.update_token(id, name=None)
    until(lambda: fs.read_error(id, "name") == "ENOENT", "the file's end")
    until(lambda: "name" not in fs.ls(id), "the listing")
