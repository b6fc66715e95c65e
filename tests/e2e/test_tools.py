"""The tools that people use on files, on a real mount: what they show is right whether the token was known before or not,
a second run changes nothing, and a rotation is seen by each of them that can see one."""

import filecmp
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time
import urllib.parse

import pytest
from mounting import CONTROL, FIELDS, HANG, bounded, until
from tools import need

HOUR = 3600
WEB = (".by_name", "web")
FILES = [name for name in FIELDS if name != "clientToken"]


@pytest.fixture
def old(resolver):
    """The token named web, an hour old; without a clientToken, which has a test of its own."""
    return resolver.add_token(name="web", value="the-first-value", created_at=time.time() - HOUR, client_token=None)


@pytest.fixture(params=["warm", "cold"])
def fs(request, mount, old):
    """A mount whose token was read already, or was never asked for."""
    made = mount(ttl=1)
    if request.param == "warm":
        for field in (*FILES, ".json"):
            made.read(old["id"], field)
            made.read(*WEB, field)
    return made


def forget(fs):
    """SIGHUP, and a look at what there is: until then a directory that somebody holds has no time to tell."""
    fs.forget()
    fs.ls(".by_name")


def rotate(fs, resolver, old, **fields):
    """A new token of that name; comes back when the mount shows it."""
    new = resolver.rotate_token(old["id"], **{"value": "the-other-value", "client_token": None, **fields})
    until(lambda: fs.text(*WEB, "id") == new["id"], "the rotation")
    return new


def output(fs, *command, **more):
    """What a program writes."""
    done = fs.run(*command, **more)
    assert done.stderr == b"", done.stderr
    return done.stdout.decode()


def shell(fs, script, *arguments, **more):
    """What a line of bash writes; $1 and so on are the arguments."""
    return output(fs, "bash", "-euc", script, "bash", *arguments, **more)


def state(directory):
    """Bytes, mtimes and inodes below a directory."""
    found = {}
    for path in sorted(pathlib.Path(directory).rglob("*")):
        info = path.lstat()
        found[str(path.relative_to(directory))] = (info.st_mtime_ns, info.st_ino, info.st_size,
                                                   path.read_bytes() if path.is_file() else None)
    assert found
    return found


# Reading

def test_shell(fs, old):
    """cat, $(<file), read, source-free assignments, test, wc, head, od."""
    value, name = fs.at(old["id"], "value"), fs.at(*WEB, "value")
    assert output(fs, "cat", value) == old["value"]
    assert output(fs, "cat", name, value) == old["value"] * 2
    assert shell(fs, 'printf %s "$(<"$1")"', name) == old["value"]
    assert shell(fs, 'TOKEN=$(cat "$1"); export TOKEN; exec printenv TOKEN', name) == old["value"] + "\n"
    # There is no line feed at the end: `read` sets the variable, and says with its status that none was there.
    assert shell(fs, 'IFS= read -r token <"$1" || [ -n "$token" ]; printf %s "$token"', name) == old["value"]
    assert shell(fs, 'mapfile -t lines <"$1"; printf "%s:%s" "${#lines[@]}" "${lines[0]}"', name) == f"1:{old['value']}"
    assert shell(fs, 'test -f "$1" && test -r "$1" && test -s "$1" && test ! -L "$1" && test ! -x "$1"; echo fine',
                 value) == "fine\n"
    assert shell(fs, 'wc -c <"$1"; head -c 3 "$1"; tail -c 5 "$1"', value).split() == [str(len(old["value"])), "thevalue"]
    assert shell(fs, 'dd if="$1" bs=1 count=3 status=none; dd if="$1" bs=1M iflag=direct status=none', value) == \
        "the" + old["value"]
    assert output(fs, "xxd", "-p", value) == old["value"].encode().hex() + "\n" if shutil.which("xxd") else True
    # None of this is slow or wrong in a loop, either.
    assert shell(fs, 'for _ in 1 2 3 4 5 6 7 8 9 10; do [ "$(<"$1")" = "$2" ]; done; echo same', value, old["value"]) == \
        "same\n"


