"""A pod as a kubelet and a CSI driver for FUSE make it: the driver mounts, a container without any privilege serves, and
others read.

The driver's part is emulated here as root: a socket in a directory that the pod's containers share; to whoever connects
goes the descriptor of a connection whose mount the driver has just made at the volume's place. The containers are bundles
that runc runs, with all that a restricted pod asks for.
"""

import array
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import uuid

from inside import Inside
from mounting import BINARY, HANG, kill
from tools import need

HERE = pathlib.Path(__file__).resolve().parent
NOBODY = 65534                                      # the driver gives its sockets to this user
SECCOMP = "/usr/share/containers/seccomp.json"      # the profile that engines use where nothing else is asked for
MS_NOSUID, MS_NODEV = 2, 4
FUSERMOUNT = "/usr/bin/fusermount3"
READ, WRITE, SHARED = ["ro", "rslave"], ["rw"], ["rw", "rshared"]
PROGRAM = {"/usr/sbin/tokenfs": (BINARY, READ)}
# What a privileged container has, as far as a mount needs it.
CAPABILITIES = ["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER",
                "CAP_KILL"]


def seccomp():
    """The engines' default profile, as a container without capabilities gets it."""
    profile = json.loads(pathlib.Path(SECCOMP).read_text())
    rules = [rule for rule in profile["syscalls"]
             if not rule.get("includes", {}).get("caps") and "minKernel" not in rule.get("includes", {})
             and rule.get("includes", {}).get("arches", ["amd64"]).count("amd64")]
    return {"defaultAction": profile["defaultAction"], "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
            "syscalls": [{key: rule[key] for key in ("names", "action", "args", "errnoRet") if rule.get(key) is not None}
                         for rule in rules]}


