"""A kernel that can't send requests again (before 6.9), emulated where the kernel can: an upgrade and a reload are noticed
by no reader; a worker's death costs those that it was answering an EIO, and nobody waits for ever."""

import os
import signal
import subprocess

import old_kernel
import pytest
from mounting import HANG, SANITIZED, background, bounded, children_of, is_alive, kill, read_file, until
from readers import Readers, errors_in

pytestmark = pytest.mark.core


@pytest.fixture
def old_mount(mount):
    """Mounts as on such a kernel."""
    if SANITIZED and old_kernel.environ():
        pytest.skip("a sanitizer wants to be loaded first: an older kernel is NOT EMULATED")

    def make(**options):
        return mount(environ=old_kernel.environ(), **options)
    return make


def upgrade(fs):
    """SIGUSR2; comes back when the next worker was started."""
    before = fs.log().count("took over")
    fs.signal(signal.SIGUSR2)
    until(lambda: fs.log().count("took over") > before, "the upgrade")


def wait_in(fs, resolver, token):
    """A reader that waits for the API in the worker that serves now; it is held by a fault on every call. Each has a token
    of its own: the kernel asks once for a name, and lets its second reader wait for the first."""
    calls = resolver.count("GetAccessToken")
    waiting = background(read_file, fs.at(token["id"], "value"))
    resolver.wait_for(calls + 1, "GetAccessToken", timeout=HANG)
    return waiting


def hold(resolver, *tokens):
    """Calls about these tokens hang until the fault is removed."""
    return resolver.add_fault("hang", operation="GetAccessToken", token=[token["id"] for token in tokens])


def test_it_is_emulated(old_mount, resolver, token):
    """Nothing is asked for again: a death is an EIO."""
    fs = old_mount(timeout=HANG)
    fs.may_restart = True
    fault = hold(resolver, token)
    waiting = wait_in(fs, resolver, token)
    kill(fs.worker)
    assert waiting.exception(HANG).errno == 5
    assert "requests that the worker before was answering are refused (EIO)" in fs.log()
    resolver.remove_fault(fault)
    assert fs.text(token["id"], "value") == token["value"]


@pytest.mark.parametrize("how", ["upgrade", "reload"])
def test_the_next_serves_while_the_old_one_answers(old_mount, resolver, token, how):
    """A reader waits in the old worker; others are served by the next; the waiting one gets its value, the old one ends."""
    other = resolver.add_token(name="other")
    fs = old_mount(timeout=HANG)
    fault = hold(resolver, token)
    waiting = wait_in(fs, resolver, token)
    old = fs.worker
    if how == "upgrade":
        upgrade(fs)
    else:
        fs.signal(signal.SIGHUP)
    until(lambda: len(children_of(fs.pid)) >= 2, "the next worker")
    assert fs.text(other["id"], "value") == other["value"]
    assert fs.status()["worker"]["pid"] != old
    assert is_alive(old) and not waiting.done()
    resolver.remove_fault(fault)
    assert waiting.result(HANG).decode() == token["value"]
    until(lambda: not is_alive(old), "the old worker's end")
    if how == "reload":
        until(lambda: "SIGHUP: done" in fs.log(), "the end of the reload")
    assert "refused (EIO)" not in fs.log() and "going on with the binary that runs" not in fs.log()


def test_the_deadline_holds(old_mount, resolver, token):
    """A reader whose worker leaves gets its error in its own time; then that worker ends."""
    fs = old_mount(timeout=3)
    hold(resolver, token)
    waiting = wait_in(fs, resolver, token)
    old = fs.worker
    upgrade(fs)
    error = waiting.exception(HANG)
    assert isinstance(error, OSError) and error.errno == 110, error
    until(lambda: not is_alive(old), "the old worker's end")


