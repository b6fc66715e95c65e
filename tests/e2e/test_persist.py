"""Copies on disk: a start while the API can't be reached, and when such copies must not serve."""

import os
import pwd
import struct
import subprocess
import time

import pytest
from checking import Checker
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from memory_search import search
from mounting import SANITIZED, MountFailed, children_of, kill, until

HEAD = 24
DAY = 86400


class Kept:
    """A directory for copies, and its key."""

    def __init__(self, directory):
        self.directory = directory / "kept"
        self.directory.mkdir(mode=0o700)
        self.key = directory / "key"
        self.key.write_bytes(os.urandom(32))
        self.key.chmod(0o400)
        self.file = self.directory / "copies"
        self.options = {"persist": self.directory, "persist_key": self.key, "stale": 7 * DAY, "timeout": 5}

    def plain(self):
        """What the file holds."""
        data = self.file.read_bytes()
        return AESGCM(self.key.read_bytes()).decrypt(data[12:HEAD], data[HEAD:], data[:HEAD])

    def replace(self, plain):
        """Writes the file with another content."""
        head = self.file.read_bytes()[:12] + os.urandom(12)
        self.file.write_bytes(head + AESGCM(self.key.read_bytes()).encrypt(head[12:], plain, head))

    def move_times(self, seconds):
        """As if all had been fetched, and written, that much later."""
        plain, out = self.plain(), b""
        while plain:
            kind, length = struct.unpack("<BI", plain[:5])
            record, plain = plain[5:5 + length], plain[5 + length:]
            if kind != 4:       # items of the listing say nothing of our times
                record = struct.pack("<q", struct.unpack("<q", record[:8])[0] + int(seconds * 1e9)) + record[8:]
            out += struct.pack("<BI", kind, length) + record
        self.replace(out)


@pytest.fixture
def kept(directory):
    """Where copies are kept."""
    return Kept(directory)


def first_run(mount, kept, token, **more):
    """A mount that reads the token by name, and ends."""
    fs = mount(**kept.options, **more)
    assert fs.text(".by_name", "web", "value") == token["value"]
    fs.text(token["id"], ".doh_url")
    fs.stop()
    assert kept.file.stat().st_mode & 0o777 == 0o600
    assert token["value"].encode() not in kept.file.read_bytes()
    return fs


def entry_of(fs, token):
    """What .service_status says of a token."""
    return next(entry for entry in fs.status()["tokens"] if entry["id"] == token["id"])


def assert_nothing(mount, resolver, kept, token, *words, **more):
    """With the API down, a mount has no copy; its log says why."""
    resolver.stop()
    fs = mount(**{**kept.options, **more})
    assert fs.read_error(token["id"], "value") == "EHOSTUNREACH"
    for word in words:
        assert fs.log().count(word) == 1, fs.log()
    fs.may_fail = False
    return fs


@pytest.mark.core
def test_start_without_the_api(mount, resolver, kept, token):
    """By id, by name, the address, and ls: as before the restart; then, when the API is back, as it says."""
    first_run(mount, kept, token)
    resolver.stop()
    fs = mount(**kept.options)
    assert fs.text(".by_name", "web", "value") == token["value"]
    assert fs.text(token["id"], "value") == token["value"]
    assert token["value"] in fs.text(token["id"], ".doh_url")
    assert token["id"] in fs.tokens()
    entry, persist = entry_of(fs, token), fs.status()["persist"]
    assert entry["fromDisk"] and entry["state"] == "stale" and entry["lastSuccessAt"]
    assert persist["loadedTokens"] == 1 and persist["servedFromDisk"] > 0 and persist["error"] is None
    assert fs.metric("tokenfs_persist_reads_total") > 0
    assert fs.log().count("served from the copy on disk") == 1
    resolver.update_token(token["id"], value="renewed")
    resolver.start()
    until(lambda: fs.text(token["id"], "value") == "renewed", "the API's answer")
    assert not entry_of(fs, token)["fromDisk"]


def test_killed(mount, resolver, kept, token):
    """SIGKILL to all of it: what was written is there."""
    fs = mount(**kept.options)
    assert fs.text(token["id"], "value") == token["value"]
    until(lambda: fs.status()["persist"]["writtenAt"], "the write")
    for pid in (fs.pid, fs.worker):
        kill(pid)
    fs.destroy()
    resolver.stop()
    again = mount(**kept.options)
    assert again.text(token["id"], "value") == token["value"]


def test_next_worker(mount, resolver, kept, token):
    """A worker that is replaced while the API fails goes on with the copies."""
    fs = mount(**kept.options)
    assert fs.text(token["id"], "value") == token["value"]
    until(lambda: fs.status()["persist"]["writtenAt"], "the write")
    resolver.stop()
    fs.may_restart = True
    fs.forget()
    assert fs.text(token["id"], "value") == token["value"]


