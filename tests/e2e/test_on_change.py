"""on_change: a command is run when a name means another token: once for each change, with what it needs to know."""

import os
import signal
import subprocess
import time

import pytest
from mounting import BINARY, HANG, MountFailed, is_alive, kill, until

pytestmark = pytest.mark.core
VARIABLES = {"PATH", "TOKENFS_EVENT", "TOKENFS_NAME", "TOKENFS_OLD_ID", "TOKENFS_NEW_ID", "TOKENFS_MOUNTPOINT"}


class Command:
    """A script that writes its environment, arguments and what it reads of the name, one file a run."""

    def __init__(self, directory, body=""):
        self.runs_path = directory / "runs"
        self.runs_path.mkdir()
        self.path = directory / "command"
        self.path.write_text(f"""#!/usr/bin/python3
import os, sys, time
name = os.environ["TOKENFS_NAME"].replace("/", "%2F")
try:
    with open(os.environ["TOKENFS_MOUNTPOINT"] + "/.by_name/" + name + "/id") as file:
        reads = file.read()
except OSError as error:
    reads = error.strerror
lines = [f"{{key}}={{value}}" for key, value in os.environ.items() if key != "LC_CTYPE"]
lines += [f"argument={{word}}" for word in sys.argv[1:]] + [f"reads={{reads}}"]
lines += ["fds=" + ",".join(fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2)]
path = "{self.runs_path}/" + str(time.monotonic_ns())
with open(path + ".new", "w") as file:
    file.write("\\n".join(lines))
os.rename(path + ".new", path)
{body}
""")
        self.path.chmod(0o755)

    def runs(self):
        """[{variable: value}] in order; arguments as a list."""
        found = []
        for path in sorted(path for path in self.runs_path.iterdir() if path.suffix != ".new"):
            run = {"arguments": []}
            for line in path.read_text().splitlines():
                key, value = line.split("=", 1)
                if key == "argument":
                    run["arguments"].append(value)
                else:
                    run[key] = value
            found.append(run)
        return found

    def wait(self, number):
        """The runs, once there are so many."""
        until(lambda: len(self.runs()) >= number, f"{number} runs; there are {self.runs()}")
        return self.runs()


def change_of(run):
    """What a run was told."""
    return run["TOKENFS_EVENT"], run["TOKENFS_NAME"], run["TOKENFS_OLD_ID"], run["TOKENFS_NEW_ID"]


@pytest.fixture
def command(directory):
    """The usual script."""
    return Command(directory)


def looked(resolver, times=2, operation="GetAccessToken"):
    """Comes back when the daemon has looked so often since at what names mean: a change that there was, it has found."""
    before = resolver.count(operation)
    until(lambda: resolver.count(operation) >= before + times, f"{times} looks")


def watching(fs, id, name="web"):
    """The daemon knows what the name means, asked for by no reader, and has looked at it once more since."""
    until(lambda: any(id in str(token) for token in fs.status()["tokens"]), f"{name} to be watched")
    looked(fs.resolver, times=1)


def test_rotation(mount, resolver, token, command):
    """One run, with the ids before and after; what it reads is the new token, though the old one was read just before."""
    fs = mount(ttl=2, watch="web", on_change=f"{command.path} 'an argument' two")
    assert fs.text(".by_name", "web", "id") == token["id"]
    watching(fs, token["id"])
    assert command.runs() == []
    fs.text(".by_name", "web", "id")
    second = resolver.rotate_token(token["id"])
    run, = command.wait(1)
    assert change_of(run) == ("changed", "web", token["id"], second["id"])
    assert run["TOKENFS_MOUNTPOINT"] == fs.path
    assert run["arguments"] == ["an argument", "two"]
    assert run["reads"] == second["id"]
    looked(resolver)
    assert len(command.runs()) == 1


def test_every_time(mount, resolver, token, command):
    """What the command reads is never the old token, however short a time ago that was read."""
    fs = mount(ttl=1, watch="web", on_change=str(command.path))
    watching(fs, token["id"])
    ids = [token["id"]]
    for number in range(1, 5):
        fs.text(".by_name", "web", "id")
        ids.append(resolver.rotate_token(ids[-1])["id"])
        until(lambda n=number: fs.text(".by_name", "web", "id") and len(command.runs()) == n, "the run")
    assert [change_of(run) for run in command.runs()] == [("changed", "web", a, b) for a, b in zip(ids, ids[1:])]
    assert [run["reads"] for run in command.runs()] == ids[1:]


def test_environment(mount, resolver, token, command):
    """Nothing secret, nothing of ours, no descriptor."""
    fs = mount(ttl=1, watch="web", on_change=str(command.path))
    watching(fs, token["id"])
    resolver.rotate_token(token["id"])
    run, = command.wait(1)
    assert {name for name in run if name.isupper()} == VARIABLES
    text = str(run)
    for secret in fs.resolver_secrets():
        assert secret not in text
    assert set(run["fds"].split(",")) <= {"3"}            # that of the listing itself


