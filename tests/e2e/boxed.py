"""A mount namespace of the test's own, in which the program is installed: /usr/sbin and /etc are overlays there, so that
mount(8), fstab and fusermount3 are the real ones and the machine stays as it is."""

import os
import pathlib
import shutil
import signal
import subprocess

from mounting import BINARY, HANG, is_alive, kill, until

PREPARE = r"""
set -e
mount --make-rprivate /
awk '/ - fuse\./ {print $5}' /proc/self/mountinfo | while read -r path; do umount -l "$path" || true; done
mkdir "$BOX/layers"
mount -t tmpfs -o mode=0755 tmpfs "$BOX/layers"
for place in usr/sbin etc; do
        mkdir -p "$BOX/layers/up/$place" "$BOX/layers/work/$place"
        mount -t overlay -o "lowerdir=/$place,upperdir=$BOX/layers/up/$place,workdir=$BOX/layers/work/$place" overlay "/$place"
done
cp "$BOX_BINARY" /usr/sbin/tokenfs
ln -s tokenfs /usr/sbin/mount.tokenfs
: >/etc/fstab
# The device as it is on most machines: for everybody.
mknod -m 0666 "$BOX/layers/fuse" c 10 229
mount --bind "$BOX/layers/fuse" /dev/fuse
echo ready
exec sleep 1000000
"""


def why_not():
    """Why there can be no box here; None if there can."""
    if os.geteuid() != 0:
        return "needs root"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w && "
         "mount -t overlay -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w overlay /etc"], capture_output=True, check=False)
    return None if done.returncode == 0 else "no mount namespaces with overlays here: " + done.stderr.decode().strip()


class Box:
    """`with Box(directory, environ) as box: box.run("mount", "-a")`."""

    def __init__(self, directory, environ):
        self.directory = pathlib.Path(directory)
        self.environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
                        "AWS_EC2_METADATA_DISABLED": "true", **environ}
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(["unshare", "-m", "bash", "-c", PREPARE], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True,
                                        env={"PATH": "/usr/sbin:/usr/bin", "BOX": str(self.directory), "BOX_BINARY": BINARY})
        assert self.process.stdout.readline() == "ready\n", "the box can't be made"
        return self

    def __exit__(self, *_):
        for path in reversed(self.mounts()):
            self.run("umount", "-l", path, check=False)
        for pid in self.daemons():
            kill(pid)
        self.process.kill()
        self.process.wait(HANG)
        self.process.stdout.close()
        shutil.rmtree(self.directory / "layers", ignore_errors=True)

    def run(self, *command, check=True, uid=None, limit=HANG, **more):
        """Runs a command in the box, as another user if asked for."""
        user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        environ = {**self.environ, **more.pop("environ", {})}
        done = subprocess.run(["nsenter", "-t", str(self.process.pid), "-m", "--", *user, *command], capture_output=True,
                              text=True, timeout=limit, check=False, stdin=subprocess.DEVNULL, env=environ, cwd="/", **more)
        assert not check or done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
        return done

    def write(self, path, text):
        """Writes a file in the box."""
        self.run("sh", "-c", 'printf %s "$1" >"$2"', "sh", text, path)

    def mounts(self):
        """Our mounts in the box, as (path) in the order in which they were made."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/mountinfo").read_text().splitlines()
        return [line.split(" ")[4] for line in lines if " - fuse.tokenfs " in line]

    def daemons(self):
        """The pids of tokenfs in the box."""
        ours, found = os.readlink(f"/proc/{self.process.pid}/ns/mnt"), []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "comm").read_text() in ("tokenfs\n", "mount.tokenfs\n") and \
                        os.readlink(entry / "ns/mnt") == ours and is_alive(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
        return sorted(found)

    def kill_daemons(self):
        """SIGKILL to all of them: supervisors and workers."""
        for pid in self.daemons():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not self.daemons(), "the daemons' end")
