"""A machine that was suspended: time went on, and the kernel's time-outs stood still meanwhile. Emulated by a preloaded clock
that is ahead. The report of the resume comes from setting the wall clock to the present in one test; as that is reported to
every program on the machine, it comes from a FIFO in the others."""

import os
import struct
import subprocess
import time

import pytest
from mounting import HANG, SANITIZED, until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: the clock can't be set, suspend was NOT TESTED"),
    pytest.mark.skipif(SANITIZED, reason="a sanitizer wants to be loaded first: suspend was NOT TESTED")]

AHEAD = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
/* A clock that is ahead by the seconds in a file, which all processes of the program have mapped. */
static const volatile int64_t *ahead;
__attribute__((constructor)) static void map(void)
{
        int fd = open(getenv("AHEAD"), O_RDONLY | O_CLOEXEC);
        ahead = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
}
int clock_gettime(clockid_t clock, struct timespec *now)
{
        int r = syscall(SYS_clock_gettime, clock, now);
        if (clock == CLOCK_BOOTTIME)
                now->tv_sec += *ahead;
        return r;
}
int timerfd_create(int clock, int flags)
{
        const char *report = getenv("REPORT");
        if (clock == CLOCK_REALTIME && report)
                return open(report, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        return syscall(SYS_timerfd_create, clock, flags);
}
int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
        return flags & TFD_TIMER_CANCEL_ON_SET && getenv("REPORT") ? 0 : syscall(SYS_timerfd_settime, fd, flags, new, old);
}
"""


class Machine:
    """Can be suspended."""

    def __init__(self, directory):
        source, library, self.file = (directory / name for name in ("ahead.c", "ahead.so", "ahead"))
        source.write_text(AHEAD)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=HANG)
        self.file.write_bytes(struct.pack("q", 0))
        self.report = directory / "report"
        os.mkfifo(self.report)
        self.environ = {"LD_PRELOAD": str(library), "AHEAD": str(self.file)}

    def suspend(self, seconds):
        """For so long, without the report of a resume."""
        with open(self.file, "r+b", buffering=0) as file:
            ahead, = struct.unpack("q", file.read(8))
            file.seek(0)
            file.write(struct.pack("q", ahead + seconds))

    def resume(self, fs):
        """The report; comes back when the supervisor has it."""
        before = fs.log().count("the machine was suspended")
        if "REPORT" in self.environ:
            self.report.write_bytes(struct.pack("q", 1))
        else:
            time.clock_settime(time.CLOCK_REALTIME, time.time())
        until(lambda: fs.log().count("the machine was suspended") > before, "the report")


@pytest.fixture
def machine(directory):
    """A machine whose resume is reported by a FIFO."""
    made = Machine(directory)
    made.environ["REPORT"] = str(made.report)
    return made


def test_values_after_suspend(mount, resolver, token, directory):
    """Old values that the kernel holds are not read after the resume: changed, deleted, renamed; by path and by open file."""
    machine = Machine(directory)
    other = resolver.add_token(name="other")
    fs = mount(environ=machine.environ, ttl=600, negative_ttl=600)
    assert fs.text(token["id"], "value") == token["value"]
    assert fs.text(".by_name", "web", "id") == token["id"]
    assert fs.text(other["id"], "value") == other["value"]
    with open(fs.at(token["id"], "value"), "rb", buffering=0) as file:
        resolver.update_token(token["id"], value="changed")
        resolver.delete_token(other["id"])
        newer = resolver.add_token(name="web")
        # That is what makes the test one: nothing asks the service before the resume.
        assert fs.text(token["id"], "value") == token["value"] and fs.text(other["id"], "value") == other["value"]
        machine.suspend(8 * 3600)
        assert fs.text(token["id"], "value") == token["value"]
        machine.resume(fs)
        until(lambda: fs.text(token["id"], "value") == "changed", "the changed value")
        until(lambda: fs.read_error(other["id"], "value") == "ENOENT", "the deleted token's end")
        until(lambda: fs.text(".by_name", "web", "id") == newer["id"], "the name's new meaning")
        until(lambda: file.seek(0) == 0 and file.read() == b"changed", "the changed value in the open file")


def test_connections_after_suspend(mount, resolver, token, machine):
    """Connections of before aren't used again: their packets may vanish."""
    fs = mount(environ=machine.environ, ttl=60)
    assert fs.text(token["id"], "value") == token["value"]
    accepted = resolver.counters()["connections"]
    machine.suspend(3600)
    machine.resume(fs)
    until(lambda: fs.read_error(token["id"], "value") == "OK" and resolver.counters()["connections"] > accepted,
          "a new connection")


def test_timers_after_suspend(mount, resolver, token, machine):
    """A worker that waits for a time that has come during suspend does what is due then, though nobody asks."""
    fs = mount(environ=machine.environ, ttl=600, on_change="true", token=[token["id"]])
    assert fs.text(token["id"], "value") == token["value"]
    before = resolver.count("GetAccessToken")
    machine.suspend(3600)
    machine.resume(fs)
    until(lambda: resolver.count("GetAccessToken") > before, "the look at the watched token")


def test_replaced_worker(mount, resolver, token, machine):
    """It is so for the next worker, and at the next suspend."""
    fs = mount(environ=machine.environ, ttl=600)
    for number in range(2):
        assert fs.text(token["id"], "value")
        fs.forget()
        value = fs.text(token["id"], "value")
        resolver.update_token(token["id"], value=f"changed {number}")
        machine.suspend(3600)
        assert fs.text(token["id"], "value") == value
        machine.resume(fs)
        until(lambda number=number: fs.text(token["id"], "value") == f"changed {number}", "the changed value")
