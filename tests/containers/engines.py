"""The ways to run a container that are tried: each says who may be in it, and makes the command line that runs a shell in
it with paths bound read-only.

Who is in it: the uid there, and the uid that this is outside, which is what the mount's uid= must say.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import uuid

import pytest
from inside import Inside
from mounting import HANG, kill
from tools import need

ROOT, USER, MAPPED_ROOT, MAPPED_USER = "root", "user", "mapped root", "mapped user"
FIRST, COUNT = 100000, 65536            # the host's uids that a user namespace has
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# crun 1.8 refuses the old and the new control groups side by side; it is given a view without the new ones.
OLD_CGROUPS = "umount -l /sys/fs/cgroup/unified 2>/dev/null; "


class Engine:
    """One way. `who` maps an identity to (uid inside, uid outside)."""

    name = ""
    programs = ()
    who = {ROOT: (0, 0), USER: (1000, 1000), MAPPED_ROOT: (0, FIRST), MAPPED_USER: (1000, FIRST + 1000)}

    def __init__(self, rootfs):
        need(*self.programs)
        if os.geteuid() != 0:
            pytest.skip("needs root")
        self.rootfs = str(rootfs)
        # podman takes no long paths.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tokenfs-engine-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.label = f"tokenfs-{uuid.uuid4().hex[:12]}"
        self.environ = {"PATH": PATH, "HOME": str(self.directory), "LC_ALL": "C.UTF-8"}

    def outside(self, identity):
        """The uid outside."""
        return self.who[identity][1]

    def run(self, identity, binds):
        """A running container: {place inside: path outside}."""
        return Inside(self.argv(identity, binds), self.environ, self.clean)

    def argv(self, identity, binds):
        """The command line."""
        raise NotImplementedError

    def clean(self):
        """Ends whatever is left of the container."""

    def close(self):
        """Removes what the engine needed."""
        for line in reversed(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()):
            if line.split(" ")[4].startswith(f"{self.directory}/"):
                subprocess.run(["umount", "-l", line.split(" ")[4]], check=False, timeout=HANG)
        shutil.rmtree(self.directory, ignore_errors=True)


def as_user(uid):
    """The beginning of a command line that runs as another user."""
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


class Unshare(Engine):
    """No engine at all: namespaces, binds and chroot by hand."""

    name = "unshare"
    programs = ("unshare", "setpriv")
    who = {ROOT: (0, 0), USER: (1000, 1000), MAPPED_ROOT: (0, FIRST)}

    def argv(self, identity, binds):
        uid, outside = self.who[identity]
        root = self.directory / "root"
        root.mkdir(exist_ok=True)
        script = f"set -e; mount --rbind {self.rootfs} {root}; mount -t tmpfs -o mode=1777 tmpfs {root}/tmp; " \
                 f"mount -t proc proc {root}/proc; mount --bind /dev/null {root}/dev/null; "
        for place, path in binds.items():
            script += f"mount --bind '{path}' {root}{place}; mount -o remount,bind,ro,nosuid,nodev,noexec {root}{place}; "
        script += f"exec chroot --userspec={uid}:{uid} --groups= {root} /bin/sh"
        if identity == MAPPED_ROOT:
            script = script.replace(f"--userspec={uid}:{uid} --groups= ", "")
            return [*as_user(outside), "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork",
                    "--propagation=slave", "--", "sh", "-c", script]
        return ["unshare", "--mount", "--pid", "--fork", "--propagation=slave", "--", "sh", "-c", script]


class Bubblewrap(Engine):
    """bwrap: as root, and unprivileged in a user namespace of one uid."""

    name = "bubblewrap"
    programs = ("bwrap", "setpriv")
    who = {ROOT: (0, 0), MAPPED_ROOT: (0, FIRST), MAPPED_USER: (1000, FIRST)}

    def argv(self, identity, binds):
        uid, outside = self.who[identity]
        words = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--clearenv",
                 "--setenv", "PATH", "/bin", "--bind", self.rootfs, "/", "--proc", "/proc", "--dev", "/dev",
                 "--tmpfs", "/tmp"]
        for place, path in binds.items():
            words += ["--ro-bind", path, place]
        if identity != ROOT:
            words = [*as_user(outside), *words, "--unshare-user", "--uid", uid, "--gid", uid]
        return [*words, "/bin/sh"]


class Runc(Engine):
    """A bundle written by hand, run by runc."""

    name = "runc"
    programs = ("runc",)

    def bundle(self, identity, binds):
        """Writes config.json."""
        uid = self.who[identity][0]
        ids = [{"containerID": 0, "hostID": FIRST, "size": COUNT}]
        mapped = identity in (MAPPED_ROOT, MAPPED_USER)
        config = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": uid, "gid": uid}, "args": ["/bin/sh"], "env": ["PATH=/bin"], "cwd": "/",
                        "noNewPrivileges": True},
            "root": {"path": self.rootfs},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
                *({"destination": place, "type": "bind", "source": path,
                   "options": ["bind", "ro", "nosuid", "nodev", "noexec"]} for place, path in binds.items()),
            ],
            "linux": {"namespaces": [{"type": kind} for kind in
                                     ("mount", "pid", "ipc", "uts", *(["user"] if mapped else []))],
                      **({"uidMappings": ids, "gidMappings": ids} if mapped else {})},
        }
        (self.directory / "bundle").mkdir(exist_ok=True)
        (self.directory / "bundle/config.json").write_text(json.dumps(config))

    def command(self):
        """The beginning of each command line."""
        return [self.name, "--root", self.directory / "state"]

    def argv(self, identity, binds):
        self.bundle(identity, binds)
        return [*self.command(), "run", "-b", self.directory / "bundle", self.label]

    def clean(self):
        subprocess.run([*self.command(), "delete", "-f", self.label], check=False, capture_output=True, timeout=HANG,
                       env=self.environ)


class Crun(Runc):
    """The same bundle, run by crun."""

    name = "crun"
    programs = ("crun", "unshare")

    def command(self):
        return ["unshare", "-m", "--propagation=slave", "sh", "-c", OLD_CGROUPS + 'exec "$@"', "sh",
                "crun", "--cgroup-manager=disabled", "--root", self.directory / "state"]


class Nspawn(Engine):
    """systemd-nspawn, without a systemd that would register it."""

    name = "systemd-nspawn"
    programs = ("systemd-nspawn",)
    who = {ROOT: (0, 0), MAPPED_ROOT: (0, FIRST)}

    def __init__(self, rootfs):
        super().__init__(rootfs)
        self.environ["SYSTEMD_NSPAWN_LOCK"] = "0"       # other tests use the same root directory

    def argv(self, identity, binds):
        words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine={self.label}", "--pipe",
                 f"--directory={self.rootfs}", "--as-pid2", "--setenv=PATH=/bin",
                 "--resolv-conf=off", "--timezone=off"]
        if identity == MAPPED_ROOT:
            words += [f"--private-users={FIRST}:{COUNT}", "--private-users-ownership=off"]
        words += [f"--bind-ro={path}:{place}" for place, path in binds.items()]
        return [*words, "/bin/sh"]

    def clean(self):
        try:
            os.rmdir(f"/run/systemd/nspawn/propagate/{self.label}")
        except OSError:
            pass


class Podman(Engine):
    """podman as root, with and without a user namespace."""

    name = "podman"
    programs = ("podman", "runc")
    limits = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1000:1000")

    def command(self):
        """The beginning of each command line: storage of its own."""
        return ["podman", "--root", self.directory / "storage", "--runroot", self.directory / "run",
                "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"]

    def image(self):
        """Imports the root directory as an image."""
        archive = self.directory / "image.tar"
        if not archive.exists():
            subprocess.run(["tar", "--owner=0", "--group=0", "-C", self.rootfs, "-cf", archive, "."], check=True, timeout=HANG)
            archive.chmod(0o644)
            done = subprocess.run([*self.command(), "import", "-q", archive, "localhost/tokenfs-test:1"], check=False,
                                  capture_output=True, text=True, timeout=HANG, env=self.environ, cwd="/")
            if done.returncode != 0:
                pytest.skip(f"PODMAN DOES NOT WORK HERE: {done.stderr.strip()[-300:]}")
        return "localhost/tokenfs-test:1"

    def options(self, identity):
        """What differs with the identity."""
        ids = f"0:{FIRST}:{COUNT}"
        return ["--runtime=runc", *self.limits] + \
            (["--uidmap", ids, "--gidmap", ids] if identity in (MAPPED_ROOT, MAPPED_USER) else [])

    def argv(self, identity, binds):
        uid = self.who[identity][0]
        words = [*self.command(), "run", "--rm", "-i", "--name", self.label, "--network=none", "--log-driver=none",
                 "--tmpfs=/tmp", f"--user={uid}:{uid}", *self.options(identity)]
        for place, path in binds.items():
            words += ["-v", f"{path}:{place}:ro"]
        return [*words, self.image(), "/bin/sh"]

    def clean(self):
        subprocess.run([*self.command(), "rm", "-f", "-t", "0", self.label], check=False, capture_output=True,
                       timeout=HANG, env=self.environ, cwd="/")


class RootlessPodman(Podman):
    """podman without root: a user that only this engine's mount namespace knows."""

    name = "podman rootless"
    programs = ("podman", "crun", "newuidmap", "unshare", "setpriv")
    uid, first = 65432, 300000
    who = {MAPPED_ROOT: (0, uid), MAPPED_USER: (1000, first + 999)}

    def __init__(self, rootfs):
        super().__init__(rootfs)
        files = {"passwd": f"rootless:x:{self.uid}:{self.uid}::{self.directory}/home:/bin/sh\n",
                 "group": f"rootless:x:{self.uid}:\n", "subuid": f"rootless:{self.first}:{COUNT}\n",
                 "subgid": f"rootless:{self.first}:{COUNT}\n"}
        for name, line in files.items():
            old = pathlib.Path("/etc", name)
            (self.directory / name).write_text((old.read_text() if old.exists() else "") + line)
        for name in ("home", "home/runtime"):
            (self.directory / name).mkdir(mode=0o700)
            os.chown(self.directory / name, self.uid, self.uid)
        self.environ = {**self.environ, "HOME": f"{self.directory}/home", "XDG_RUNTIME_DIR": f"{self.directory}/home/runtime"}

    def command(self):
        script = OLD_CGROUPS + "set -e; "
        for name in ("passwd", "group", "subuid", "subgid"):
            if pathlib.Path("/etc", name).exists():
                script += f"mount --bind {self.directory}/{name} /etc/{name}; "
        script += f'exec setpriv --reuid={self.uid} --regid={self.uid} --clear-groups "$@"'
        return ["unshare", "-m", "--propagation=slave", "sh", "-c", script, "sh", "podman",
                "--root", self.directory / "home/storage", "--runroot", self.directory / "home/run",
                "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"]

    def options(self, identity):
        return ["--runtime=crun", "--cgroups=disabled"]

    def close(self):
        # The process that keeps the user namespace for the next container.
        for path in self.directory.glob("home/runtime/**/pause.pid"):
            kill(int(path.read_text()))
        super().close()


ENGINES = [Unshare, Bubblewrap, Runc, Crun, Podman, RootlessPodman, Nspawn]
