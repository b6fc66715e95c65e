"""--check --unit: the check of what tokenfs@NAME.service would do, by its settings, as its user, in its place."""

import json
import subprocess

import boxed
import pytest
from mounting import BINARY, HANG

pytestmark = pytest.mark.skipif(boxed.why_not() is not None, reason=f"NO UNIT'S SETTINGS WERE CHECKED: {boxed.why_not()}")
USER = "tokenfs:x:64999:64999::/var/lib/tokenfs:/usr/sbin/nologin"


@pytest.fixture
def box(directory):
    """A box with the unit's user, whose environment has nothing of AWS."""
    with boxed.Box(directory, {"AWS_PROFILE": "of-the-caller"}) as made:
        made.run("sh", "-c", f"echo '{USER}' >>/etc/passwd; mkdir -p /etc/tokenfs")
        yield made


def settings(resolver, options, **more):
    """The text of a NAME.conf."""
    lines = [f"{name}={value}" for name, value in {**resolver.environ(), **more}.items()]
    return "\n".join([*lines, f"OPTIONS={options}", "AWS_EC2_METADATA_DISABLED=true", ""])


def check(box, *words):
    """The steps, {name: (ok, detail, remedy)}, of a check of tokenfs@office."""
    done = box.run("tokenfs", "--check", "--json", "--unit=office", *words, check=False)
    document = json.loads(done.stdout)
    assert document["ok"] is (done.returncode == 0)
    return {step["name"]: (step["ok"], step["detail"], step["remedy"]) for step in document["steps"]}


def test_as_the_unit(box, resolver, token):
    """Its options and variables, its user; nothing of the caller's environment."""
    box.write("/etc/tokenfs/office.conf", settings(resolver, "allow_other,ttl=7"))
    box.run("chmod", "600", "/etc/tokenfs/office.conf")
    steps = check(box, token["id"])
    assert all(ok for ok, *_ in steps.values()), steps
    assert "/etc/tokenfs/office.conf; /run/tokenfs/office, as user tokenfs" in steps["unit"][1]
    for name in ("tokenfs@office", "tokenfs@office.service", "office.service"):     # as systemctl takes it
        assert check(box, f"--unit={name}")["unit"] == steps["unit"]
    assert "ttl 7 s" in steps["options"][1] and f"token={token['id']}" in steps
    assert "/var/lib/tokenfs/.aws/config" in steps["configuration"][1] and "of-the-caller" not in str(steps)


def test_copies_on_disk(box, resolver):
    """The key of the copies is systemd's: the service alone gets it. Without one, the mount would be refused."""
    box.write("/etc/tokenfs/office.conf", settings(resolver, "allow_other,persist=/etc/tokenfs"))
    ok, detail, remedy = check(box)["persist"]
    assert ok is False and "no key" in detail and "persist_key=" in remedy
    box.run("mkdir", "-p", "/etc/credstore.encrypted")
    box.write("/etc/credstore.encrypted/tokenfs-persist-key.office", "sealed")
    assert check(box)["persist"][0] is None


def test_files_that_the_service_does_not_see(box, resolver):
    """A credentials file in a home directory, which root can read."""
    box.run("mount", "-t", "tmpfs", "tmpfs", "/root")
    box.run("sh", "-c", "printf '[default]\\naws_access_key_id = a\\naws_secret_access_key = b\\n' >/root/keys")
    variables = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": "/root/keys"}
    box.write("/etc/tokenfs/office.conf", settings(resolver, "allow_other", **variables))
    steps = check(box)
    assert not steps["credentials"][0] and "/root/keys (not there)" in steps["configuration"][1]


@pytest.mark.parametrize("text, says", [
    ('OPTIONS="allow_other,ttl=7"', "ttl 7 s"), ("OPTIONS='allow_other,ttl=8'  ", "ttl 8 s"),
    ("OPTIONS=allow_other,\\\nttl=9", "ttl 9 s"), ("  OPTIONS = allow_other,ttl=10 ", "ttl 10 s"),
    ("# OPTIONS=ttl=1\n; OPTIONS=ttl=2\nnothing\n=x\n3X=y\nOPTIONS=ttl=11", "ttl 11 s"),
    ('OPTIONS="ttl="12\\5', "ttl 125 s"), ("OPTIONS=ttl=1\nOPTIONS=ttl=13", "ttl 13 s"),
    ('OPTIONS="ttl=14,fsname=a \\"b\\" $c"', "ttl 14 s"), ("OPTIONS=", "ttl 60 s")])
def test_grammar(box, resolver, text, says):
    """As systemd reads the file."""
    box.write("/etc/tokenfs/office.conf", settings(resolver, "ttl=99") + text + "\n")
    steps = check(box)
    assert steps["unit"][0] and says in steps["options"][1], steps


