"""A systemd of its own: process 1 of new namespaces, with nothing but the units under test.

Nothing of the machine's own is started or touched: the mounts are private, /run is fresh, and the unit path holds what
the test puts there alone. That systemd is killed with its namespace.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import time

from mounting import HANG, children_of, until

SYSTEMD = "/lib/systemd/systemd"
TARGET = "rig.target"
# One at a time on a machine: all systemds of one kernel share its cgroup hierarchies, and wait for each other's locks.
LOCK = "/run/tokenfs-systemd-rig.lock"
# What the other units want to be ordered after; empty here.
EMPTY = ["sysinit.target", "basic.target", "shutdown.target", "multi-user.target", "network-online.target",
         "network.target", "remote-fs.target", "remote-fs-pre.target", "umount.target", "local-fs.target", TARGET]

# Other tests' mounts are let go of; and /, as a real systemd makes it, is shared.
BOOT = r"""
set -e
mount --make-rprivate /
awk '/ - fuse\./ {print $5}' /proc/self/mountinfo | while read -r path; do umount -l "$path" || true; done
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/units
cp -r "$RIG_UNITS"/. /run/units/
mount --make-rshared /
export container=rig SYSTEMD_UNIT_PATH=/run/units
exec """ + SYSTEMD + r""" --system --unit=""" + TARGET + r""" --log-target=null --show-status=no
"""

# A journal that takes hardly a line of a unit, unless the unit says otherwise.
JOURNAL = r"""
mkdir -p /run/systemd/journald.conf.d "/run/units/$1.d"
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=1\nRateLimitIntervalSec=1h\n' \
        >/run/systemd/journald.conf.d/rig.conf
printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nExecStart=/lib/systemd/systemd-journald\n' \
        >/run/units/journald.service
printf '[Service]\nStandardError=journal\n' >"/run/units/$1.d/journal.conf"
"""


def own_cgroups():
    """The directories of our own cgroup, in each hierarchy that is mounted whole."""
    paths = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        paths[names] = path
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        fields, kind = left.split(" "), right.split(" ")
        if not kind[0].startswith("cgroup") or fields[3] != "/":
            continue
        for names, path in paths.items():
            if names == "" if kind[0] == "cgroup2" else names and set(names.split(",")) <= set(kind[2].split(",")):
                found.append(pathlib.Path(fields[4] + path))
    return found


class Cgroup:
    """A cgroup of the rig's own, in every hierarchy that lets us make one: systemds don't meet in them."""

    def __init__(self):
        self.made = []

    def make(self):
        """Makes them."""
        for parent in own_cgroups():
            path = parent / f"rig-{os.getpid()}-{id(self)}"
            try:
                path.mkdir()
                self.made.append(path)
            except OSError:
                continue
        assert self.made, "no cgroup can be made here"

    def enter(self):
        """Moves this process into them (cpuset's has no processors yet, and refuses)."""
        for path in self.made:
            try:
                (path / "cgroup.procs").write_text("0")
            except OSError:
                continue

    def remove(self):
        """Removes them, with what systemd left in them."""
        for path in self.made:
            for directory, _, _ in os.walk(path, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    continue


def why_not():
    """Why it can't run here; None if it can."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists(SYSTEMD):
        return "systemd is not installed"
    done = subprocess.run(["unshare", "-p", "-f", "-m", "-C", "--mount-proc", "true"], capture_output=True, check=False)
    if not any(os.access(path, os.W_OK) for path in own_cgroups()):
        return "no cgroups that can be written here"
    return None if done.returncode == 0 else "no namespaces here: " + done.stderr.decode().strip()


class Systemd:
    """One systemd: `with Systemd(directory, units) as systemd: systemd.ctl("start", "x.service")`."""

    def __init__(self, directory, units, boot=BOOT, environ=None):
        self.boot = boot
        self.environ = environ or {}
        self.units = pathlib.Path(directory) / "units"
        self.units.mkdir()
        for name in EMPTY:
            (self.units / name).write_text(f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
        for source in units:
            shutil.copy(source, self.units)
        self.cgroup = Cgroup()
        self.process = None
        self.pid = None
        self.lock = None

    def __enter__(self):
        self.lock = open(LOCK, "w", encoding="ascii")       # pylint: disable=consider-using-with
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.cgroup.make()
        self.process = subprocess.Popen(
            ["unshare", "-p", "-f", "-m", "-C", "--mount-proc", "--kill-child=KILL", "bash", "-c", self.boot],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "RIG_UNITS": str(self.units), **self.environ},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True, preexec_fn=self.cgroup.enter)       # pylint: disable=subprocess-popen-preexec-fn
        try:
            self.pid = until(lambda: children_of(self.process.pid) or self._check(), "process 1")[0]
            until(lambda: self._check() or self.ctl("is-active", TARGET, check=False).stdout == "active\n", "systemd's start",
                  pause=0.1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _check(self):
        if self.process.poll() is not None:
            raise AssertionError(f"systemd ended: {self.process.stderr.read().decode()}")

    def __exit__(self, *_):
        for pid in [*children_of(self.process.pid), self.process.pid]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        self.process.wait(HANG)
        self.process.stderr.close()
        until(lambda: self.cgroup.remove() or not any(path.exists() for path in self.cgroup.made), "the cgroups' end")
        self.lock.close()

    def enter(self, *command, check=True, limit=HANG, **more):
        """Runs a command in its namespaces."""
        done = subprocess.run(["nsenter", "-t", str(self.pid), "-m", "-p", "-C", "--", *command], capture_output=True,
                              text=True, timeout=limit, check=False, stdin=subprocess.DEVNULL, start_new_session=True,
                              **more)
        assert not check or done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
        return done

    def ctl(self, *words, check=True):
        """systemctl."""
        done = self.enter("systemctl", "--no-pager", *words, check=False)
        if check and done.returncode != 0:
            status = self.enter("systemctl", "--no-pager", "--full", "status", *words[1:], check=False).stdout
            logs = [path.read_text(errors="replace") for path in self.units.parent.glob("log")]
            raise AssertionError(f"{words}: {done.stderr}\n{status}\n{''.join(logs)}")
        return done

    def show(self, unit, name):
        """One property of a unit."""
        return self.ctl("show", "-P", name, unit).stdout.strip()

    def start_journal(self, unit):
        """Starts journald, and has the unit write into it."""
        self.enter("sh", "-ec", JOURNAL, "sh", unit)
        self.ctl("daemon-reload")
        self.ctl("start", "journald.service")

    def journal(self, unit):
        """What it has of the unit."""
        return self.enter("journalctl", "--directory=/run/log/journal", "--output=cat", f"--unit={unit}").stdout

    def main_pid(self, unit):
        """The pid of a service's main process, once it has one."""
        return until(lambda: (pid := self.show(unit, "MainPID")) != "0" and pid, f"{unit}'s main process")

    def wait_for(self, unit, name, value, limit=HANG):
        """Waits until a unit's property has a value."""
        end = time.monotonic() + limit
        while (found := self.show(unit, name)) != value:
            assert time.monotonic() < end, f"{unit}: {name} is {found}, not {value}"
            time.sleep(0.05)
