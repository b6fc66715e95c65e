"""A program that reads until the end of the file, in several reads, is given one version whole, whatever changes."""

import errno
import json
import mmap
import os
import signal
import subprocess
import sys
import time

import pytest
from hammer import value_of
from mounting import HANG, error_of, kill, until

HERE = os.path.dirname(__file__)
READER = os.path.join(HERE, "whole_reader.py")
THREADS = 32


def text_of(path):
    """The text of a file."""
    with open(path, encoding="ascii") as file:
        return file.read()


@pytest.mark.parametrize("way", ["path", "name", "directory"])
def test_reads_until_the_end(mount, resolver, directory, way):
    """As cat reads: the read that finds the end may come when the token has changed. A single file that is bound is
    overwritten in place at that instant; the next read is right."""
    id = resolver.add_token(name="web", value=value_of(0))["id"]
    fs = mount(ttl=0.5)
    place = directory / "place"
    place.mkdir()
    path = {"path": lambda: fs.at(id, "value"), "name": lambda: fs.at(".by_name", "web", "value"),
            "directory": lambda: os.path.join(fs.bind(id, place), "value")}[way]()
    reader = subprocess.Popen([sys.executable, READER, path, "0.02"], stdout=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 6
        number = 0
        while time.monotonic() < end:
            number += 1
            resolver.update_token(id, value=value_of(number))
            time.sleep(0.01)
        until(lambda: fs.text(id, "value") == value_of(number), "the last version")
    finally:
        reader.terminate()
    lines = reader.communicate(timeout=60)[0].splitlines()
    print(*lines, sep="\n")
    allowed = ("whole ", "torn ") if way == "bind" else "whole "
    assert not [line for line in lines if not line.startswith(allowed)], lines
    assert len(lines) > 2, "it saw the token change"


@pytest.fixture(scope="module")
def saturate(tmp_path_factory):
    """The program that reads without a pause."""
    program = tmp_path_factory.mktemp("saturate") / "saturate"
    subprocess.run(["cc", "-O2", "-pthread", "-D_GNU_SOURCE", "-o", program, os.path.join(HERE, "saturate.c")],
                   check=True, timeout=HANG)
    return program


def saturated(program, paths, change, seconds):
    """What readers without a pause saw while `change` was called every second and a bit."""
    reader = subprocess.Popen([program, str(THREADS), *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1.3)
            change()
        found = json.loads(reader.communicate(timeout=HANG)[0])
    finally:
        reader.kill()
        reader.wait(HANG)
    print(paths, found)
    return found


@pytest.mark.parametrize("way, ttl", [("path", 1), ("path", 0), ("name", 1), ("directory", 1)])
def test_saturating_readers(mount, resolver, directory, saturate, way, ttl):
    """32 threads that read to the end without a pause, over changes of length: by path and by directory bind all whole."""
    id = resolver.add_token(name="web", value=value_of(0))["id"]
    fs = mount(ttl=ttl)
    place = directory / "place"
    place.mkdir()
    path = {"path": lambda: fs.at(id, "value"), "name": lambda: fs.at(".by_name", "web", "value"),
            "directory": lambda: os.path.join(fs.bind(id, place), "value")}[way]()
    numbers = iter(range(1, 1000))
    found = saturated(saturate, [path], lambda: resolver.update_token(id, value=value_of(next(numbers))), 7)
    assert found["wrong"] == 0 and found["errors"] == 0, found
    assert found["versions"] > 2 and found["reads"] > 1000, found


def test_saturating_readers_of_a_bound_file(mount, resolver, directory, saturate):
    """A file that is bound by itself behaves, at the instant of a change, as one that is overwritten in place: few reads are
    wrong, and those that follow put it right. (The kernel sets a new size before it drops the old pages; a task that is
    preempted in between leaves a few reads to others that have both.)"""
    id = resolver.add_token(name="web", value=value_of(0))["id"]
    target = directory / "file"
    target.touch()
    fs = mount(ttl=1)
    path = fs.bind(f"{id}/value", target)
    numbers = iter(range(1, 1000))
    found = saturated(saturate, [path], lambda: resolver.update_token(id, value=value_of(next(numbers))), 16)
    assert found["longest_run"] <= 20 and found["errors"] == 0, found
    assert found["wrong"] <= 0.0005 * found["reads"], found
    assert found["versions"] > 4 and found["reads"] > 1000, found
    last = next(numbers) - 1
    until(lambda: text_of(path) == value_of(last), "the last version")


def replace_by_sighup(fs):
    """Comes back when the kernel has forgotten."""
    fs.forget()


def replace_by_upgrade(fs):
    """Comes back when another worker serves."""
    before = fs.worker
    fs.signal(signal.SIGUSR2)
    until(lambda: fs.worker != before, "another worker")


def replace_by_death(fs):
    """Comes back when another worker is there."""
    fs.may_restart = True
    before = fs.worker
    kill(before)
    until(lambda: fs.worker != before, "another worker")


REPLACEMENTS = {"hup": replace_by_sighup, "upgrade": replace_by_upgrade, "death": replace_by_death}


def rest_by_read(fd):
    """The read that should find the end."""
    return os.read(fd, 4096)


def rest_by_pread(fd):
    """At the same place, without the file's position."""
    return os.pread(fd, 4096, os.lseek(fd, 0, os.SEEK_CUR))


def rest_by_direct(fd):
    """Around the page cache."""
    here = os.lseek(fd, 0, os.SEEK_CUR)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT)
    try:
        buffer = mmap.mmap(-1, 4096)
        return buffer[:os.preadv(again, [buffer], here)]
    finally:
        os.close(again)


@pytest.mark.parametrize("rest", [rest_by_read, rest_by_pread, rest_by_direct])
@pytest.mark.parametrize("how", REPLACEMENTS)
@pytest.mark.parametrize("way", ["path", "name", "directory"])
def test_another_worker_in_the_middle(mount, resolver, directory, way, how, rest):
    """The worker is replaced and the token changes, while a reader has read all bytes and not found the end yet: it finds
    the end, and not the bytes of another version. The kernel has the pages: no reader by path sees an error."""
    id = resolver.add_token(name="web", value="short")["id"]
    fs = mount(ttl=1)
    place = directory / "place"
    place.mkdir()
    path = {"path": lambda: fs.at(id, "value"), "name": lambda: fs.at(".by_name", "web", "value"),
            "directory": lambda: os.path.join(fs.bind(id, place), "value")}[way]()
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.read(fd, 4096) == b"short"
        resolver.update_token(id, value="a value that is longer")
        REPLACEMENTS[how](fs)
        until(lambda: text_of(path) == "a value that is longer", "the change")
        assert rest(fd) == b""
        assert os.pread(fd, 4096, 0) in (b"short", b"a value that is longer")
    finally:
        os.close(fd)


def text_or_stale(path):
    """The text of a file; None for ESTALE."""
    try:
        return text_of(path)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return None


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_lost_bytes(mount, resolver, how):
    """The worker is replaced and the token changes while the kernel has no pages of the file: ESTALE, and the new version
    after the grace. By its path as soon as the kernel has forgotten the old entry."""
    id = resolver.add_token(name="web", value="short")["id"]
    fs = mount(ttl=1)
    fd = os.open(fs.at(id, "value"), os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, 4096)
    try:
        assert os.preadv(fd, [buffer], 0) == 5
        resolver.update_token(id, value="a value that is longer")
        REPLACEMENTS[how](fs)
        until(lambda: text_or_stale(fs.at(id, "value")) == "a value that is longer", "the change")
        with pytest.raises(OSError) as caught:
            os.preadv(fd, [buffer], 0)
        assert caught.value.errno == errno.ESTALE
        until(lambda: error_of(os.preadv, fd, [buffer], 0) == "OK", "the end of the grace")
        assert buffer[:os.preadv(fd, [buffer], 0)] == b"a value that is longer"
    finally:
        os.close(fd)


@pytest.mark.parametrize("how", REPLACEMENTS)
def test_another_worker_and_a_bound_file(mount, resolver, directory, how):
    """A file that is bound by itself follows without an error, under every worker."""
    id = resolver.add_token(name="web", value=value_of(0))["id"]
    target = directory / "file"
    target.touch()
    fs = mount(ttl=1)
    path = fs.bind(f"{id}/value", target)
    assert text_of(path) == value_of(0)
    for number in range(1, 5):
        resolver.update_token(id, value=value_of(number))
        REPLACEMENTS[how](fs)
        until(lambda number=number: text_of(path) == value_of(number), "the change")
