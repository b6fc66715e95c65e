"""The command line: what is refused before the mount, going into the background, signals, mount(8) and fstab."""

import fcntl
import os
import shlex
import signal
import subprocess
import time

import pytest
from mounting import BINARY, HANG, Hung, MountFailed, bounded, children_of, error_of, is_alive, kill, mounts_at, until

pytestmark = pytest.mark.core


def run_it(fs, *arguments, **more):
    """Runs the program with these arguments in the environment of a mount that wasn't started."""
    return subprocess.run([BINARY, *arguments], env=fs.environ, cwd="/", capture_output=True, text=True, timeout=HANG,
                          stdin=subprocess.DEVNULL, check=False, **more)


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["-V"], ["--version"]])
def test_help_and_version(mount, words):
    """On standard output, status 0, nothing mounted."""
    fs = mount(start=False)
    done = run_it(fs, *words)
    assert done.returncode == 0 and done.stderr == ""
    if words[0] in ("-h", "--help"):
        for option in ("ttl=", "negative_ttl=", "stale=", "timeout=", "token=", "dns_view=", "resolver=", "audit",
                       "endpoint_url=", "region=", "use_fips", "profile=", "ca_bundle=", "max_tokens=", "uid=", "gid=",
                       "mode=", "secret_mode=", "user=", "log_level=", "newline"):
            assert option in done.stdout, option
    else:
        assert done.stdout.startswith("tokenfs ")


