"""A program that reads until the end of the file, in several reads, is given one version whole, whatever changes."""

import os
import subprocess
import sys
import time

import pytest
from hammer import value_of
from mounting import until

READER = os.path.join(os.path.dirname(__file__), "whole_reader.py")


@pytest.mark.parametrize("way", ["path", "name", "bind"])
def test_reads_until_the_end(mount, resolver, directory, way):
    """As cat reads: the read that finds the end may come when the token has changed."""
    id = resolver.add_token(name="web", value=value_of(0))["id"]
    fs = mount(ttl=0.5)
    target = directory / "file"
    target.touch()
    path = {"path": lambda: fs.at(id, "value"), "name": lambda: fs.at(".by_name", "web", "value"),
            "bind": lambda: fs.bind(f"{id}/value", target)}[way]()
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
    assert not [line for line in lines if not line.startswith("whole ")], lines
    assert len(lines) > 2, "it saw the token change"