def test_newline_option(mount, old):
    """newline: `while read` and whoever insists on lines."""
    fs = mount(newline=True)
    assert shell(fs, 'while IFS= read -r line; do echo "<$line>"; done <"$1"', fs.at(*WEB, "value")) == \
        f"<{old['value']}>\n"
    assert shell(fs, 'printf %s "$(<"$1")"', fs.at(*WEB, "value")) == old["value"]


def test_jq(fs, resolver, old):
    """jq on .json: one field, several tokens, the days that are left."""
    need("jq")
    assert output(fs, "jq", "-r", ".value", fs.at(*WEB, ".json")) == old["value"] + "\n"
    assert json.loads(output(fs, "jq", "-S", ".", fs.at(old["id"], ".json"))) == old
    resolver.add_token(name="mail", value="mail-value")
    until(lambda: "mail" in fs.ls(".by_name"), "the listing")
    assert shell(fs, 'jq -rs "map({(.name): .value}) | add | .mail" "$1"/.by_name/*/.json', fs.path) == "mail-value\n"
    days = output(fs, "jq", "-r", '(.expiresAt | sub("\\\\.[0-9]+"; "") | fromdate - now) / 86400 | round',
                  fs.at(*WEB, ".json"))
    assert int(days) == 90
    assert output(fs, "jq", "-r", ".status // empty | type", fs.at(".service_status")) in ("", "string\n", "object\n")


def test_find(fs, resolver, old):
    """find: names, sizes, modes, times, what it prints; its shortcuts for counting links don't lose anything."""
    expected = {f"{place}/{field}" for place in (old["id"], "/".join(WEB)) for field in (*FILES, ".json")}
    expected |= set(CONTROL) - {".by_name"}
    assert set(output(fs, "find", fs.path, "-type", "f", "-printf", "%P\n").split()) == expected
    assert set(output(fs, "find", fs.path, "-type", "d", "-printf", "/%P\n").split()) == \
        {"/", f"/{old['id']}", "/.by_name", "/" + "/".join(WEB)}
    at = fs.at(old["id"])
    assert output(fs, "find", at, "-name", "value", "-perm", "0400", "-size", f"{len(old['value'])}c") == f"{at}/value\n"
    assert output(fs, "find", at, "-perm", "/0222") == ""
    assert output(fs, "find", at, "-name", "value", "-mmin", "+50", "-mmin", "-70") == f"{at}/value\n"
    assert output(fs, "find", fs.path, "-xdev", "-links", "+2") == ""
    assert shell(fs, 'find "$1" -name value -print0 | xargs -0 cat', at) == old["value"]
    stamp = fs.directory / "stamp"
    stamp.touch()
    assert output(fs, "find", fs.at(*WEB), "-newer", str(stamp), "-name", "value") == ""
    rotate(fs, resolver, old, updated_at=time.time() + 5)
    assert output(fs, "find", fs.at(*WEB), "-newer", str(stamp), "-name", "value") == fs.at(*WEB, "value") + "\n"


def test_grep(fs, old):
    """grep -r over the whole mount finds the value in the four files that have it."""
    found = set(output(fs, "grep", "-rlF", old["value"], fs.path).split())
    assert found == {fs.at(*place, field) for place in ((old["id"],), WEB) for field in ("value", ".json")}
    assert output(fs, "grep", "-c", "OPERATIONAL", fs.at(old["id"], "status")) == "1\n"
    assert fs.run("grep", "-rq", "nowhere-at-all", fs.path, check=False).returncode == 1


def test_sha256sum(fs, resolver, old):
    """Sums hold as long as the token does, and fail after its rotation."""
    sums = fs.directory / "sums"
    sums.write_text(output(fs, "sha256sum", *(fs.at(*WEB, field) for field in FILES)))
    for _ in range(2):
        assert output(fs, "sha256sum", "--quiet", "-c", str(sums)) == ""
    forget(fs)
    assert output(fs, "sha256sum", "--quiet", "-c", str(sums)) == ""
    rotate(fs, resolver, old)
    done = fs.run("sha256sum", "--quiet", "-c", str(sums), check=False)
    assert done.returncode == 1 and b"value: FAILED" in done.stdout


