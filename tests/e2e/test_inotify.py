"""Watchers by inotify: IN_DELETE_SELF of a file whose bytes changed, once the new version can be read."""

import ctypes
import os
import select
import signal
import struct
import subprocess
import threading
import time

import pytest
from mounting import HANG, bounded, child_of, kill, read_file, until

IN_ATTRIB, IN_DELETE_SELF, IN_IGNORED = 0x4, 0x400, 0x8000
LIBC = ctypes.CDLL(None, use_errno=True)


class Watch:
    """One watch on one path, in this process."""

    def __init__(self, path):
        self.fd = LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        bounded(os.stat, path)
        assert LIBC.inotify_add_watch(self.fd, os.fsencode(path), IN_DELETE_SELF | IN_ATTRIB) >= 0, os.strerror(
            ctypes.get_errno())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def deleted(self, seconds):
        """Waits for IN_DELETE_SELF; True if it came."""
        end = time.monotonic() + seconds
        while select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
            data = os.read(self.fd, 4096)
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                if mask & IN_DELETE_SELF:
                    return True
                data = data[16 + length:]
        return False


@pytest.mark.parametrize("way", ["path", "name", "directory"])
def test_change_reaches_the_watcher(mount, resolver, directory, token, way):
    """By id, by name and through a directory's bind mount; the next opening sees the new file, and can be watched again."""
    fs = mount(ttl=0.5, watch="web", on_change="/bin/true")
    place = directory / "place"
    place.mkdir()
    path = {"path": lambda: fs.at(token["id"], "value"), "name": lambda: fs.at(".by_name", "web", "value"),
            "directory": lambda: os.path.join(fs.bind(token["id"], place), "value")}[way]()
    for number in range(3):
        with Watch(path) as watch:
            value = f"value {number} " + "x" * number
            resolver.update_token(token["id"], value=value)
            assert watch.deleted(HANG)
            assert bounded(read_file, path).decode() == value
            info = bounded(os.stat, path)
            assert (info.st_nlink, info.st_size) == (1, len(value))


def test_rotation_of_a_name(mount, resolver, token):
    """Another token: the files of the name have been replaced, each of them."""
    fs = mount(ttl=0.5, watch="web", on_change="/bin/true")
    paths = {field: fs.at(".by_name", "web", field) for field in ("value", "id", ".json", "name", "status")}
    watches = {field: Watch(path) for field, path in paths.items()}
    new = resolver.rotate_token(token["id"])
    assert all(watch.deleted(HANG) for watch in watches.values())
    assert bounded(read_file, paths["id"]).decode() == new["id"]


def test_no_event_without_a_change(mount, resolver, token):
    """Refreshes and changes of other tokens leave the watcher of a file alone."""
    fs = mount(ttl=0.3, watch="web", on_change="/bin/true")
    with Watch(fs.at(token["id"], "value")) as watch:
        calls = resolver.count("GetAccessToken")
        until(lambda: resolver.count("GetAccessToken") > calls + 3, "refreshes")
        other = resolver.add_token(name="other")
        for number in range(3):
            resolver.update_token(other["id"], value=f"value {number}")
            until(lambda number=number: fs.text(other["id"], "value") == f"value {number}", "the change")
        assert not watch.deleted(1)
        resolver.update_token(token["id"], value="changed")
        assert watch.deleted(HANG)


@pytest.mark.parametrize("readers", [1, 8])
def test_readers_don_t_take_the_event_away(mount, resolver, token, readers):
    """A look-up that comes with the change lets go of the old file; its watcher hears of it all the same, but where the
    machine is so busy that a task takes an answer in long after it was given."""
    fs = mount(ttl=0.2)
    path = fs.at(token["id"], "value")
    stop = threading.Event()

    def read_on():
        while not stop.is_set():
            read_file(path)

    threads = [threading.Thread(target=read_on, daemon=True) for _ in range(readers)]
    for thread in threads:
        thread.start()
    try:
        heard = 0
        for number in range(10):
            with Watch(path) as watch:
                resolver.update_token(token["id"], value=f"value {number}")
                heard += watch.deleted(5)
        assert heard >= 6
    finally:
        stop.set()
        for thread in threads:
            thread.join(HANG)


