""".by_name: which token a name means, how names are written, and that a reader never notices a rotation."""

import os
import threading
import time

import pytest
from mounting import HANG, background, bounded, read_file, until

pytestmark = pytest.mark.core
DAY = 86400

# (status, days since creation, days until expiry), oldest first as made; the index of the one that is meant.
CHOICES = {
    "newest": ([("OPERATIONAL", 30, 60), ("OPERATIONAL", 10, 60), ("OPERATIONAL", 20, 60)], 1),
    "creating is not yet meant": ([("OPERATIONAL", 30, 60), ("CREATING", 0, 90)], 0),
    "deleting is not meant": ([("OPERATIONAL", 30, 60), ("DELETING", 10, 90)], 0),
    "expired is not meant": ([("OPERATIONAL", 30, 60), ("OPERATIONAL", 10, -1)], 0),
    "only expired: the newest operational": ([("OPERATIONAL", 30, -2), ("OPERATIONAL", 10, -1), ("CREATING", 1, 9)], 1),
    "none operational: the newest": ([("DELETING", 30, 60), ("CREATING", 1, 90)], 1),
    "none operational, order turned": ([("CREATING", 1, 90), ("DELETING", 30, 60)], 0),
    "expiry does not rank": ([("OPERATIONAL", 30, 300), ("OPERATIONAL", 10, 5)], 1),
    "one": ([("DELETING", 3, -3)], 0),
    "unknown status": ([("OPERATIONAL", 30, 60), ("PAUSED", 1, 60)], 0),
}


@pytest.mark.parametrize("scope", ["all", "tokens"])
@pytest.mark.parametrize("what", CHOICES)
def test_choice(mount, resolver, what, scope):
    """The rule, from listings and from token= scopes alone."""
    made, meant = CHOICES[what]
    now = time.time()
    ids = [resolver.add_token(name="web", status=status, created_at=now - age * DAY, expires_at=now + left * DAY)["id"]
           for status, age, left in made]
    fs = mount(token=ids) if scope == "tokens" else mount()
    assert fs.text(".by_name", "web", "id") == ids[meant]
    assert fs.text(".by_name", "web", "value") == resolver.model.tokens[ids[meant]]["value"]
    assert fs.json(".by_name", "web", ".json") == resolver.model.tokens[ids[meant]]
    assert fs.ls(".by_name") == ["web"]


ENCODED = {"web": "web", "a/b": "a%2Fb", "//": "%2F%2F", "my token": "my token", "it's": "it's", "A_b-C": "A_b-C",
           "x" * 32: "x" * 32, "/": "%2F", "1a": "1a", "-": "-", "_": "_", " ": " "}


def test_encodings(mount, resolver):
    """Every name of the API can be reached, under one spelling."""
    ids = {name: resolver.add_token(name=name)["id"] for name in ENCODED}
    fs = mount()
    assert fs.ls(".by_name") == sorted(ENCODED.values())
    for name, spelling in ENCODED.items():
        assert fs.text(".by_name", spelling, "id") == ids[name], name
        assert fs.text(".by_name", spelling, "name") == name
    for wrong in ("a%2fb", "a%2F", "%77eb", "web%", "%00", "%2E", "nobody", "web ", "WEB"):
        assert fs.read_error(".by_name", wrong, "id") == "ENOENT", wrong


def test_tokens_without_names(mount, resolver):
    """They have no place in .by_name; without any name it is empty."""
    resolver.add_token(name=None)
    fs = mount()
    assert fs.ls(".by_name") == []
    assert fs.read_error(".by_name", "None", "id") == "ENOENT"


def test_unknown_name_makes_no_storm(mount, resolver):
    """A name that isn't in a fresh listing is ENOENT without a call each."""
    resolver.add_token(name="web")
    fs = mount()
    for _ in range(50):
        assert fs.read_error(".by_name", "nobody", "value") == "ENOENT"
    assert resolver.count() <= 6
    assert resolver.count("GetAccessToken") == 0