def test_envsubst(fs, old):
    """A template filled in; the secret is in the environment of one program alone."""
    need("envsubst")
    template = fs.directory / "template"
    template.write_text("forward-addr: resolver?token=$TOKEN # $HOME\n")
    assert shell(fs, 'TOKEN=$(<"$1") envsubst "\\$TOKEN" <"$2"', fs.at(*WEB, "value"), str(template)) == \
        f"forward-addr: resolver?token={old['value']} # $HOME\n"


def test_curl(mount, resolver):
    """curl takes the token from the file, encoded as a query wants it, and not from its command line."""
    need("curl")
    value = "a+b/c=d&e f%"
    resolver.add_token(name="web", value=value)
    fs = mount()
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        """Notes what it is asked."""

        def do_GET(self):                   # pylint: disable=invalid-name
            """An empty answer."""
            seen.append(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, strict_parsing=True))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):          # pylint: disable=arguments-differ
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        output(fs, "curl", "-sSfG", "--noproxy", "*", "--data-urlencode", f"token@{fs.at(*WEB, 'value')}",
               f"http://127.0.0.1:{server.server_port}/dns-query")
        server.shutdown()
    assert seen == [{"token": [value]}]


# Copying

def test_diff(fs, resolver, old):
    """diff -r sees a copy as equal, and what a rotation changed."""
    copy = fs.directory / "copy"
    output(fs, "cp", "-r", fs.at(*WEB), str(copy))
    assert output(fs, "diff", "-r", fs.at(*WEB), str(copy)) == ""
    assert output(fs, "diff", "-r", fs.at(*WEB), fs.at(old["id"])) == ""
    rotate(fs, resolver, old)
    done = fs.run("diff", "-rq", fs.at(*WEB), str(copy), check=False)
    assert done.returncode == 1 and b"/value differ" in done.stdout and b"/status differ" not in done.stdout


def test_cp(fs, resolver, old):
    """cp -a keeps modes and times; cp -au again copies nothing, and a newer token."""
    copy = fs.directory / "copy"
    output(fs, "cp", "-a", fs.at(*WEB), str(copy))
    assert filecmp.dircmp(fs.at(*WEB), copy, ignore=[]).diff_files == []
    for field in FILES:
        there, here = fs.stat(*WEB, field), os.lstat(copy / field)
        assert (there.st_mtime_ns, there.st_mode, there.st_size) == (here.st_mtime_ns, here.st_mode, here.st_size), field
    before = state(copy)
    command = ["cp", "-auT", "--no-preserve=links", fs.at(*WEB), str(copy)]
    output(fs, *command)
    forget(fs)
    output(fs, *command)
    assert state(copy) == before
    new = rotate(fs, resolver, old)
    output(fs, *command)
    assert (copy / "value").read_text() == new["value"] and (copy / "id").read_text() == new["id"]
    before = state(copy)
    output(fs, *command)
    assert state(copy) == before


def test_install_if_changed(fs, resolver, old):
    """cmp and mv: the idiom that compares bytes and is never between two versions."""
    target = fs.directory / "token"
    script = ('cmp -s "$1" "$2" && exit 0; install -m 0600 "$1" "$2.new" && mv "$2.new" "$2" && echo changed')
    run = lambda: shell(fs, script, fs.at(*WEB, "value"), str(target))   # noqa: E731
    assert [run(), run(), run()] == ["changed\n", "", ""]
    before = os.stat(target)
    assert before.st_mode & 0o777 == 0o600
    new = rotate(fs, resolver, old)
    assert [run(), run()] == ["changed\n", ""]
    assert target.read_text() == new["value"] and os.stat(target).st_ino != before.st_ino