class Pod:
    """`with Pod() as pod: pod.serve(…)`, then `with pod.reader() as box`."""

    def __init__(self):
        need("runc", "cc", "unshare")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tokenfs-pod-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.volume = self.directory / "pod/volume"
        self.sockets = self.directory / "pod/sockets"
        self.containers = []
        self.mounts_made = 0
        self.listener = None

    def __enter__(self):
        subprocess.run(["cc", "-O1", "-o", self.directory / "starter", HERE / "starter.c"], check=True, timeout=HANG)
        (self.directory / "pod").mkdir(mode=0o755)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "pod", self.directory / "pod"], check=True)
        subprocess.run(["mount", "--make-rshared", self.directory / "pod"], check=True)
        for path in (self.volume, self.sockets):
            path.mkdir(mode=0o755)
        os.chown(self.sockets, NOBODY, NOBODY)
        return self

    def __exit__(self, *_):
        if self.listener:
            self.listener.close()
        for process, label in self.containers:
            kill(process.pid)
            process.wait(HANG)
            self.runc("delete", "-f", label, check=False)
        for place in (self.volume, self.volume, self.directory / "pod"):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True, timeout=HANG)
        shutil.rmtree(self.directory, ignore_errors=True)

    # The driver

    def publish(self, name="csi.sock"):
        """The volume is wanted: the driver listens, and serves the first that connects."""
        path = self.sockets / name
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(1)
        os.chown(path, NOBODY, NOBODY)
        threading.Thread(target=self._pass_descriptor, args=(self.listener,), daemon=True).start()

    def _pass_descriptor(self, listener):
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        with peer:
            fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
            try:
                options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.mount(b"volume", str(self.volume).encode(), b"fuse", MS_NOSUID | MS_NODEV, options.encode()) != 0:
                    raise OSError(ctypes.get_errno(), "mount")
                self.mounts_made += 1
                rights = array.array("i", [fd])
                peer.sendmsg([b'{"volumeName":"tokens"}'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            finally:
                os.close(fd)

    def unpublish(self):
        """The pod is over: the driver unmounts."""
        subprocess.run(["umount", "-l", self.volume], check=True, capture_output=True, timeout=HANG)

    # Containers

    def runc(self, *words, check=True):
        """Runs runc with a state of the pod's own."""
        return subprocess.run(["runc", "--root", self.directory / "state", *words], check=check, capture_output=True,
                              text=True, timeout=HANG)

    def bundle(self, arguments, environ, binds, *, uid=NOBODY, root=None, privileged=False):
        """A container: by default of a pod under the restricted policy, a user without capabilities and with nothing to write
        to. `binds` is {place: (path, options)}; without a root of its own it has this machine's programs, and ours as
        /usr/sbin/tokenfs. Gives the bundle and its label."""
        label = f"tokenfs-{uuid.uuid4().hex[:12]}"
        bundle = self.directory / label
        bundle.mkdir()
        binds = dict(binds)
        if root is None:
            root = bundle / "root"
            for name in ("etc", "proc", "dev", "sys", "usr/sbin"):
                (root / name).mkdir(parents=True)
            for name in ("bin", "sbin", "lib", "lib64"):
                (root / name).symlink_to(f"usr/{name}")
            shared = {path: (path, READ) for path in ("/etc", *(f"/usr/{path.name}" for path in pathlib.Path("/usr").iterdir()
                                                                if path.name != "sbin" and path.is_dir()))}
            binds = {**shared, **PROGRAM, **binds}
            for place, (path, _) in binds.items():
                if place.startswith("/dev/") or any(place.startswith(f"{other}/") for other in shared):
                    continue
                target = root / place.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.mkdir(exist_ok=True) if pathlib.Path(path).is_dir() else target.touch()
        capabilities = {kind: CAPABILITIES if privileged and kind != "ambient" else []
                        for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")}
        (bundle / "config.json").write_text(json.dumps({
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": uid, "gid": uid}, "args": [str(word) for word in arguments], "cwd": "/",
                        "env": [f"{name}={value}" for name, value in environ.items()],
                        "noNewPrivileges": not privileged, "capabilities": capabilities},
            "root": {"path": str(root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
                *({"destination": place, "type": "bind", "source": str(path), "options": ["rbind", *options]}
                  for place, (path, options) in binds.items()),
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")],
                      **({"rootfsPropagation": "shared",
                          "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}],
                          "resources": {"devices": [{"allow": True, "access": "rwm"}]}}
                         if privileged else {"seccomp": seccomp()})},
        }))
        return bundle, label

    def start(self, *arguments, **more):
        """Starts a container in the background; gives its process and label. What it says is in pod.log()."""
        bundle, label = self.bundle(*arguments, **more)
        with open(self.directory / "log", "ab") as log:
            process = subprocess.Popen(["runc", "--root", self.directory / "state", "run", "-b", bundle, label],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        self.containers.append((process, label))
        return process, label

    def serve(self, environ, options, *, proxy=False):
        """Starts the container that serves; gives its process."""
        program = ["/usr/sbin/tokenfs", "-f", "-o", options]
        binds = {"/sockets": (self.sockets, WRITE), "/tokens": (self.volume, READ)}
        if not proxy:
            return self.serve_by(["/usr/sbin/starter", "--fd-passing-socket-path=/sockets/csi.sock", "--", *program,
                                  "/dev/fd/3"], environ, binds)
        # libfuse opens /dev/fuse before it asks fusermount3: any file does, here one of the shared directory.
        (self.sockets / "fuse").touch(mode=0o600)
        os.chown(self.sockets / "fuse", NOBODY, NOBODY)
        binds |= {"/dev/fuse": (self.sockets / "fuse", WRITE), FUSERMOUNT: (self.directory / "starter", READ)}
        environ = {**environ, "FUSERMOUNT3PROXY_FDPASSING_SOCKPATH": "/sockets/csi.sock"}
        return self.serve_by([*program, "/proc"], environ, binds)

    def serve_by(self, arguments, environ, binds, uid=NOBODY):
        """The same by a command line of one's own."""
        process, self.label = self.start(arguments, environ, {"/usr/sbin/starter": (self.directory / "starter", READ), **binds},
                                         uid=uid)
        return process

    def log(self):
        """What the serving container said."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def pids(self):
        """The serving container's processes as the host numbers them."""
        listed = self.runc("ps", "-f", "json", self.label, check=False).stdout
        return json.loads(listed) if listed.strip().startswith("[") else []

    def signal(self, number=signal.SIGTERM):
        """Signals the container's first process, as the kubelet does."""
        self.runc("kill", self.label, str(int(number)))

    def reader(self, rootfs, uid=NOBODY):
        """Another container of the pod, which reads: a shell, see Inside."""
        return self.shell(rootfs, {"/t/all": (self.volume, READ)}, uid)

    def shell(self, rootfs, binds, uid):
        """A container that reads what is bound into it."""
        bundle, label = self.bundle(["/bin/sh"], {"PATH": "/bin"}, binds, uid=uid, root=rootfs)
        return Inside(["runc", "--root", self.directory / "state", "run", "-b", bundle, label], dict(os.environ),
                      lambda: self.runc("delete", "-f", label, check=False))


def supervisor_of(pids):
    """The supervisor among a container's processes (host's numbers): the tokenfs whose parent is none."""
    ours = {}
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        if "(tokenfs" in fields:
            ours[pid] = int(fields.rsplit(")", 1)[1].split()[1])
    return next((pid for pid, parent in ours.items() if parent not in ours), None)