def test_notifier_that_hangs(mount, resolver, token):
    """It holds up the readers of one change, and those of no other until it goes on; then there are events again."""
    fs = mount(ttl=0.1, watch="web", on_change="/bin/true")
    path = fs.at(token["id"], "value")
    assert fs.text(token["id"], "value") == token["value"]

    def slowest(value):
        """Reads until the value is there; gives the longest time that a read took."""
        resolver.update_token(token["id"], value=value)
        longest = 0
        while True:
            start = time.monotonic()
            seen = bounded(read_file, path)
            longest = max(longest, time.monotonic() - start)
            if seen == value.encode():
                return longest
            time.sleep(0.01)

    notifier = until(lambda: child_of(fs.worker, "tokenfs-notify"), "the notifier")
    os.kill(notifier, signal.SIGSTOP)
    try:
        slowest("first")
        assert min(slowest(f"value {number}") for number in range(10)) < 0.25
    finally:
        os.kill(notifier, signal.SIGCONT)

    def is_heard():
        """A change reaches a watcher: not yet, perhaps, while the notifier deletes entries of the changes before."""
        with Watch(path) as watch:
            resolver.update_token(token["id"], value=os.urandom(8).hex())
            return watch.deleted(3)

    until(is_heard, "an event")


def test_other_holders_of_the_file_go_on(mount, resolver, directory, token):
    """An open descriptor, a bind mount of the file and ls are as without watchers."""
    target = directory / "file"
    target.touch()
    fs = mount(ttl=0.5, watch="web", on_change="/bin/true")
    bound = fs.bind(f"{token['id']}/value", target)
    path = fs.at(token["id"], "value")
    fd = bounded(os.open, path, os.O_RDONLY)
    try:
        before = fs.ls(token["id"])
        resolver.update_token(token["id"], value="the second value")
        until(lambda: fs.text(token["id"], "value") == "the second value", "the change")
        assert bounded(os.pread, fd, 100, 0).decode() in (token["value"], "the second value")
        until(lambda: bounded(read_file, bound) == b"the second value", "the bind")
        until(lambda: bounded(os.pread, fd, 100, 0) == b"the second value", "the descriptor")
        assert bounded(os.fstat, fd).st_nlink == 1
        assert fs.ls(token["id"]) == before
    finally:
        os.close(fd)


def test_another_worker(mount, resolver, token):
    """A change that the next worker is the first to see."""
    fs = mount(ttl=0.5, watch="web", on_change="/bin/true")
    fs.may_restart = True
    with Watch(fs.at(token["id"], "value")) as watch:
        old = fs.worker
        resolver.update_token(token["id"], value="changed meanwhile")
        kill(old)
        until(lambda: fs.worker not in (None, old), "the next worker")
        assert watch.deleted(HANG)
    assert fs.text(token["id"], "value") == "changed meanwhile"


def test_inotifywait(mount, resolver, token):
    """The program of inotify-tools, as scripts use it."""
    fs = mount(ttl=0.5, watch="web", on_change="/bin/true")
    path = fs.at(".by_name", "web", "value")
    fs.text(".by_name", "web", "value")
    waiter = subprocess.Popen(["inotifywait", "-e", "delete_self", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True)
    try:
        while "established" not in bounded(waiter.stderr.readline):
            pass
        resolver.update_token(token["id"], value="changed")
        assert "DELETE_SELF" in waiter.communicate(timeout=HANG)[0]
    finally:
        waiter.kill()
        waiter.wait(HANG)


WATCHDOG = """
import sys, time
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
class Handler(FileSystemEventHandler):
    def on_any_event(self, event):
        print(event.event_type, flush=True)
observer = Observer()
observer.schedule(Handler(), sys.argv[1])
observer.start()
print("ready", flush=True)
time.sleep(60)
"""


def test_watchdog_of_python(mount, resolver, token):
    """python3-watchdog's observer of a file."""
    if subprocess.run(["/usr/bin/python3", "-c", "import watchdog"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("NOT INSTALLED: apt-get install python3-watchdog")
    fs = mount(ttl=0.5, watch="web", on_change="/bin/true")
    fs.text(token["id"], "value")
    watcher = subprocess.Popen(["/usr/bin/python3", "-c", WATCHDOG, fs.at(token["id"], "value")], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    try:
        assert bounded(watcher.stdout.readline) == "ready\n"
        resolver.update_token(token["id"], value="changed")
        assert bounded(watcher.stdout.readline) == "deleted\n"
    finally:
        watcher.kill()
        watcher.wait(HANG)
