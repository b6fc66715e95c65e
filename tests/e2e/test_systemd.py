"""The units: what systemd's own tools say of them, and a systemd that runs them; and the sd_notify protocol by hand."""

import array
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import pytest

import systemd_rig
from mounting import BINARY, TREE, background, until

BUILD = pathlib.Path(BINARY).parent.parent
EXAMPLES = TREE / "src/dist/examples"
UNIT = BUILD / "src/dist/tokenfs@.service"
needs_systemd = pytest.mark.skipif(systemd_rig.why_not() is not None,
                                   reason=f"NO systemd HERE, the units were not run: {systemd_rig.why_not()}")
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None,
                                   reason="NO systemd-analyze HERE, the units were not looked at")
EXPOSURE_MAX = 3.0
# Rigs wait for each other (systemd_rig.LOCK).
pytestmark = pytest.mark.timeout(400)


def unit_text(program):
    """The unit as it is built, with another program, and the script of the build beside it."""
    script = pathlib.Path(program).parent / "instances"
    shutil.copy(BUILD / "src/dist/instances", script)
    script.chmod(0o755)
    text = re.sub(r"(?<=[ =])/\S*sbin/tokenfs", str(program), UNIT.read_text())
    return re.sub(r"/\S*libexec/tokenfs/instances", str(script), text)


@needs_analyze
def test_verify(directory):
    """systemd-analyze verify has nothing to say of the units."""
    program = directory / "tokenfs"
    shutil.copy(BINARY, program)
    for name, text in (("tokenfs@.service", unit_text(program)),
                       *((name, (EXAMPLES / name).read_text())
                         for name in ("run-tokens.mount", "token-changed.service", "token-changed.path"))):
        (directory / name).write_text(text)
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(directory / name)], capture_output=True,
                              text=True, check=False)
        said = [line for line in done.stderr.splitlines() if "Failed to prepare filename" not in line]
        assert done.returncode == 0 and not said, (name, done)


@needs_analyze
def test_exposure():
    """The score of systemd-analyze security; printed with -s, and in the report of a failure."""
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)], capture_output=True,
                          text=True, check=True)
    score = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)[1])
    print(f"exposure: {score} (goal: at most {EXPOSURE_MAX})")
    assert score <= EXPOSURE_MAX, done.stdout


@pytest.fixture
def systemd(resolver, directory):
    """A systemd with our units and an instance `office` of them; the files of the instance's user in place."""
    program, home, config = directory / "tokenfs", directory / "home", directory / "office.conf"
    home.mkdir()
    shutil.copy(BINARY, program)
    environ = "".join(f"{name}={value}\n" for name, value in resolver.environ().items())
    config.write_text(f"OPTIONS=allow_other,ttl=30\nAWS_EC2_METADATA_DISABLED=true\n{environ}")
    text = unit_text(program).replace("/etc/tokenfs/%i.conf", str(config)).replace("User=tokenfs", "User=daemon")
    # The test's own directory lies in /tmp, and there is no journal.
    text = re.sub("(?m)^StateDirectory.*\n", "", text)
    text = text.replace("PrivateTmp=yes", f"Environment=HOME={home}\nStandardError=append:{directory}/log")
    (directory / "tokenfs@.service").write_text(text)
    with systemd_rig.Systemd(directory, [directory / "tokenfs@.service"]) as running:
        running.enter("mkdir", "-p", "/run/tokenfs")
        running.unit = "tokenfs@office.service"
        running.path = "/run/tokenfs/office"
        running.said = (directory / "log").read_text
        yield running


def our_mounts(systemd):
    """How many mounts of ours there are in systemd's namespace."""
    return systemd.enter("cat", "/proc/self/mountinfo").stdout.count(" - fuse.tokenfs ")


