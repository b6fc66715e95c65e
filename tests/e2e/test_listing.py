"""ls: what is shown, from which calls, with which scopes, however many tokens there are."""

import errno
import os
import subprocess
import time

import pytest
from dirents import chunk, names
from mounting import CONTROL, FIELDS, HANG, background, bounded, read_file, until

LISTS = ("ListGlobalResolvers", "ListDNSViews", "ListAccessTokens")
IGNORED = set(CONTROL) | {".", ".."}


def made_world(resolver):
    """Two resolvers, four views, twelve tokens: {view: [token ids]} in the order of making."""
    second = resolver.add_resolver(id="gr-second")["id"]
    views = [resolver.model.view_id, resolver.add_view(id="dnsv-b")["id"],
             resolver.add_view(id="dnsv-c", resolver=second)["id"], resolver.add_view(id="dnsv-d", resolver=second)["id"]]
    return {view: [resolver.add_token(name=f"name-{number}-{i}", view=view)["id"] for i in range(3)]
            for number, view in enumerate(views)}


def list_calls(resolver):
    """The list calls so far: {(operation, id)}."""
    return {(c.operation, c.dns_view if c.operation == "ListAccessTokens" else c.resolver)
            for c in resolver.calls() if c.operation in LISTS}


@pytest.mark.core
def test_everything(mount, resolver):
    """Without scopes: all tokens of all views of all resolvers, each call made once."""
    world = made_world(resolver)
    fs = mount()
    assert fs.tokens() == sorted(sum(world.values(), []))
    assert list_calls(resolver) == {("ListGlobalResolvers", None), ("ListDNSViews", resolver.model.resolver_id),
                                    ("ListDNSViews", "gr-second"), *(("ListAccessTokens", v) for v in world)}
    assert resolver.count() == 8
    assert fs.tokens() == sorted(sum(world.values(), []))
    assert resolver.count() == 8


SCOPES = {
    "a view": ({"dns_view": ["dnsv-b"]}, ["dnsv-b"], []),
    "two views": ({"dns_view": ["dnsv-b", "dnsv-d"]}, ["dnsv-b", "dnsv-d"], []),
    "a resolver": ({"resolver": ["gr-second"]}, ["dnsv-c", "dnsv-d"], []),
    "a resolver and a view": ({"resolver": ["gr-second"], "dns_view": ["dnsv-b"]}, ["dnsv-b", "dnsv-c", "dnsv-d"], []),
    "a token": ({"token": [("dnsv-b", 1)]}, [], [("dnsv-b", 1)]),
    "tokens and a view": ({"token": [("dnsv-b", 1), ("dnsv-c", 0)], "dns_view": ["dnsv-d"]}, ["dnsv-d"],
                          [("dnsv-b", 1), ("dnsv-c", 0)]),
}


@pytest.mark.core
@pytest.mark.parametrize("kind", SCOPES)
def test_scopes(mount, resolver, kind):
    """With scopes: only these are listed, can be read, and have names; no call leaves them."""
    options, views, tokens = SCOPES[kind]
    world = made_world(resolver)
    options = {name: [world[v[0]][v[1]] if isinstance(v, tuple) else v for v in values]
               for name, values in options.items()}
    inside = sorted([id for view in views for id in world[view]] + [world[v][i] for v, i in tokens])
    outside = sorted(set(sum(world.values(), [])) - set(inside))
    fs = mount(negative_ttl=0, **options)
    assert fs.tokens() == inside
    for id in inside:
        assert fs.text(id, "id") == id
    for id in outside:
        assert fs.read_error(id, "value") == "ENOENT"
        assert fs.read_error(id, "status") == "ENOENT"
    documents = resolver.model.tokens
    assert fs.ls(".by_name") == sorted(documents[id]["name"] for id in inside)
    for id in inside:
        assert fs.text(".by_name", documents[id]["name"], "id") == id
    for id in outside:
        assert fs.read_error(".by_name", documents[id]["name"], "value") == "ENOENT"
    assert fs.tokens() == inside
    allowed = {("ListAccessTokens", view) for view in views}
    if "resolver" in options:
        allowed |= {("ListDNSViews", "gr-second")}
    assert list_calls(resolver) <= allowed
    # A token outside is asked for at most where only its own document tells its view, and never read out.
    if kind == "a token":
        assert {c.token for c in resolver.calls("GetAccessToken")} <= set(inside)