def test_listing_names_makes_list_calls_only(mount, resolver):
    """ls .by_name, ls -l of it, and of a name's directory."""
    resolver.add_tokens(50, prefix="n")
    fs = mount()
    assert len(fs.ls(".by_name")) == 50
    fs.run("ls", "-l", fs.at(".by_name"))
    fs.ls(".by_name", "n00007")
    assert resolver.count("GetAccessToken") == 0
    assert fs.text(".by_name", "n00007", "status") == "OPERATIONAL"
    assert resolver.count("GetAccessToken") == 1


def test_both_ways_share_a_fetch(mount, resolver, token):
    """By id and by name: one document, one call; a name's directory has an inode of its own."""
    fs = mount()
    assert fs.text(token["id"], "value") == fs.text(".by_name", "web", "value") == token["value"]
    assert resolver.count("GetAccessToken") == 1
    assert fs.stat(token["id"]).st_ino != fs.stat(".by_name", "web").st_ino


def test_directory_is_stable(mount, resolver, token):
    """A name's directory keeps its inode over a rotation; a process that stands in it sees the new token."""
    fs = mount(ttl=0.2)
    inode = fs.stat(".by_name", "web").st_ino
    place = bounded(os.open, fs.at(".by_name", "web"), os.O_RDONLY | os.O_DIRECTORY)

    def inside(name):
        fd = os.open(name, os.O_RDONLY, dir_fd=place)
        with os.fdopen(fd, "rb") as file:
            return file.read().decode()

    try:
        assert bounded(inside, "value") == token["value"]
        second = resolver.rotate_token(token["id"])
        until(lambda: bounded(inside, "value") == second["value"], "the rotation")
        assert bounded(inside, "id") == second["id"]
        assert fs.stat(".by_name", "web").st_ino == inode
        resolver.delete_token(token["id"])
        third = resolver.rotate_token(second["id"])
        until(lambda: bounded(inside, "value") == third["value"], "the second rotation")
    finally:
        os.close(place)


def test_creating_is_waited_for(mount, resolver, token):
    """While the new token is CREATING the old one is served; then the new one, within ttl."""
    fs = mount(ttl=0.2)
    second = resolver.rotate_token(token["id"], status="CREATING")
    until(lambda: second["id"] in fs.tokens(), "the listing")
    for _ in range(10):
        assert fs.text(".by_name", "web", "id") == token["id"]
    resolver.update_token(second["id"], status="OPERATIONAL")
    until(lambda: fs.text(".by_name", "web", "value") == second["value"], "the new one")


def test_gone_id_chooses_again_at_once(mount, resolver):
    """The chosen token was deleted behind a fresh listing: the 404 makes the name choose again, in the same read."""
    old = resolver.add_token(name="web", created_at=time.time() - DAY)
    new = resolver.add_token(name="web")
    fs = mount(ttl=60)
    assert sorted(fs.tokens()) == sorted([old["id"], new["id"]])
    resolver.delete_token(new["id"])
    assert fs.text(".by_name", "web", "value") == old["value"]
    assert fs.text(".by_name", "web", "id") == old["id"]


def test_last_id_gone(mount, resolver, token):
    """The only token of a name was deleted: ENOENT, and with a successor its files."""
    fs = mount(ttl=2, negative_ttl=0)
    assert fs.tokens() == [token["id"]]
    resolver.delete_token(token["id"])
    until(lambda: fs.read_error(".by_name", "web", "value") == "ENOENT", "the end")
    second = resolver.add_token(name="web")
    until(lambda: fs.read_error(".by_name", "web", "value") == "OK", "the successor")
    assert fs.text(".by_name", "web", "value") == second["value"]


def test_renamed(mount, resolver, token):
    """A token that gets another name moves."""
    fs = mount(ttl=0.2, negative_ttl=0.1)
    assert fs.text(".by_name", "web", "id") == token["id"]
    resolver.update_token(token["id"], name="other")
    until(lambda: fs.read_error(".by_name", "web", "id") == "ENOENT", "the old name's end")
    assert fs.text(".by_name", "other", "id") == token["id"]
    assert fs.ls(".by_name") == ["other"]


def test_expiry_by_the_clock_chooses_again(mount, resolver):
    """Nothing changes at the API but the time: the expired one is left for another that is valid."""
    now = time.time()
    longer = resolver.add_token(name="web", created_at=now - 2 * DAY, expires_in=DAY)
    shorter = resolver.add_token(name="web", created_at=now - DAY, expires_in=4)
    fs = mount(ttl=1)
    if time.time() < now + 3:
        assert fs.text(".by_name", "web", "id") in (shorter["id"], longer["id"])
    until(lambda: fs.text(".by_name", "web", "id") == longer["id"], "the expiry")
    assert time.time() >= now + 3.9


