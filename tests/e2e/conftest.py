"""Fixtures of the end-to-end tests: every test has its own stand-in, its own mounts, its own clean environment."""

import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import mounting                                                 # noqa: E402
from resolver import Resolver                                   # noqa: E402


def pytest_configure(config):
    """The marks of ours."""
    config.addinivalue_line("markers", "core: also run on the sanitizers' build")
    config.addinivalue_line("markers", "soak: random faults for SOAK_SECONDS; a stage of its own")


def pytest_collection_modifyitems(items):
    """Without FUSE, tests of mounts are skipped, loudly."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        for item in items:
            if "mount" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="NO /dev/fuse HERE: nothing of the mounts was tested"))


@pytest.fixture
def resolver():
    """The stand-in, running, with no tokens."""
    with Resolver() as running:
        yield running


@pytest.fixture
def directory():
    """A directory of the test's own, with a short path that other users may pass."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="e2e-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def mount(resolver, directory):
    """Makes mounts: mount(ttl=1, token=["a", "b"], environ={…}) → Mount. All are ended, and looked at, after the test."""
    made = []

    def make(options_=None, *, source=None, environ=None, start=True, **options):
        if mounting.SANITIZED:
            # The sandbox doesn't allow what the search for leaks needs.
            options_ = f"sandbox=off,{options_}" if options_ is not None else None
            options.setdefault("sandbox", "off")
        place = directory / f"m{len(made)}"
        place.mkdir(mode=0o755)
        one = mounting.Mount(place, resolver, environ)
        made.append(one)
        return one.start(options_ if options_ is not None else options, source) if start else one

    yield make
    # All of them are ended, whatever is wrong with the first; the log is shown if the test failed.
    wrong = []
    for one in made:
        try:
            one.stop()
        except BaseException as error:      # pylint: disable=broad-except
            wrong.append(error)
            one.destroy()
        print(f"---- log of {one.path}\n{one.log()[-20000:]}")
    if wrong:
        raise wrong[0]


@pytest.fixture
def token(resolver):
    """One token named web."""
    return resolver.add_token(name="web")


@pytest.fixture
def connection(directory):
    """A mount that somebody else makes: its path, and the descriptor of its connection."""
    path = directory / "other"
    path.mkdir()
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    text = f"fd={fd},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"other", str(path).encode(), b"fuse.tokenfs", 15, text) == 0
    yield str(path), fd
    subprocess.run(["umount", "-l", path], check=True, capture_output=True, timeout=mounting.HANG)
    os.close(fd)