@needs_systemd
def test_service(systemd, token):
    """Start: ready only when it serves; outside of its sandbox as root. Then reload, restart, stop."""
    systemd.ctl("start", systemd.unit)
    value = f"{systemd.path}/{token['id']}/value"
    assert systemd.enter("cat", value).stdout == token["value"]
    assert systemd.enter("stat", "-c", "%U:%G %a", value).stdout == "root:root 400\n"
    assert systemd.enter("findmnt", "-n", "-o", "SOURCE,FSTYPE", systemd.path).stdout.split() == ["office", "fuse.tokenfs"]
    assert systemd.show(systemd.unit, "StatusText") == "Serving /run/tokenfs/office"
    systemd.ctl("reload", systemd.unit)
    until(lambda: "SIGHUP: done" in systemd.said(), "the reload")
    systemd.wait_for(systemd.unit, "ActiveState", "active")
    before = systemd.main_pid(systemd.unit)
    systemd.ctl("restart", systemd.unit)
    assert systemd.main_pid(systemd.unit) != before
    assert systemd.enter("cat", value).stdout == token["value"]
    assert our_mounts(systemd) == 1
    systemd.ctl("stop", systemd.unit)
    assert systemd.show(systemd.unit, "Result") == "success"
    assert our_mounts(systemd) == 0


@needs_systemd
def test_journal_drops_no_line_of_the_audit(systemd, token, directory):
    """A journal that drops the lines of a unit that writes many (here: nearly all): each open is in it all the same."""
    config = directory / "office.conf"
    config.write_text(config.read_text().replace("ttl=30", "ttl=30,audit"))
    systemd.start_journal("tokenfs@.service")
    systemd.ctl("start", systemd.unit)
    value = f"{systemd.path}/{token['id']}/value"
    systemd.enter("sh", "-ec", f"for i in $(seq 30); do cat {value}; done")
    until(lambda: systemd.journal(systemd.unit).count("audit: open of") == 30, "the lines")


@needs_systemd
def test_copies_on_disk(systemd, resolver, token, directory):
    """The key comes as an encrypted credential; a restart without the API goes on with the copies."""
    kept, key = directory / "kept", directory / "key"
    kept.mkdir(mode=0o700)
    shutil.chown(kept, "daemon", "daemon")
    key.write_bytes(os.urandom(32))
    store = "/run/credstore.encrypted"
    systemd.enter("mkdir", "-p", store)
    # The null key stands for the TPM's, or the host's, which a test must not touch.
    systemd.enter("systemd-creds", "encrypt", "--with-key=tpm2-absent", "--name=tokenfs-persist-key", str(key),
                  f"{store}/tokenfs-persist-key.office")
    key.unlink()
    config = directory / "office.conf"
    config.write_text(config.read_text().replace("ttl=30", f"ttl=30,persist={kept}"))
    systemd.enter("mkdir", "-p", "/run/units/tokenfs@.service.d")
    systemd.enter("sh", "-c", f"printf '[Service]\\nReadWritePaths={kept}\\n' >/run/units/tokenfs@.service.d/kept.conf")
    systemd.ctl("daemon-reload")
    systemd.ctl("start", systemd.unit)
    value = f"{systemd.path}/{token['id']}/value"
    assert systemd.enter("cat", value).stdout == token["value"]
    systemd.ctl("stop", systemd.unit)
    assert (kept / "copies").stat().st_mode & 0o777 == 0o600
    resolver.stop()
    systemd.ctl("start", systemd.unit)
    assert systemd.enter("cat", value).stdout == token["value"]
    assert "served from the copy on disk" in systemd.said()


@needs_systemd
def test_no_privileges(systemd, token):
    """Both processes run as the service's user, without a capability, with a filter of system calls; the worker's own
    sandbox works inside."""
    systemd.ctl("start", systemd.unit)
    assert systemd.enter("cat", f"{systemd.path}/{token['id']}/id").stdout == token["id"]
    supervisor = systemd.main_pid(systemd.unit)
    workers = systemd.enter("cat", f"/proc/{supervisor}/task/{supervisor}/children").stdout.split()
    assert workers
    for pid in [supervisor, *workers]:
        status = dict(line.split(":\t", 1) for line in systemd.enter("cat", f"/proc/{pid}/status").stdout.splitlines())
        assert status["Uid"].split() == ["1"] * 4
        assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert "may make any system call" not in systemd.said(), systemd.said()


