"""tokenfs --wait: comes back once a file's content is another; whatever the path to it, and whatever happens meanwhile."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mounting import BINARY, HANG, kill, until
from mute_mount import MuteMount

pytestmark = pytest.mark.core


class Waiter:
    """A --wait under way, which has read the file for the first time."""

    def __init__(self, path, *more, prefix=()):
        self.process = subprocess.Popen([*prefix, BINARY, "--wait", *more, str(path)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")

    def status(self):
        """Its exit status, and what it said."""
        _, text = self.process.communicate(timeout=HANG)
        return self.process.returncode, text

    def is_waiting(self):
        """It hasn't ended."""
        return self.process.poll() is None


@pytest.fixture
def wait():
    """Starts waiters, and ends those that are left."""
    made = []

    def start(path, *more, prefix=()):
        made.append(Waiter(path, *more, prefix=prefix))
        return made[-1]

    yield start
    for one in made:
        if one.is_waiting():
            one.process.kill()
        one.process.communicate()


def has_read(pid):
    """Its child sleeps between two looks: the first read is done."""
    def condition():
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
            return any("nanosleep" in Path(f"/proc/{child}/wchan").read_text("ascii") for child in children)
        except OSError:
            return False
    until(condition, "the first read")


def test_plain_file(wait, directory):
    """Any file: content counts, not time, inode or size alone."""
    path = directory / "file"
    path.write_text("one")
    waiter = wait(path)
    has_read(waiter.process.pid)
    os.utime(path, (1, 1))
    (directory / "same").write_text("one")
    os.replace(directory / "same", path)
    time.sleep(2.5)
    assert waiter.is_waiting()
    path.write_text("two")
    assert waiter.status() == (0, "")


def test_by_id_and_by_name(mount, resolver, token, wait):
    """A value that is updated; a name that is given to another token."""
    fs = mount(ttl=0.5)
    by_id = wait(fs.at(token["id"], "value"))
    by_name = wait(fs.at(".by_name", "web", "value"))
    untouched = wait(fs.at(token["id"], "arn"))
    for waiter in (by_id, by_name, untouched):
        has_read(waiter.process.pid)
    resolver.update_token(token["id"], value="new-value-1")
    assert by_id.status() == (0, "")
    assert by_name.status() == (0, "")
    second = wait(fs.at(".by_name", "web", "value"))
    has_read(second.process.pid)
    resolver.rotate_token(token["id"])
    assert second.status() == (0, "")
    assert untouched.is_waiting()


def test_bound_file(mount, resolver, token, wait, directory):
    """A single file, bound elsewhere: nobody else looks at it."""
    fs = mount(ttl=0.5)
    fs.read(".by_name", "web", "value")
    target = directory / "bound"
    target.touch()
    fs.bind(".by_name/web/value", target)
    waiter = wait(target)
    has_read(waiter.process.pid)
    resolver.rotate_token(token["id"])
    assert waiter.status() == (0, "")


def test_time_out(mount, token, wait):
    """2, and a word."""
    fs = mount()
    status, text = wait(fs.at(token["id"], "value"), "--timeout=0.5").status()
    assert status == 2 and "not changed" in text and token["value"] not in text


def test_time_out_though_the_mount_hangs(mount, resolver, token, wait):
    """Whoever stops answering: the time-out holds."""
    fs = mount(ttl=0.2, watchdog=0)
    fs.read(token["id"], "value")
    worker = fs.worker
    os.kill(worker, signal.SIGSTOP)
    try:
        status, _ = wait(fs.at(token["id"], "value"), "--timeout=1").status()
        assert status == 2
    finally:
        os.kill(worker, signal.SIGCONT)


def test_time_out_though_nothing_can_be_killed(wait, directory):
    """A request that was taken, and isn't answered, can't be given up: the time-out holds, and so does the end of the
    output."""
    mute = MuteMount(directory)
    try:
        status, text = wait(directory / "file", "--timeout=1").status()
        assert status == 2 and "not changed" in text
        assert mute.taken > 0
    finally:
        mute.close()


@pytest.mark.parametrize("what,says", [("at-nobody/value", "No such file"), ("", "directory"), (".by_name", "directory"),
                                       ("at-nobody/nonsense", "No such file")])
