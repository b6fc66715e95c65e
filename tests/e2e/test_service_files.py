""".service_status and .service_metrics are snapshots, made once a second at most: every reader gets one, whole."""

import json
import os
import subprocess
import sys
import time

import pytest
from mounting import HANG, background, bounded, until
from prometheus_client.parser import text_string_to_metric_families
from readers import Readers, errors_in

NAMES = (".service_status", ".service_metrics")


def check(name, text):
    """One whole text."""
    assert json.loads(text)["version"] if name == NAMES[0] else list(text_string_to_metric_families(text))


@pytest.mark.parametrize("name", NAMES)
def test_tools_and_parallel_readers(mount, resolver, directory, name):
    """cp, install and tar, beside twenty readers without a pause worth it: none fails, each has one whole text."""
    ids = [t["id"] for t in resolver.add_tokens(300)]
    fs = mount(ttl=60)
    for id in ids:
        fs.read(id, "status")
    readers = {f"reader {i}": ("read", fs.at(name)) for i in range(20)}
    commands = {"cp": ["cp", fs.at(name), directory / "cp"], "install": ["install", fs.at(name), directory / "install"],
                "tar": ["tar", "-C", fs.path, "-cf", directory / "tar", name]}
    with Readers(readers) as all_readers:
        end = time.monotonic() + 6
        rounds = 0
        while time.monotonic() < end or rounds < 10:
            rounds += 1
            for command in commands.values():
                fs.run(*command)
            check(name, (directory / "cp").read_text())
            check(name, (directory / "install").read_text())
            check(name, fs.run("tar", "-xOf", directory / "tar").stdout.decode())
        all_readers.advance()
        reports = all_readers.stop()
    assert not errors_in(reports)
    texts = {text for one in reports.values() for text in one["seen"]}
    for text in texts:
        check(name, text)
    assert 2 <= len(texts) <= time.monotonic() - end + 6 + 3, "a snapshot a second, for all of them"


@pytest.mark.parametrize("pause", [0, 1.5])
def test_slow_readers(mount, resolver, pause):
    """A reader that takes seconds for a text of several reads gets one, while others are made."""
    for id in [t["id"] for t in resolver.add_tokens(900)]:
        resolver.update_token(id, name="n" * 32)
    fs = mount(ttl=600)
    for id in fs.tokens():
        fs.read(id, "status")
    with Readers({"other": ("read", fs.at(NAMES[0]))}) as others, open(fs.at(NAMES[0]), "rb", buffering=0) as file:
        text = b""
        while piece := bounded(file.read, 40_000):
            text += piece
            time.sleep(pause)
        others.advance()
    check(NAMES[0], text.decode())
    assert len(text) > 150_000


def test_over_an_upgrade(mount):
    """Another worker: who had opened one reads it to its end."""
    fs = mount()
    with Readers({f"reader {i}": ("read", fs.at(NAMES[i % 2])) for i in range(8)}) as readers:
        readers.advance()
        for _ in range(5):
            fs.forget()
            readers.advance()
        reports = readers.stop()
    assert not errors_in(reports)
    for label, one in reports.items():
        for text in one["seen"]:
            check(NAMES[int(label.split()[1]) % 2], text)


STRANGER = """
import os, sys
os.setgid(1234)
os.setuid(1234)
print("ready", flush=True)
seen = set()
while os.getppid() != 1:
    info = os.stat(sys.argv[1])
    if info.st_ctime_ns not in seen:
        seen.add(info.st_ctime_ns)
        print(info.st_ctime_ns, flush=True)
"""


def test_a_stranger_delays_nobody(mount, resolver):
    """stat in loops, by a user without rights, makes no text of its own each time: the others read on, the worker lives."""
    ids = [t["id"] for t in resolver.add_tokens(3000)]
    fs = mount(ttl=600, allow_other=True, watchdog=4)
    for id in ids[:2900]:
        fs.read(id, "status")
    worker = fs.worker
    strangers = [subprocess.Popen([sys.executable, "-c", STRANGER, fs.at(NAMES[0])], stdout=subprocess.PIPE, text=True)
                 for _ in range(6)]
    start = time.monotonic()
    try:
        for one in strangers:
            assert bounded(one.stdout.readline) == "ready\n"
        for id in ids[2900:]:
            assert background(fs.read, id, "status").result(HANG) == b"OPERATIONAL"
        until(lambda: time.monotonic() > start + 8, "more time than the watchdog gives", limit=HANG)
    finally:
        seconds = time.monotonic() - start
        for one in strangers:
            one.kill()
        seen = {line for one in strangers for line in one.communicate(timeout=HANG)[0].splitlines()}
    assert 2 < len(seen) <= seconds + 3, f"{len(seen)} texts in {seconds} s"
    assert fs.worker == worker and "watchdog" not in fs.log()


def test_a_single_file_that_is_bound(mount, token, directory):
    """Follows too: the text that is read is of some seconds ago at most."""
    target = directory / "status"
    target.touch()
    fs = mount()
    path = fs.bind(NAMES[0], target)

    def age():
        with open(path, encoding="utf-8") as file:
            check(NAMES[0], text := file.read())
        return fs.status()["uptimeSeconds"] - json.loads(text)["uptimeSeconds"]

    until(lambda: fs.status()["uptimeSeconds"] > 25, "an older mount", pause=1)
    until(lambda: age() < 5, "a text of lately")
    assert token["id"] not in os.listdir(directory)