def test_rsync(fs, mount, resolver, old):
    """rsync -a of a token: a second run does nothing, not after SIGHUP and not from another mount; a rotation is seen."""
    need("rsync")
    copy = fs.directory / "copy"
    itemized = lambda one, *more: output(one, "rsync", "-ai", *more, one.at(*WEB) + "/", str(copy))   # noqa: E731
    assert len(itemized(fs).splitlines()) == len(FILES) + 3
    before = state(copy)
    assert itemized(fs) == ""
    forget(fs)
    assert itemized(fs) == itemized(fs, "--checksum") == itemized(fs, "--modify-window=-1") == ""
    again = mount()
    assert itemized(again) == itemized(again, "--modify-window=-1") == ""
    assert state(copy) == before
    new = rotate(fs, resolver, old)
    assert " value\n" in itemized(fs)
    assert (copy / "value").read_text() == new["value"]
    assert itemized(fs) == ""


def test_rsync_within_a_second(fs, resolver):
    """Two versions of one second and one length: rsync compares whole seconds unless it is told otherwise."""
    need("rsync")
    copy = fs.directory / "copy"
    when = "2025-05-05T05:05:05Z"
    old = resolver.add_token(name="same", value="value-1", updated_at=when)
    until(lambda: fs.read_error(".by_name", "same", "value") == "OK", "the name")
    rsync = ["rsync", "-a", "--modify-window=-1", fs.at(".by_name", "same") + "/", str(copy)]
    output(fs, *rsync)
    resolver.update_token(old["id"], value="value-2", updatedAt=when)
    until(lambda: fs.text(".by_name", "same", "value") == "value-2", "the change")
    output(fs, *rsync)
    assert (copy / "value").read_text() == "value-2"


def test_client_token(mount, resolver):
    """What the API's listings don't tell: clientToken shows in a directory once something in it was looked at. A copy of
    a tree leaves it out, so that it is the same each time."""
    need("rsync")
    token = resolver.add_token(name="web", created_at=time.time() - HOUR)
    fs = mount()
    copy = fs.directory / "copy"
    command = ["rsync", "-ai", "--delete", "--exclude=/.service_*", "--exclude=clientToken", fs.path + "/", str(copy)]
    output(fs, *command)
    before = state(copy)
    assert output(fs, *command) == ""
    assert fs.text(token["id"], "clientToken") == token["clientToken"]
    assert output(fs, *command) == ""
    times = [fs.stat().st_mtime_ns, fs.stat(".by_name").st_mtime_ns]
    forget(fs)
    assert output(fs, *command) == ""
    assert state(copy) == before
    assert times == [fs.stat().st_mtime_ns, fs.stat(".by_name").st_mtime_ns], "another worker shows the same"


def test_rsync_of_everything(fs, resolver, old):
    """The whole tree without the control files: again nothing changes; a deleted token goes with --delete."""
    need("rsync")
    copy = fs.directory / "copy"
    command = ["rsync", "-ai", "--delete", "--exclude=/.service_*", fs.path + "/", str(copy)]
    output(fs, *command)
    assert sorted(os.listdir(copy)) == sorted([".by_name", old["id"]])
    before = state(copy)
    assert output(fs, *command) == ""
    assert state(copy) == before
    new = rotate(fs, resolver, old)
    resolver.delete_token(old["id"])
    until(lambda: fs.tokens() == [new["id"]], "the listing")
    assert output(fs, *command) != ""
    assert sorted(os.listdir(copy)) == sorted([".by_name", new["id"]])
    assert (copy / ".by_name" / "web" / "value").read_text() == new["value"]


