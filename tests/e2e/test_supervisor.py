"""The worker dies, hangs, is damaged or starved: readers notice nothing but a pause, the mount goes on, and it is told."""

import errno
import fcntl
import os
import pathlib
import pty
import random
import re
import resource
import signal
import subprocess
import termios
import threading
import time

import old_kernel
import pytest
from mounting import (HANG, SANITIZED, background, bounded, children_of, error_of, is_alive, kill, mounts_at,
                      read_file, until)
from readers import Readers, errors_in

pytest_plugins = ["mountns"]
pytestmark = pytest.mark.core
# What happens without is in test_old_kernel.py.
needs_resend = pytest.mark.skipif(not old_kernel.can_resend(), reason="the kernel sends nothing again (before 6.9)")
# A sanitizer has its own idea of what SIGSEGV means.
DEATHS = [signal.SIGKILL, signal.SIGTRAP if SANITIZED else signal.SIGSEGV, signal.SIGABRT]


def kinds(fs, token, directory, also=None):
    """Readers of every kind for this token: {name: (kind, path)}."""
    for name in ("bound", "file"):
        (directory / name).mkdir() if name == "bound" else (directory / name).touch()
    bound = fs.bind(token["id"], directory / "bound")
    single = fs.bind(f"{token['id']}/value", directory / "file")
    return {
        "path": ("read", fs.at(token["id"], "value")),
        "directory bind": ("read", f"{bound}/value"),
        "file bind": ("read", single),
        "by name": ("read", fs.at(".by_name", token["name"], "value")),
        "open file": ("fd", fs.at(token["id"], "value")),
        "document": ("read", fs.at(token["id"], ".json")),
        "size": ("stat", fs.at(token["id"], "value")),
        "list": ("ls", fs.at(token["id"])),
        "root": ("ls", fs.path),
        **(also or {}),
    }


def check_seen(reports, token, values):
    """No error at all (but EIO where the kernel sends nothing again), and only values that the token had."""
    reports = old_kernel.without_eio(reports)
    assert not errors_in(reports)
    for name in ("path", "directory bind", "file bind", "by name", "open file"):
        assert set(reports[name]["seen"]) <= set(values), name
    assert {int(size) for size in reports["size"]["seen"]} <= {len(value) for value in values}
    assert all(token["id"] in seen.split() for seen in reports["root"]["seen"])
    assert all("value" in seen.split() for seen in reports["list"]["seen"])
    assert max(one["longest"] for one in reports.values()) < HANG


def end_worker(fs, number=signal.SIGKILL):
    """Ends the worker by a signal; gives its pid and the next one's, once that is there."""
    fs.may_restart = True
    old = fs.worker
    kill(old, number)
    new = until(lambda: next((pid for pid in children_of(fs.pid) if pid != old and is_alive(pid)), None),
                "the next worker")
    return old, new


@pytest.mark.parametrize("number", DEATHS, ids=lambda number: number.name)
def test_a_worker_dies_under_readers(mount, resolver, directory, number):
    """Readers of every kind, values that change meanwhile: no error, no wrong byte; counted and explained.

    The values have one length: when a file that is bound by itself follows, it is overwritten in place. Other lengths are
    in test_whole_reads.py.
    """
    token = resolver.add_token(name="web", value="value-0")
    values = {"value-0"}
    fs = mount(ttl=0.3)
    with Readers(kinds(fs, token, directory)) as readers:
        for round in range(1, 3):
            readers.advance()
            end_worker(fs, number)
            values.add(value := f"value-{round}")
            resolver.update_token(token["id"], value=value)
            readers.advance()
            until(lambda value=value: all(value in readers.look()[name]["seen"] for name in ("path", "file bind", "open file")),
                  "the value")
        check_seen(readers.stop(), token, values)
    worker = fs.status()["worker"]
    assert worker["restarts"] == 2 and worker["pid"] == fs.worker
    assert str(int(number)) in worker["lastRestartReason"] and worker["lastRestartAt"]
    assert fs.metric("tokenfs_worker_restarts_total") == 2
    assert fs.log().count("the next one starts in") == 2


def test_nodes_stay(mount, token):
    """Inodes, sizes and mtimes of unchanged bytes are the same after the death of a worker."""
    fs = mount()
    before = {name: fs.stat(token["id"], name) for name in fs.ls(token["id"])}
    end_worker(fs)
    assert fs.text(token["id"], "value") == token["value"]
    for name, old in before.items():
        new = fs.stat(token["id"], name)
        assert (new.st_ino, new.st_size, new.st_mtime_ns) == (old.st_ino, old.st_size, old.st_mtime_ns), name