@needs_systemd
def test_path_unit(systemd, resolver, token, directory):
    """PathChanged= of a token's file: the unit starts at each change, and not without one."""
    config, fired = directory / "office.conf", directory / "fired"
    config.write_text(config.read_text().replace("ttl=30", "ttl=1,watch=web,on_change=/bin/true"))
    value = f"{systemd.path}/.by_name/web/value"
    script = directory / "changed.sh"
    script.write_text(f"cat {value} >>{fired}\necho >>{fired}\n")
    for name, text in (("changed.path", f"[Path]\nPathChanged={value}\n"),
                       ("changed.service", f"[Service]\nType=oneshot\nExecStart=/bin/sh {script}\n")):
        systemd.enter("sh", "-c", 'printf %s "$1" >/run/units/"$2"', "sh", text, name)
    systemd.ctl("daemon-reload")
    systemd.ctl("start", systemd.unit)
    assert systemd.enter("cat", value).stdout == token["value"]
    systemd.ctl("start", "changed.path")
    values = []
    for number in range(3):
        values.append(f"value {number}")
        systemd.wait_for("changed.path", "SubState", "waiting")
        resolver.update_token(token["id"], value=values[-1])
        until(lambda: fired.exists() and fired.read_text().splitlines() == values, "the unit's start")
    calls = resolver.count("GetAccessToken")
    until(lambda: resolver.count("GetAccessToken") > calls + 2, "refreshes")
    assert fired.read_text().splitlines() == values


@needs_systemd
@pytest.mark.parametrize("who", ["supervisor", "worker", "both"])
def test_killed(systemd, token, who):
    """Whoever is killed: the same mount is served on, and a reader who waits is answered."""
    systemd.ctl("start", systemd.unit)
    value = f"{systemd.path}/{token['id']}/value"
    systemd.enter("sh", "-c", f"mkdir /run/bound; mount --bind {systemd.path}/.by_name/web /run/bound")
    supervisor = systemd.main_pid(systemd.unit)
    worker = systemd.enter("cat", f"/proc/{supervisor}/task/{supervisor}/children").stdout.split()
    device = systemd.enter("stat", "-c", "%d %i", systemd.path).stdout
    for pid in {"supervisor": [supervisor], "worker": worker, "both": [supervisor, *worker]}[who]:
        systemd.enter("kill", "-KILL", pid, check=False)     # systemd may have been faster with the second
    done = background(systemd.enter, "cat", f"{systemd.path}/.service_status", value, "/run/bound/value").result(60)
    assert done.stdout.endswith(token["value"] * 2)
    assert systemd.enter("stat", "-c", "%d %i", systemd.path).stdout == device
    assert our_mounts(systemd) == 2
    if who != "worker":
        systemd.wait_for(systemd.unit, "NRestarts", "1")
        assert systemd.main_pid(systemd.unit) != supervisor
    systemd.wait_for(systemd.unit, "ActiveState", "active")
    systemd.ctl("stop", systemd.unit)
    # What is bound holds the mount, but nobody serves it.
    assert systemd.enter("cat", "/run/bound/id", check=False).returncode != 0
    systemd.ctl("start", systemd.unit)
    assert systemd.enter("cat", value).stdout == token["value"]


@needs_systemd
def test_killed_again_and_again(systemd, token):
    """Three supervisors in a row; no descriptor piles up, and the last one takes a reload."""
    systemd.ctl("start", systemd.unit)
    for _ in range(3):
        systemd.enter("kill", "-KILL", systemd.main_pid(systemd.unit))
        assert systemd.enter("cat", f"{systemd.path}/{token['id']}/value").stdout == token["value"]
        assert systemd.enter("cat", f"{systemd.path}/.service_status").returncode == 0
    assert our_mounts(systemd) == 1
    assert int(systemd.show(systemd.unit, "NFileDescriptorStore")) == 3
    systemd.wait_for(systemd.unit, "ActiveState", "active")
    systemd.ctl("reload", systemd.unit)


@needs_systemd
def test_hangs(systemd, token):
    """A supervisor that stops is found by systemd's watchdog, and succeeded."""
    path = systemd.units / "tokenfs@.service"
    systemd.enter("sh", "-c", "sed -i s/WatchdogSec=.*/WatchdogSec=1/ /run/units/tokenfs@.service")
    assert path.exists()
    systemd.ctl("daemon-reload")
    systemd.ctl("start", systemd.unit)
    systemd.enter("kill", "-STOP", systemd.main_pid(systemd.unit))
    systemd.wait_for(systemd.unit, "NRestarts", "1")
    assert systemd.enter("cat", f"{systemd.path}/{token['id']}/value").stdout == token["value"]


