"""How old an answer may be: expiry, negative answers, the bound on tokens, refresh-ahead, SIGHUP."""

import os
import threading
import time

import pytest
from mounting import HANG, SLOWNESS, background, bounded, error_of, read_file, until
from reading import WAYS

pytestmark = pytest.mark.core
# Between the daemon's look at the clock and ours lies what a busy machine puts there.
SLACK = 1.0


def check_age(resolver, id, start, end, value, age):
    """The value was current at some time from `age` before the read's start until its end."""
    versions = resolver.versions_between(id, start - age - SLACK, end)
    assert value in [v and v["value"] for v in versions], f"{value!r} is older than {age} s"


def test_cold_then_warm(mount, resolver, token):
    """One call; then, within ttl, none."""
    fs = mount(ttl=60)
    for _ in range(20):
        assert fs.text(token["id"], "value") == token["value"]
    assert resolver.count() == resolver.count("GetAccessToken") == 1


def test_expiry(mount, resolver, token):
    """Nothing older than ttl is served while the API answers."""
    ttl = 0.5
    fs = mount(ttl=ttl)
    end = time.monotonic() + 5
    number, changed = 0, 0.0
    while time.monotonic() < end:
        if time.monotonic() > changed + 0.3:
            number += 1
            resolver.update_token(token["id"], value=f"value-{number:05d}")
            changed = time.monotonic()
        start = time.monotonic()
        value = fs.text(token["id"], "value")
        check_age(resolver, token["id"], start, time.monotonic(), value, ttl)
        time.sleep(0.01)
    assert resolver.count("GetAccessToken") >= 3


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("is_bound", [False, True])
def test_whatever_reads(mount, resolver, token, directory, is_bound, how):
    """By path and through a file that is bound by itself: a change is seen, and an end, whichever system call asks."""
    fs = mount(ttl=0.5, negative_ttl=0)
    path = fs.at(token["id"], "value")
    if is_bound:
        (directory / "bound").touch()
        path = fs.bind(f"{token['id']}/value", directory / "bound")
    read = WAYS[how]
    assert bounded(read, path).decode() == token["value"]
    for value in ("a longer value " + "x" * 40, "short"):
        resolver.update_token(token["id"], value=value)
        until(lambda value=value: bounded(read, path).decode() == value, "the change")
    resolver.delete_token(token["id"])
    until(lambda: error_of(read, path) == "ENOENT", "the end")


def test_stat_follows_through_a_bound_file(mount, resolver, token, directory):
    """Who looks at size and time alone sees the change, too."""
    fs = mount(ttl=0.5)
    (directory / "bound").touch()
    path = fs.bind(f"{token['id']}/value", directory / "bound")
    before = os.stat(path)
    resolver.update_token(token["id"], value="a longer value " + "x" * 40)
    until(lambda: bounded(os.stat, path).st_size == 55, "the change")
    assert bounded(os.stat, path).st_mtime_ns != before.st_mtime_ns


def test_directory_of_a_deleted_token(mount, resolver, token):
    """Whether a token is there is asked anew once its copy is no longer promised."""
    fs = mount(ttl=0.5)
    fs.read(token["id"], "value")
    resolver.delete_token(token["id"])
    until(lambda: not bounded(os.path.isdir, fs.at(token["id"])), "the end")


def test_ttl_zero(mount, resolver, token):
    """ttl=0: a read asks the API; what was answered just before (50 ms) counts as asked now."""
    fs = mount(ttl=0)
    for number in range(50):
        resolver.update_token(token["id"], value=f"value-{number}")
        start = time.monotonic()
        value = fs.text(token["id"], "value")
        check_age(resolver, token["id"], start, time.monotonic(), value, 0.05)
    until(lambda: fs.text(token["id"], "value") == "value-49", "the last value")
    for _ in range(10):
        calls = resolver.count("GetAccessToken")
        time.sleep(0.1)
        fs.read(token["id"], "value")
        assert resolver.count("GetAccessToken") == calls + 1 or SLOWNESS > 1    # a read takes longer than that there


def test_unread_tokens_are_not_refreshed(mount, resolver, token):
    """A token that nobody reads makes no calls."""
    fs = mount(ttl=0.3)
    fs.read(token["id"], "value")
    time.sleep(2)
    assert resolver.count("GetAccessToken") == 1
    assert fs.text(token["id"], "value") == token["value"]