@needs_resend
def test_a_waiting_reader_survives(mount, resolver, token):
    """A read that waits for the API when the worker dies, several times, is answered by the one that is there then."""
    fs = mount(timeout=HANG)
    fault = resolver.add_fault("hang", operation="GetAccessToken")
    waiting = [background(read_file, fs.at(token["id"], name)) for name in ("value", "value", "arn")]
    for round in range(3):
        resolver.wait_for(round + 1, "GetAccessToken", timeout=HANG)
        end_worker(fs, DEATHS[round])
    resolver.wait_for(4, "GetAccessToken", timeout=HANG)
    assert not any(one.done() for one in waiting)
    resolver.remove_fault(fault)
    assert [one.result(HANG).decode() for one in waiting] == [token["value"], token["value"], token["arn"]]


@needs_resend
def test_a_waiting_reader_can_go(mount, resolver, token):
    """Ctrl-C ends a read at once that another worker began."""
    fs = mount(timeout=HANG)
    resolver.add_fault("hang", operation="GetAccessToken")
    cat = subprocess.Popen(["cat", fs.at(token["id"], "value")], stderr=subprocess.DEVNULL)
    resolver.wait_for(1, "GetAccessToken", timeout=HANG)
    end_worker(fs)
    resolver.wait_for(2, "GetAccessToken", timeout=HANG)
    cat.send_signal(signal.SIGINT)
    assert cat.wait(HANG / 2) == -signal.SIGINT
    until(lambda: fs.status()["cache"]["waitingRequests"] <= 1, "nobody waiting")


@needs_resend
def test_deadline_holds_across_deaths(mount, resolver, token):
    """A reader whose workers die again gets its error after its time-out, counted from the last start at the latest."""
    fs = mount(timeout=2)
    resolver.add_fault("hang", operation="GetAccessToken")
    waiting = background(read_file, fs.at(token["id"], "value"))
    resolver.wait_for(1, "GetAccessToken", timeout=HANG)
    end_worker(fs)
    error = waiting.exception(HANG)
    assert isinstance(error, OSError) and error.errno == errno.ETIMEDOUT, error


def test_a_crash_loop(mount, resolver, token):
    """Each worker dies at once: the starts back off, readers get an error instead of nothing, it is told; and it ends."""
    fs = mount(timeout=1, ttl=0.2)
    fs.may_restart = True
    assert fs.text(token["id"], "value") == token["value"]
    resolver.update_token(token["id"], value="after the loop")
    stop = threading.Event()

    def slayer():
        while not stop.is_set():
            for pid in children_of(fs.pid):
                kill(pid)
            time.sleep(0.001)

    slaying = background(slayer)
    until(lambda: "die again and again" in fs.log(), "the report")
    assert error_of(read_file, fs.at("at-cold", "value")) == "EIO"

    def waits():
        return [float(wait) for wait in re.findall(r"the next one starts in ([0-9.e-]+) s", fs.log())]

    until(lambda: waits()[-1] >= 0.4, "longer waits")
    assert waits()[0] == 0 and waits() == sorted(waits()) and max(waits()) <= 5, waits()
    stop.set()
    slaying.result(HANG)
    until(lambda: fs.read_error(".service_status") == "OK", "a worker", limit=2 * HANG)
    status = fs.status()["worker"]
    assert status["restarts"] >= 3
    assert status["crashLoop"] or "all is well again" in fs.log()
    until(lambda: not fs.status()["worker"]["crashLoop"], "the end of the loop", limit=2 * HANG, pause=0.2)
    assert "all is well again" in fs.log()
    until(lambda: fs.text(token["id"], "value") == "after the loop", "the new value", limit=2 * HANG)


def test_a_request_that_kills(mount, resolver, token):
    """One request is what kills each worker that takes it up: its reader gets an error, and then all is well again."""
    fs = mount(timeout=2)
    fs.may_restart = True
    fault = resolver.add_fault("hang", operation="GetAccessToken")
    waiting = background(read_file, fs.at(token["id"], "value"))
    calls = 0
    while not waiting.done():
        until(lambda n=calls: resolver.count("GetAccessToken") > n or waiting.done(), "another try")
        calls = resolver.count("GetAccessToken")
        for pid in children_of(fs.pid) if not waiting.done() else []:
            kill(pid)
    error = waiting.exception(HANG)
    assert isinstance(error, OSError) and error.errno == errno.EIO, error
    resolver.remove_fault(fault)
    until(lambda: fs.read_error(token["id"], "value") == "OK", "recovery", limit=2 * HANG)
    assert fs.text(token["id"], "value") == token["value"]


