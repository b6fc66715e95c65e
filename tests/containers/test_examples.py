"""The files in src/dist/examples/ are what they say: they parse, and say what the tests of containers do."""

import configparser
import json
import pathlib
import shlex
import shutil
import subprocess

import pytest
from mounting import BINARY, HANG, TREE
from tools import need

yaml = pytest.importorskip("yaml", reason="NOT INSTALLED: apt-get install python3-yaml")
EXAMPLES = TREE / "src/dist/examples"


def ini(name):
    """A systemd file: sections of key=value, keys may repeat."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read_string((EXAMPLES / name).read_text())
    return parser


def options_are_fine(text, *more):
    """The program takes these options: it goes on to what comes after reading them, the mountpoint."""
    done = subprocess.run([BINARY, "-f", "-o", text, *more, "/nonexistent/place"], capture_output=True, text=True,
                          timeout=HANG, check=False, env={"PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"})
    assert done.returncode != 0 and "/nonexistent/place" in done.stderr, done.stderr


def test_compose():
    """A bind of a name's directory, read-only, that follows mounts made later, for a user that isn't root."""
    service = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"]["resolver"]
    volume, = service["volumes"]
    assert volume["type"] == "bind" and volume["read_only"] is True
    assert volume["bind"] == {"create_host_path": False, "propagation": "rslave"}
    assert "/.by_name/" in volume["source"]
    assert service["environment"]["TOKEN_FILE"].startswith(volume["target"] + "/")
    assert service["user"] == "1000:1000"
    if program := shutil.which("podman-compose"):
        done = subprocess.run([program, "-f", EXAMPLES / "compose.yaml", "--dry-run", "up"], capture_output=True, text=True,
                              timeout=HANG, check=False)
        line, = (line for line in (done.stdout + done.stderr).splitlines() if line.startswith("podman create"))
        for words in (f"-v {volume['source']}:{volume['target']}:rslave,ro", "-u 1000:1000", "--network none", "--read-only"):
            assert f" {words} " in line, line


def test_quadlet():
    """The generator makes a service of it, where there is one (podman 4.4); else what it needs is there."""
    unit = ini("resolver.container")
    volume = unit["Container"]["Volume"]
    assert volume.endswith(":/run/token:ro,rslave") and "/.by_name/" in volume
    assert unit["Unit"]["Requires"] == unit["Unit"]["After"] == "tokenfs@dns.service"
    assert unit["Container"]["Environment"] == "TOKEN_FILE=/run/token/value"
    for path in ("/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet"):
        if pathlib.Path(path).exists():
            done = subprocess.run([path, "-dryrun"], capture_output=True, text=True, timeout=HANG, check=False,
                                  env={"QUADLET_UNIT_DIRS": str(EXAMPLES), "PATH": "/usr/bin:/bin"})
            assert done.returncode == 0 and "resolver.service" in done.stdout, done.stderr
            return
    pytest.skip("NO QUADLET GENERATOR HERE (podman 4.4 or later): the unit was read, and not turned into a service")


def test_ansible_and_puppet_files():
    """They parse; test_config_management.py runs them."""
    play, = yaml.safe_load((EXAMPLES / "ansible.yml").read_text())
    assert len(play["tasks"]) == 4
    assert (EXAMPLES / "resolver.pp").read_text().count("by_name/web/value") == 2


def test_consumer():
    """The drop-in orders its service after the mount's, and shows it one token."""
    unit = ini("consumer.conf")
    assert unit["Unit"]["Requires"] == unit["Unit"]["After"] == "tokenfs@dns.service"
    source, place = unit["Service"]["BindReadOnlyPaths"].split(":")
    assert "/.by_name/" in source
    assert place.startswith(unit["Service"]["TemporaryFileSystem"].split(":")[0] + "/")


def test_fstab():
    """Every line has six fields, and options that the program takes (with users of this machine)."""
    lines = [line for line in (EXAMPLES / "fstab").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) >= 3
    for line in lines:
        _, place, kind, options, _, _ = line.split()
        assert place.startswith("/") and kind in ("tokenfs", "fuse.tokenfs")
        plain = [word for word in options.split(",") if not word.startswith(("user=", "gid=", "profile="))]
        options_are_fine(",".join(plain))


def test_findmnt_reads_the_fstab():
    """As mount(8) reads it."""
    need("findmnt")
    done = subprocess.run(["findmnt", "--fstab", "--tab-file", str(EXAMPLES / "fstab"), "--json"], capture_output=True,
                          text=True, timeout=HANG, check=True)
    assert {one["fstype"] for one in json.loads(done.stdout)["filesystems"]} <= {"tokenfs", "fuse.tokenfs"}
    assert shlex.split((EXAMPLES / "fstab").read_text(), comments=True)


@pytest.mark.parametrize("session_token", [None, "a+session/token="])
def test_without_fuse(resolver, session_token):
    """The page's way out for a place without FUSE, as it stands but for the endpoint: curl signs, jq takes the value."""
    need("curl", "jq")
    next(iter(resolver.verifier.keys.values())).session_token = session_token
    page = (TREE / "src/dist/tokenfs-containers.7.in").read_text()
    command = page[page.index("curl \\-sf"):].split("\n.fi")[0].replace("\\\\", "\\").replace("\\-", "-")
    token = resolver.add_token(id="at-1a2b3c4d", value="secret, with blanks")
    place = "https://route53globalresolver.us-east-2.api.aws"
    assert place in command
    done = subprocess.run(["sh", "-c", command.replace(place, resolver.url)], capture_output=True, text=True, timeout=HANG,
                          check=False, env={"PATH": "/usr/bin:/bin", **resolver.environ()})
    assert done.stdout == token["value"], (command, done.stderr)