# -o text → what the message must name.
WRONG = {
    "nonsense": "nonsense", "tll=5": "tll", "ttl=": "ttl", "ttl": "ttl", "ttl=-1": "ttl", "ttl=soon": "ttl",
    "ttl=1e9": "ttl", "ttl=nan": "ttl", "ttl=99999999999999999999": "ttl", "timeout=0": "timeout", "stale=x": "stale",
    "negative_ttl=x": "negative_ttl", "max_tokens=0": "max_tokens", "max_tokens=many": "max_tokens",
    "mode=0999": "mode", "mode=rwx": "mode", "mode=01777": "mode", "secret_mode=9": "secret_mode",
    "uid=nobody-of-that-name": "uid", "gid=nobody-of-that-name": "gid", "user=nobody-of-that-name": "user",
    "token=a_b": "token", "token=..": "token", "token=.": "token", "token=": "token", "token=" + "x" * 65: "token",
    "dns_view=a/b": "dns_view", "resolver=%": "resolver", "log_level=loud": "log_level", "audit=yes": "audit",
    "use_fips=maybe": "use_fips", "endpoint_url=": "endpoint_url", "region=": "region", "newline=1": "newline",
    "max_tokens=1,token=a,token=b": "max_tokens", "watch=web,max_tokens=1,token=a": "max_tokens",
    "allow_root": "use allow_other", "ca_bundle=/nonexistent/ca.pem": "'/nonexistent/ca.pem'",
    r"ttl=30\000junk": "ttl", "watchdog=0.5": "watchdog", "max_read=abc": "max_read", "context=" + "x" * 9000: "context",
    "fsname=" + "x" * 9000: "fsname",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_options(mount, text):
    """A wrong option or value is refused before the mount, on standard error, by name; status 1."""
    fs = mount(start=False)
    done = run_it(fs, "-o", text, fs.path)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert WRONG[text] in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert not mounts_at(fs.path)


def test_wrong_command_lines(mount):
    """Too few words, too many, unknown switches."""
    fs = mount(start=False)
    for words in ([], ["-x", fs.path], ["--unknown", fs.path], ["-o"], ["a", fs.path, "b"], ["-o", "ttl=1"], ["src", ""],
                  ["--help=x"], ["-t", "30", fs.path], ["-n", fs.path], ["--wait", "--mount-only", fs.path]):
        done = run_it(fs, *words)
        assert done.returncode == 1 and done.stderr, words
    assert not mounts_at(fs.path)


def test_wrong_mountpoints(mount, directory):
    """Not there, not a directory, busy with a mount of ours: said by name; nothing is mounted."""
    fs = mount(start=False)
    file = directory / "file"
    file.touch()
    for path in (str(directory / "none"), str(file)):
        done = run_it(fs, path)
        assert done.returncode not in (0, 1) and path in done.stderr, (done.returncode, done.stderr)
    fs.start({})
    again = run_it(fs, fs.path)
    assert again.returncode != 0 and fs.path in again.stderr
    assert len(mounts_at(fs.path)) == 1


@pytest.mark.parametrize("endpoint", ["ftp://127.0.0.1/", "http://192.0.2.1:8080", "nonsense", "http://",
                                      "https://user@host/"])
def test_wrong_endpoints(mount, endpoint):
    """An endpoint that can't be used is refused before the mount: other schemes, plain http beyond this host."""
    fs = mount(start=False)
    with pytest.raises(MountFailed) as failure:
        fs.start({"endpoint_url": endpoint})
    assert "endpoint" in failure.value.text or "http" in failure.value.text
    assert not mounts_at(fs.path)


def test_fips_with_a_custom_endpoint(mount):
    """Both together are an error."""
    fs = mount(start=False)
    with pytest.raises(MountFailed) as failure:
        fs.start({"use_fips": True})
    assert "fips" in failure.value.text.lower()


def test_endpoint_option_wins(mount, resolver, token):
    """endpoint_url= is before the environment; a trailing slash doesn't matter."""
    fs = mount(endpoint_url=resolver.url + "/", environ={"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": "http://127.0.0.1:9",
                                                         "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert fs.text(token["id"], "value") == token["value"]


def test_general_endpoint_variable(mount, resolver, token):
    """AWS_ENDPOINT_URL is used as well; the service's own goes first."""
    environ = {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": None, "AWS_ENDPOINT_URL": resolver.url}
    assert mount(environ=environ).text(token["id"], "value") == token["value"]
    both = {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": resolver.url, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    assert mount(environ=both).text(token["id"], "value") == token["value"]


def test_region(mount, resolver, token):
    """Signed for us-east-2, whatever AWS_REGION says; region= overrides."""
    resolver.regions = ["us-east-2"]
    fs = mount(environ={"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"})
    assert fs.text(token["id"], "value") == token["value"]
    resolver.regions = ["eu-north-1"]
    assert mount(region="eu-north-1").text(token["id"], "value") == token["value"]


MOUNT_WORDS = ("rw,dev,suid,_netdev,nofail,noauto,user,x-systemd.automount,x-foo=1,comment=hello,defaults,relatime,"
               "nodiratime,strictatime,lazytime,iversion,mand,silent,nosymfollow,bg,nonempty,acl,user_xattr,exec,async,")


def test_words_of_mount_are_tolerated(mount, resolver, token):
    """What mount(8) and mount.fuse3 pass through is taken; the mount stays read-only, nosuid, nodev, noexec."""
    fs = mount(MOUNT_WORDS + "ttl=5", source="office")
    (_, source, flags, _), = mounts_at(fs.path)
    assert source == "office" and {"ro", "nosuid", "nodev", "noexec"} <= set(flags)
    assert fs.text(token["id"], "value") == token["value"]


@pytest.mark.parametrize("size", [0, 1000, 65536, 131072, 1 << 31])
def test_max_read(mount, token, size):
    """What the kernel is told at the mount, libfuse is told as well: else it refuses the connection, and every read fails."""
    fs = mount(f"max_read=8192,max_read={size}")
    assert fs.text(token["id"], "value") == token["value"]


def test_options_may_repeat(mount, resolver):
    """-o may come several times; a later value wins; scopes add up; an escaped comma is one."""
    ids = sorted(t["id"] for t in resolver.add_tokens(3))
    fs = mount(start=False)
    fs.process = subprocess.Popen([BINARY, "-f", "-o", "ttl=1,ttl=60", "-o", f"token={ids[0]}", "-o", f"token={ids[1]}",
                                   "-o", "fsname=a\\,b", fs.path], env=fs.environ, stdin=subprocess.DEVNULL,
                                  stderr=open(fs.stderr_path, "wb"))  # pylint: disable=consider-using-with
    fs.pid = fs.process.pid
    until(fs.is_mounted, "the mount")
    assert fs.tokens() == ids[:2]
    assert mounts_at(fs.path)[0][1] == "a,b"


def daemon_of(fs):
    """The pid of the supervisor of a mount in the background (the one of our programs that has this mountpoint)."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().decode().split("\0")
        except OSError:
            continue
        if os.path.basename(words[0]) == "tokenfs" and fs.path in words:
            found.append(int(entry))
    below = {child for pid in found for child in children_of(pid)}      # the worker, and its helper
    heads = [pid for pid in found if pid not in below and children_of(pid)]
    return heads[0] if heads else None


def start_in_background(fs, options):
    """Mounts in the background; comes back with the CompletedProcess once the parent has returned."""
    done = subprocess.run(fs.command(options, foreground=False), env=fs.environ, cwd="/", timeout=HANG, check=False,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        fs.pid = daemon_of(fs)
    return done


def test_background(mount, token):
    """The parent returns once the mount answers, with status 0 and without a word; SIGTERM unmounts."""
    fs = mount(start=False)
    fs.ended = True
    done = start_in_background(fs, {"ttl": 5})
    try:
        assert (done.returncode, done.stdout) == (0, "")
        assert fs.is_mounted()
        assert fs.text(token["id"], "value") == token["value"]
        assert fs.pid is not None and os.getsid(fs.pid) != os.getsid(0)
        assert os.readlink(f"/proc/{fs.pid}/cwd") == "/"
        for number in (0, 1, 2):
            assert os.readlink(f"/proc/{fs.pid}/fd/{number}") == "/dev/null"
        worker = fs.worker
        os.kill(fs.pid, signal.SIGTERM)
        until(lambda: not fs.is_mounted() and not is_alive(fs.pid) and not is_alive(worker), "the end")
    finally:
        fs.destroy()


def test_background_that_fails(mount, directory):
    """The error and a status that isn't 0 come from the command that was typed."""
    fs = mount(start=False)
    fs.ended = True
    for options in ({"endpoint_url": "http://192.0.2.1/"}, {"ttl": "x"}, {"profile": "no-such-profile"}):
        done = start_in_background(fs, options)
        assert done.returncode != 0 and done.stderr, options
        assert not fs.is_mounted()


def test_background_does_not_hold_the_pipe(mount, token):
    """$(tokenfs …) ends: nothing keeps standard output open."""
    fs = mount(start=False)
    fs.ended = True
    line = shlex.join(fs.command({}, foreground=False))
    try:
        done = subprocess.run(["sh", "-c", f"echo \"[$({line})]\""], env=fs.environ, timeout=HANG, check=True,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.stdout == "[]\n"
        fs.pid = daemon_of(fs)
        assert fs.text(token["id"], "status") == "OPERATIONAL"
        fs.run("umount", fs.path)
        until(lambda: daemon_of(fs) is None, "the end")
    finally:
        fs.pid = daemon_of(fs)
        fs.destroy()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_unmount(mount, token, number):
    """SIGTERM and SIGINT end it cleanly."""
    fs = mount()
    fs.read(token["id"], "value")
    worker = fs.worker
    fs.signal(number)
    assert fs.process.wait(HANG) == 0
    assert not fs.is_mounted() and not is_alive(worker)


def test_signal_while_a_file_is_open(mount, token):
    """An open file doesn't keep the daemon: the mount goes, the file's owner gets an error or its cached bytes."""
    fs = mount()
    fd = os.open(fs.at(token["id"], "value"), os.O_RDONLY)
    assert bounded(os.read, fd, 4096).decode() == token["value"]
    fs.signal(signal.SIGTERM)
    assert fs.process.wait(HANG) == 0
    assert not fs.is_mounted()
    assert error_of(os.pread, fd, 4096, 0) in ("OK", "ENOTCONN", "ECONNABORTED")
    assert error_of(os.close, fd) in ("OK", "ENOTCONN", "ECONNABORTED")


def test_mount_8(mount, resolver, token, directory):
    """mount -t fuse.tokenfs, as from fstab: PATH unset, a shell between, rw asked for; umount ends it."""
    fs = mount(start=False)
    fs.ended = True
    link = "/usr/local/sbin/tokenfs-e2e-" + str(os.getpid())
    helper_type = os.path.basename(link)
    os.symlink(BINARY, link)
    try:
        done = subprocess.run(["mount", "-t", f"fuse.{helper_type}", "office", fs.path, "-o", "rw,_netdev,nofail,ttl=5"],
                              env={**fs.environ, "PATH": os.environ["PATH"] + ":/usr/local/sbin"}, timeout=HANG,
                              check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0 and "not found" in done.stderr:
            pytest.skip(f"mount.fuse3 looks elsewhere: {done.stderr}")
        assert done.returncode == 0, done.stderr
        (kind, source, flags, _), = mounts_at(fs.path)
        assert kind == "fuse.tokenfs" and source == "office" and "ro" in flags
        assert fs.text(token["id"], "value") == token["value"]
        fs.run("umount", fs.path)
    finally:
        os.unlink(link)
        fs.pid = daemon_of(fs)
        fs.destroy()


def test_relative_mountpoint(mount, token):
    """A mountpoint given relative to the current directory."""
    fs = mount(start=False)
    fs.process = subprocess.Popen([BINARY, "-f", "mnt"], env=fs.environ, cwd=fs.directory, stdin=subprocess.DEVNULL,
                                  stderr=open(fs.stderr_path, "wb"))  # pylint: disable=consider-using-with
    fs.pid = fs.process.pid
    until(fs.is_mounted, "the mount")
    assert fs.text(token["id"], "value") == token["value"]


def test_log_levels(mount, resolver, token):
    """error is silent where all is well; debug says more than info."""
    quiet = mount(log_level="error")
    quiet.read(token["id"], "value")
    quiet.stop()
    assert quiet.log() == ""
    sizes = []
    for level in ("info", "debug"):
        fs = mount(log_level=level)
        fs.read(token["id"], "value")
        fs.read(".by_name", "web", "value")
        fs.stop()
        sizes.append(len(fs.log()))
    assert sizes[0] <= sizes[1]


def test_log_that_nobody_reads(mount, token):
    """Standard error is a pipe that is full: the mount serves on, and later the log says that lines are missing."""
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    fs = mount(start=False)
    fs.process = subprocess.Popen(fs.command({"ttl": 0, "log_level": "debug"}), env=fs.environ,
                                  stdin=subprocess.DEVNULL, stderr=theirs)
    fs.pid = fs.process.pid
    os.close(theirs)
    try:
        until(fs.is_mounted, "the mount")
        for number in range(100):
            assert fs.read_error(f"at-{number}", "value") == "ENOENT"
        assert os.read(ours, 1 << 20)
        assert fs.text(token["id"], "value") == token["value"]
        said = b""
        while b"they are lost" not in said:
            said += bounded(os.read, ours, 1 << 20)
        fs.stop()
    finally:
        os.close(ours)


def test_no_zombies_nor_descriptors(mount, resolver, token):
    """After many reads and reloads: one worker, and no more descriptors than before."""
    fs = mount(ttl=0)
    fs.read(token["id"], "value")
    before = len(os.listdir(f"/proc/{fs.worker}/fd"))
    for _ in range(5):
        fs.forget()
        for _ in range(20):
            fs.read(token["id"], "value")
    assert len(children_of(fs.pid)) == 1
    assert len(os.listdir(f"/proc/{fs.worker}/fd")) <= before + 4


def test_hung_is_an_assertion():
    """What the helpers raise is a failure, not an error of the harness; and a helper that waits ends."""
    start = time.monotonic()
    with pytest.raises(Hung):
        until(lambda: False, "nothing", limit=0.2)
    assert time.monotonic() - start < HANG
    kill(2**22 + 1)
