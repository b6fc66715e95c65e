"""Fixtures of the tests with containers and configuration management: those of the end-to-end tests, and a root directory."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
E2E = HERE.parent / "e2e"
sys.path[:0] = [str(HERE), str(E2E), str(HERE.parent)]

spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)

pytest_configure = e2e.pytest_configure
pytest_collection_modifyitems = e2e.pytest_collection_modifyitems
resolver, directory, mount = e2e.resolver, e2e.directory, e2e.mount

from pod import SECCOMP, Pod                                    # noqa: E402
from tools import need                                          # noqa: E402

APPLETS = "sh cat ls id env stat test touch rm mkdir mv ln chmod chown mount umount grep tr wc sleep printf find df".split()


@pytest.fixture(scope="session")
def rootfs():
    """The smallest root directory that there is: busybox, and places to bind to."""
    busybox = need("busybox")
    if b"statically linked" not in subprocess.run([busybox], capture_output=True, check=False).stdout \
            and subprocess.run(["ldd", busybox], capture_output=True, check=False).returncode == 0:
        pytest.skip("NOT INSTALLED: apt-get install busybox-static")
    path = pathlib.Path(tempfile.mkdtemp(prefix="tokenfs-rootfs-"))
    path.chmod(0o755)
    for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "usr", "var", "t/all", "t/id", "t/name"):
        (path / name).mkdir(parents=True, mode=0o755)
    (path / "tmp").chmod(0o1777)
    (path / "t/value").touch()
    (path / "dev/null").touch()
    (path / "etc/os-release").write_text("ID=busybox\n")
    (path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n")
    shutil.copy(busybox, path / "bin/busybox")
    for applet in APPLETS:
        os.symlink("busybox", path / "bin" / applet)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def pod():
    """Containers of a pod, and what a CSI driver does for it; see pod.py."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not pathlib.Path(SECCOMP).exists():
        pytest.skip("NO DEFAULT SECCOMP PROFILE HERE: apt-get install golang-github-containers-common")
    with Pod() as one:
        yield one
        print(f"---- log of the containers\n{one.log()[-20000:]}")