def test_a_stopped_worker_is_replaced(mount, resolver, token, directory):
    """SIGSTOP while readers want something: the watchdog replaces it, and they get what they wait for."""
    fs = mount(ttl=0.3, watchdog=2)
    fs.may_restart = True
    with Readers(kinds(fs, token, directory)) as readers:
        readers.advance()
        old = fs.worker
        kill(old, signal.SIGSTOP)
        until(lambda: not is_alive(old), "the end of the hanging one", limit=2 * HANG)
        readers.advance(limit=2 * HANG)
        check_seen(readers.stop(), token, {token["value"]})
    assert "hangs" in fs.log() and fs.status()["worker"]["restarts"] == 1


def test_a_slow_api_is_no_hanging(mount, resolver):
    """The watchdog's limit passes several times while readers wait for the API: the worker stays."""
    resolver.add_fault("hang", operation="GetAccessToken", token="at-slow")
    fs = mount(watchdog=1, timeout=4)
    worker = fs.worker
    assert fs.read_error("at-slow", "value") == "ETIMEDOUT"
    assert fs.worker == worker


def test_a_worker_that_nobody_wants_is_left_alone(usual_machine, mount, token):
    """Stopped (by a debugger, a cgroup) while nobody waits for it, as the control filesystem tells: it goes on later."""
    fs = mount(start=False)
    fs.start({"ttl": 600, "watchdog": 1}, through=usual_machine)
    assert fs.text(token["id"], "value") == token["value"]
    worker = fs.worker
    kill(worker, signal.SIGSTOP)
    time.sleep(3)
    assert is_alive(worker)
    kill(worker, signal.SIGCONT)
    assert fs.text(token["id"], "value") == token["value"] and fs.worker == worker