def set_options(directory, text):
    """Replaces OPTIONS= in the instance's settings."""
    config = directory / "office.conf"
    config.write_text(re.sub("(?m)^OPTIONS=.*$", f"OPTIONS={text}", config.read_text()))


@needs_systemd
def test_reload_takes_other_options(systemd, resolver, token, directory):
    """`systemctl reload` reads the settings again: the same process and mount go on with them; variables, too."""
    systemd.ctl("start", systemd.unit)
    value = f"{systemd.path}/{token['id']}/value"
    status = f"{systemd.path}/.service_status"
    assert '"ttlSeconds":30.' in systemd.enter("cat", status).stdout.replace(" ", "")
    assert systemd.enter("cat", value).stdout == token["value"]
    pid = systemd.main_pid(systemd.unit)
    set_options(directory, "allow_other,ttl=7,stale=70")
    calls = resolver.count("GetAccessToken")
    systemd.ctl("reload", systemd.unit)
    text = systemd.enter("cat", status).stdout.replace(" ", "")
    assert '"ttlSeconds":7.' in text and '"staleSeconds":70.' in text
    assert systemd.enter("cat", value).stdout == token["value"]
    assert resolver.count("GetAccessToken") > calls           # nothing that was known before is shown
    assert systemd.main_pid(systemd.unit) == pid and our_mounts(systemd) == 1
    assert systemd.show(systemd.unit, "ActiveState") == "active"
    # Variables, too.
    config = directory / "office.conf"
    config.write_text(config.read_text() + "AWS_ACCESS_KEY_ID=AKIDOFNOBODY\n")
    systemd.ctl("reload", systemd.unit)
    assert "Key was rejected" in systemd.enter("cat", value, check=False).stderr


@needs_systemd
@pytest.mark.parametrize("options, says", [
    ("ttl=7", "an option of FUSE"), ("allow_other,audit", "audit"), ("allow_other,newline", "newline"),
    ("allow_other,fsname=else", "fsname"), ("allow_other,tll=7", "unknown option 'tll'"),
    ("allow_other,profile=nobodys", "the new options can't be used")])
def test_reload_refuses(systemd, token, directory, options, says):
    """What can't change while it serves, or can't be used: the reload fails and says why, and nothing changes."""
    systemd.ctl("start", systemd.unit)
    worker = systemd.enter("cat", f"{systemd.path}/.service_status").stdout
    set_options(directory, options)
    assert systemd.ctl("reload", systemd.unit, check=False).returncode != 0
    assert says in systemd.said()
    assert systemd.enter("cat", f"{systemd.path}/{token['id']}/value").stdout == token["value"]
    assert systemd.show(systemd.unit, "ActiveState") == "active"
    after = systemd.enter("cat", f"{systemd.path}/.service_status").stdout
    assert re.search(r'"pid": ?(\d+)', after)[1] == re.search(r'"pid": ?(\d+)', worker)[1]


@needs_systemd
def test_restart_is_no_gap(systemd, token, directory):
    """Readers wait through `systemctl restart`, by path and by bind; the new options hold, and the mount is the same."""
    systemd.ctl("start", systemd.unit)
    systemd.enter("sh", "-c", f"mkdir /run/bound; mount --bind {systemd.path}/.by_name/web /run/bound")
    before = systemd.enter("stat", "-c", "%d %i", systemd.path).stdout
    loop = f"while [ ! -e {directory}/stop ]; do cat {systemd.path}/.service_status /run/bound/value >/dev/null || exit 1; done"
    readers = background(systemd.enter, "sh", "-c", loop, limit=120)
    pids = {systemd.main_pid(systemd.unit)}
    for ttl in (7, 8):
        set_options(directory, f"allow_other,ttl={ttl}")
        systemd.ctl("restart", systemd.unit)
        pids.add(systemd.main_pid(systemd.unit))
        assert f'"ttlSeconds":{ttl}.' in systemd.enter("cat", f"{systemd.path}/.service_status").stdout.replace(" ", "")
    (directory / "stop").touch()
    readers.result(60)
    assert len(pids) == 3
    assert systemd.enter("stat", "-c", "%d %i", systemd.path).stdout == before
    assert systemd.enter("cat", "/run/bound/value").stdout == token["value"]
    # What the kernel took at the mount needs another one: it is made by the restart.
    set_options(directory, "ttl=9")
    systemd.ctl("restart", systemd.unit)
    options = systemd.enter("findmnt", "-n", "-o", "OPTIONS", systemd.path).stdout
    assert "allow_other" not in options and our_mounts(systemd) == 2
    systemd.ctl("stop", systemd.unit)
    assert our_mounts(systemd) == 1                             # the bind's