def test_refresh_ahead(mount, resolver, token):
    """A reader every 0.2 s with a slow API: after the first read none waits, since the refresh comes in time."""
    resolver.set_latency(0.3, operation="GetAccessToken")
    ttl = 4
    fs = mount(ttl=ttl)
    fs.read(token["id"], "value")
    before = fs.metric("tokenfs_cache_answers_total", kind="miss")
    slow_turns, last = 0, time.monotonic()
    end = time.monotonic() + 3 * ttl
    while time.monotonic() < end:
        time.sleep(0.2)
        fs.read(token["id"], "value")
        # A machine that stops for longer than the time between refresh and due excuses one wait.
        slow_turns += time.monotonic() - last > 0.1 * ttl
        last = time.monotonic()
    waited = fs.metric("tokenfs_cache_answers_total", kind="miss") - before
    assert waited <= slow_turns, f"{waited} readers waited"
    assert 2 <= resolver.count("GetAccessToken") <= 3 * 2 + 2
    assert fs.metric("tokenfs_cache_refreshes_total") >= 1


def test_negative_ttl(mount, resolver):
    """"No such token" is remembered, for negative_ttl; look-ups meanwhile neither ask nor prolong it."""
    fs = mount(negative_ttl=2)
    assert fs.read_error("at-later", "value") == "ENOENT"
    resolver.add_token(id="at-later", value="here")
    start = time.monotonic()
    until(lambda: fs.read_error("at-later", "value") == "OK", "the token")
    assert resolver.count("GetAccessToken", token="at-later") <= 2 + (time.monotonic() - start) / 2
    assert fs.text("at-later", "value") == "here"


def test_negative_is_remembered(mount, resolver):
    """Many look-ups, one call."""
    fs = mount(negative_ttl=60)
    for _ in range(100):
        assert fs.read_error("at-none", "value") == "ENOENT"
        assert fs.read_error("at-none", "status") == "ENOENT"
    assert resolver.count("GetAccessToken") == 1


def test_negative_ttl_zero(mount, resolver):
    """negative_ttl=0: the next look-up asks again."""
    fs = mount(negative_ttl=0)
    assert fs.read_error("at-later", "value") == "ENOENT"
    resolver.add_token(id="at-later", value="here")
    assert fs.text("at-later", "value") == "here"


def test_max_tokens(mount, resolver):
    """More tokens than max_tokens: all are readable, no more are held, the least recently used goes first."""
    ids = [t["id"] for t in resolver.add_tokens(6)]
    fs = mount(max_tokens=3)
    for id in ids[:3]:
        fs.read(id, "value")
    fs.read(ids[0], "arn")
    fs.read(ids[3], "value")
    fs.read(ids[0], "createdAt")
    fs.read(ids[2], "createdAt")
    assert resolver.count("GetAccessToken") == 4, "the two used last are still there"
    fs.read(ids[1], "createdAt")
    assert resolver.count("GetAccessToken", token=ids[1]) == 2
    for id in ids * 2:
        assert fs.text(id, "updatedAt") == resolver.model.tokens[id]["updatedAt"]
    assert fs.metric("tokenfs_cache_evictions_total") >= 5
    assert fs.metric("tokenfs_cache_tokens") <= 3


def test_max_tokens_one(mount, resolver):
    """max_tokens=1 serves, too, at once and many."""
    ids = [t["id"] for t in resolver.add_tokens(5)]
    fs = mount(max_tokens=1)
    reads = {id: background(read_file, fs.at(id, "value")) for id in ids}
    for id, read in reads.items():
        assert read.result(HANG).decode() == resolver.model.tokens[id]["value"]