@pytest.mark.skipif(SANITIZED, reason="a sanitizer ends the program where malloc may fail: want of memory NOT tested")
def test_memory_runs_out(mount, resolver, directory):
    """A limit on the worker's address space: it fails some, or dies; without the limit all is well, and nothing was wrong
    meanwhile."""
    tokens = resolver.add_tokens(400)
    token = resolver.add_token(name="web")
    fs = mount(ttl=0.3)
    fs.may_restart = True
    with Readers(kinds(fs, token, directory)) as readers:
        readers.advance()
        for round in range(3):
            worker = fs.worker
            used = int(pathlib.Path(f"/proc/{worker}/statm").read_text().split()[0]) * resource.getpagesize()
            try:
                resource.prlimit(worker, resource.RLIMIT_AS, (used - (1 << 20), resource.RLIM_INFINITY))
            except ProcessLookupError:
                continue
            for one in tokens[100 * round:100 * round + 100]:
                assert error_of(read_file, fs.at(one["id"], "value")) in ("OK", "ENOMEM")
            try:
                resource.prlimit(worker, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            except ProcessLookupError:
                pass
            until(lambda: fs.read_error(token["id"], "value") == "OK", "recovery")
            readers.advance()
        reports = readers.stop()
    wrong = {result.rsplit("!", 1)[1] for result in errors_in(reports)}
    assert wrong <= {"ENOMEM"}
    for name in ("path", "directory bind", "file bind", "by name", "open file"):
        assert {seen for seen in reports[name]["seen"] if seen[0] != "!"} == {token["value"]}
    for one in tokens[::20]:
        until(lambda one=one: fs.read_error(one["id"], "value") == "OK", "recovery")
        assert fs.text(one["id"], "value") == one["value"]


def table_of(pid):
    """The path of the slot table among a process' descriptors."""
    return next(path for path in pathlib.Path(f"/proc/{pid}/fd").iterdir()
                if "memfd:tokenfs-slots" in os.readlink(path))


def damage_all(file, chance):
    """Noise over everything that is in use."""
    data = bytearray(os.pread(file, os.fstat(file).st_size, 0))
    for at in range(0, len(data)):
        if data[at]:
            data[at] = chance.randrange(256)
    os.pwrite(file, data, 0)


def damage_ends(file, chance):
    """No text ends any more."""
    data = bytearray(os.pread(file, os.fstat(file).st_size, 0))
    data[64:] = b"A" * (len(data) - 64)
    os.pwrite(file, data, 0)


def damage_bits(file, chance):
    """One bit in every hundred bytes."""
    data = bytearray(os.pread(file, os.fstat(file).st_size, 0))
    for at in range(0, len(data), 100):
        data[at + chance.randrange(min(100, len(data) - at))] ^= 1 << chance.randrange(8)
    os.pwrite(file, data, 0)


def damage_nothing_left(file, chance):
    """All zero."""
    os.pwrite(file, bytes(os.fstat(file).st_size), 0)


@pytest.mark.parametrize("damage", [damage_all, damage_ends, damage_bits, damage_nothing_left],
                         ids=lambda damage: damage.__name__)
def test_a_damaged_table(mount, resolver, damage):
    """The table that a broken worker left behind: the next one drops what is wrong, says so, and every path works."""
    tokens = resolver.add_tokens(60)
    fs = mount(ttl=600)
    for one in tokens:
        assert fs.text(one["id"], "value") == one["value"]
    fs.ls(".by_name")
    fs.may_restart = True
    kill(fs.worker, signal.SIGSTOP)     # the one that is guilty does nothing more
    file = os.open(table_of(fs.worker), os.O_RDWR)
    damage(file, random.Random(7))
    os.close(file)
    old = fs.worker
    end_worker(fs)
    assert not is_alive(old)

    def well(one):
        return error_of(read_file, fs.at(one["id"], "value")) == "OK" and fs.text(one["id"], "value") == one["value"]

    for one in tokens:
        until(lambda one=one: well(one), "its value")
        assert fs.text(".by_name", one["name"], "id") == one["id"]
    assert len(fs.tokens()) == 60
    if damage is not damage_nothing_left:
        assert "were damaged" in fs.log()
    # Nodes that are found again are no other tokens' nodes.
    inodes = [fs.stat(one["id"]).st_ino for one in tokens]
    assert len(set(inodes)) == 60
    end_worker(fs)
    assert all(fs.text(one["id"], "value") == one["value"] for one in tokens)


def test_sighup_and_death(mount, resolver, token):
    """The worker dies right after SIGHUP: it is done nevertheless, and the next read reaches the API."""
    fs = mount(ttl=600)
    for round in range(5):
        assert fs.text(token["id"], "value") == resolver.model.tokens[token["id"]]["value"]
        resolver.update_token(token["id"], value=f"round {round}")
        done = fs.log().count("SIGHUP: done")
        fs.signal(signal.SIGHUP)
        end_worker(fs)
        until(lambda done=done: fs.log().count("SIGHUP: done") > done, "the reload")
        assert fs.text(token["id"], "value") == f"round {round}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_end_while_readers_wait(mount, resolver, token, number):
    """Those that wait are told, the mount is gone, nobody is left, the status is 0."""
    fs = mount(timeout=HANG)
    resolver.add_fault("hang", operation="GetAccessToken")
    waiting = [background(read_file, fs.at(id, "value")) for id in (token["id"], token["id"], "at-another")]
    resolver.wait_for(2, "GetAccessToken", timeout=HANG)
    worker = fs.worker
    fs.signal(number)
    assert fs.process.wait(HANG) == 0
    for one in waiting:
        assert isinstance(one.exception(HANG), OSError)
    until(lambda: not is_alive(worker), "the worker's end")
    assert not mounts_at(fs.path)
    fs.ended = True


def test_the_end_while_no_worker_serves(mount, resolver, token):
    """SIGTERM between two workers, and while one hangs."""
    for number in (signal.SIGKILL, signal.SIGSTOP):
        fs = mount()
        fs.may_restart = True
        worker = fs.worker
        kill(worker, number)
        fs.signal(signal.SIGTERM)
        assert fs.process.wait(HANG) == 0
        fs.ended = True
        assert not mounts_at(fs.path)
        until(lambda worker=worker: not is_alive(worker), "the worker's end")


def test_the_supervisor_is_killed(mount, resolver, token):
    """The worker serves on alone, even new tokens; umount ends it."""
    fs = mount(ttl=0.2)
    assert fs.text(token["id"], "value") == token["value"]
    worker = fs.worker
    kill(fs.pid)
    fs.process.wait(HANG)
    fs.ended = True
    resolver.update_token(token["id"], value="without a supervisor")
    until(lambda: fs.text(token["id"], "value") == "without a supervisor", "the new value")
    assert bounded(read_file, fs.at(resolver.add_token(id="at-new")["id"], "id")) == b"at-new"
    subprocess.run(["umount", fs.path], check=True, timeout=HANG)
    until(lambda: not is_alive(worker), "the worker's end")
    assert "supervisor is gone" in fs.log()


def test_it_is_unmounted_from_outside(mount, token):
    """umount(8) ends both, status 0; also a lazy one."""
    for option in ([], ["-l"]):
        fs = mount()
        assert fs.text(token["id"], "value") == token["value"]
        worker = fs.worker
        subprocess.run(["umount", *option, fs.path], check=True, timeout=HANG)
        assert fs.process.wait(HANG) == 0
        fs.ended = True
        until(lambda worker=worker: not is_alive(worker), "the worker's end")


def test_a_terminals_signal_is_the_supervisors(mount, resolver, token):
    """The worker has a group of its own: Ctrl-C in a terminal reaches the supervisor alone."""
    fs = mount()
    assert os.getpgid(fs.worker) == fs.worker != os.getpgid(fs.pid)
    assert fs.text(token["id"], "value") == token["value"]


# What stands between the supervisor and the kernel in these tests: no fork while a file is there.
FORKLESS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
pid_t fork(void)
{
        if (access(getenv("FORKLESS"), F_OK) == 0) {
                errno = EAGAIN;
                return -1;
        }
        pid_t (*real)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
        return real();
}
"""


@pytest.fixture
def no_forks(directory):
    """A file that can be touched, so that no process can be made; and the environment of mounts that heed it."""
    if SANITIZED:
        pytest.skip("a sanitizer wants to be loaded first: processes that can't be made were NOT TESTED")
    source, library, switch = (directory / name for name in ("forkless.c", "forkless.so", "no-forks"))
    source.write_text(FORKLESS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=HANG)
    return switch, {"LD_PRELOAD": str(library), "FORKLESS": str(switch)}


def test_sighup_while_no_process_can_be_made(mount, resolver, token, no_forks):
    """It is done later, when there can be one; the worker serves on until then."""
    switch, environ = no_forks
    fs = mount(environ=environ, ttl=600)
    assert fs.text(token["id"], "value") == token["value"]
    resolver.update_token(token["id"], value="after SIGHUP")
    switch.touch()
    fs.signal(signal.SIGHUP)
    until(lambda: fs.log().count("can't start a process") >= 2, "two attempts")
    assert fs.text(token["id"], "id") == token["id"]
    switch.unlink()
    until(lambda: "SIGHUP: done" in fs.log(), "the reload")
    assert fs.text(token["id"], "value") == "after SIGHUP"


def test_readers_while_no_worker_can_be_made(mount, resolver, token, no_forks):
    """They get an error instead of nothing; and all is well when there can be one."""
    switch, environ = no_forks
    fs = mount(environ=environ, timeout=1, ttl=0)
    fs.may_restart = True
    assert fs.text(token["id"], "value") == token["value"]
    switch.touch()
    kill(fs.worker)
    until(lambda: "can't start a worker" in fs.log(), "an attempt")
    assert fs.read_error("at-cold", "value") == "EIO"
    switch.unlink()
    until(lambda: fs.read_error(token["id"], "value") == "OK", "a worker", limit=2 * HANG)
    assert fs.text(token["id"], "value") == token["value"]


def terminal(said):
    """One that stops who writes to it out of turn (`stty tostop`): what it shows goes to `said`, to its end."""
    shown, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[3] |= termios.TOSTOP
    termios.tcsetattr(slave, termios.TCSANOW, attributes)

    def drain():
        with os.fdopen(shown, "rb", buffering=0) as screen:
            try:
                while text := screen.read(4096):
                    said.append(text.decode())
            except OSError:
                pass        # nobody has it open any more

    background(drain)
    return slave


def test_a_terminal_stops_nobody(mount, token):
    """-f on a terminal to whose group the worker doesn't belong: it logs there, and serves on."""
    said = []
    slave = terminal(said)
    fs = mount(start=False)
    # pylint: disable-next=consider-using-with,subprocess-popen-preexec-fn
    fs.process = subprocess.Popen(fs.command({"watchdog": 0, "sandbox": "off" if SANITIZED else "on"}), env=fs.environ, stdin=slave, stdout=slave, stderr=slave,
                                  start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    fs.pid = fs.process.pid
    os.close(slave)
    until(fs.is_mounted, "the mount")
    assert fs.text(token["id"], "value") == token["value"]
    fs.signal(signal.SIGHUP)
    until(lambda: "SIGHUP: done" in "".join(said), "the reload")
    assert "".join(said).count("endpoint http") == 2        # the word of a worker
    assert fs.text(token["id"], "value") == token["value"]
