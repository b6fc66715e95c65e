"""A mount under test: starts the program, does bounded file operations on it, ends it and looks at what it left.

No operation on the mount runs in pytest's main thread: each runs in a thread of its own, with a limit, so that a mount
that hangs fails one test and hangs nothing. Ending the daemon's processes frees whoever waits for it.
"""

import concurrent.futures
import errno
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from prometheus_client.parser import text_string_to_metric_families

import old_kernel

TREE = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = os.environ.get("TOKENFS_BINARY") or str(TREE / "build/src/tokenfs")
SLOWNESS = int(os.environ.get("TOKENFS_SLOWNESS", "1"))     # of the machine: tests/lib/slowness.sh measures it
# How long something may take that is never slow: a bound against hanging, no measure of speed. At most what timeout= takes.
HANG = min(60 * SLOWNESS, 3600)
CONTROL = [".by_name", ".service_status", ".service_metrics"]
FIELDS = ["id", "arn", "clientToken", "createdAt", "dnsViewId", "expiresAt", "globalResolverId", "name", "status",
          "updatedAt", "value"]
READ_SIZE = 1 << 20
SANITIZED = "TOKENFS_ASAN_OPTIONS" in os.environ


class Hung(AssertionError):
    """Something took longer than HANG."""


class MountFailed(Exception):
    """The program ended instead of mounting: status and what it said."""

    def __init__(self, status, text):
        super().__init__(f"status {status}: {text}")
        self.status = status
        self.text = text


def background(function, *arguments, **named):
    """Runs a function in a thread of its own; gives a future."""
    future = concurrent.futures.Future()

    def run():
        try:
            future.set_result(function(*arguments, **named))
        except BaseException as error:      # pylint: disable=broad-except
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def bounded(function, *arguments, limit=HANG, **named):
    """Runs a function in a thread of its own; gives its result, or raises Hung."""
    future = background(function, *arguments, **named)
    # Not result(limit): its time-out can't be told from an ETIMEDOUT of the function.
    if not concurrent.futures.wait([future], limit).done:
        raise Hung(f"{function.__name__}{arguments} took more than {limit} s")
    return future.result()


def until(condition, what="", limit=HANG, pause=0.02):
    """Waits for a condition; gives its value."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Hung(f"waited {limit} s in vain: {what or getattr(condition, '__name__', condition)}")
        time.sleep(pause)


def error_of(function, *arguments, **named):
    """The name of the errno that an operation ends with: "ENOENT"; "OK" if it succeeds."""
    try:
        bounded(function, *arguments, **named)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "OK"


def read_file(path):
    """All bytes of a file, by plain system calls. A read that gives less than was asked for was at the end."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while len(part := os.read(fd, READ_SIZE)) == READ_SIZE:
            parts.append(part)
        return b"".join([*parts, part])
    finally:
        os.close(fd)


def children_of(pid):
    """The pids of a process' children."""
    try:
        return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def child_of(pid, name):
    """The child that has this name; None: there is none."""
    found = [child for child in children_of(pid) if pathlib.Path(f"/proc/{child}/comm").read_text() == name + "\n"]
    return found[0] if found else None