@pytest.mark.core
def test_another_key(mount, resolver, kept, token):
    """The file can't be opened: one warning, and a mount as without it."""
    first_run(mount, kept, token)
    kept.key.chmod(0o600)
    kept.key.write_bytes(os.urandom(32))
    assert_nothing(mount, resolver, kept, token, "damaged, or was written with another key")


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "release"])
def test_damaged(mount, resolver, kept, token, damage):
    """A file that isn't as it was written: ignored, with one warning."""
    first_run(mount, kept, token)
    data = bytearray(kept.file.read_bytes())
    if damage == "changed":
        data[len(data) // 2] ^= 1
    if damage == "release":
        data[8] += 1
    kept.file.write_bytes({"cut": data[:-100], "empty": b""}.get(damage, data))
    assert_nothing(mount, resolver, kept, token, "another release" if damage == "release" else "damaged")


def test_another_endpoint_or_account(mount, resolver, kept, token):
    """Copies of another API, or of another account's keys, don't serve."""
    first_run(mount, kept, token)
    fs = assert_nothing(mount, resolver, kept, token, "another endpoint or account",
                        endpoint_url=f"http://localhost:{resolver.port}")
    fs.stop()
    other = mount(start=False, environ={"AWS_ACCESS_KEY_ID": "AKIAZZZZZZZZZZZZZZZZ"})
    other.start(kept.options)
    assert other.read_error(token["id"], "value") == "EHOSTUNREACH"
    assert "another endpoint or account" in other.log()
    other.stop()
    same = mount(**kept.options)
    assert same.text(token["id"], "value") == token["value"]


@pytest.mark.core
def test_deleted_token(mount, resolver, kept, token):
    """What the API refuses goes from the file at once."""
    first_run(mount, kept, token)
    assert token["value"].encode() in kept.plain()
    resolver.delete_token(token["id"])
    fs = mount(**kept.options)
    assert fs.read_error(token["id"], "value") == "ENOENT"
    until(lambda: token["value"].encode() not in kept.plain(), "the wipe")
    fs.stop()
    assert_nothing(mount, resolver, kept, token)


def test_scope_that_is_narrower(mount, resolver, kept, token):
    """Tokens that a new scope leaves out are not taken up, and go from the file."""
    other = resolver.add_token(name="other")
    first_run(mount, kept, token)
    resolver.stop()
    fs = mount(**kept.options, token=other["id"])
    assert fs.read_error(token["id"], "value") == "ENOENT"
    until(lambda: token["value"].encode() not in kept.plain(), "the wipe")


def test_views_that_are_fewer(mount, resolver, kept, token):
    """A token of a view that is no longer in scope is in no listing: not by id, and not by name."""
    other = resolver.add_token(name="other", view=resolver.add_view()["id"])
    first_run(mount, kept, token)
    resolver.stop()
    fs = mount(**kept.options, dns_view=other["dnsViewId"])
    assert fs.tokens() == [other["id"]] and fs.ls(".by_name") == ["other"]


def test_clock_that_was_set_back(mount, resolver, kept, token):
    """The file is of a later time than the clock says: its copies serve, but no longer than they would have."""
    first_run(mount, kept, token)
    kept.move_times(20 * DAY)
    resolver.stop()
    fs = mount(**kept.options)
    assert fs.text(token["id"], "value") == token["value"]
    fs.stop()
    # Time goes on from there: written again, it is of a later time still.
    written = struct.unpack("<q", kept.plain()[5:13])[0]
    assert written > (time.time() + 19 * DAY) * 1e9
    plain = kept.plain()
    kept.replace(plain[:5] + struct.pack("<q", written + int(8 * DAY * 1e9)) + plain[13:])
    assert mount(**kept.options).read_error(token["id"], "value") == "EHOSTUNREACH"


def test_too_old(mount, resolver, kept, token):
    """`stale` counts from the fetch, whatever lay between."""
    first_run(mount, kept, token)
    kept.move_times(-7 * DAY + 300)
    resolver.stop()
    fs = mount(**kept.options)
    assert fs.text(token["id"], "value") == token["value"]
    fs.stop()
    kept.move_times(-600)
    assert mount(**kept.options).read_error(token["id"], "value") == "EHOSTUNREACH"


def test_refused_options(mount, kept, directory):
    """No key, a key that is none, and options that make no sense together: refused before the mount, with the way out."""
    cases = [({"persist": kept.directory}, "head -c 32"), ({"persist_key": kept.key}, "persist=DIRECTORY"),
             ({**kept.options, "stale": 0}, "stale=0"), ({**kept.options, "persist": directory / "none"}, "persist"),
             ({**kept.options, "persist_key": directory / "none"}, "persist_key")]
    short = directory / "short"
    short.write_bytes(b"x" * 31)
    cases.append(({**kept.options, "persist_key": short}, "32 bytes"))
    for options, word in cases:
        with pytest.raises(MountFailed) as failure:
            mount(**options)
        assert word in str(failure.value), failure.value


def test_systemd_credential(mount, resolver, kept, token, directory):
    """The key is found where systemd puts it."""
    credentials = directory / "credentials"
    credentials.mkdir()
    (credentials / "tokenfs-persist-key").write_bytes(kept.key.read_bytes())
    (credentials / "tokenfs-persist-key").chmod(0o400)
    options = {name: value for name, value in kept.options.items() if name != "persist_key"}
    for api_is_up in (True, False):
        fs = mount(start=False, environ={"CREDENTIALS_DIRECTORY": str(credentials)})
        fs.start(options)
        assert fs.text(token["id"], "value") == token["value"]
        fs.stop()
        if api_is_up:
            resolver.stop()


def test_directory_of_others(mount, resolver, kept, token):
    """Where others may look in, nothing is written or read: a warning, in the status as well, and the mount serves."""
    kept.directory.chmod(0o755)
    fs = mount(**kept.options)
    assert fs.text(token["id"], "value") == token["value"]
    assert "0700" in fs.log() and "0700" in fs.status()["persist"]["error"]
    fs.stop()
    assert not kept.file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a worker of another user is made by root")
def test_another_user(mount, resolver, kept, token, directory):
    """The key is root's, the copies are the worker's."""
    user = pwd.getpwnam("nobody")
    os.chown(kept.directory, user.pw_uid, user.pw_gid)
    for up in directory.parents:
        if str(up) != "/" and not up.stat().st_mode & 0o001:
            up.chmod(up.stat().st_mode | 0o011)
    directory.chmod(directory.stat().st_mode | 0o011)
    for api_is_up in (True, False):
        fs = mount(**kept.options, user="nobody")
        assert fs.text(token["id"], "value") == token["value"]
        fs.stop()
        assert kept.file.stat().st_uid == user.pw_uid
        if api_is_up:
            resolver.stop()


@pytest.mark.skipif(os.geteuid() != 0 or bool(SANITIZED), reason="only root can search memory; a sanitizer keeps what was freed")
def test_key_is_the_worker_s_alone(mount, kept, token):
    """The supervisor, the helper for programs and the notifier have no copy of the key."""
    fs = mount(**kept.options)
    assert fs.text(token["id"], "value") == token["value"]
    worker, needle = fs.worker, {"key": kept.key.read_bytes()}
    others = [fs.pid, *children_of(worker)]
    assert len(others) == 3
    assert search(worker, needle) and not search(others, needle)


def test_check(mount, resolver, kept, token, directory):
    """--check says whether the file can be opened, and changes nothing."""
    check = Checker(directory, resolver)
    options = f"persist={kept.directory},persist_key={kept.key}"
    check("-o", options).ok("persist", "none yet")
    first_run(mount, kept, token)
    before = kept.file.read_bytes()
    check("-o", options).ok("persist", "1 tokens")
    kept.key.chmod(0o600)
    kept.key.write_bytes(os.urandom(32))
    assert check("-o", options).failed("persist", "another key")
    assert "head -c 32" in check("-o", f"persist={kept.directory}").failed("persist", "no key")
    assert kept.file.read_bytes() == before


def test_an_identity_that_is_too_long(mount, resolver, kept, token, directory):
    """What names the endpoint and the account is limited: a mount says so and goes on without copies; so says --check."""
    config = directory / "config"
    config.write_text(f"[default]\naws_account_id = {'1' * 4096}\n")
    fs = mount(**kept.options, environ={"AWS_CONFIG_FILE": str(config)})
    assert fs.text(token["id"], "value") == token["value"]
    assert "longer than 4096 bytes; going on without copies on disk" in fs.log()
    fs.stop()
    assert not kept.file.exists()
    check = Checker(directory, resolver)
    check.write(".aws/config", config.read_text())
    done = check("-o", f"persist={kept.directory},persist_key={kept.key}")
    assert "shorten" in done.failed("persist", "longer than 4096 bytes")


def test_no_copy_without_asking(mount, resolver, token, directory):
    """Off by default: nothing is written anywhere."""
    fs = mount()
    assert fs.text(token["id"], "value") == token["value"]
    fs.stop()
    found = subprocess.run(["grep", "-rlF", token["value"], str(directory)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert "persist" not in fs.log()
