"""The daemon in a container of a pod, without any privilege: a CSI driver mounts for it, and the pod's other containers
read."""

import os
import pathlib
import signal
import time

import pytest
from mounting import children_of, kill, until
from pod import NOBODY, supervisor_of


@pytest.fixture(autouse=True)
def published(pod):
    """The volume is wanted."""
    pod.publish()


@pytest.fixture
def old(resolver):
    """The token that has the name at first."""
    return resolver.add_token(name="web", value="the-first-value", created_at=time.time() - 3600)


def environ_of(resolver):
    """What a pod's container has in its environment: an identity of its own."""
    return {"PATH": "/usr/sbin:/usr/bin", "HOME": "/", "AWS_EC2_METADATA_DISABLED": "true", **resolver.environ()}


def is_served(box, value):
    """True once the volume has the value by name."""
    return lambda: box.run("cat /t/all/.by_name/web/value") == (0, value)


def has_lost(box):
    """True once the kernel, which holds a value until its ttl is over, says that nobody serves."""
    status, output = box.run("cat /t/all/.by_name/web/value")
    return status != 0 and "not connected" in output


@pytest.mark.parametrize("proxy", [False, True], ids=["starter", "fusermount3-proxy"])
def test_life(pod, resolver, old, rootfs, proxy):
    """Both protocols: reads in a second container, a rotation, the worker's death under a reader, and the end."""
    server = pod.serve(environ_of(resolver), f"uid={NOBODY},gid={NOBODY},ttl=0.5", proxy=proxy)
    with pod.reader(rootfs) as box:
        until(is_served(box, old["value"]), "the volume", pause=0.1)
        assert pod.mounts_made == 1
        status = pathlib.Path(f"/proc/{supervisor_of(pod.pids())}/status").read_text()
        for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
                     f"Uid:\t{NOBODY}\t"):
            assert line in status, status
        assert box.ask("stat -c '%u %g %a %s' /t/all/.by_name/web/value").split() == \
            [str(NOBODY), str(NOBODY), "400", str(len(old["value"]))]
        assert box.run("touch /t/all/new")[0] != 0

        new = resolver.rotate_token(old["id"], value="the-second-value, longer")
        until(is_served(box, new["value"]), "the rotation", pause=0.1)

        box.ask("(while [ ! -e /proc/1/root/t/all/stop ]; do cat /t/all/.by_name/web/value || echo failed; echo; done) "
                ">/dev/null 2>&1 &")
        worker = children_of(supervisor_of(pod.pids()))[0]
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in children_of(supervisor_of(pod.pids())), "the worker's end")
        for _ in range(20):
            assert box.run("cat /t/all/.by_name/web/value") == (0, new["value"]), "the reader noticed the worker's death"
    pod.signal(signal.SIGTERM)
    assert server.wait(60) == 0, "the readers had ended first, as a kubelet ends containers before sidecars"
    for secret in (old["value"], new["value"], *(key.secret for key in resolver.verifier.keys.values())):
        assert secret not in pod.log()


def test_scope(pod, resolver, old, rootfs):
    """A pod sees its own tokens alone, and a user other than the volume's owner no secret."""
    other = resolver.add_token(name="other")
    pod.serve(environ_of(resolver), f"uid={NOBODY},gid={NOBODY},ttl=0.5,token={old['id']}")
    with pod.reader(rootfs) as box:
        until(is_served(box, old["value"]), "the volume", pause=0.1)
        assert box.ask("ls /t/all").split() == [old["id"]]
        assert box.run(f"cat /t/all/{other['id']}/value")[0] != 0
    with pod.reader(rootfs, uid=1000) as box:
        assert box.ask("cat /t/all/.by_name/web/status") == "OPERATIONAL"
        status, output = box.run("cat /t/all/.by_name/web/value")
        assert status != 0 and "ermission denied" in output, output


def test_dead_supervisor(pod, resolver, old, rootfs):
    """With supervisor and worker dead the connection is gone: readers get an error within ttl, none hangs; the container ends,
    and with a new volume, as a new pod has one, a new container serves."""
    with pod.reader(rootfs) as box:     # before there is a mount: its bind is of the place, and not of the first mount
        server = pod.serve(environ_of(resolver), f"uid={NOBODY},gid={NOBODY},ttl=0.5")
        until(is_served(box, old["value"]), "the volume", pause=0.1)
        for pid in (supervisor_of(pod.pids()), *children_of(supervisor_of(pod.pids()))):
            kill(pid)
        assert server.wait(60) != 0
        until(lambda: has_lost(box), "the end of what the kernel holds", pause=0.1)
        pod.unpublish()
        pod.publish()
        pod.serve(environ_of(resolver), f"uid={NOBODY},gid={NOBODY},ttl=0.5")
        until(lambda: pod.mounts_made == 2, "the second mount")
        until(is_served(box, old["value"]), "the new volume, in the reader that was there before", pause=0.1)


def test_end_under_readers(pod, resolver, old, rootfs):
    """SIGTERM while a container still reads: the daemon ends all the same, and the reader gets an error within ttl."""
    server = pod.serve(environ_of(resolver), f"uid={NOBODY},gid={NOBODY},ttl=0.5")
    with pod.reader(rootfs) as box:
        until(is_served(box, old["value"]), "the volume", pause=0.1)
        pod.signal(signal.SIGTERM)
        assert server.wait(60) == 0
        until(lambda: has_lost(box), "the end of what the kernel holds", pause=0.1)
