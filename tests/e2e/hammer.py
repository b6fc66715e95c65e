#!/usr/bin/python3
"""Reads files over and over, and checks that each read gives exactly one version, whole.

    hammer.py SECONDS PATH…      prints one line of JSON: reads, versions seen, torn reads, errors, steps back

A version is text that says of itself what it must be: see value_of. Run as a program of its own, so that a mount that
hangs can't hang the test, and so that several can read truly at the same time.
"""

import collections
import errno
import json
import os
import sys
import time

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def value_of(number):
    """The value of version `number`: its length and its letters follow from the number."""
    return f"{number:08d}" + LETTERS[number % 26] * (number * 37 % 91)


def is_whole(text):
    """True if this is exactly one version."""
    return text[:8].isdigit() and len(text) >= 8 and text == value_of(int(text[:8]))


def hammer(seconds, paths):
    """Reads until the time is over; gives what was seen."""
    torn, errors, versions = [], collections.Counter(), set()
    reads, back = 0, 0
    last = dict.fromkeys(paths, -1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in paths:
            reads += 1
            try:
                fd = os.open(path, os.O_RDONLY)
            except OSError as error:
                errors[errno.errorcode[error.errno]] += 1
                continue
            try:
                data = os.read(fd, 4096)
            except OSError as error:
                errors[errno.errorcode[error.errno]] += 1
                continue
            finally:
                os.close(fd)
            text = data.decode(errors="replace")
            if not is_whole(text):
                torn.append(text)
                continue
            number = int(text[:8])
            versions.add(number)
            back += number < last[path]
            last[path] = number
    return {"reads": reads, "versions": len(versions), "last": max(versions, default=-1), "torn": len(torn),
            "examples": torn[:5], "errors": errors, "back": back}


if __name__ == "__main__":
    print(json.dumps(hammer(float(sys.argv[1]), sys.argv[2:])))
