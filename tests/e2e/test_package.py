"""The Debian package, as apt treats it: installed, upgraded under readers, removed, purged; on a root and under a systemd of
the test's own, made of the machine's files."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import boxed
import systemd_rig
from mounting import HANG, TREE, background, until
from tools import need, run

IN_PACKAGE = {
    "usr/lib/systemd/system/tokenfs@.service", "usr/lib/sysusers.d/tokenfs.conf", "usr/lib/tmpfiles.d/tokenfs.conf",
    "usr/sbin/tokenfs", "usr/sbin/mount.tokenfs", "usr/libexec/tokenfs/instances",
    "usr/share/bash-completion/completions/tokenfs", "usr/share/man/man8/tokenfs.8.gz",
    "usr/share/man/man8/mount.tokenfs.8.gz", "usr/share/doc/tokenfs/README.md",
}

# A root of its own, made of the machine's: what is done in it is gone with it. Not a chroot: the service's first step enters
# the namespace of process 1, and with it the root of that namespace.
BOOT = r"""
set -e
mount --make-rprivate /
awk '/ - fuse\./ {print $5}' /proc/self/mountinfo | while read -r path; do umount -l "$path" || true; done
mkdir "$BOX/layers"
mount -t tmpfs -o mode=0755 tmpfs "$BOX/layers"
cd "$BOX/layers"
mkdir up work root
mount -t overlay -o lowerdir=/,upperdir=up,workdir=work overlay root
for place in dev proc sys; do mkdir -p root/$place; mount --rbind /$place root/$place; done
mkdir -p root/run root/tmp root/old
mount -t tmpfs -o mode=0755 tmpfs root/run
mount -t tmpfs -o mode=1777 tmpfs root/tmp
mkdir -p root/run/lock root/run/units
cp -r "$RIG_UNITS"/. root/run/units/
mkdir root/run/debs; cp "$RIG_DEBS"/*.deb root/run/debs/
cd root
pivot_root . old
umount -l /old
mount --make-rshared /
export container=rig SYSTEMD_UNIT_PATH=/run/units:
exec """ + systemd_rig.SYSTEMD + r""" --system --unit=rig.target --log-target=null --show-status=no
"""


def make_debs(directory):
    """The package, and one that is newer but in nothing else."""
    last = run(TREE / "src/dist/build-deb", directory, env={**os.environ, "HOME": str(directory)}).stdout.splitlines()[-1]
    deb = pathlib.Path(last)
    assert deb.parent == directory and deb.suffix == ".deb"
    run("dpkg-deb", "-R", deb, directory / "unpacked")
    control = directory / "unpacked/DEBIAN/control"
    control.write_text(re.sub("(?m)^Version: .*$", "Version: 99", control.read_text()))
    newer = directory / "tokenfs_99.deb"
    run("dpkg-deb", "-Znone", "-b", directory / "unpacked", newer)
    return deb, newer


def check_contents(deb):
    """What is in it, what it needs, and that lintian has nothing to say."""
    listed = {line.split()[5][2:] for line in run("dpkg-deb", "-c", deb).stdout.splitlines()}
    assert IN_PACKAGE <= listed
    assert "fuse3" in run("dpkg-deb", "-f", deb, "Depends").stdout
    root = ["--allow-root"] if os.geteuid() == 0 else []
    lint = run("lintian", *root, "-I", "--pedantic", "--fail-on", "error,warning,info,pedantic", deb, check=False)
    assert lint.returncode == 0 and lint.stdout == "", lint.stdout + lint.stderr


class Host:
    """A machine with systemd, apt and the package's mounts."""

    def __init__(self, systemd, token):
        self.systemd = systemd
        self.value = token["value"]
        self.service = f"/run/tokenfs/office/{token['id']}/value"
        self.plain = f"/srv/tokens/{token['id']}/value"

    def sh(self, text, check=True):
        """Runs a script there, its locale and apt's questions switched off; gives what it says."""
        return self.systemd.enter("sh", "-c", f"export LC_ALL=C DEBIAN_FRONTEND=noninteractive; {text}", check=check,
                                  limit=300).stdout

    def pids(self):
        """The supervisors that the package's own list knows."""
        return set(self.sh("/usr/libexec/tokenfs/instances list").split())

    def read_until(self, stop):
        """Reads both mounts until a file is there; gives how often, and what went wrong."""
        return self.sh(f"""n=0
            while [ ! -e {stop} ]; do
                for file in {self.service} {self.plain}; do
                    [ "$(cat $file)" = '{self.value}' ] || echo "wrong: $file"
                    n=$((n + 1))
                done
            done 2>&1
            echo "read $n" """)


def install(host, resolver):
    """apt installs it; the places have their modes; a service and a mount by fstab's means."""
    host.sh("rm -f /usr/sbin/policy-rc.d")      # where it forbids that services are stopped, packages can't
    host.sh("apt-get install -y --no-install-recommends /run/debs/tokenfs_*_*.deb || dpkg -i /run/debs/tokenfs_*_*.deb")
    assert host.sh("dpkg -V tokenfs") == ""
    assert host.sh("stat -c '%n %U:%G %a' /run/tokenfs /etc/tokenfs /var/lib/tokenfs").splitlines() == [
        "/run/tokenfs root:root 755", "/etc/tokenfs root:tokenfs 750", "/var/lib/tokenfs tokenfs:tokenfs 700"]
    follow_readme(host, resolver)
    environ = "".join(f"{name}={value}\n" for name, value in resolver.environ().items())
    host.sh(f"printf '%s' 'OPTIONS=allow_other,ttl=30\nAWS_EC2_METADATA_DISABLED=true\n{environ}' >/etc/tokenfs/office.conf")
    host.sh("systemctl enable --now tokenfs@office")
    host.sh("set -a; . /etc/tokenfs/office.conf; mkdir /srv/tokens; "
            "mount -t tokenfs -o user=tokenfs,allow_other,ttl=30 office /srv/tokens")
    assert host.sh(f"cat {host.service} {host.plain}") == 2 * host.value


def follow_readme(host, resolver):
    """The service as the README has it typed, word by word, with the profile that `aws configure` would have left."""
    text = (TREE / "README.md").read_text()
    block = re.search(r"(?s)```\n(echo 'OPTIONS=.*?)```", text)[1]
    environ = resolver.environ()
    host.sh(f"umask 077; mkdir -p ~/.aws; printf '[profile tokens]\nendpoint_url = {resolver.url}\n' >~/.aws/config; "
            f"printf '[tokens]\naws_access_key_id = {environ['AWS_ACCESS_KEY_ID']}\n"
            f"aws_secret_access_key = {environ['AWS_SECRET_ACCESS_KEY']}\n' >~/.aws/credentials; groupadd -f dnsdist")
    host.sh(block)
    assert host.sh(f"stat -c '%G %a' {host.service}; cat {host.service}") == f"dnsdist 440\n{host.value}"
    said = host.sh("tokenfs --check --unit=office")
    assert "A mount would work." in said and "as user tokenfs" in said
    host.sh("systemctl disable --now tokenfs@office; rm -r ~/.aws /var/lib/tokenfs/.aws /etc/tokenfs/office.conf")


def upgrade(host):
    """apt upgrades it under readers, then a library is replaced: the same processes, no read fails."""
    before = host.pids()
    assert len(before) == 2
    host.sh("tokenfs --wait /srv/tokens/.service_status >/dev/null 2>&1 & echo $! >/run/waiting")
    reading = background(host.read_until, "/run/stop")
    host.sh("apt-get install -y --no-install-recommends /run/debs/tokenfs_99.deb || dpkg -i /run/debs/tokenfs_99.deb")
    assert host.sh("dpkg-query -W -f '${Version}' tokenfs") == "99"
    assert host.pids() == before
    for pid in before:
        assert host.sh(f"readlink /proc/{pid}/exe") == "/usr/sbin/tokenfs\n"

    def upgrades():
        return host.sh("for m in /srv/tokens /run/tokenfs/office; do jq .worker.upgrades $m/.service_status; done").split()

    until(lambda: upgrades() == ["1", "1"], "the program's upgrade")
    library = host.sh("echo /usr/lib/*/libcurl.so.4").strip()
    host.sh(f"dpkg-trigger --by-package=libcurl4 {library} && dpkg --triggers-only -a")
    until(lambda: upgrades() == ["2", "2"], "the library's")
    host.sh("touch /run/stop")
    read = reading.result(HANG)
    assert re.fullmatch(r"read \d+\n", read), read
    assert int(read.split()[1]) > 0