def test_appears_and_goes(mount, resolver, command):
    """A name that comes, goes, and comes again; nobody reads anything."""
    fs = mount(ttl=1, negative_ttl=1, watch="web", on_change=str(command.path))
    until(lambda: resolver.count("ListGlobalResolvers") >= 2, "the second look")
    first = resolver.add_token(name="web")
    assert change_of(command.wait(1)[0]) == ("appeared", "web", "", first["id"])
    resolver.delete_token(first["id"])
    assert change_of(command.wait(2)[1]) == ("gone", "web", first["id"], "")
    assert command.runs()[1]["reads"] == "No such file or directory"
    second = resolver.add_token(name="web")
    assert change_of(command.wait(3)[2]) == ("appeared", "web", "", second["id"])
    assert fs.text(".by_name", "web", "id") == second["id"]


def test_names_of_scopes(mount, resolver, command):
    """Without watch= it is the names of the tokens of token=."""
    old = resolver.add_token(name="a/b", created_at=time.time() - 1000)
    new = resolver.add_token(name="a/b", status="CREATING")
    nameless = resolver.add_token(name=None)
    fs = mount(ttl=1, token=[old["id"], new["id"], nameless["id"]], on_change=str(command.path))
    watching(fs, new["id"])
    looked(resolver, times=3)
    resolver.update_token(new["id"], status="OPERATIONAL")
    run, = command.wait(1)
    assert change_of(run) == ("changed", "a/b", old["id"], new["id"])
    assert run["reads"] == new["id"]


def test_several_names(mount, resolver, command):
    """Each has its runs; what isn't watched has none."""
    tokens = {name: resolver.add_token(name=name) for name in ("one", "two", "my token", "other")}
    fs = mount(ttl=1, watch=["one", "two", "my token"], on_change=str(command.path))
    for token in list(tokens.values())[:3]:
        watching(fs, token["id"])
    new = {name: resolver.rotate_token(token["id"])["id"] for name, token in tokens.items()}
    runs = command.wait(3)
    assert {change_of(run) for run in runs} == {("changed", name, tokens[name]["id"], new[name])
                                                for name in ("one", "two", "my token")}
    looked(resolver, times=2 * 3)
    assert len(command.runs()) == 3


def test_coalesced(mount, resolver, token, directory):
    """Many changes while the command runs: one more run, with the last. One at a time."""
    command = Command(directory, f"""
while not os.path.exists("{directory}/go"): time.sleep(0.05)
""")
    fs = mount(ttl=1, watch="web", on_change=str(command.path))
    watching(fs, token["id"])
    ids = [token["id"], resolver.rotate_token(token["id"])["id"]]
    command.wait(1)
    for _ in range(3):
        ids.append(resolver.rotate_token(ids[-1])["id"])
        until(lambda: fs.text(".by_name", "web", "id") == ids[-1], "the change")
    looked(resolver, times=3)
    assert len(command.runs()) == 1
    (directory / "go").touch()
    runs = command.wait(2)
    assert [change_of(run) for run in runs] == [("changed", "web", ids[0], ids[1]), ("changed", "web", ids[1], ids[-1])]
    looked(resolver)
    assert len(command.runs()) == 2


def test_command_that_fails(mount, resolver, token, directory):
    """It is logged, not repeated, and the next change is told."""
    command = Command(directory, "sys.exit(3)")
    fs = mount(ttl=1, watch="web", on_change=str(command.path))
    watching(fs, token["id"])
    second = resolver.rotate_token(token["id"])
    command.wait(1)
    until(lambda: "on_change: the command ended by" in fs.log(), "the line")
    third = resolver.rotate_token(second["id"])
    assert [change_of(run)[2:] for run in command.wait(2)] == [(token["id"], second["id"]), (second["id"], third["id"])]


def test_command_that_is_not_there(mount, resolver, token, directory):
    """Refused at the start; if it goes away later, the log says so, and everything else goes on."""
    path = directory / "command"
    with pytest.raises(MountFailed) as failure:
        mount(ttl=1, watch="web", on_change=path)
    assert f"'{path}' can't be run: No such file" in failure.value.text
    path.touch(0o755)
    fs = mount(ttl=1, watch="web", on_change=path)
    path.unlink()
    watching(fs, token["id"])
    second = resolver.rotate_token(token["id"])
    until(lambda: f"can't run {path}" in fs.log(), "the line")
    until(lambda: fs.text(".by_name", "web", "id") == second["id"], "the rotation")