def test_several_leave_at_once(old_mount, resolver):
    """Upgrades in a row while the API hangs: each reader is answered by the worker that took its request."""
    fs = old_mount(timeout=HANG)
    tokens = resolver.add_tokens(4)
    fault = hold(resolver, *tokens)
    waiting = [wait_in(fs, resolver, tokens[0])]
    for number, token in enumerate(tokens[1:]):
        upgrade(fs)
        until(lambda n=number: len(children_of(fs.pid)) == n + 2, "the next worker beside the old ones")
        waiting.append(wait_in(fs, resolver, token))
    assert not any(one.done() for one in waiting)
    resolver.remove_fault(fault)
    assert [one.result(HANG).decode() for one in waiting] == [token["value"] for token in tokens]
    until(lambda: len(children_of(fs.pid)) == 1, "one worker")
    assert fs.status()["worker"]["upgrades"] == 3 and "EIO" not in fs.log()


def test_a_leaving_worker_dies(old_mount, resolver):
    """Its readers get EIO; those of the worker that serves wait on, and are answered. And the other way round."""
    first, second, third = resolver.add_tokens(3)
    fs = old_mount(timeout=HANG)
    fault = hold(resolver, first, second, third)
    waiting, old = wait_in(fs, resolver, first), fs.worker
    upgrade(fs)
    later = wait_in(fs, resolver, second)
    kill(old)
    assert waiting.exception(HANG).errno == 5
    assert not later.done()
    fs.may_restart = True
    leaving, = children_of(fs.pid)
    upgrade(fs)
    last = wait_in(fs, resolver, third)
    serving, = [pid for pid in children_of(fs.pid) if pid != leaving]
    kill(serving)
    assert last.exception(HANG).errno == 5
    assert not later.done() and is_alive(leaving)
    resolver.remove_fault(fault)
    assert later.result(HANG).decode() == second["value"]


def test_the_end_of_the_mount(old_mount, resolver, token):
    """SIGTERM while one leaves: its readers are answered, and no process is left."""
    fs = old_mount(timeout=HANG)
    hold(resolver, token)
    waiting = wait_in(fs, resolver, token)
    upgrade(fs)
    family = until(lambda: len(children_of(fs.pid)) == 2 and children_of(fs.pid), "the next worker")
    bounded(os.statvfs, fs.path)
    fs.stop()
    assert isinstance(waiting.exception(HANG), OSError)
    until(lambda: not any(is_alive(pid) for pid in family), "the workers' end")


def test_no_reader_notices_upgrades(old_mount, resolver):
    """Readers of every kind, service files too, through upgrades with a slow API: no error, whole values."""
    token = resolver.add_token(name="web")
    resolver.add_tokens(10)
    resolver.latency = 0.05
    fs = old_mount(ttl=0.3)
    kinds = {
        "path": ("read", fs.at(token["id"], "value")),
        "by name": ("read", fs.at(".by_name", "web", "value")),
        "root": ("ls", fs.path),
        "status": ("read", fs.at(".service_status")),
        "metrics": ("read", fs.at(".service_metrics")),
    }
    with Readers(kinds) as readers:
        readers.advance()
        for _ in range(6):
            upgrade(fs)
            readers.advance(1)
        reports = readers.stop()
    assert not errors_in(reports)
    assert set(reports["path"]["seen"]) == set(reports["by name"]["seen"]) == {token["value"]}
    until(lambda: len(children_of(fs.pid)) == 1, "one worker")


def test_a_reader_that_gives_up(old_mount, resolver, token):
    """Ctrl-C while the worker that has the request leaves: the reader ends when that worker answers, at the latest."""
    fs = old_mount(timeout=3)
    resolver.add_fault("hang", operation="GetAccessToken")
    with subprocess.Popen(["cat", fs.at(token["id"], "value")], stderr=subprocess.DEVNULL) as cat:
        resolver.wait_for(1, "GetAccessToken", timeout=HANG)
        upgrade(fs)
        cat.send_signal(signal.SIGINT)
        assert cat.wait(HANG) == -signal.SIGINT
