""".doh_url: the address under which a token is used, of its own value and its resolver's name."""

import os
import stat
from urllib.parse import parse_qs, urlsplit

import pytest
from mounting import FIELDS, background, bounded, read_file, until

pytestmark = pytest.mark.core
CALL = "GetGlobalResolver"


def url_of(resolver, token):
    """What the file must hold."""
    document = resolver.model.tokens[token["id"]]
    name = resolver.model.resolvers[document["globalResolverId"]]["dnsName"]
    safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    value = "".join(c if c in safe else "".join(f"%{byte:02X}" for byte in c.encode()) for c in document["value"])
    return f"https://{name}/dns-query?token={value}"


def rename(resolver, name, id=None):
    """Gives a resolver (the first, unless told otherwise) another DNS name."""
    document = resolver.model.resolvers[id or next(iter(resolver.model.resolvers))]
    document["dnsName"] = name


@pytest.mark.parametrize("value", ["plain", "a+b/c=d e%41&token=x#?", "täglich☃", "~-._", "x" * 100, "'\"\\"])
def test_bytes(mount, resolver, value):
    """Both ways to it; the value is encoded so that a URL's reader finds it again; size, mode and type are true."""
    token = resolver.add_token(name="web", value=value)
    fs = mount(secret_mode="0440", mode="0444")
    for place in ([token["id"]], [".by_name", "web"]):
        text = fs.text(*place, ".doh_url")
        assert text == url_of(resolver, token)
        assert parse_qs(urlsplit(text).query)["token"] == [value]
        status = fs.stat(*place, ".doh_url")
        assert status.st_size == len(text)
        assert stat.S_IMODE(status.st_mode) == 0o440 and stat.S_ISREG(status.st_mode)
        assert int(status.st_mtime) == int(fs.stat(*place, "value").st_mtime)
    assert resolver.count(CALL) == resolver.count("GetAccessToken") == 1


def test_newline_option(mount, resolver, token):
    """It is a field's file like any other."""
    fs = mount("newline")
    assert fs.text(token["id"], ".doh_url") == url_of(resolver, token) + "\n"
    assert fs.stat(token["id"], ".doh_url").st_size == len(url_of(resolver, token)) + 1


def test_no_call_unless_asked(mount, resolver, token):
    """Whatever else is read, listed or searched makes no call for the resolver."""
    fs = mount()
    for field in FIELDS:
        fs.read_error(token["id"], field)
    fs.run("grep", "-r", "nothing that is there", fs.at(token["id"]), check=False)
    fs.run("ls", "-la", fs.at(token["id"]))
    assert resolver.count(CALL) == 0
    assert ".doh_url" not in fs.ls(token["id"])


def test_listed_once_known(mount, resolver, token):
    """Once its resolver's name is known it is shown, with its inode, in every directory of that resolver's tokens."""
    other = resolver.add_token(name="other")
    fs = mount()
    fs.read(token["id"], ".doh_url")
    for place in ([token["id"]], [other["id"]], [".by_name", "web"]):
        assert ".doh_url" in fs.ls(*place)
        fs.read(*place, ".doh_url")
        entries = bounded(lambda p=place: {e.name: e.inode() for e in os.scandir(fs.at(*p))})
        assert entries[".doh_url"] == fs.stat(*place, ".doh_url").st_ino
    fs.run("tar", "-C", fs.path, "-cf", "/dev/null", token["id"], other["id"], ".by_name/web")
    assert resolver.count(CALL) == 1


def test_denied(mount, resolver, token):
    """Without the permission this file alone is EACCES; nothing else is touched by it, and it isn't shown."""
    resolver.deny(operation=CALL)
    fs = mount()
    assert fs.read_error(token["id"], ".doh_url") == "EACCES"
    assert fs.read_error(".by_name", "web", ".doh_url") == "EACCES"
    assert ".doh_url" not in fs.ls(token["id"])
    assert fs.text(token["id"], "value") == token["value"]
    fs.run("tar", "-C", fs.path, "-cf", "/dev/null", token["id"])
    for _ in range(20):
        assert fs.read_error(token["id"], ".doh_url") == "EACCES"
    resolver.allow_all()
    until(lambda: fs.read_error(token["id"], ".doh_url") == "OK", "the permission to count")


def test_permission_taken_away(mount, resolver, token):
    """A copy ends with it, and the other files keep their inodes."""
    fs = mount(ttl=0.3)
    fs.read(token["id"], ".doh_url")
    inode = fs.stat(token["id"], "value").st_ino
    resolver.deny(operation=CALL)
    until(lambda: fs.read_error(token["id"], ".doh_url") == "EACCES", "the end of the copy")
    assert fs.text(token["id"], "value") == token["value"]
    assert fs.stat(token["id"], "value").st_ino == inode
    assert ".doh_url" not in fs.ls(token["id"])


def test_denied_token_is_denied(mount, resolver, token):
    """What ends the token ends its address."""
    fs = mount(ttl=0.3)
    fs.read(token["id"], ".doh_url")
    resolver.deny(operation="GetAccessToken")
    until(lambda: fs.read_error(token["id"], ".doh_url") == "EACCES", "the end of the copy")


def test_unknown(mount, resolver, token):
    """No token, no address; a resolver that isn't there is ENOENT."""
    fs = mount()
    assert fs.read_error("at-nobody", ".doh_url") == "ENOENT"
    assert fs.read_error(".by_name", "nobody", ".doh_url") == "ENOENT"
    assert fs.read_error(".doh_url") == "ENOENT"
    assert resolver.count(CALL) == 0
    resolver.add_fault("status", operation=CALL, status=404, code="ResourceNotFoundException")
    assert fs.read_error(token["id"], ".doh_url") == "ENOENT"
    assert fs.text(token["id"], "value") == token["value"]