def repair(host, resolver):
    """A mount of fstab whose processes are all killed: mount -a leaves it dead, the package's service doesn't."""
    environ = resolver.environ()
    host.sh("mkdir /srv/fstab; install -o tokenfs -m 700 -d /var/lib/tokenfs/.aws; "
            f"printf '[default]\\nendpoint_url = {resolver.url}\\n' >/var/lib/tokenfs/.aws/config; "
            f"printf '[default]\\naws_access_key_id = {environ['AWS_ACCESS_KEY_ID']}\\n"
            f"aws_secret_access_key = {environ['AWS_SECRET_ACCESS_KEY']}\\n' >/var/lib/tokenfs/.aws/credentials; "
            "chown tokenfs /var/lib/tokenfs/.aws/*; "
            "echo 'office /srv/fstab tokenfs allow_other,ttl=30,user=tokenfs,_netdev,nofail 0 0' >>/etc/fstab")
    host.sh("systemctl daemon-reload; systemctl start srv-fstab.mount")
    file = host.plain.replace("/srv/tokens", "/srv/fstab")
    assert host.sh(f"cat {file}") == host.value
    host.sh("for pid in $(/usr/libexec/tokenfs/instances list); do ! grep -q srv/fstab /proc/$pid/cmdline || "
            "kill -9 $pid $(cat /proc/$pid/task/$pid/children); done")
    until(lambda: "not connected" in host.sh(f"cat {file} 2>&1", check=False), "the end")
    host.sh("mount -a")
    assert "not connected" in host.sh(f"cat {file} 2>&1", check=False)
    host.sh("systemctl start tokenfs-repair.service")
    assert host.sh(f"cat {file}") == host.value
    assert "srv-fstab.mount" in host.sh("cat /proc/$(/usr/libexec/tokenfs/instances list | tail -n 1)/cgroup")
    host.sh("systemctl enable --now tokenfs-repair.timer")