def drop_in(box, text, unit="tokenfs@office", name="local.conf"):
    """Puts a drop-in of a unit in the administrator's place."""
    directory = f"/etc/systemd/system/{unit}.service.d"
    box.run("mkdir", "-p", directory)
    box.write(f"{directory}/{name}", text)
    return f"{directory}/{name}"


def test_drop_ins(box, resolver):
    """What systemctl edit adds: variables, files of variables, the user; the files are named."""
    box.write("/etc/tokenfs/office.conf", settings(resolver, "allow_other"))
    box.write("/etc/tokenfs/office.more", "OPTIONS=allow_other,ttl=11\n")
    path = drop_in(box, "# mine\n[Unit]\nEnvironment=AWS_PROFILE=nobodys\n[Service]\n"
                   "Environment=AWS_PROFILE=gone \\\n  \"MOUNTPOINT=/run/a b\"\nEnvironment=\n"
                   "Environment = 'MOUNTPOINT=/run/a %i' OPTIONS=ttl=1\n"
                   "EnvironmentFile=-/etc/tokenfs/nothing\nEnvironmentFile=-/etc/tokenfs/%i.more\nUser=nobody\n")
    steps = check(box)
    assert all(ok for ok, *_ in steps.values()), steps
    assert steps["unit"][1] == f"/etc/tokenfs/office.conf, {path}; /run/a office, as user nobody"
    assert "ttl 11 s" in steps["options"][1] and "profile default" in steps["configuration"][1]


def test_drop_ins_of_one_name(box, resolver):
    """The instance's hides the template's; else both count, in the order of their names."""
    box.write("/etc/tokenfs/office.conf", settings(resolver, "allow_other"))
    drop_in(box, "[Service]\nEnvironment=MOUNTPOINT=/run/hidden AWS_PROFILE=hidden\n", "tokenfs@")
    last = drop_in(box, "[Service]\nEnvironment=MOUNTPOINT=/run/z\n", "tokenfs@", "z.conf")
    first = drop_in(box, "[Service]\nEnvironment=MOUNTPOINT=/run/local\n")
    steps = check(box)
    assert steps["unit"][0] and f", {first}, {last}; /run/z, " in steps["unit"][1]
    assert "profile default" in steps["configuration"][1]


@pytest.mark.parametrize("line, says", [
    ("EnvironmentFile=/etc/tokenfs/nothing", "/etc/tokenfs/nothing: No such file"), ("Environment='A=b", "quote is open"),
    ("User=nosuch", "there is no user nosuch"), ("EnvironmentFile=", "none found")])
def test_drop_ins_that_break_the_unit(box, resolver, line, says):
    """A file that isn't there, a quote, a user; and the unit's own file taken away."""
    box.write("/etc/tokenfs/office.conf", settings(resolver, "allow_other"))
    drop_in(box, f"[Service]\n{line}\nEnvironment=AWS_EC2_METADATA_DISABLED=true AWS_ENDPOINT_URL={resolver.url}\n")
    steps = check(box)
    assert any(ok is False and says in detail and remedy for ok, detail, remedy in steps.values()), steps


def test_what_is_wrong(box, resolver):
    """A bad option is named, with the file; a user that isn't there; a file that isn't for the caller; none at all."""
    box.write("/etc/tokenfs/office.conf", settings(resolver, "tll=7"))
    ok, detail, remedy = check(box)["unit"]
    assert not ok and "/etc/tokenfs/office.conf: OPTIONS: unknown option 'tll'" in detail and remedy
    box.write("/etc/tokenfs/office.conf", settings(resolver, "allow_other"))
    box.run("chmod", "600", "/etc/tokenfs/office.conf")
    done = box.run("tokenfs", "--check", "--unit=office", check=False, uid=65534)
    assert "Permission denied" in done.stdout and "run the check as root" in done.stdout
    box.run("sed", "-i", "/^tokenfs:/d", "/etc/passwd")
    assert "there is no user tokenfs" in check(box)["unit"][1]
    box.run("sh", "-c", f"echo '{USER}' >>/etc/passwd; rm /etc/tokenfs/office.conf")
    ok, detail, _ = check(box)["unit"]
    assert ok and "not there: the unit's own settings" in detail


@pytest.mark.parametrize("words, says", [
    (["--check", "--unit=office", "-o", "ttl=5"], "not -o"), (["--unit=office", "/mnt"], "goes with --check"),
    (["--check", "--unit=../x"], "no name of an instance"),
    (["--check", "--unit=dnsdist@x"], "'dnsdist@x' is no name"), (["--check", "--unit=tokenfs@"], "no name of an instance"), (["--check", "--unit="], "no name of an instance"),
    (["--check", "--unit"], "--unit needs a name")])
def test_refused(words, says):
    """What goes with it, and what it takes."""
    done = subprocess.run([BINARY, *words], capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 1 and says in done.stdout + done.stderr