def test_tar(fs, resolver, old):
    """tar: no "file changed as we read it", the same archive twice, with extended attributes and ACLs asked for, too."""
    archive = lambda name: str(fs.directory / name)     # noqa: E731
    create = ["tar", "--sort=name", "--xattrs", "--acls", "-C", fs.at(".by_name"), "-cf"]
    for name in ("1.tar", "2.tar"):
        # There are no extended attributes, and tar says so if it is asked for them.
        said = fs.run(*create, archive(name), "web").stderr.decode()
        assert all(line.endswith("Warning: Cannot flistxattr: Operation not supported") for line in said.splitlines()), said
        forget(fs)
    assert pathlib.Path(archive("1.tar")).read_bytes() == pathlib.Path(archive("2.tar")).read_bytes()
    assert output(fs, "tar", "-C", fs.at(".by_name"), "-df", archive("1.tar")) == ""
    (fs.directory / "out").mkdir()
    output(fs, "tar", "-C", archive("out"), "-xpf", archive("1.tar"))
    assert output(fs, "diff", "-r", archive("out/web"), fs.at(*WEB)) == ""
    assert os.stat(archive("out/web/value")).st_mode & 0o777 == 0o400
    output(fs, "tar", "--exclude=./.service_*", "-C", fs.path, "-cf", archive("all.tar"), ".")
    rotate(fs, resolver, old)
    done = fs.run("tar", "-C", fs.at(".by_name"), "-df", archive("1.tar"), check=False)
    assert done.returncode == 1 and b"value: Contents differ" in done.stdout


def test_tar_during_changes(fs, resolver, old):
    """Archives made while the token changes: each file is whole."""
    stop = threading.Event()

    def change():
        number = 0
        while not stop.wait(0.05):
            number += 1
            resolver.update_token(old["id"], value=f"{number % 10}" * (1 + number % 90))

    thread = threading.Thread(target=change, daemon=True)
    thread.start()
    try:
        for _ in range(20):
            # 1: a file changed between stat and read; tar says so, and pads or cuts nothing then.
            done = fs.run("bash", "-c", 'tar -C "$1" -cf - web | tar -xOf - web/value', "bash", fs.at(".by_name"))
            assert done.stdout == old["value"].encode() or len(set(done.stdout)) == 1, done
    finally:
        stop.set()
        thread.join()


# Waiting

def watches(pid):
    """How many inotify watches a process has."""
    count = 0
    for path in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            count += path.read_text().count("inotify wd:")
        except FileNotFoundError:       # it closed that one meanwhile
            pass
    return count


def test_inotify_sees_a_rotation(fs, resolver, old):
    """The file that was replaced has its event, once; directories have none. Comparing sees it too."""
    need("inotifywait")
    fs.text(*WEB, "value")
    events = "modify,attrib,close_write,create,delete,delete_self,move,move_self,unmount"
    with subprocess.Popen(["inotifywait", "-q", "-m", "-e", events, fs.at(*WEB), fs.at(*WEB, "value"), fs.at(old["id"]),
                           fs.path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as watcher:
        try:
            until(lambda: watches(watcher.pid) == 4, "the watches")
            before = fs.stat(*WEB, "value").st_mtime_ns
            new = rotate(fs, resolver, old)
            resolver.update_token(old["id"], value="changed in place")
            until(lambda: fs.text(old["id"], "value") == "changed in place", "the change")
            assert fs.text(*WEB, "value") == new["value"]
            assert fs.stat(*WEB, "value").st_mtime_ns != before
            said = bounded(watcher.stdout.readline).decode()
            time.sleep(0.2)
        finally:
            watcher.terminate()
        assert said == f"{fs.at(*WEB, 'value')} DELETE_SELF \n"
        assert watcher.communicate(timeout=HANG)[0] == b""


def test_polling_sees_a_rotation(fs, resolver, old):
    """The loop that does what inotifywait can't."""
    script = ('seen=$(<"$1"); echo waiting; until [ "$(<"$1")" != "$seen" ]; do sleep 0.2; done; cat "$1"')
    with subprocess.Popen(["bash", "-c", script, "bash", fs.at(*WEB, "value")], stdout=subprocess.PIPE) as loop:
        try:
            assert loop.stdout.readline() == b"waiting\n"
            new = resolver.rotate_token(old["id"], value="the-other-value")
            assert loop.communicate(timeout=HANG)[0].decode() == new["value"]
        finally:
            loop.kill()