def remove(host):
    """Removal stops all instances; purging leaves the administrator's settings, and nothing else but the user."""
    host.sh("mkdir '/srv/a dead one'; mount -t tokenfs -o ttl=30 office '/srv/a dead one'; "
            "for pid in $(/usr/libexec/tokenfs/instances list); do "
            "! grep -q dead /proc/$pid/cmdline || kill -9 $pid $(cat /proc/$pid/task/$pid/children); done")
    host.sh("apt-get remove -y tokenfs || dpkg -r tokenfs")
    assert host.sh("ls -l /proc/[0-9]*/exe | grep -c sbin/tokenfs", check=False) == "0\n"
    assert "fuse.tokenfs" not in host.sh("cat /proc/self/mountinfo")
    assert host.sh("ls /etc/tokenfs /var/lib/tokenfs -d").split() == ["/etc/tokenfs", "/var/lib/tokenfs"]
    host.sh("dpkg --purge tokenfs")
    there = ("/etc/systemd/system/timers.target.wants/tokenfs-repair.timer /usr/sbin/tokenfs /usr/sbin/mount.tokenfs /usr/libexec/tokenfs /usr/lib/systemd/system/tokenfs@.service "
             "/var/lib/tokenfs /run/tokenfs /etc/systemd/system/multi-user.target.wants/tokenfs@office.service")
    assert host.sh(f"for path in {there}; do [ ! -e $path ] && [ ! -L $path ] || echo $path; done") == ""
    assert host.sh("ls /etc/tokenfs") == "office.conf\n"
    assert host.sh("id -un tokenfs") == "tokenfs\n"


@pytest.mark.timeout(400)       # a whole build
def test_life(resolver, token, directory):
    """Built, checked, installed, upgraded, removed, purged."""
    need("dpkg-buildpackage", "dh", "lintian", "meson")
    (directory / "debs").mkdir()
    deb, _ = make_debs(directory / "debs")
    check_contents(deb)
    if why_not := boxed.why_not() or systemd_rig.why_not():
        pytest.skip(f"THE PACKAGE WAS NOT INSTALLED: {why_not}")
    box = directory / "box"
    box.mkdir()
    shutil.rmtree(directory / "debs/unpacked")
    environ = {"BOX": str(box), "RIG_DEBS": str(directory / "debs")}
    with systemd_rig.Systemd(directory, [], BOOT, environ) as systemd:
        host = Host(systemd, token)
        install(host, resolver)
        upgrade(host)
        repair(host, resolver)
        remove(host)


def test_instances_are_told_apart(mount, token):
    """Only supervisors of the program that is asked: not its workers, nor another command of it."""
    script = pathlib.Path(os.environ.get("TOKENFS_BINARY") or TREE / "build/src/tokenfs").parent / "dist/instances"
    fs = mount()
    fs.read(token["id"], "value")
    text = re.sub("(?m)^self=.*$", f"self={os.path.realpath(fs.command('')[0])}", script.read_text())

    def instances():
        return set(subprocess.run(["sh", "-c", text, "instances", "list"], capture_output=True, text=True, check=True,
                                  timeout=HANG).stdout.split())

    with subprocess.Popen([fs.command("")[0], "--wait", fs.at(token["id"], "value")], stdin=subprocess.DEVNULL) as waiting:
        try:
            found = instances()
        finally:
            waiting.kill()
    assert str(fs.pid) in found and not found & {str(fs.worker), str(waiting.pid)}