@needs_systemd
def test_restart_with_another_mount_point(systemd, token, directory):
    """A reload refuses it and names it; a restart makes the mount there; a restart and a stop leave nothing behind."""
    config, other = directory / "office.conf", "/run/tokenfs/other"
    text = config.read_text()
    systemd.ctl("start", systemd.unit)
    config.write_text(f"{text}MOUNTPOINT={other}\n")
    assert systemd.ctl("reload", systemd.unit, check=False).returncode != 0
    assert "the mount point" in systemd.said()
    systemd.ctl("restart", systemd.unit)
    assert systemd.enter("cat", f"{other}/{token['id']}/value").stdout == token["value"]
    assert our_mounts(systemd) == 1
    config.write_text(text)
    systemd.ctl("stop", systemd.unit)
    assert our_mounts(systemd) == 0


@needs_systemd
@pytest.mark.parametrize("option", ["audit", "newline", "max_read=65536", "fsname=else"])
def test_restart_with_another_mount(systemd, token, directory, option):
    """What a mount keeps for its life, and a reload refuses: the restart makes another mount at once, and succeeds."""
    value = f"{systemd.path}/{token['id']}/value"
    systemd.ctl("start", systemd.unit)
    for options in (f"allow_other,ttl=30,{option}", "allow_other,ttl=30"):
        set_options(directory, options)
        assert systemd.ctl("reload", systemd.unit, check=False).returncode != 0
        systemd.ctl("restart", systemd.unit)
        read = systemd.enter("cat", value).stdout
        assert read.removesuffix("\n") == token["value"] and read.endswith("\n") == ("newline" in options)
        assert our_mounts(systemd) == 1 and systemd.said().count("audit: open") == ("audit" in option)
        shown = systemd.enter("findmnt", "-n", "-o", "SOURCE,OPTIONS", systemd.path).stdout
        assert ("max_read=" in shown) == ("max_read" in options)


@needs_systemd
def test_unmounted_by_hand(systemd, token):
    """umount ends the service, as a success; the next start mounts again."""
    systemd.ctl("start", systemd.unit)
    systemd.enter("umount", systemd.path)
    systemd.wait_for(systemd.unit, "ActiveState", "inactive")
    assert systemd.show(systemd.unit, "Result") == "success"
    systemd.ctl("start", systemd.unit)
    assert systemd.enter("cat", f"{systemd.path}/{token['id']}/value").stdout == token["value"]


@needs_systemd
@pytest.mark.parametrize("place", ["office", "a b"])
def test_ended_by_hand(systemd, token, directory, place):
    """SIGTERM to the process, which has no right to unmount, ends service and mount; the next start mounts again."""
    config, path = directory / "office.conf", f"/run/tokenfs/{place}"
    config.write_text(f"{config.read_text()}MOUNTPOINT={path}\n")
    for _ in range(2):
        systemd.ctl("start", systemd.unit)
        assert systemd.enter("cat", f"{path}/{token['id']}/value").stdout == token["value"]
        systemd.enter("kill", systemd.main_pid(systemd.unit))
        systemd.wait_for(systemd.unit, "ActiveState", "inactive")
        assert systemd.show(systemd.unit, "Result") == "success" and our_mounts(systemd) == 0


@needs_systemd
def test_fails(systemd, directory):
    """What can't start leaves no mount that hangs, and says why."""
    good = (directory / "office.conf").read_text()
    (directory / "office.conf").write_text(good + "OPTIONS=tll=5\n")
    assert systemd.ctl("start", systemd.unit, check=False).returncode != 0
    assert "unknown option 'tll'" in systemd.said()
    assert our_mounts(systemd) == 0
    systemd.ctl("stop", systemd.unit)
    (directory / "office.conf").write_text(good + "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER=nonsense\n")
    assert systemd.ctl("start", systemd.unit, check=False).returncode != 0
    systemd.ctl("stop", systemd.unit)
    (directory / "office.conf").write_text(good)
    systemd.ctl("start", systemd.unit)
    assert our_mounts(systemd) == 1


