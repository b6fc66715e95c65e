"""What the benches run on: a stand-in and a mount as processes pinned to CPUs, a tmpfs to compare with, the C helper."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "e2e")]

import mounting                                                 # noqa: E402

REGION = "us-east-2"


class Service:
    """The stand-in as a process of its own: its Python must not share a lock, or a CPU, with what is measured."""

    def __init__(self, cpu):
        command = ["taskset", "-c", str(cpu), "/usr/bin/python3", str(HERE.parent / "resolver.py"), "--environ"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self._environ = {}
        while "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER" not in self._environ:
            name, _, value = self.process.stdout.readline().removeprefix("export ").strip().partition("=")
            self._environ[name] = value.strip("'")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def environ(self):
        """What a client needs."""
        return dict(self._environ)

    def control(self, method, path, **arguments):
        """A control request; gives its answer."""
        body = json.dumps(arguments).encode() if arguments else None
        request = urllib.request.Request(f"{self.url}/_control/{path}", data=body, method=method)
        with self._opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def tokens(self, count):
        """Makes so many tokens; gives their ids in the order in which they are listed."""
        self.control("DELETE", "tokens")
        self.control("POST", "tokens", count=count)
        return sorted(token["id"] for token in self.control("GET", "tokens"))

    def calls(self):
        """How many calls of the API were made since the last reset."""
        return self.control("GET", "counters")["calls"]

    def stop(self):
        """Ends it."""
        self.process.terminate()
        self.process.wait(30)


class Rig:
    """All of it, in a directory of its own. CPU 0: daemon and readers, as one program reading would have it; CPU 1: the
    stand-in."""

    def __init__(self, build, smoke):
        self.smoke = smoke
        self.build = pathlib.Path(build)
        cpus = sorted(os.sched_getaffinity(0))
        self.cpu, self.service_cpu = cpus[0], cpus[-1]
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-"))
        self.tmpfs = self.directory / "tmpfs"
        self.tmpfs.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "bench", str(self.tmpfs)], check=True)
        self.helper = str(self.directory / "helper")
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libcurl"], check=True, capture_output=True,
                               text=True).stdout.split()
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-o", self.helper, str(HERE / "helper.c"), *flags], check=True)
        self.service = Service(self.service_cpu)
        self.mounts = []

    def count(self, full, small):
        """A number of repetitions."""
        return small if self.smoke else full

    @contextlib.contextmanager
    def quick_api(self, latency_ms):
        """The stand-in in C, on the stand-in's CPU; gives its URL."""
        command = ["taskset", "-c", str(self.service_cpu), str(self.build / "tests/bench/quick_api"), str(latency_ms * 1000)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process.stdout.readline().strip()
            finally:
                process.stdin.close()

    def mount(self, **options):
        """A mount whose processes are pinned to CPU 0."""
        place = pathlib.Path(tempfile.mkdtemp(prefix="m", dir=self.directory))
        mounting.BINARY = str(self.build / "src/tokenfs")
        fs = mounting.Mount(place, self.service)
        self.mounts.append(fs)
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.cpu})
        try:
            return fs.start(options)
        finally:
            os.sched_setaffinity(0, before)

    def unmount(self, fs):
        """Ends a mount."""
        self.mounts.remove(fs)
        fs.destroy()

    def run(self, *arguments, cpus=None):
        """Runs the helper on CPU 0 (or on others); gives its numbers."""
        command = ["taskset", "-c", str(self.cpu if cpus is None else cpus), self.helper, *map(str, arguments)]
        environ = {**os.environ, **self.service.environ()}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environ)
        if done.returncode != 0:
            raise RuntimeError(f"{command[:8]}: {done.stderr}")
        return [float(word) for word in done.stdout.split()]

    def read_ns(self, count, *paths, readers=1, cpus=None):
        """Nanoseconds a read: open, read, close."""
        return self.run("read", count, readers, *paths, cpus=cpus)[0]

    def copy_to_tmpfs(self, fs, *parts):
        """A file of the mount, at the same depth in the tmpfs; gives its path."""
        target = self.tmpfs.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(fs.read(*parts))
        return str(target)

    def stop(self):
        """Ends everything."""
        for fs in list(self.mounts):
            self.unmount(fs)
        self.service.stop()
        subprocess.run(["umount", "-l", str(self.tmpfs)], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


def memory_kib(pid, what="VmRSS"):
    """A figure of /proc/PID/status, in KiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1])
    raise KeyError(what)


def wakeups(pid):
    """How often the process was put to sleep or preempted, in all: each time it woke before."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if "ctxt_switches" in line)
