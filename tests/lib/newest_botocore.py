"""Finds the Python on this machine that has the newest botocore: what it says counts, not what Debian has."""

import os
import re
import subprocess
import sys

ASK = "import botocore; print(botocore.__version__)"


def _version_in(python):
    """The release that this interpreter imports, as numbers; () without one."""
    try:
        done = subprocess.run([python, "-c", ASK], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(map(int, re.findall(r"\d+", done.stdout)[:3])) if done.returncode == 0 else ()


def find():
    """(interpreter, release): of those on PATH and the running one; (None, ()) if none has botocore."""
    places = [sys.executable, *(f"{place}/python3" for place in os.environ.get("PATH", "").split(":") if place)]
    pythons = [python for python in dict.fromkeys(places) if os.access(python, os.X_OK)]
    release, python = max(((_version_in(python), python) for python in pythons), key=lambda found: found[0])
    return (python, release) if release else (None, ())


def run_with_it(script):
    """Replaces this process by the script under that interpreter, unless it is the one that runs."""
    if os.environ.get("TOKENFS_NEWEST_BOTOCORE"):
        return
    python, _ = find()
    if python and python != sys.executable:
        os.environ["TOKENFS_NEWEST_BOTOCORE"] = python
        os.execv(python, [python, script, *sys.argv[1:]])