@pytest.mark.core
def test_pages(mount, resolver):
    """A view of many pages."""
    ids = sorted(t["id"] for t in resolver.add_tokens(250))
    fs = mount()
    assert fs.tokens() == ids
    calls = resolver.calls("ListAccessTokens")
    assert len(calls) == -(-250 // 100) and [c.next_page for c in calls] == [False, True, True]


def test_small_pages(mount, resolver):
    """A service that gives fewer items than asked for, and pages of all three lists."""
    resolver.add_fault("latency", seconds=0.01)
    for i in range(5):
        gr = resolver.add_resolver(id=f"gr-{i}")["id"]
        for j in range(3):
            view = resolver.add_view(id=f"dnsv-{i}-{j}", resolver=gr)["id"]
            resolver.add_token(id=f"at-{i}-{j}", view=view)
    fs = mount()
    assert fs.tokens() == sorted(f"at-{i}-{j}" for i in range(5) for j in range(3))


@pytest.mark.core
def test_ls_l_of_thousand_tokens(mount, resolver):
    """ls -l, and listing each directory, makes list calls only."""
    ids = sorted(t["id"] for t in resolver.add_tokens(1000))
    fs = mount()
    lines = fs.run("ls", "-l", fs.path).stdout.decode().splitlines()[1:]
    assert sorted(line.split()[-1] for line in lines) == ids
    assert all(line.startswith("dr-xr-xr-x") for line in lines)
    for id in ids[::100]:
        assert set(fs.ls(id)) >= set(FIELDS) - {"clientToken", "name"} | {".json"}
    assert resolver.count("GetAccessToken") == 0
    assert resolver.count("ListAccessTokens") == 10
    assert resolver.count() == 13


@pytest.mark.core
def test_find_cat_is_one_call_a_token(mount, resolver):
    """find | xargs cat: one GetAccessToken a token, the same by name."""
    tokens = resolver.add_tokens(120)
    fs = mount()
    done = subprocess.run(f"find {fs.path} -name id -print0 | xargs -0 -n 10 cat", shell=True, capture_output=True,
                          timeout=HANG, check=True)
    output = done.stdout.decode()
    assert all(output.count(t["id"]) == 2 for t in tokens)
    assert resolver.count("GetAccessToken") == 120
    assert resolver.counters()["max_concurrent"] <= 16


@pytest.mark.core
def test_listing_denied(mount, resolver, token):
    """Denied: ls shows what is known, without an error; one warning; reading by id goes on."""
    resolver.deny(operation=list(LISTS))
    fs = mount(ttl=0.2)
    assert fs.ls() == sorted(CONTROL)
    assert fs.text(token["id"], "value") == token["value"]
    for _ in range(3):
        assert fs.tokens() in ([token["id"]], [])
        fs.read(token["id"], "id")
        assert fs.tokens() == [token["id"]]
        fs.forget()
    assert fs.run("ls", "-la", fs.path).returncode == 0
    assert fs.ls(".by_name") in ([], ["web"])
    warnings = [line for line in fs.log().splitlines() if "list" in line.lower() and "AccessDenied" in line
                or "denied" in line.lower()]
    print(warnings)
    assert warnings


@pytest.mark.core
def test_listing_partly_denied(mount, resolver):
    """A view, or a resolver, that may not be listed is left out; the rest is shown."""
    world = made_world(resolver)
    resolver.deny(dns_view="dnsv-b", operation="ListAccessTokens")
    fs = mount(negative_ttl=0)
    allowed = sorted(sum((ids for view, ids in world.items() if view != "dnsv-b"), []))
    assert fs.tokens() == allowed
    hidden = world["dnsv-b"][0]
    assert fs.text(hidden, "id") == hidden, "what isn't in a partial listing may exist"
    assert fs.tokens() == sorted([*allowed, hidden])
    resolver.deny(resolver="gr-second", operation="ListDNSViews")
    fs.forget()
    until(lambda: set(world["dnsv-c"]).isdisjoint(fs.tokens()), "the second denial")
    assert set(world[resolver.model.view_id]) <= set(fs.tokens())


@pytest.mark.core
def test_listing_follows(mount, resolver):
    """New tokens appear within ttl, deleted ones go; names as well."""
    keep = resolver.add_token(name="keep")["id"]
    fs = mount(ttl=0.3)
    assert fs.tokens() == [keep]
    fresh = resolver.add_token(name="fresh")["id"]
    until(lambda: fs.tokens() == sorted([keep, fresh]), "the new token")
    until(lambda: fs.ls(".by_name") == ["fresh", "keep"], "the new name")
    resolver.delete_token(fresh)
    until(lambda: fs.tokens() == [keep], "the deletion")
    until(lambda: fs.ls(".by_name") == ["keep"], "the name's end")


@pytest.mark.core
def test_listing_is_single_flight(mount, resolver):
    """Many ls at once: one walk."""
    ids = sorted(t["id"] for t in resolver.add_tokens(30))
    resolver.latency = 0.3
    fs = mount()
    reads = [background(os.listdir, fs.path) for _ in range(20)]
    for read in reads:
        assert sorted(n for n in read.result(HANG) if n not in CONTROL) == ids
    assert resolver.count() == 4


@pytest.mark.core
def test_last_good_listing_while_failing(mount, resolver):
    """The API fails: the last good listing is shown; and when it is back, the new one."""
    ids = sorted(t["id"] for t in resolver.add_tokens(3))
    fs = mount(ttl=0.2, timeout=1)
    assert fs.tokens() == ids
    fault = resolver.add_fault("status", status=503)
    fresh = resolver.add_token()["id"]
    for _ in range(10):
        assert fs.tokens() == ids
    until(lambda: fs.tokens() == ids and resolver.count(result="ServiceUnavailableException") > 0, "a failure")
    resolver.remove_fault(fault)
    until(lambda: fs.tokens() == sorted([*ids, fresh]), "recovery")


def test_hanging_listing_does_not_block_reads(mount, resolver, token):
    """While a list call hangs, reads go on; ls itself is held no longer than `timeout`, and then says so."""
    resolver.add_fault("hang", operation=list(LISTS))
    fs = mount(timeout=2)
    listing = background(os.listdir, fs.path)
    assert fs.text(token["id"], "value") == token["value"]
    with pytest.raises(TimeoutError):
        listing.result(HANG)
    assert listing.exception().errno == errno.ETIMEDOUT
    assert fs.text(token["id"], "arn") == token["arn"]


@pytest.mark.core
@pytest.mark.parametrize("effect", ["next_token_loop", "huge_listing", "malformed", "deep", "invalid_utf8"])
def test_bad_listings(mount, resolver, token, effect):
    """Answers to list calls that make no sense: ls ends in bounded time, reads go on, the daemon lives."""
    more = {"fresh": True} if effect == "next_token_loop" else {}
    fault = resolver.add_fault(effect, operation="ListAccessTokens", field="name", **more)
    fs = mount(timeout=3, ttl=1)
    bounded(lambda: subprocess.run(["ls", fs.path], capture_output=True, timeout=HANG, check=False))
    assert fs.text(token["id"], "value") == token["value"]
    assert resolver.count("ListAccessTokens") < 2000
    resolver.remove_fault(fault)
    fs.forget()
    until(lambda: fs.tokens() == [token["id"]], "recovery")


def test_bad_items_are_left_out(mount, resolver):
    """Items with ids that are none, or without one, are left out; the others are shown; no path escapes."""
    good = resolver.add_token(name="good")["id"]
    fs = mount(ttl=0.2)
    for id in ("..", ".", "a/b", "", "x" * 65, 17, None):
        fault = resolver.add_fault("patch", operation="ListAccessTokens", fields={"id": id})
        fs.forget()
        assert set(fs.tokens()) <= {good}
        resolver.remove_fault(fault)
    fs.forget()
    until(lambda: fs.tokens() == [good], "recovery")


@pytest.mark.core
@pytest.mark.parametrize("size", [64, 280, 4096, 1 << 20])
def test_any_buffer_size(mount, resolver, size):
    """getdents with small and large buffers gives each name once."""
    ids = sorted(t["id"] for t in resolver.add_tokens(300 if size > 64 else 60))
    fs = mount()
    size = max(size, 19 + 64 + 8)
    found = bounded(names, fs.path, size)
    assert sorted(found) == sorted([*ids, *CONTROL])


@pytest.mark.core
def test_seekdir(mount, resolver):
    """Going back to any offset that was given continues exactly there."""
    resolver.add_tokens(200)
    fs = mount()

    def look():
        fd = os.open(fs.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            entries = []
            while part := chunk(fd, 512):
                entries += part
            listed = [name for name, *_ in entries]
            assert len(set(listed)) == len(listed)
            for index in (0, 1, 2, 57, 100, 150, len(entries) - 2):
                os.lseek(fd, entries[index][3], os.SEEK_SET)
                rest = []
                while part := chunk(fd, 2048):
                    rest += [name for name, *_ in part]
                assert rest == listed[index + 1:], index
            os.lseek(fd, 0, os.SEEK_SET)
            again = []
            while part := chunk(fd, 4096):
                again += [name for name, *_ in part]
            assert again == listed
        finally:
            os.close(fd)

    bounded(look)


@pytest.mark.core
def test_readdir_while_the_set_changes(mount, resolver):
    """2,000 tokens, listed slowly while others come and go, and others list them: what stays is given once, nothing twice."""
    documents = resolver.add_tokens(2000)
    stay = {d["id"] for d in documents[::2]}
    leave = [d["id"] for d in documents[1::2]]
    fs = mount(ttl=0.1)
    assert len(fs.tokens()) == 2000

    changes = iter(range(150))

    def change():
        number = next(changes, None)
        if number is not None:
            for _ in range(6):
                resolver.delete_token(leave.pop())
                resolver.add_token()
            if number % 10 == 0:
                os.listdir(fs.path)
        time.sleep(0.02)

    for size in (2048, 16384):
        found = bounded(names, fs.path, size, change)
        assert len(set(found)) == len(found), "a name twice"
        assert stay <= set(found), f"{len(stay - set(found))} lost"
    found = bounded(lambda: [background(names, fs.path, 8192, change) for _ in range(2)])
    for one in found:
        listed = one.result(HANG)
        assert len(set(listed)) == len(listed) and stay <= set(listed)
    assert resolver.count("ListGlobalResolvers") >= 4, "the set was learnt anew while it was listed"


def test_a_reader_goes_on_with_its_listing(mount, resolver):
    """However many pieces a directory is read in, and however old its listing grows meanwhile: it is asked for once."""
    ids = sorted(t["id"] for t in resolver.add_tokens(300))
    fs = mount(ttl=0.1)
    found = bounded(names, fs.path, 2048, lambda: time.sleep(0.05))
    assert sorted(found) == sorted([*ids, *CONTROL])
    assert resolver.count("ListGlobalResolvers") == 1
    assert fs.tokens() == ids
    assert resolver.count("ListGlobalResolvers") == 2


@pytest.mark.parametrize("scoped", [False, True])
def test_a_later_page_that_is_refused(mount, resolver, scoped):
    """What the rest of a listing would have shown isn't "not there": the one before, or the documents, decide."""
    documents = [resolver.add_token(name=f"name-{number}") for number in range(150)]
    fault = {"status": 400, "code": "ValidationException", "message": "Invalid nextToken", "operation": "ListAccessTokens",
             "after": 1, "count": 1}
    fs = mount(ttl=0.5, dns_view=resolver.model.view_id if scoped else None)
    if not scoped:
        assert len(fs.ls(".by_name")) == 150
    resolver.add_fault("status", **fault)
    time.sleep(0.6)
    for document in documents:
        path = (document["id"],) if scoped else (".by_name", document["name"])
        assert fs.text(*path, "id") == document["id"]
    until(lambda: len(fs.tokens()) == 150, "recovery")


@pytest.mark.parametrize("effect", [{"effect": "hang"}, {"effect": "status", "status": 500}])
def test_scoped_reads_while_list_calls_fail(mount, resolver, token, effect):
    """GetAccessToken works, and its document says that the token is in scope: a cold read gets its value, and a warm one
    doesn't wait."""
    for operation in LISTS:
        resolver.add_fault(**effect, operation=operation)
    fs = mount(dns_view=resolver.model.view_id, timeout=4)
    assert fs.text(token["id"], "value") == token["value"]
    assert fs.text(token["id"], "arn") == token["arn"]
    outside = resolver.add_token(view=resolver.add_view()["id"])
    assert fs.read_error(outside["id"], "value") != "OK"


def test_names_while_list_calls_hang(mount, resolver, token):
    """An old listing does for the choice, before the time is over: the fields are the newest."""
    fs = mount(ttl=0.2, timeout=4, stale=3600)
    assert fs.text(".by_name", "web", "value") == token["value"]
    for operation in LISTS:
        resolver.add_fault("hang", operation=operation)
    resolver.update_token(token["id"], value="another")
    time.sleep(1.3)
    assert fs.text(".by_name", "web", "value") == "another"


def test_scan_with_few_tokens_held(mount, resolver):
    """No more is fetched ahead than can be held until it is read."""
    ids = sorted(t["id"] for t in resolver.add_tokens(100))
    resolver.latency = 0.01
    fs = mount(max_tokens=8)
    assert fs.tokens() == ids
    for id in ids:
        assert fs.text(id, "status") == "OPERATIONAL"
    assert resolver.count("GetAccessToken") == 100


def test_ls_of_tokens_that_were_read(mount, resolver):
    """ls -l makes list calls only, though copies of all tokens are there and no longer promised."""
    ids = [t["id"] for t in resolver.add_tokens(50)]
    fs = mount(ttl=0.5)
    for id in ids:
        fs.read(id, "value")
    time.sleep(0.6)
    calls = resolver.count("GetAccessToken")
    shown = fs.run("ls", "-l", fs.path).stdout.decode()
    assert all(id in shown for id in ids)
    assert resolver.count("GetAccessToken") == calls


@pytest.mark.core
def test_prefetch_on_a_scan(mount, resolver):
    """cat */status: exactly one call a token, several at once; a single read fetches nothing ahead."""
    ids = sorted(t["id"] for t in resolver.add_tokens(200))
    resolver.latency = 0.02
    fs = mount()
    assert fs.tokens() == ids
    fs.read(ids[100], "status")
    assert resolver.count("GetAccessToken") == 1
    output = fs.run("sh", "-c", f"cat {fs.path}/*/status").stdout
    assert output == b"OPERATIONAL" * 200
    assert resolver.count("GetAccessToken") == 200
    assert 4 <= resolver.counters()["max_concurrent"] <= 64


@pytest.mark.core
def test_prefetch_stops_with_the_scan(mount, resolver):
    """A scan that stops: few calls too many, and none after."""
    ids = sorted(t["id"] for t in resolver.add_tokens(200))
    resolver.latency = 0.02
    fs = mount()
    assert fs.tokens() == ids
    for id in ids[:20]:
        fs.read(id, "status")
    until(lambda: resolver.counters()["concurrent"] == 0, "the calls' end")
    calls = resolver.count("GetAccessToken")
    assert 20 <= calls <= 20 + 64
    fs.read(ids[150], "status")
    assert resolver.count("GetAccessToken") <= calls + 1


def test_random_reads_fetch_nothing_ahead(mount, resolver):
    """Reads in no order are no scan."""
    ids = [t["id"] for t in resolver.add_tokens(100)]
    fs = mount()
    listed = fs.tokens()
    wanted = [listed[(i * 37) % 100] for i in range(20)]
    for id in wanted:
        assert bounded(read_file, fs.at(id, "id")).decode() == id
    assert sorted(ids) == listed
    assert {c.token for c in resolver.calls("GetAccessToken")} == set(wanted)