def test_command_is_gone_with_the_mount(mount, resolver, token, directory):
    """One that hangs is killed, with what it started, when the mount ends."""
    command = Command(directory, f"""
import subprocess
child = subprocess.Popen(["sleep", "1000"])
open("{directory}/pids", "w").write(f"{{os.getpid()}} {{child.pid}}")
child.wait()
""")
    fs = mount(ttl=1, watch="web", on_change=str(command.path))
    watching(fs, token["id"])
    resolver.rotate_token(token["id"])
    pids_path = directory / "pids"
    until(lambda: pids_path.exists() and len(pids_path.read_text().split()) == 2, "the command")
    pids = [int(pid) for pid in pids_path.read_text().split()]
    assert all(is_alive(pid) for pid in pids)
    fs.stop()
    until(lambda: not any(is_alive(pid) for pid in pids), "their end")


def test_over_the_death_of_workers(mount, resolver, token, command):
    """A new worker that finds what was is no change; one that finds another token is one."""
    fs = mount(ttl=1, watch="web", on_change=str(command.path))
    fs.may_restart = True
    watching(fs, token["id"])
    calls = resolver.count("GetAccessToken")
    kill(fs.worker)
    until(lambda: resolver.count("GetAccessToken") > calls, "the new worker to look")
    looked(resolver)
    assert command.runs() == []
    worker = fs.worker
    os.kill(worker, signal.SIGSTOP)
    second = resolver.rotate_token(token["id"])
    os.kill(worker, signal.SIGKILL)
    run, = command.wait(1)
    assert change_of(run) == ("changed", "web", token["id"], second["id"])
    assert run["reads"] == second["id"]
    kill(fs.worker)
    looked(resolver, times=3)
    assert len(command.runs()) == 1


def test_over_an_upgrade(mount, resolver, token, directory):
    """What was told, and the command that runs, are known to the next binary."""
    command = Command(directory, f"""
while not os.path.exists("{directory}/go"): time.sleep(0.05)
""")
    fs = mount(ttl=1, watch="web", on_change=str(command.path))
    watching(fs, token["id"])
    second = resolver.rotate_token(token["id"])
    command.wait(1)
    worker = fs.worker
    fs.signal(signal.SIGUSR2)
    until(lambda: "took over the mount" in fs.log() and not is_alive(worker), "the upgrade")
    third = resolver.rotate_token(second["id"])
    until(lambda: fs.text(".by_name", "web", "id") == third["id"], "the rotation")
    looked(resolver)
    assert len(command.runs()) == 1
    (directory / "go").touch()
    runs = command.wait(2)
    assert [change_of(run) for run in runs] == [("changed", "web", token["id"], second["id"]),
                                                ("changed", "web", second["id"], third["id"])]
    looked(resolver)
    assert len(command.runs()) == 2


def test_kept_fresh(mount, resolver, token):
    """A watched name is fetched though nobody reads, without a command too; the first read finds it."""
    fs = mount(ttl=1, watch="web")
    until(lambda: resolver.count("GetAccessToken") >= 3, "refreshes")
    resolver.reset_counters()
    assert fs.text(".by_name", "web", "value") == token["value"]


def test_failing_api_is_no_change(mount, resolver, token, command):
    """Names that can't be had mean what they meant."""
    fs = mount(ttl=1, stale=0, timeout=1, watch="web", on_change=str(command.path))
    watching(fs, token["id"])
    fault = resolver.add_fault("status", status=503)
    until(lambda: fs.read_error(".by_name", "web", "id") != "OK", "the API to fail")
    looked(resolver, times=1, operation=None)
    resolver.remove_fault(fault)
    rule = resolver.deny(operation=["GetAccessToken", "ListGlobalResolvers"])
    until(lambda: fs.read_error(".by_name", "web", "id") == "EACCES", "the denial")
    looked(resolver, times=1, operation=None)
    resolver.allow(rule)
    until(lambda: fs.read_error(".by_name", "web", "id") == "OK", "the API to work")
    looked(resolver)
    assert command.runs() == []
    second = resolver.rotate_token(token["id"])
    assert change_of(command.wait(1)[0]) == ("changed", "web", token["id"], second["id"])


@pytest.mark.parametrize("options,says", [
    ("on_change=/bin/true", "watch=NAME"), ("watch=web,on_change=", "needs a value"), ("watch=web,on_change=a 'b", "quote"),
    ("watch=web,on_change=./x", "absolute"), ("watch=web,on_change=x/y z", "absolute"), ("watch=123,on_change=x", "no name"),
    ("watch=,on_change=x", "needs a value"), ("watch=a.b", "no name")])
def test_refused(directory, options, says):
    """Before anything is mounted."""
    done = subprocess.run([BINARY, "-f", "-o", options, str(directory)], capture_output=True, text=True, timeout=HANG,
                          check=False)
    assert done.returncode != 0 and says in done.stderr