def mounts_at(path):
    """The lines of mountinfo for this mountpoint: [(filesystem type, source, options, super options)]."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        fields, kind = left.split(" "), right.split(" ")
        if fields[4].encode().decode("unicode_escape") == str(path):
            found.append((kind[0], kind[1], fields[5].split(","), kind[2].split(",")))
    return found


def kill(pid, number=signal.SIGKILL):
    """Signals a process; it may have gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def is_alive(pid):
    """True for a process that is there and no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def options_text(options):
    """{"ttl": 1, "audit": True, "token": ["a", "b"]} as -o takes it."""
    words = []
    for name, value in options.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is True:
                words.append(name)
            elif one is not None and one is not False:
                words.append(f"{name}={one}")
    return ",".join(words)


class Mount:
    """One mount. Paths are given as parts below the mountpoint; "" is the mountpoint itself."""

    def __init__(self, directory, resolver, environ=None):
        self.directory = pathlib.Path(directory)
        self.path = str(self.directory / "mnt")
        self.home = str(self.directory / "home")
        os.mkdir(self.path)
        os.mkdir(self.home)
        self.resolver = resolver
        self.stderr_path = self.directory / "stderr"
        self.process = None
        self.pid = None
        self.ended = False
        self.may_restart = False
        self.may_fail = False
        self._binds = []
        self._looked = {}       # service file -> when it was looked at
        self.environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.home, "LC_ALL": "C.UTF-8",
                        "AWS_EC2_METADATA_DISABLED": "true", **resolver.environ(),
                        **(old_kernel.environ() if old_kernel.EVERYWHERE else {}), **(environ or {})}
        self.environ = {name: value for name, value in self.environ.items() if value is not None}
        for name in ("ASAN", "UBSAN", "LSAN"):
            if options := os.environ.get(f"TOKENFS_{name}_OPTIONS"):
                path = self.directory / "sanitizer"
                self.environ[f"{name}_OPTIONS"] = options if name == "LSAN" else f"{options}:log_path={path}"

    # Its life

    def command(self, options, source=None, foreground=True):
        """The command line of a mount."""
        words = [BINARY] + (["-f"] if foreground else [])
        text = options if isinstance(options, str) else options_text(options)
        words += ["-o", text] if text else []
        return words + ([source] if source else []) + [self.path]

    def launch(self, options, source=None, through=(), **more):
        """Starts the program in the foreground, by a command that becomes it if there is one."""
        with open(self.stderr_path, "ab") as stderr:
            # A group of its own: a signal to all of it isn't for us.
            self.process = subprocess.Popen([*through, *self.command(options, source)], env=self.environ, cwd="/",
                                            process_group=0, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, **more)
        self.pid, self.ended = self.process.pid, False

    def start(self, options, source=None, **more):
        """Mounts in the foreground; comes back when the mount is there, or raises MountFailed."""
        self.launch(options, source, **more)
        until(lambda: self.process.poll() is not None or self.is_mounted(), "the mount")
        if self.process.poll() is not None:
            self.ended = True
            raise MountFailed(self.process.returncode, self.log())
        bounded(os.stat, self.path)
        return self

    def is_mounted(self):
        """True while our filesystem is mounted here."""
        return any(kind == "fuse.tokenfs" for kind, *_ in mounts_at(self.path))

    @property
    def worker(self):
        """The pid of the worker."""
        return until(lambda: children_of(self.pid), "the worker")[0]

    def log(self):
        """What the program said so far."""
        return self.stderr_path.read_text(encoding="utf-8", errors="replace") if self.stderr_path.exists() else ""

    def signal(self, number):
        """Signals the supervisor."""
        os.kill(self.pid, number)

    def forget(self):
        """SIGHUP; comes back when it has been done, in the kernel as well: the next read reaches the API."""
        done = "SIGHUP: done"
        before = self.log().count(done)
        self.signal(signal.SIGHUP)
        until(lambda: self.log().count(done) > before, "the reload", pause=0.005)

    def stop(self):
        """SIGTERM; asserts that it ends by itself, with status 0, unmounted, without a report."""
        if self.ended or self.process is None:
            return self.check_traces()
        try:
            for target in reversed(self._binds):
                subprocess.run(["umount", "-l", target], check=False, capture_output=True)
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
            try:
                status = self.process.wait(HANG)
            except subprocess.TimeoutExpired:
                raise Hung("SIGTERM did not end it") from None
            self.check_reports()
            assert self.may_fail or status == 0, f"ended with {status}:\n{self.log()}"
            assert not self.is_mounted()
        finally:
            self.destroy()
        return self.check_traces()

    def destroy(self):
        """Ends whatever is left of it."""
        self.ended = True
        for target in reversed(self._binds):
            subprocess.run(["umount", "-l", target], check=False, capture_output=True)
        for _ in range(20):
            if not mounts_at(self.path):
                break
            subprocess.run(["umount", "-l", self.path], check=False, capture_output=True)
        if self.pid is not None:
            for pid in [self.pid, *children_of(self.pid)]:
                kill(pid)
        if self.process is not None:
            self.process.wait(HANG)

    def check_reports(self):
        """No report of a sanitizer. (That its search for leaks met a thread that ends is none.)"""
        reports = [path.read_text(errors="replace") for path in self.directory.glob("sanitizer*")]
        found = [text for text in reports if re.sub(r"==\d+==Unable to get registers from thread \d+\.\n", "", text)]
        assert not found, "\n".join(found)[:20000]

    def check_traces(self):
        """No report of a sanitizer, no secret in the log, no death of a worker."""
        self.check_reports()
        log = self.log()
        for secret in self.resolver_secrets():
            assert secret not in log, f"a secret in the log: {secret}"
        assert self.may_restart or "the next one starts in" not in log, log

    def resolver_secrets(self):
        """Every secret that the stand-in ever had."""
        found = {key.secret for key in self.resolver.verifier.keys.values()}
        found |= {key.session_token for key in self.resolver.verifier.keys.values() if key.session_token}
        for id in list(self.resolver.model._history):       # pylint: disable=protected-access
            found |= {document["value"] for _, document in self.resolver.history(id) if document}
        return {secret for secret in found if isinstance(secret, str) and len(secret) >= 8}

    # Operations

    def at(self, *parts):
        """A path below the mountpoint."""
        return os.path.join(self.path, *parts)

    def read(self, *parts):
        """A file's bytes."""
        return bounded(read_file, self.at(*parts))

    def text(self, *parts):
        """A file's bytes as text."""
        return self.read(*parts).decode()

    def json(self, *parts):
        """A file of JSON."""
        return json.loads(self.read(*parts))

    def stat(self, *parts):
        """lstat."""
        return bounded(os.lstat, self.at(*parts))

    def ls(self, *parts):
        """The sorted names in a directory, as listdir gives them."""
        return sorted(bounded(os.listdir, self.at(*parts)))

    def tokens(self):
        """The token directories that `ls` shows."""
        return [name for name in self.ls() if "_" not in name]

    def read_error(self, *parts):
        """The name of the errno of a read: "OK" if it succeeds."""
        return error_of(read_file, self.at(*parts))

    def run(self, *command, check=True, limit=HANG, **more):
        """Runs a program on the mount; gives the CompletedProcess."""
        done = subprocess.run(command, capture_output=True, timeout=limit, check=False, stdin=subprocess.DEVNULL, **more)
        assert not check or done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
        return done

    def bind(self, source, target):
        """Binds a file or directory of the mount to a path elsewhere, until the end of the test."""
        subprocess.run(["mount", "--bind", self.at(source), str(target)], check=True, capture_output=True,
                       timeout=HANG)
        self._binds.append(str(target))
        return str(target)

    # What it says of itself

    def service(self, name):
        """A service file as it is now: they are snapshots, made once a second at most."""
        time.sleep(max(0, self._looked.get(name, 0) + 1.01 - time.monotonic()))
        text = self.text(name)
        self._looked[name] = time.monotonic()
        return text

    def status(self):
        """.service_status"""
        return json.loads(self.service(".service_status"))

    def metrics(self):
        """.service_metrics: {name: [(labels, value)]}"""
        found = {}
        for family in text_string_to_metric_families(self.service(".service_metrics")):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def metric(self, name, default=None, **labels):
        """The sum of a metric's samples that have these labels."""
        values = [value for found, value in self.metrics().get(name, []) if labels.items() <= found.items()]
        assert values or default is not None, f"no metric {name} {labels}"
        return sum(values) if values else default


def seconds_in(text):
    """The numbers in a log line, for messages of tests."""
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