class Watcher:
    """Reads a name's value over and over, by several paths; keeps (start, end, path, value or error)."""

    def __init__(self, paths):
        self.paths = paths
        self.seen = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(path,), daemon=True) for path in paths]

    def _run(self, path):
        while not self._stop.is_set():
            start = time.monotonic()
            try:
                value = read_file(path).decode()
            except OSError as error:
                value = error
            self.seen.append((start, time.monotonic(), path, value))
            time.sleep(0.002)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(HANG)


def test_rotation_drill(mount, resolver, directory):
    """The whole life: overlap, the new one CREATING then OPERATIONAL, the old one expired and deleted, thrice. Readers
    by path, by a bound directory and by a bound file never see an error, a mix, or a value that is not valid."""
    ttl = 0.3
    current = resolver.add_token(name="app/db")
    tokens = {current["value"]: current["id"]}
    fs = mount(ttl=ttl)
    bound_directory, bound_file = directory / "d", directory / "f"
    bound_directory.mkdir()
    bound_file.touch()
    fs.bind(".by_name/app%2Fdb", bound_directory)
    fs.bind(".by_name/app%2Fdb/value", bound_file)
    paths = [fs.at(".by_name", "app%2Fdb", "value"), str(bound_directory / "value"), str(bound_file)]
    with Watcher(paths) as watcher:
        for _ in range(3):
            fresh = resolver.rotate_token(current["id"], status="CREATING")
            tokens[fresh["value"]] = fresh["id"]
            time.sleep(ttl)
            resolver.update_token(fresh["id"], status="OPERATIONAL")
            for path in paths:
                until(lambda path=path: bounded(read_file, path).decode() == fresh["value"], f"the new value at {path}")
            resolver.update_token(current["id"], expiresAt=time.time() - 1)
            time.sleep(ttl)
            # The last promise for the old one is over: whoever read it had ttl, and a bound file one second more.
            time.sleep(1 + ttl)
            resolver.delete_token(current["id"])
            time.sleep(2 * ttl)
            current = fresh
    assert len(watcher.seen) > 100
    errors = [one for one in watcher.seen if isinstance(one[3], OSError)]
    assert not errors, errors[:5]
    mixes = [one for one in watcher.seen if one[3] not in tokens]
    assert not mixes, mixes[:5]
    for start, end, path, value in watcher.seen:
        # It existed and was OPERATIONAL at some time of the read, or of the ttl before it (a bound file: a second more).
        slack = ttl + 1 + (1 if path == str(bound_file) else 0)
        versions = resolver.versions_between(tokens[value], start - slack, end)
        assert any(v and v["status"] == "OPERATIONAL" and v["value"] == value for v in versions), (path, value)


def test_many_readers_of_a_name_one_fetch(mount, resolver, token):
    """A cold name, read by many at once: one walk of the listing, one GetAccessToken."""
    resolver.latency = 0.2
    fs = mount()
    reads = [background(read_file, fs.at(".by_name", "web", "value")) for _ in range(30)]
    assert {read.result(HANG).decode() for read in reads} == {token["value"]}
    assert resolver.count("GetAccessToken") == 1 and resolver.count() == 5


def test_names_while_the_api_hangs(mount, resolver, token):
    """A known name is served as long as its listing and its token may be."""
    fs = mount(ttl=60, timeout=HANG)
    assert fs.text(".by_name", "web", "value") == token["value"]
    resolver.add_fault("hang")
    assert fs.text(".by_name", "web", "arn") == token["arn"]
    assert fs.ls(".by_name") == ["web"]


def test_names_while_the_api_fails(mount, resolver, token):
    """Stale as well: listing and document are past ttl, the API is down, the name still reads."""
    fs = mount(ttl=0.2, timeout=1)
    assert fs.text(".by_name", "web", "value") == token["value"]
    resolver.add_fault("status", status=500)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert fs.text(".by_name", "web", "value") == token["value"]
    assert fs.ls(".by_name") == ["web"]
