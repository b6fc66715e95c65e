"""What a token looks like as files: bytes, sizes, times, modes, owners; and that nothing can be written."""

import calendar
import errno
import json
import os
import socket
import stat
import time

import pytest
from mounting import CONTROL, FIELDS, bounded, error_of, kill, read_file, until

pytestmark = pytest.mark.core
NOBODY = 65534


def wall_ns(text):
    """An API time in nanoseconds."""
    whole, _, rest = text.rstrip("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int((rest or "0").ljust(9, "0"))


def test_every_field_has_its_exact_bytes(mount, token):
    """The bytes, and the size that stat tells, of every field; no newline added."""
    fs = mount()
    for field in FIELDS:
        assert fs.text(token["id"], field) == token[field], field
        assert fs.stat(token["id"], field).st_size == len(token[field].encode()), field


def test_json_is_the_whole_document(mount, token):
    """.json: all members, from the same fetch as the fields, one line."""
    fs = mount()
    raw = fs.read(token["id"], ".json")
    assert json.loads(raw) == token
    assert raw.endswith(b"\n") and raw.count(b"\n") == 1
    assert fs.stat(token["id"], ".json").st_size == len(raw)
    assert [fs.text(token["id"], f) for f in FIELDS] == [token[f] for f in FIELDS]
    assert fs.resolver.count("GetAccessToken") == 1


def test_odd_values(mount, resolver):
    """Unusual bytes pass unchanged: all of ASCII's printables, other scripts, the longest value."""
    values = ["".join(map(chr, range(0x20, 0x7f))), "ключ-鍵-🔑", "x" * 100, " ", "a\tb", "tail\n", "%2F%00", '"\\']
    ids = [resolver.add_token(value=value)["id"] for value in values]
    fs = mount()
    for id, value in zip(ids, values):
        assert fs.text(id, "value") == value
        assert fs.stat(id, "value").st_size == len(value.encode())
        assert fs.json(id, ".json")["value"] == value


def test_unknown_fields_stay_in_json(mount, resolver):
    """Members that the API may add later break nothing: they are in .json, and are no files."""
    token = resolver.add_token(name="new", tags={"a": ["b", {"c": None}]}, weight=1.5, alive=True, nothing=[])
    fs = mount()
    assert fs.json(token["id"], ".json") == token
    assert fs.ls(token["id"]) == sorted([*FIELDS, ".json"])
    assert fs.read_error(token["id"], "tags") == "ENOENT"


def test_optional_fields_have_no_file(mount, resolver):
    """A token without name and clientToken: neither listed nor there."""
    token = resolver.add_token(name=None, client_token=None)
    fs = mount()
    assert fs.text(token["id"], "value") == token["value"]
    assert fs.ls(token["id"]) == sorted({*FIELDS, ".json"} - {"name", "clientToken"})
    assert fs.read_error(token["id"], "name") == "ENOENT"
    assert fs.read_error(token["id"], "clientToken") == "ENOENT"
    assert fs.json(token["id"], ".json") == token


def test_times_of_unchanged_bytes(mount, resolver):
    """mtime is updatedAt, ctime when the mount first held the bytes; what doesn't change keeps both, and its inode."""
    token = resolver.add_token(name="old", created_at="2024-02-29T12:34:56.789Z", updated_at="2025-01-02T03:04:05Z")
    before_ns = time.time_ns()
    fs = mount(ttl=1)
    fs.may_restart = True

    def kill_worker():
        old = fs.worker
        kill(old)
        until(lambda: fs.worker not in (None, old), "the next worker")

    first = fs.stat(token["id"], "value")
    assert first.st_mtime_ns // 10**9 == wall_ns(token["updatedAt"]) // 10**9
    assert before_ns <= first.st_ctime_ns <= time.time_ns()
    assert fs.stat(token["id"]).st_mtime_ns // 10**9 == wall_ns(token["updatedAt"]) // 10**9
    for change in (fs.forget, kill_worker, fs.forget):
        change()
        again = fs.stat(token["id"], "value")
        assert fs.text(token["id"], "value") == token["value"]
        assert (again.st_mtime_ns, again.st_ctime_ns, again.st_ino, again.st_size) == \
            (first.st_mtime_ns, first.st_ctime_ns, first.st_ino, first.st_size)
    assert resolver.count("GetAccessToken") >= 2


def test_changed_bytes_are_newer(mount, resolver, token):
    """Whatever updatedAt says: make, cp -u, rsync -u, find -newer and test -nt must see a change that the mount saw."""
    fs = mount()
    seen = None
    for value in ("A" * 40, "B" * 40, "C" * 40, "A" * 40):
        before_ns = time.time_ns()
        resolver.update_token(token["id"], value=value, updatedAt=token["updatedAt"])
        fs.forget()
        assert fs.text(token["id"], "value") == value
        info = fs.stat(token["id"], "value")
        if seen is None:
            assert info.st_mtime_ns // 10**9 == wall_ns(token["updatedAt"]) // 10**9
        else:
            assert before_ns <= info.st_mtime_ns <= time.time_ns() and info.st_mtime_ns > seen.st_mtime_ns
            assert info.st_ctime_ns > seen.st_ctime_ns
        seen = info


def test_updated_later_than_seen(mount, resolver, token):
    """A clock that is behind the API's: updatedAt is the later time."""
    fs = mount()
    assert fs.text(token["id"], "value") == token["value"]
    later = "2099-01-02T03:04:05Z"
    resolver.update_token(token["id"], value="changed", updatedAt=later)
    fs.forget()
    assert fs.text(token["id"], "value") == "changed"
    assert fs.stat(token["id"], "value").st_mtime_ns // 10**9 == wall_ns(later) // 10**9


def test_name_that_falls_back_is_newer(mount, resolver, directory):
    """A copy that was made of the newer token is older than the name's file, once that is the older token's again."""
    old = resolver.add_token(name="web", value="the old one", created_at="2024-01-01T00:00:00Z",
                             updated_at="2024-01-01T00:00:00Z")
    new = resolver.add_token(name="web", value="the new one", created_at="2025-01-01T00:00:00Z",
                             updated_at="2025-01-01T00:00:00Z")
    fs = mount(ttl=1)
    copy = directory / "copy"
    path = fs.at(".by_name", "web", "value")

    def update():
        # It fails if the file is replaced between its stat and its open, as it does on any filesystem.
        fs.run("cp", "-u", "--preserve=timestamps", path, str(copy), check=False)
        return copy.read_text()

    assert update() == new["value"]
    resolver.delete_token(new["id"])
    until(lambda: update() == old["value"], "the older token")
    until(lambda: fs.stat(".by_name", "web").st_mtime_ns > wall_ns(new["updatedAt"]) + 10**9, "the directory's time")


def test_long_names(mount):
    """What can't be the name of a file is said to be too long, as other filesystems do."""
    fs = mount()
    assert fs.read_error("a" * 255, "value") == "ENOENT"
    assert fs.read_error("a" * 256, "value") == "ENAMETOOLONG"


def test_modes_and_owners(mount, token):
    """The defaults: files 0444, secrets 0400, directories 0555, owned by who mounted."""
    fs = mount()
    for name in [*FIELDS, ".json"]:
        info = fs.stat(token["id"], name)
        secret = name in ("value", ".json")
        assert stat.S_ISREG(info.st_mode) and stat.S_IMODE(info.st_mode) == (0o400 if secret else 0o444), name
        assert (info.st_uid, info.st_gid, info.st_nlink) == (os.getuid(), os.getgid(), 1)
    for parts in ([], [token["id"]], [".by_name"], [".by_name", "web"]):
        info = fs.stat(*parts)
        assert stat.S_ISDIR(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o555, parts
        assert (info.st_uid, info.st_gid) == (os.getuid(), os.getgid())
    for name in (".service_status", ".service_metrics"):
        assert stat.S_IMODE(fs.stat(name).st_mode) == 0o444


def test_chosen_modes_and_owners(mount, token):
    """uid=, gid=, mode=, secret_mode=; directories get x where mode= lets read."""
    fs = mount(uid=1234, gid=4321, mode="0440", secret_mode="0040")
    assert stat.S_IMODE(fs.stat(token["id"], "status").st_mode) == 0o440
    assert stat.S_IMODE(fs.stat(token["id"], "value").st_mode) == 0o040
    assert stat.S_IMODE(fs.stat(token["id"], ".json").st_mode) == 0o040
    assert stat.S_IMODE(fs.stat(token["id"]).st_mode) == 0o550
    assert stat.S_IMODE(fs.stat().st_mode) == 0o550
    for parts in ([], [token["id"]], [token["id"], "value"], [token["id"], "id"], [".by_name"], [".by_name", "web"]):
        assert (fs.stat(*parts).st_uid, fs.stat(*parts).st_gid) == (1234, 4321), parts


def as_nobody(fs, *parts):
    """The exit status of a cat as another user."""
    return fs.run("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "cat", fs.at(*parts),
                  check=False)


def test_other_users(mount, token):
    """With allow_other the modes hold for others, too: fields yes, secrets no; without it they see nothing."""
    fs = mount(allow_other=True)
    assert as_nobody(fs, token["id"], "status").stdout == b"OPERATIONAL"
    assert as_nobody(fs, token["id"], "value").returncode != 0
    assert as_nobody(fs, token["id"], ".json").returncode != 0
    assert as_nobody(fs, ".by_name", "web", "value").returncode != 0
    assert fs.text(token["id"], "value") == token["value"]
    assert as_nobody(fs, token["id"], "value").returncode != 0
    closed = mount()
    assert as_nobody(closed, token["id"], "status").returncode != 0


def test_secret_for_a_group(mount, token):
    """The usual way for a service: uid of root, gid and secret_mode let the service read."""
    fs = mount(allow_other=True, gid=NOBODY, secret_mode="0440")
    assert as_nobody(fs, token["id"], "value").stdout.decode() == token["value"]


def test_newline(mount, token):
    """`newline` ends every field with one; sizes are true; .json is as ever."""
    fs = mount(newline=True)
    for field in FIELDS:
        assert fs.text(token["id"], field) == token[field] + "\n"
        assert fs.stat(token["id"], field).st_size == len(token[field]) + 1
    assert fs.json(token["id"], ".json") == token
    assert fs.read(token["id"], ".json").count(b"\n") == 1


def test_directories(mount, token):
    """What listing a directory gives, with types right."""
    fs = mount()
    assert fs.ls() == sorted([token["id"], *CONTROL])
    # What is known from the listing alone has no clientToken: the API doesn't list it.
    assert set(fs.ls(token["id"])) | {"clientToken"} == {*FIELDS, ".json"}
    fs.read(token["id"], "id")
    fs.forget()
    fs.read(token["id"], "id")
    assert fs.ls(token["id"]) == sorted([*FIELDS, ".json"])
    assert fs.ls(".by_name") == ["web"]
    assert fs.ls(".by_name", "web") == sorted([*FIELDS, ".json"])
    entries = bounded(lambda: {e.name: e.is_dir(follow_symlinks=False) for e in os.scandir(fs.path)})
    assert entries == {token["id"]: True, ".by_name": True, ".service_status": False, ".service_metrics": False}
    assert fs.run("ls", fs.path).stdout.decode().split() == [token["id"]]
    dots = fs.run("ls", "-a", fs.at(token["id"])).stdout.decode().split()
    assert dots[:2] == [".", ".."] and set(dots[2:]) == {*FIELDS, ".json"}


def test_inodes_are_distinct_and_stable(mount, resolver):
    """No two files share an inode, and what doesn't change keeps its own."""
    ids = [t["id"] for t in resolver.add_tokens(5)]
    fs = mount()
    places = [(id, name) for id in ids for name in fs.ls(id)] + [(id,) for id in ids]
    found = {fs.stat(*place).st_ino: place for place in places}
    assert len(found) == len(places)
    fs.forget()
    assert {fs.stat(*place).st_ino: place for place in places} == found


@pytest.mark.parametrize("name", [".", "..", "...", "a_b", "a b", "ü", "a" * 65, "a%2Fb", "-", "a" * 64])
def test_ids_that_are_none(mount, resolver, name):
    """What can't be an id is ENOENT (or the directory itself) and never reaches the API; what can be, does."""
    fs = mount()
    asked = name in ("-", "a" * 64, "...")
    if name in (".", ".."):
        assert fs.read_error(name, "no-such-file") == "ENOENT"
    else:
        assert error_of(os.lstat, fs.at(name)) == "ENOENT"
        assert fs.read_error(name, "value") == "ENOENT"
    tokens = {call.token for call in resolver.calls("GetAccessToken")}
    assert tokens == ({name} if asked else set()) | ({"no-such-file"} if name == "." else set())
    assert resolver.count("Unknown") == 0


def test_paths_that_are_none(mount, token):
    """Names that no directory has."""
    fs = mount()
    for parts in ([token["id"], "Value"], [token["id"], "value2"], [token["id"], ".JSON"], [token["id"], "..."],
                  [".by_name", "nobody"], [".by_name", "web", "nothing"], [".service"], [".json"]):
        assert fs.read_error(*parts) == "ENOENT", parts
    assert error_of(os.listdir, fs.at(token["id"], "value")) == "ENOTDIR"
    assert fs.read_error(token["id"], "value", "x") == "ENOTDIR"
    assert fs.read_error(token["id"]) == "EISDIR"


def test_reading_in_pieces(mount, resolver):
    """Any offset and length, past the end, mmap, sendfile."""
    value = "".join(chr(33 + i % 90) for i in range(100))
    id = resolver.add_token(value=value)["id"]
    fs = mount()
    fd = bounded(os.open, fs.at(id, "value"), os.O_RDONLY)
    try:
        for offset, length in ((0, 1), (1, 1), (99, 1), (99, 100), (100, 1), (5000, 10), (10, 50), (0, 4096)):
            assert bounded(os.pread, fd, length, offset) == value.encode()[offset:offset + length]
        import mmap                         # pylint: disable=import-outside-toplevel
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as memory:
            assert bounded(lambda: bytes(memory)) == value.encode()
        left, right = socket.socketpair()
        with left, right:
            assert bounded(os.sendfile, left.fileno(), fd, 0, 4096) == 100
            assert right.recv(200) == value.encode()
    finally:
        os.close(fd)


WRITES = {
    "open for writing": lambda f, d: os.open(f, os.O_WRONLY),
    "open for both": lambda f, d: os.open(f, os.O_RDWR),
    "open truncating": lambda f, d: os.open(f, os.O_RDONLY | os.O_TRUNC),
    "create in a token": lambda f, d: os.open(d + "/new", os.O_CREAT | os.O_WRONLY, 0o600),
    "create at the top": lambda f, d: os.open(os.path.dirname(d) + "/new", os.O_CREAT | os.O_WRONLY, 0o600),
    "mkdir": lambda f, d: os.mkdir(d + "/new"),
    "mkdir at the top": lambda f, d: os.mkdir(os.path.dirname(d) + "/new"),
    "mknod": lambda f, d: os.mknod(d + "/new", stat.S_IFIFO | 0o600),
    "symlink": lambda f, d: os.symlink("value", d + "/new"),
    "hard link": lambda f, d: os.link(f, d + "/new"),
    "unlink": lambda f, d: os.unlink(f),
    "rmdir": lambda f, d: os.rmdir(d),
    "rename a file": lambda f, d: os.rename(f, d + "/new"),
    "rename a directory": lambda f, d: os.rename(d, os.path.dirname(d) + "/new"),
    "chmod": lambda f, d: os.chmod(f, 0o644),
    "chmod a directory": lambda f, d: os.chmod(d, 0o755),
    "chown": lambda f, d: os.chown(f, 1, 1),
    "truncate": lambda f, d: os.truncate(f, 0),
    "utime": lambda f, d: os.utime(f, (0, 0)),
    "setxattr": lambda f, d: os.setxattr(f, "user.x", b"1"),
    "removexattr": lambda f, d: os.removexattr(f, "user.x"),
    "tmpfile": lambda f, d: os.open(d, os.O_TMPFILE | os.O_RDWR, 0o600),
}


@pytest.mark.parametrize("how", ["mounted read-only", "remounted rw"])
def test_nothing_can_be_written(mount, token, how):
    """EROFS for every kind of write, from the kernel; and from us, should somebody remount it rw."""
    fs = mount()
    fs.read(token["id"], "value")
    if how == "remounted rw":
        done = fs.run("mount", "-i", "-o", "remount,rw,bind", fs.path, check=False)
        if done.returncode != 0:
            pytest.skip(f"can't be remounted: {done.stderr}")
    for what, function in WRITES.items():
        found = error_of(function, fs.at(token["id"], "value"), fs.at(token["id"]))
        allowed = {"EROFS"}
        if what in ("setxattr", "removexattr"):
            allowed |= {"EOPNOTSUPP", "ENOTSUP", "ENOSYS"}
        if what == "tmpfile":
            allowed |= {"EOPNOTSUPP", "ENOTSUP"}
        assert found in allowed, (what, found)
    for control in CONTROL:
        assert error_of(os.chmod, fs.at(control), 0o777) == "EROFS"
        assert error_of(os.rename, fs.at(control), fs.at("new")) == "EROFS"
    assert fs.text(token["id"], "value") == token["value"]


def test_mount_flags(mount, token):
    """The mount shows itself as design says: read-only, no devices, no set-uid programs, no programs at all."""
    from mounting import mounts_at          # pylint: disable=import-outside-toplevel
    fs = mount(source="office")
    (kind, source, flags, extra), = mounts_at(fs.path)
    assert kind == "fuse.tokenfs" and source == "office"
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(flags)
    assert "default_permissions" in extra and "ro" in extra
    plain = mount()
    (kind, source, flags, extra), = mounts_at(plain.path)
    assert source == "tokenfs" and "allow_other" not in extra


def test_statfs(mount, token):
    """df hides it rather than showing a full disk; no call is made for it."""
    fs = mount()
    info = bounded(os.statvfs, fs.path)
    assert info.f_blocks == 0 and info.f_bfree == 0
    assert info.f_namemax >= 64
    assert fs.run("df", fs.path, check=False).returncode in (0, 1)
    assert fs.resolver.counters()["calls"] == 0


def test_tools(mount, token, directory):
    """cp -a, rsync, tar with xattrs, getfattr, getfacl, find, du: they work, or say what they can't."""
    fs = mount()
    target = directory / "copy"
    fs.run("cp", "-a", fs.at(token["id"]), str(target))
    assert {f: (target / f).read_text() for f in FIELDS} == {f: token[f] for f in FIELDS}
    assert (target / "value").stat().st_mtime_ns // 10**9 == fs.stat(token["id"], "value").st_mtime_ns // 10**9
    fs.run("rsync", "-a", fs.at(token["id"]) + "/", str(directory / "synced"))
    assert (directory / "synced" / "value").read_text() == token["value"]
    again = fs.run("rsync", "-a", "--itemize-changes", fs.at(token["id"]) + "/", str(directory / "synced"))
    assert again.stdout == b""
    archive = str(directory / "all.tar")
    fs.run("tar", "--xattrs", "--acls", "-cf", archive, "-C", fs.path, token["id"])
    assert fs.run("tar", "-xOf", archive, f"{token['id']}/value").stdout.decode() == token["value"]
    fs.run("getfattr", "-d", fs.at(token["id"], "value"), check=False)
    fs.run("getfacl", "-p", fs.at(token["id"], "value"))
    fs.run("ls", "-lZa", fs.at(token["id"]))
    assert error_of(os.getxattr, fs.at(token["id"], "value"), "user.x") in ("ENODATA", "EOPNOTSUPP", "ENOTSUP")
    found = fs.run("find", fs.path, "-name", "value").stdout.decode().split()
    assert sorted(found) == sorted([fs.at(token["id"], "value"), fs.at(".by_name", "web", "value")])


def test_two_mounts_are_two(mount, resolver, token):
    """Two mounts of one stand-in: each has its cache, and ends by itself."""
    first, second = mount(), mount()
    assert first.text(token["id"], "value") == second.text(token["id"], "value") == token["value"]
    assert resolver.count("GetAccessToken") == 2
    first.stop()
    assert second.text(token["id"], "status") == "OPERATIONAL"


def test_locks_and_seeks(mount, token):
    """flock works as on any local file; SEEK_END knows the size."""
    import fcntl                            # pylint: disable=import-outside-toplevel
    fs = mount()
    fd = bounded(os.open, fs.at(token["id"], "value"), os.O_RDONLY)
    try:
        bounded(fcntl.flock, fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert bounded(os.lseek, fd, 0, os.SEEK_END) == len(token["value"])
    except OSError as error:
        assert error.errno in (errno.ENOSYS, errno.EOPNOTSUPP)
    finally:
        os.close(fd)
    assert bounded(read_file, fs.at(token["id"], "value")).decode() == token["value"]
