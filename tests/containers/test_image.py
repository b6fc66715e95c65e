"""The image of src/dist/Containerfile: built with podman on a base that debootstrap makes, since no registry is asked.

One test, since a build takes a minute.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

import pytest
from mounting import TREE, until
from tools import need, run

BUILD = 600                                         # seconds: it installs compilers from apt
SIZE_MAX = 40 * 1000 * 1000
SUITES = {"12": "bookworm", "13": "trixie"}


class Podman:
    """podman as root, with storage of its own."""

    def __init__(self, directory):
        self.words = ["podman", "--root", directory / "storage", "--runroot", directory / "run",
                      f"--storage-driver={os.environ.get('TOKENFS_STORAGE_DRIVER', 'overlay')}",
                      "--cgroup-manager=cgroupfs", "--events-backend=none"]
        self.limits = ["--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1000:1000"]

    def __call__(self, *words, check=True, timeout=BUILD, **more):
        return run(*self.words, *words, check=check, cwd="/", **more) if timeout == BUILD else \
            subprocess.run([str(word) for word in [*self.words, *words]], check=check, capture_output=True, text=True,
                           timeout=timeout, cwd="/")

    def build(self, context, tag, *options):
        """Builds the Containerfile of a tree; gives the tag."""
        self("build", "--runtime=runc", "--isolation=chroot", "--network=host", *self.limits, "--format=docker", "-q",
             "-f", context / "src/dist/Containerfile", "--build-arg", "BASE=localhost/base:1", "-t", tag, *options, context)
        return tag

    def program_of(self, tag, path):
        """The checksum of the program in an image."""
        return self("run", "--rm", "--runtime=runc", "--network=none", *self.limits, "--entrypoint", "/usr/bin/sha256sum",
                    tag, path).stdout.split()[0]

    def inspect(self, tag):
        """What an image says of itself."""
        return json.loads(self("image", "inspect", tag).stdout)[0]


def context_of(directory):
    """The files that a checkout has."""
    names = run("git", "-c", "safe.directory=*", "-C", TREE, "ls-files", "-z", "--cached", "--others",
                "--exclude-standard", "src", "include", "tests/bench/ratios.svg", "tests/bench/fleet/fleet.svg",
                "meson.build", "LICENSE",
                "README.md").stdout.split("\0")
    for name in filter(None, names):
        if (TREE / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TREE / name, directory / name)
    return directory


def base_image(podman, directory):
    """Debian's minimum of this machine's release, made by debootstrap, as localhost/base:1."""
    release = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = SUITES.get(release.get("VERSION_ID", "").strip('"'), "bookworm")
    lib = TREE / "tests/lib"
    made = run("bash", "-c", f'tree="$1"; . {lib}/packages.sh; . {lib}/root.sh; root_is_reachable {suite} && '
               f'root_make "$2" {suite}', "bash", TREE, directory / "base", check=False)
    if made.returncode != 0:
        pytest.skip(f"NO BASE FOR THE IMAGE: {made.stdout[-300:]} {made.stderr[-300:]}")
    archive = directory / "base.tar"
    run("tar", "--owner=0", "--group=0", "-C", directory / "base", "-cf", archive, ".")
    shutil.rmtree(directory / "base")
    podman("import", "-q", archive, "localhost/base:1")
    archive.unlink()


@pytest.fixture
def podman():
    """podman, or the reason why there is none."""
    need("podman", "runc", "debootstrap", "git")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tokenfs-image-", dir="/tmp"))
    one = Podman(directory)
    answer = one("info", check=False)
    if answer.returncode != 0:
        pytest.skip(f"PODMAN DOES NOT WORK HERE: {answer.stderr[-300:]}")
    one.directory = directory
    yield one
    one("rm", "-f", "-t", "0", "--all", check=False)
    one("system", "reset", "--force", check=False)
    subprocess.run(["umount", "-l", directory / "storage/overlay"], check=False, capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.timeout(3 * BUILD)
def test_image(podman, resolver):
    """It is small, runs as a user without rights, says how it fares, serves, and is the same program each time."""
    base_image(podman, podman.directory)
    context = context_of(podman.directory / "context")
    image = podman.build(context, "localhost/tokenfs:1")

    told = podman.inspect(image)
    assert told["Size"] - podman.inspect("localhost/base:1")["Size"] <= SIZE_MAX
    assert told["Config"]["User"] == "65534:65534"
    assert told["Config"]["Labels"]["org.opencontainers.image.title"] == "tokenfs"
    health = told["HealthCheck" if "HealthCheck" in told else "Healthcheck"]["Test"]
    assert health[0] == "CMD" and ".service_status" in health[-1]

    # Another layer below the same sources: the compiler runs again.
    with open(context / "README.md", "a", encoding="utf-8") as readme:
        readme.write("\n")
    again = podman.build(context, "localhost/again:1", "--target", "build")
    assert podman.program_of(again, "/out/usr/sbin/tokenfs") == podman.program_of(image, "/usr/sbin/tokenfs")

    token = resolver.add_token(name="web", created_at=time.time() - 3600)
    name = f"tokenfs-{uuid.uuid4().hex[:12]}"
    environ = {"AWS_EC2_METADATA_DISABLED": "true", **resolver.environ()}
    podman("run", "-d", "--name", name, "--runtime=runc", "--network=host", "--log-driver=k8s-file", *podman.limits,
           "--device=/dev/fuse", "--cap-drop=all", "--cap-add=SYS_ADMIN,SETUID,SETGID", "--read-only",
           *(word for item in environ.items() for word in ("-e", "=".join(item))), image,
           "-f", "-o", "ttl=0.5", "/tokens")

    def inside(*words):
        return podman("exec", name, *words, check=False, timeout=60)

    until(lambda: inside("cat", "/tokens/.by_name/web/value").stdout == token["value"], "the mount in the container", pause=0.2)
    assert inside("id", "-u").stdout == "65534\n"
    assert inside(*health[1:]).returncode == 0
    new = resolver.rotate_token(token["id"], value="the-second-value")
    until(lambda: inside("cat", "/tokens/.by_name/web/value").stdout == new["value"], "the rotation", pause=0.2)

    # Nobody serves: the check fails by itself, and doesn't hang.
    first = int(podman("inspect", "-f", "{{.State.Pid}}", name).stdout)
    family = [first, *map(int, pathlib.Path(f"/proc/{first}/task/{first}/children").read_text().split())]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: inside(*health[1:]).returncode != 0, "the check's failure", pause=0.2)
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    until(lambda: inside(*health[1:]).returncode == 0, "the check's success")
    podman("stop", "-t", "20", name)
    assert podman("inspect", "-f", "{{.State.ExitCode}}", name).stdout.strip() == "0", podman("logs", name).stderr
    assert token["value"] not in podman("logs", name).stdout + podman("logs", name).stderr
