"""Programs that a test needs and that not every machine has."""

import os
import shutil
import subprocess

import pytest

PACKAGES = {
    "dh": "debhelper", "dpkg-buildpackage": "dpkg-dev", "promtool": "prometheus",
    "ansible-playbook": "ansible-core", "bwrap": "bubblewrap", "busybox": "busybox-static", "envsubst": "gettext-base",
    "inotifywait": "inotify-tools", "newuidmap": "uidmap", "puppet": "puppet-agent", "systemd-nspawn": "systemd-container",
    "unshare": "util-linux", "setpriv": "util-linux",
}
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def need(*programs):
    """Skips the test where a program isn't installed, and says which package has it; gives the first one's path."""
    missing = [program for program in programs if shutil.which(program, path=PATH) is None]
    if missing:
        pytest.skip(f"NOT INSTALLED: apt-get install {' '.join(PACKAGES.get(program, program) for program in missing)}")
    return shutil.which(programs[0], path=PATH)


def run(*command, check=True, **more):
    """Runs a program; gives the CompletedProcess."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=600, **more)
    assert not check or done.returncode == 0, (command, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done