@needs_systemd
def test_upgrade(systemd, token):
    """SIGUSR2 inside the sandbox: the same process, the next binary, and a successor finds the mount still."""
    systemd.ctl("start", systemd.unit)
    pid = systemd.main_pid(systemd.unit)
    systemd.enter("kill", "-USR2", pid)
    until(lambda: "took over the mount" in systemd.said(), "the upgrade")
    assert systemd.main_pid(systemd.unit) == pid
    assert systemd.enter("cat", f"{systemd.path}/{token['id']}/value").stdout == token["value"]
    systemd.enter("kill", "-KILL", pid)
    assert systemd.enter("cat", f"{systemd.path}/.service_status").returncode == 0
    systemd.wait_for(systemd.unit, "ActiveState", "active")


@needs_systemd
def test_on_change(systemd, resolver, token, directory):
    """The command runs in the unit's sandbox: as its user, writing where a drop-in lets it; the example's path unit goes on
    as root."""
    state = directory / "state"
    state.mkdir()
    shutil.chown(state, "daemon")
    for name in ("token-changed.path", "token-changed.service"):
        text = (EXAMPLES / name).read_text().replace("/var/lib/tokenfs", str(state))
        text = re.sub("(?m)^ExecStart=.*$", f"ExecStart=/usr/bin/touch {directory}/done", text)
        (directory / name).write_text(text)
        systemd.enter("cp", str(directory / name), "/run/units")
    (directory / "drop-in").write_text(f"[Service]\nReadWritePaths={state}\n")
    systemd.enter("install", "-D", str(directory / "drop-in"), "/run/units/tokenfs@.service.d/drop-in.conf")
    config = directory / "office.conf"
    config.write_text(config.read_text().replace(
        "ttl=30", f"ttl=1,watch=web,on_change=touch {directory}/elsewhere {state}/changed"))
    systemd.ctl("daemon-reload")
    systemd.ctl("start", systemd.unit, "token-changed.path")
    assert systemd.enter("cat", f"{systemd.path}/.by_name/web/id").stdout == token["id"]
    resolver.add_token(name="web")
    until((directory / "done").exists, "the path unit's service")
    assert (state / "changed").owner() == "daemon"
    assert not (directory / "elsewhere").exists()
    # The successor of a killed supervisor knows what the command was told: a change in between isn't lost.
    supervisor = systemd.main_pid(systemd.unit)
    worker = systemd.enter("cat", f"/proc/{supervisor}/task/{supervisor}/children").stdout.split()
    until(lambda: "on_change: 'web' changed" in systemd.said(), "the first change")
    (state / "changed").unlink()
    systemd.enter("kill", "-STOP", *worker)
    third = resolver.add_token(name="web")
    systemd.enter("kill", "-KILL", supervisor)
    until((state / "changed").exists, "the change of meanwhile")
    assert systemd.enter("cat", f"{systemd.path}/.by_name/web/id").stdout == third["id"]


# By hand: what a service manager would see.

class Manager:
    """A NOTIFY_SOCKET."""

    def __init__(self, directory):
        self.path = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(60)
        os.chmod(self.path, 0o777)

    def receive(self):
        """The next message, and the descriptors with it."""
        text, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(64))
        fds = array.array("i")
        for level, kind, data in control:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            fds.frombytes(data)
        return text.decode(), list(fds)

    def wait_for(self, word):
        """The first message that holds the word."""
        while word not in (text := self.receive()[0]):
            pass
        return text


@pytest.fixture
def manager(directory):
    """A service manager's socket."""
    made = Manager(directory)
    yield made
    made.socket.close()