def test_sighup_forgets(mount, resolver, token):
    """After SIGHUP the next read reaches the API: by path, through open descriptors, binds, listings, negatives."""
    fs = mount(ttl=3600, negative_ttl=3600)
    assert fs.text(token["id"], "value") == token["value"]
    assert fs.text(".by_name", "web", "status") == "OPERATIONAL"
    assert fs.read_error("at-later", "value") == "ENOENT"
    resolver.update_token(token["id"], value="changed", name="renamed")
    resolver.add_token(id="at-later", value="here", name="later")
    assert fs.text(token["id"], "value") == token["value"]
    fs.forget()
    assert fs.text(token["id"], "value") == "changed"
    assert fs.text("at-later", "value") == "here"
    assert fs.ls(".by_name") == ["later", "renamed"]
    assert sorted(fs.tokens()) == sorted([token["id"], "at-later"])


def test_sighup_reaches_open_files_and_binds(mount, resolver, token, directory):
    """What was open or bound before sees the new bytes. Until then it may fail: the old ones went with the worker."""

    def shown(read):
        found = []
        error = error_of(lambda: found.append(read()))
        assert error in ("OK", "ESTALE")
        return found[0] if found else None

    target = directory / "bound"
    target.touch()
    fs = mount(ttl=3600)
    fs.bind(f"{token['id']}/value", target)
    assert bounded(read_file, str(target)).decode() == token["value"]
    with bounded(open, fs.at(token["id"], "value"), "rb", buffering=0) as file:
        assert bounded(file.read).decode() == token["value"]
        resolver.update_token(token["id"], value="a changed value that is longer than before")
        fs.forget()
        changed = b"a changed value that is longer than before"
        until(lambda: shown(lambda: read_file(str(target))) == changed, "the bind")

        def again():
            file.seek(0)
            return file.read()

        until(lambda: shown(again) == changed, "the open file")


def test_sighup_while_readers_wait(mount, resolver, token):
    """A reload in the middle of calls: every reader still gets its answer."""
    resolver.latency = 0.05
    fs = mount(ttl=0, timeout=30)
    stop = threading.Event()

    def read_on():
        count = 0
        while not stop.is_set():
            assert read_file(fs.at(token["id"], "value")).decode() == token["value"]
            count += 1
        return count

    readers = [background(read_on) for _ in range(5)]
    for _ in range(10):
        fs.forget()
    stop.set()
    assert all(reader.result(HANG) > 0 for reader in readers)


def test_sighup_rereads_credentials(mount, resolver, token, directory):
    """Keys in the shared file that were changed are used after SIGHUP."""
    resolver.add_key("AKIDFROMFILE00000001", "first-secret-of-the-file")
    resolver.add_key("AKIDFROMFILE00000002", "second-secret-of-the-file")
    path = directory / "credentials"

    def write(number, secret):
        path.write_text(f"[default]\naws_access_key_id = AKIDFROMFILE0000000{number}\naws_secret_access_key = {secret}\n",
                        encoding="utf-8")

    write(1, "first-secret-of-the-file")
    fs = mount(ttl=60, environ={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None,
                                "AWS_SHARED_CREDENTIALS_FILE": str(path)})
    assert fs.text(token["id"], "value") == token["value"]
    write(2, "second-secret-of-the-file")
    resolver.remove_key("AKIDFROMFILE00000001")
    fs.forget()
    assert fs.text(token["id"], "value") == token["value"]
    assert resolver.calls("GetAccessToken")[-1].key == "AKIDFROMFILE00000002"
    resolver.add_key("AKIDFROMFILE00000001", "first-secret-of-the-file")


def test_expired_token_is_readable(mount, resolver):
    """expiresAt in the past: the files are as the API gives them, with a warning once."""
    token = resolver.add_token(name="old", expires_in=-3600)
    fs = mount(ttl=0.3)
    for _ in range(3):
        assert fs.text(token["id"], "value") == token["value"]
        time.sleep(0.4)
    assert fs.text(".by_name", "old", "id") == token["id"]
    warnings = [line for line in fs.log().splitlines() if "expired" in line and token["id"] in line]
    assert len(warnings) == 1, fs.log()


def test_ttl_shortens_as_expiry_nears(mount, resolver):
    """A token that is replaced in place near its expiry is seen in time, although ttl is an hour."""
    token = resolver.add_token(value="old", expires_in=6)
    fs = mount(ttl=3600)
    assert fs.text(token["id"], "value") == "old"
    resolver.update_token(token["id"], value="new", expiresAt=time.time() + 3600)
    until(lambda: fs.text(token["id"], "value") == "new", "the renewal")