@pytest.mark.parametrize("name", ["", "host name", "host/path", "a@b", "host:53", "x" * 300])
def test_bad_name(mount, resolver, token, name):
    """A name that would make another URL of it is refused."""
    rename(resolver, name)
    fs = mount()
    assert fs.read_error(token["id"], ".doh_url") == "EBADMSG"


def test_scopes_do_not_matter(mount, resolver, token):
    """The resolver is the token's own: a scope on the token is enough."""
    fs = mount(token=[token["id"]])
    assert fs.text(token["id"], ".doh_url") == url_of(resolver, token)


def test_value_changes(mount, resolver, token):
    """A new value: another inode and mtime, the size of the new bytes; it follows a rotation of the name."""
    fs = mount(ttl=0.3)
    first = fs.text(".by_name", "web", ".doh_url")
    before = fs.stat(".by_name", "web", ".doh_url")
    second = resolver.rotate_token(token["id"], value="another-" * 5)
    until(lambda: fs.text(".by_name", "web", ".doh_url") != first, "the rotation")
    assert fs.text(".by_name", "web", ".doh_url") == url_of(resolver, second)
    after = fs.stat(".by_name", "web", ".doh_url")
    assert after.st_size == len(url_of(resolver, second))
    assert (after.st_ino, after.st_mtime_ns) != (before.st_ino, before.st_mtime_ns)


def test_resolver_renamed(mount, resolver, token):
    """Another name of the resolver changes this file's inode, mtime and bytes, and no other's."""
    fs = mount(ttl=0.3)
    first = fs.text(token["id"], ".doh_url")
    before = {name: fs.stat(token["id"], name) for name in ("value", ".json", ".doh_url")}
    rename(resolver, "elsewhere.example")
    until(lambda: fs.text(token["id"], ".doh_url") != first, "the new name")
    assert fs.text(token["id"], ".doh_url") == url_of(resolver, token)
    after = {name: fs.stat(token["id"], name) for name in before}
    assert after[".doh_url"].st_size == len(url_of(resolver, token))
    assert after[".doh_url"].st_ino != before[".doh_url"].st_ino
    assert after[".doh_url"].st_mtime_ns != before[".doh_url"].st_mtime_ns
    for name in ("value", ".json"):
        assert (after[name].st_ino, after[name].st_mtime_ns) == (before[name].st_ino, before[name].st_mtime_ns)


def test_unchanged_stays(mount, resolver, token):
    """Over refreshes, a reload and another worker: the same inode, mtime and bytes."""
    fs = mount(ttl=0.2)
    fs.may_restart = True

    def seen():
        text = fs.text(token["id"], ".doh_url")
        status = fs.stat(token["id"], ".doh_url")
        return text, status.st_ino, status.st_mtime_ns

    first = seen()
    calls = resolver.count(CALL)
    until(lambda: fs.read(token["id"], ".doh_url") and resolver.count(CALL) > calls + 1, "refreshes")
    assert seen() == first
    fs.forget()
    assert seen() == first
    worker = fs.worker
    os.kill(worker, 9)
    until(lambda: fs.worker != worker, "another worker")
    assert seen() == first


def test_served_while_the_api_fails(mount, resolver, token):
    """The last good copy, as with the other files."""
    fs = mount(ttl=0.2, timeout=0.5)
    first = fs.text(token["id"], ".doh_url")
    calls = resolver.count()
    resolver.add_fault("status", status=503)
    until(lambda: fs.text(token["id"], ".doh_url") == first and resolver.count() > calls + 2, "failing calls")
    assert fs.text(token["id"], "value") == token["value"]


def test_one_call_for_many_readers(mount, resolver, token):
    """Single flight, over several tokens of one resolver."""
    ids = [token["id"]] + [resolver.add_token(name=f"n{i}")["id"] for i in range(5)]
    resolver.set_latency(0.3, operation=CALL)
    fs = mount()
    reads = [background(read_file, fs.at(id, ".doh_url")) for id in ids for _ in range(5)]
    assert {bounded(read.result) for read in reads} == {url_of(resolver, {"id": id}).encode() for id in ids}
    assert resolver.count(CALL) == 1


def test_slow_resolver_holds_nobody_up(mount, resolver, token):
    """Its call is waited for by this file's readers alone, and a reader's time is limited."""
    resolver.add_fault("hang", operation=CALL)
    fs = mount(timeout=1)
    waiting = background(read_file, fs.at(token["id"], ".doh_url"))
    assert fs.text(token["id"], "value") == token["value"]
    with pytest.raises(OSError):
        bounded(waiting.result)
    resolver.clear_faults()
    until(lambda: fs.read_error(token["id"], ".doh_url") == "OK", "the resolver to answer")


def test_audit(mount, resolver, token):
    """Opens of it are logged; the value isn't."""
    fs = mount("audit")
    fs.read(token["id"], ".doh_url")
    until(lambda: f"audit: open of {token['id']}/.doh_url" in fs.log(), "the line")


def test_bound_file_follows(mount, resolver, token, directory):
    """A single file bound elsewhere shows the new address after a change."""
    fs = mount(ttl=0.3)
    fs.read(".by_name", "web", ".doh_url")
    target = directory / "bound"
    target.touch()
    fs.bind(".by_name/web/.doh_url", target)
    second = resolver.rotate_token(token["id"])
    until(lambda: bounded(read_file, target).decode() == url_of(resolver, second), "the bound file to follow")
