"""A mount in containers of every kind: what is bound there is read, follows rotations, survives the daemon's death and
upgrade, and neither gives anything away nor takes anything."""

import os
import pathlib
import signal
import stat
import subprocess
import time

import pytest
from engines import ENGINES, MAPPED_ROOT, ROOT, USER
from inside import Inside
from mounting import HANG, bounded, children_of, is_alive, until
from tools import need

FILES = ("/t/all/{id}/value", "/t/all/.by_name/web/value", "/t/id/value", "/t/name/value", "/t/value")


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request, rootfs):
    """Each way to run a container; skipped with the reason where it can't be had."""
    made = request.param(rootfs)
    yield made
    made.close()


@pytest.fixture
def old(resolver):
    """The token named web, an hour old."""
    return resolver.add_token(name="web", value="the-first-value", created_at=time.time() - 3600)


def made_for(mount, uid, **options):
    """A mount whose files belong to somebody in a container. Who isn't root outside needs allow_other."""
    return mount(ttl=0.5, **({"allow_other": True, "uid": uid, "gid": uid} if uid else {}), **options)


def binds_of(fs, id):
    """The mount's directory, a token's, a name's, and a single file."""
    return {"/t/all": fs.path, "/t/id": fs.at(id), "/t/name": fs.at(".by_name", "web"),
            "/t/value": fs.at(".by_name", "web", "value")}


def files_of(id):
    """The paths inside under which the value is found."""
    return [path.format(id=id) for path in FILES]


def identities():
    """(engine, who) for all."""
    return [pytest.param(engine, who, id=f"{engine.name}-{who}".replace(" ", "-"))
            for engine in ENGINES for who in engine.who]


def upgrade(fs):
    """SIGUSR2; comes back when the next worker serves."""
    old, before = fs.worker, fs.log().count("took over")
    bounded(os.statvfs, fs.path)
    while fs.log().count("took over") == before:
        put_off = fs.log().count("no upgrade now")
        fs.signal(signal.SIGUSR2)
        until(lambda n=put_off: fs.log().count("took over") > before or fs.log().count("no upgrade now") > n, "the upgrade")
    until(lambda: any(pid != old for pid in children_of(fs.pid)) and not is_alive(old), "the new worker")


@pytest.mark.parametrize("engine,who", identities(), indirect=["engine"])
def test_life(engine, who, mount, resolver, old):
    """Reads of all that is bound, as the user it is for; a rotation; the worker's death; an upgrade; one more rotation.
    A loop in the container reads all the while, and no read of it fails."""
    fs = made_for(mount, engine.outside(who))
    fs.may_restart = True
    with engine.run(who, binds_of(fs, old["id"])) as box:
        uid = engine.who[who][0]
        assert box.ask("id -u; id -g").split() == [str(uid)] * 2
        for path in files_of(old["id"]):
            assert box.ask(f"cat {path}") == old["value"], path
            assert box.ask(f"stat -c '%u %g %a %s' {path}").split() == [str(uid), str(uid), "400", str(len(old["value"]))]
        assert set(box.ask("ls -A /t/name").split()) >= {"id", "name", "value", ".json", "expiresAt"}
        assert box.ask("cat /t/name/expiresAt") == old["expiresAt"]
        assert box.ask("grep -o the-first-value /t/id/.json") == "the-first-value\n"

        box.ask("(while [ ! -e /tmp/stop ]; do for file in " + " ".join(files_of(old["id"])) +
                "; do cat $file >/tmp/out 2>>/tmp/errors || echo $file >>/tmp/errors; [ -s /tmp/out ] || echo empty $file "
                ">>/tmp/errors; done; echo >>/tmp/rounds; done; echo >/tmp/stopped) >/tmp/said 2>&1 &")
        rounds = lambda: int(box.run("wc -l </tmp/rounds")[1].split()[-1])     # noqa: E731
        more = lambda n: until(lambda: rounds() > n + 1, "the container's loop", pause=0.1)     # noqa: E731
        until(lambda: box.run("test -s /tmp/rounds")[0] == 0, "the loop's start", pause=0.1)

        def follow(value):
            new = resolver.rotate_token(old["id"], value=value)
            for path in ("/t/name/value", "/t/value", "/t/all/.by_name/web/value", f"/t/all/{new['id']}/value"):
                until(lambda path=path: box.run(f"cat {path}") == (0, value), f"{value} in {path}", pause=0.1)
            assert box.ask("cat /t/name/id") == new["id"]
            assert box.ask("cat /t/id/value") == old["value"], "the old token's own directory stays"

        follow("the-second-value, longer")
        dead = fs.worker
        os.kill(dead, signal.SIGKILL)
        until(lambda: dead not in children_of(fs.pid), "the worker's end")
        more(rounds())
        upgrade(fs)
        more(rounds())
        follow("third")
        box.ask("touch /tmp/stop")
        until(lambda: box.run("test -e /tmp/stopped")[0] == 0, "the loop's end", pause=0.1)
        assert box.run("cat /tmp/errors")[1] == "" or "No such file" in box.run("cat /tmp/errors 2>&1")[1], \
            box.run("cat /tmp/errors")