def test_notify(mount, token, manager):
    """READY=1 when it serves, RELOADING=1 and READY=1 around a SIGHUP, WATCHDOG=1 as often as asked, STOPPING=1."""
    fs = mount(environ={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}, ttl=30)
    ready = manager.wait_for("READY=1")
    assert f"MAINPID={fs.pid}" in ready.splitlines()
    manager.wait_for("WATCHDOG=1")
    manager.wait_for("WATCHDOG=1")
    fs.signal(signal.SIGHUP)
    assert re.search(r"^MONOTONIC_USEC=\d+$", manager.wait_for("RELOADING=1"), re.M)
    manager.wait_for("READY=1")
    assert fs.text(token["id"], "value") == token["value"]
    fs.stop()
    manager.wait_for("STOPPING=1")


def test_reload_by_hand(mount, token, manager, directory):
    """--reload finds the supervisor by its runtime directory, after an upgrade as well; other users can't connect."""
    place = directory / "runtime"
    place.mkdir(mode=0o700)
    fs = mount(environ={"NOTIFY_SOCKET": manager.path, "RUNTIME_DIRECTORY": str(place)}, ttl=30)

    def reload(ttl, directory):
        done = fs.run(BINARY, f"--reload={fs.pid}", "-o", f"ttl={ttl}", fs.path, check=False,
                      env={**fs.environ, "RUNTIME_DIRECTORY": str(directory)})
        return done.returncode, done.stderr.decode()

    assert (place / "tokenfs-reload").stat().st_mode & 0o777 == 0o600
    for number, ttl in enumerate((7, 8)):
        assert reload(ttl, place) == (0, "")
        until(lambda ttl=ttl: fs.status()["cache"]["ttlSeconds"] == ttl, "the other ttl")
        fs.signal(signal.SIGUSR2)
        until(lambda number=number: fs.log().count("took over the mount") == 2 * number + 2, "the upgrade")
    assert "RuntimeDirectory=" in reload(9, "")[1]
    assert "isn't the supervisor" in reload(9, directory)[1]
    assert fs.text(token["id"], "value") == token["value"]


def test_ready_means_warm(mount, resolver, token, manager):
    """With token= scopes READY=1 comes only when those tokens are there: the first read makes no call."""
    resolver.latency = 0.5
    fs = mount(environ={"NOTIFY_SOCKET": manager.path}, token=token["id"], ttl=30)
    manager.wait_for("READY=1")
    assert resolver.count("GetAccessToken", result="ok") == 1
    assert fs.text(token["id"], "value") == token["value"]
    assert resolver.count("GetAccessToken") == 1


def test_ready_comes_in_an_outage(mount, resolver, token, manager):
    """A service that can't get its tokens is ready after `timeout`: it serves errors, and boots go on."""
    resolver.stop()
    mount(environ={"NOTIFY_SOCKET": manager.path}, token=token["id"], timeout=1)
    manager.wait_for("READY=1")


def test_mount_only(mount, manager):
    """The mount is there, its descriptor at the manager, and nobody serves."""
    fs = mount(start=False)
    program = [BINARY, "--mount-only", "-o", "ttl=5", "tokens", fs.path]
    done = fs.run(*program, env={**fs.environ, "NOTIFY_SOCKET": manager.path})
    assert done.stderr == b"" and fs.is_mounted()
    for name in ("fuse", "slots", "state"):
        assert manager.receive() == (f"FDSTOREREMOVE=1\nFDNAME=tokenfs-{name}", [])
    text, (kept,) = manager.receive()
    assert text == "FDSTORE=1\nFDNAME=tokenfs-fuse"
    # Asked again, it finds that the mount waits for who serves it.
    again = fs.run(*program, env={**fs.environ, "NOTIFY_SOCKET": manager.path})
    assert b"waits for a process to serve it" in again.stderr
    os.close(kept)
    # Nobody has it now: the mount is dead, and is made anew.
    anew = fs.run(*program, env={**fs.environ, "NOTIFY_SOCKET": manager.path})
    assert b"dead mount" in anew.stderr and fs.is_mounted()
    # Its descriptor is still on its way to the manager; umount(8) would wait for an answer.
    fs.run("umount", "-l", fs.path)
    fs.ended = True


def test_mount_only_without_a_manager(mount):
    """Is refused."""
    fs = mount(start=False)
    done = fs.run(BINARY, "--mount-only", fs.path, check=False, env=fs.environ)
    assert done.returncode == 32 and b"NOTIFY_SOCKET" in done.stderr and not fs.is_mounted()
    fs.ended = True