def test_errors(mount, wait, what, says):
    """What can't be waited for: 1, with the reason."""
    fs = mount()
    status, text = wait(fs.at(what)).status()
    assert status == 1 and says in text


def test_denied(mount, resolver, token, wait):
    """No permission is an error at the start."""
    resolver.deny(operation="GetAccessToken")
    fs = mount()
    status, text = wait(fs.at(token["id"], "value")).status()
    assert status == 1 and "Permission denied" in text


@pytest.mark.parametrize("words,says", [(["--wait"], "one path"), (["--wait", "a", "b"], "one path"),
                                        (["--wait", "--timeout=x", "a"], "--timeout"), (["--wait", "--timeout"], "value"),
                                        (["--timeout=1", "/mnt"], "--wait")])
def test_command_line(words, says):
    """Wrong uses are told apart."""
    done = subprocess.run([BINARY, *words], capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 1 and says in done.stderr


def test_failures_do_not_end_it(mount, resolver, token, wait):
    """The API fails, the worker dies, the token is denied for a while: it waits on, and says so once."""
    fs = mount(ttl=0.2, stale=0, timeout=0.3)
    fs.may_restart = True
    waiter = wait(fs.at(token["id"], "value"))
    has_read(waiter.process.pid)
    fault = resolver.add_fault("status", status=503)
    until(lambda: fs.read_error(token["id"], "value") != "OK", "the API to fail")
    time.sleep(3)
    assert waiter.is_waiting()
    resolver.remove_fault(fault)
    kill(fs.worker)
    resolver.deny(operation="GetAccessToken")
    time.sleep(2)
    assert waiter.is_waiting()
    resolver.allow_all()
    until(lambda: fs.read_error(token["id"], "value") == "OK", "the API to work")
    time.sleep(2)
    assert waiter.is_waiting()
    resolver.update_token(token["id"], value="new-value-1")
    status, text = waiter.status()
    assert status == 0
    assert text.count("waiting on") in range(1, 6) and "value-1" not in text


def test_failing_at_the_start(mount, resolver, token, wait):
    """What fails for now is tried again."""
    fault = resolver.add_fault("status", status=503)
    fs = mount(ttl=0.2, timeout=0.3)
    waiter = wait(fs.at(token["id"], "value"))
    time.sleep(2)
    assert waiter.is_waiting()
    resolver.remove_fault(fault)
    until(lambda: fs.read_error(token["id"], "value") == "OK", "the API to work")
    time.sleep(3)
    assert waiter.is_waiting()
    resolver.update_token(token["id"], value="new-value-1")
    assert waiter.status()[0] == 0


def test_costs_the_daemon_nothing(mount, resolver, token, wait):
    """While an answer is fresh the daemon is asked for nothing."""
    fs = mount(ttl=600)
    waiter = wait(fs.at(token["id"], "value"))
    has_read(waiter.process.pid)

    def asked():
        counted = fs.metrics()["tokenfs_requests_total"]
        return {labels["operation"]: value for labels, value in counted if labels["operation"] in ("lookup", "getattr",
                                                                                                  "read", "open")}
    asked()
    first = asked()
    step = asked()
    time.sleep(3)
    last = asked()
    own = {name: step[name] - first[name] for name in step}
    assert {name: last[name] - step[name] for name in last} == own
    assert waiter.is_waiting() and resolver.count("GetAccessToken") == 1


def test_in_a_mount_namespace_of_its_own(mount, resolver, token, wait, directory):
    """As a container sees it: a bind of the directory, read-only, and nothing else of us."""
    fs = mount(ttl=0.5)
    fs.read(".by_name", "web", "value")
    target = directory / "container"
    target.mkdir()
    script = 'mount --rbind "$1" "$2" && mount --make-rprivate / && shift 2 && exec "$@"'
    prefix = ("unshare", "--mount", "--propagation", "unchanged", "sh", "-c", script, "sh", fs.at(".by_name/web"),
              str(target))
    waiter = wait(target / "value", prefix=prefix)
    until(lambda: has_exec(waiter.process.pid), "the program")
    has_read(waiter.process.pid)
    resolver.rotate_token(token["id"])
    assert waiter.status() == (0, "")


def has_exec(pid):
    """The process has become the program."""
    return os.path.basename(os.readlink(f"/proc/{pid}/exe")) == os.path.basename(BINARY)