@pytest.fixture(scope="session")
def watcher(rootfs):
    """A program in the root directory that watches a file."""
    need("cc")
    source = pathlib.Path(__file__).with_name("watcher.c")
    subprocess.run(["cc", "-static", "-o", rootfs / "bin/watcher", source], check=True, timeout=HANG)


@pytest.mark.parametrize("engine", [e for e in ENGINES if ROOT in e.who], indirect=True, ids=lambda e: e.name)
def test_inotify(watcher, engine, mount, resolver, old):       # pylint: disable=unused-argument
    """A program in the container that watches a file of the name's directory hears of each rotation."""
    fs = made_for(mount, engine.outside(ROOT), watch="web", on_change="/bin/true")
    with engine.run(ROOT, {"/t/name": fs.at(".by_name", "web")}) as box:
        for number in range(2):
            value = f"value {number}"
            box.ask("rm -f /tmp/said; (watcher /t/name/value >/tmp/said 2>&1 && echo deleted >>/tmp/said) &")
            until(lambda: "watching" in box.run("cat /tmp/said")[1], "the watch", pause=0.1)
            resolver.rotate_token(old["id"], value=value)
            until(lambda: "deleted" in box.run("cat /tmp/said")[1], "the event", pause=0.1)
            assert box.ask("cat /t/name/value") == value


WRITES = ("echo x >/t/value", "echo x >>/t/name/value", "touch /t/name/new", "touch /t/name/value", "rm -f /t/name/value",
          "rm -rf /t/id/value", "mkdir /t/all/new", "mv /t/name/value /t/name/other", "ln -s /x /t/name/link",
          "ln /t/name/value /t/name/link", "chmod 0644 /t/name/value", "chown 1:1 /t/name/value", "mkdir /t/all/.by_name/x")


@pytest.mark.parametrize("engine,who", identities(), indirect=["engine"])
def test_confined(engine, who, mount, old):
    """Nothing can be written, not after a try to remount it, either; and the daemon's credentials are nowhere."""
    fs = made_for(mount, engine.outside(who))
    with engine.run(who, binds_of(fs, old["id"])) as box:
        flags = box.ask("grep ' /t/' /proc/self/mountinfo").splitlines()
        assert len(flags) >= 4
        for line in flags:
            options = set(line.split()[5].split(","))
            assert {"nosuid", "nodev", "noexec"} <= options, line
        for _ in range(2):
            for command in WRITES:
                status, output = box.run(command)
                assert status != 0, (command, output)
                assert "Read-only file system" in output or "ermission" in output or "ermitted" in output, (command, output)
            for place in ("/t/all", "/t/name", "/t/value"):
                box.run(f"mount -o remount,bind,rw {place} {place}")
        assert [box.ask(f"cat {path}") for path in files_of(old["id"])] == [old["value"]] * len(FILES)
        names = box.ask("env; cat /proc/[0-9]*/environ | tr '\\0' '\\n'; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'; "
                        "cat /proc/self/mountinfo; true")
        assert "AWS_" not in names and resolver_key(fs) not in names
        for secret in {*fs.resolver_secrets(), resolver_key(fs)} - {old["value"]}:
            assert box.run(f"find /t /etc /tmp /run -type f -exec grep -lsF -- '{secret}' {{}} + 2>/tmp/errors")[1] == "", secret
        assert "tokenfs" not in box.ask("cat /proc/[0-9]*/comm; true")


