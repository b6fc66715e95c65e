"""A mount unit of systemd, and its automount unit, as the example has them."""

import re
import shlex

import pytest

import boxed
import systemd_rig
from mounting import BINARY
from test_systemd import EXAMPLES, our_mounts

# Rigs wait for each other (systemd_rig.LOCK).
pytestmark = [pytest.mark.timeout(400), pytest.mark.skipif(
    systemd_rig.why_not() is not None, reason=f"NO systemd HERE, the units were not run: {systemd_rig.why_not()}")]


@pytest.fixture
def mount_units(resolver, directory):
    """A systemd with a mount unit and its automount unit, and the program where mount(8) looks for it."""
    environ = "".join(f'Environment="{name}={value}"\n' for name, value in resolver.environ().items())
    text = (EXAMPLES / "run-tokens.mount").read_text()
    text = re.sub("(?m)^Options=.*$", f"Options=allow_other,ttl=30,_netdev\n{environ}", text)
    (directory / "run-tokens.mount").write_text(text)
    (directory / "run-tokens.automount").write_text("[Automount]\nWhere=/run/tokens\n")
    with systemd_rig.Systemd(directory, list(directory.glob("run-tokens.*"))) as running:
        running.enter("sh", "-ec", "mkdir -p /run/box/up /run/box/work; mount -t overlay overlay /usr/sbin "
                      "-o lowerdir=/usr/sbin,upperdir=/run/box/up,workdir=/run/box/work; "
                      f"cp {shlex.quote(str(BINARY))} /usr/sbin/tokenfs; ln -s tokenfs /usr/sbin/mount.tokenfs")
        yield running


@pytest.mark.skipif(boxed.why_not() is not None, reason=f"NO MOUNT UNIT WAS TRIED: {boxed.why_not()}")
def test_mount_unit(mount_units, token):
    """The example, as it is but for its options."""
    mount_units.ctl("start", "run-tokens.mount")
    assert mount_units.enter("cat", f"/run/tokens/{token['id']}/value").stdout == token["value"]
    mount_units.ctl("stop", "run-tokens.mount")
    assert mount_units.show("run-tokens.mount", "Result") == "success"
    assert our_mounts(mount_units) == 0


@pytest.mark.skipif(boxed.why_not() is not None, reason=f"NO AUTOMOUNT WAS TRIED: {boxed.why_not()}")
def test_automount(mount_units, token):
    """Whoever looks first waits for the mount, and sees it."""
    if mount_units.ctl("start", "run-tokens.automount", check=False).returncode != 0:
        pytest.skip("NO autofs IN THIS KERNEL")
    assert our_mounts(mount_units) == 0
    assert mount_units.enter("cat", f"/run/tokens/{token['id']}/value").stdout == token["value"]
    assert our_mounts(mount_units) == 1