def resolver_key(fs):
    """The id of the daemon's key."""
    return fs.environ["AWS_ACCESS_KEY_ID"]


@pytest.mark.parametrize("engine", [e for e in ENGINES if USER in e.who or MAPPED_ROOT in e.who], indirect=True,
                         ids=lambda e: e.name)
def test_strangers(engine, mount, old):
    """Who doesn't own the files reads what isn't secret, and no more: another user, and a user namespace's root for whom
    no uid= was given."""
    who = USER if USER in engine.who else MAPPED_ROOT
    fs = mount(allow_other=True)
    with engine.run(who, binds_of(fs, old["id"])) as box:
        assert box.ask("cat /t/name/status") == "OPERATIONAL"
        for path in [*files_of(old["id"]), "/t/id/.json"]:
            status, output = box.run(f"cat {path}")
            assert status != 0 and "ermission denied" in output, (path, output)
        assert old["value"] not in box.run("grep -r . /t")[1]


@pytest.mark.parametrize("engine", [e for e in ENGINES if ROOT in e.who], indirect=True, ids=lambda e: e.name)
def test_group(engine, mount, old):
    """secret_mode and gid: a group that may read the secret."""
    if USER not in engine.who:
        pytest.skip("only root can be in it")
    fs = mount(allow_other=True, gid=1000, secret_mode="0440")
    with engine.run(USER, binds_of(fs, old["id"])) as box:
        assert box.ask("stat -c '%u %g %a' /t/value") == "0 1000 440\n"
        assert box.ask("cat /t/value") == old["value"]


@pytest.fixture
def above(mount, directory):
    """A mount that isn't started; the directory above it is shared with containers."""
    one = mount(start=False)
    place = os.path.dirname(one.path)
    assert pathlib.Path(place).parent == directory
    subprocess.run(["mount", "--bind", place, place], check=True)
    try:
        subprocess.run(["mount", "--make-rshared", place], check=True)
        yield one
    finally:
        one.stop()
        subprocess.run(["umount", "-l", place], check=True)


def shell_with(rootfs, binds):
    """A shell in a mount namespace of its own, with {place inside: path outside} bound as rslave."""
    engine = [e for e in ENGINES if e.name == "bubblewrap"][0](rootfs)
    engine.close()
    script = "".join(f"mount --rbind {path} {rootfs}{place} && " for place, path in binds.items())
    return Inside(["unshare", "--mount", "--propagation=slave", "sh", "-c", f"{script} exec chroot {rootfs} /bin/sh"],
                  engine.environ)


def test_mount_made_later(above, old, rootfs):
    """A directory bound with rslave before the mount is there shows it once it is made (mountPropagation in Kubernetes).
    A name's directory that an engine made meanwhile stays empty."""
    name = pathlib.Path(above.path) / ".by_name/web"
    name.mkdir(parents=True)
    with shell_with(rootfs, {"/t/all": os.path.dirname(above.path), "/t/name": name}) as box:
        assert box.ask("ls -A /t/all/mnt /t/name/") .split() == ["/t/all/mnt:", ".by_name", "/t/name/:"]
        above.start({"ttl": 0.5})
        until(lambda: box.run("cat /t/all/mnt/.by_name/web/value") == (0, old["value"]), "the mount inside", pause=0.1)
        assert stat.S_ISREG(above.stat(old["id"], "value").st_mode)
        assert box.ask("ls -A /t/name") == ""


def test_daemon_made_again(above, old, rootfs):
    """A name's directory that is bound by itself is lost with its daemon; the directory above shows the next one's mount."""
    above.start({"ttl": 0.5})
    name = above.at(".by_name", "web")
    with shell_with(rootfs, {"/t/all": os.path.dirname(above.path), "/t/name": name}) as box:
        assert box.ask("cat /t/name/value") == old["value"]
        above.stop()
        until(lambda: "not connected" in box.run("cat /t/name/value")[1], "the end of what the kernel holds", pause=0.1)
        above.start({"ttl": 0.5})
        until(lambda: box.run("cat /t/all/mnt/.by_name/web/value") == (0, old["value"]), "the mount inside", pause=0.1)
        assert "not connected" in box.run("cat /t/name/value")[1]
