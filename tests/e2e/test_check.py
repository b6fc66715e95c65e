"""--check: what it prints, and its steps on this machine: options, FUSE, user, configuration, credentials."""
# pylint: disable=redefined-outer-name

import json
import os
import pathlib
import shlex
import shutil
import subprocess

import pytest
from mounting import BINARY, HANG, SANITIZED
from resolver import ACCESS_KEY, SECRET_KEY

import aws_fakes
from checking import KEYS, NO_KEYS, PLANTED, STEPS, Checker

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: nothing was tested of namespaces and other users")


@pytest.fixture
def check(resolver, directory):
    """A Checker for the stand-in."""
    return Checker(directory, resolver)


# --- All is well

@pytest.mark.core
def test_all_is_well(check, resolver):
    """Without a token list calls are made; each step is told in its order."""
    outcome = check()
    assert outcome.status == 0, outcome.output
    assert outcome.names[:-2] == [*STEPS, "listing", "shared_dns_views"]
    assert [name.split("=")[0] for name in outcome.names[-2:]] == ["resolver", "dns_view"]
    assert all(ok is True for ok, *_ in outcome.steps.values())
    outcome.ok("options", "ttl 60 s", "timeout 10 s", "all tokens")
    outcome.ok("credentials", "AKID…IN01", "environment")
    outcome.ok("endpoint", resolver.url, "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER", "us-east-2")
    outcome.ok("call", "ListGlobalResolvers")
    outcome.ok("shared_dns_views", "0 shared DNS views")
    assert ACCESS_KEY not in outcome.output
    assert resolver.count("ListGlobalResolvers") == 1 and resolver.count("GetAccessToken") == 0


@pytest.mark.core
def test_a_token_is_named(check, resolver, token):
    """That one is asked for and nothing else; its status and end are told, its value isn't."""
    outcome = check(token["id"])
    assert outcome.status == 0 and outcome.names == [*STEPS, f"token={token['id']}"]
    outcome.ok("call", "GetAccessToken")
    outcome.ok(f"token={token['id']}", "OPERATIONAL", "expires", "days")
    assert resolver.count("GetAccessToken", result="ok") == 1 and resolver.count("ListGlobalResolvers") == 0


def test_for_people(check, token):
    """Marks, aligned labels, an arrow before what to do, and a verdict."""
    done = check.run(token["id"])
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == ""
    assert lines[-1] == "A mount would work." and lines[-2] == ""
    assert all(line.startswith("✓ ") and line[16] == " " != line[17] for line in lines[:-2]), done.stdout
    done = check.run("-o", f"token={token['id']}", "at-unknown", environ={"AWS_SECRET_ACCESS_KEY": "wrong"})
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and lines[-1] == "A mount would not work: 1 step failed."
    failed = next(i for i, line in enumerate(lines) if line.startswith("✗ "))
    assert lines[failed].startswith("✗ signed call") and lines[failed + 1].startswith(" " * 17 + "→ check the access key")
    assert [line for line in lines[failed + 2:-2] if not line.startswith("– ")] == []


@pytest.mark.parametrize("environ", [{"LC_ALL": "C"}, {"LC_ALL": None, "LANG": "POSIX"}])
def test_in_ascii(check, environ):
    """Where the locale is C or POSIX, nothing else than ASCII is printed."""
    done = check.run("at-unknown", environ=environ)
    assert done.returncode == 1 and done.stdout.isascii()
    assert "+ FUSE " in done.stdout and "x token " in done.stdout and " -> " in done.stdout
    assert "AKID...IN01" in done.stdout


def test_wrapped_on_a_terminal(check):
    """On a terminal lines aren't longer than it is wide."""
    script = f"stty cols 60; {shlex.quote(BINARY)} --check at-unknown"
    done = subprocess.run(["script", "-qec", script, "/dev/null"], env=check.environ, capture_output=True, text=True,
                          timeout=HANG, check=False, stdin=subprocess.DEVNULL)
    lines = done.stdout.replace("\r", "").splitlines()
    assert any(line.startswith("✗ token") for line in lines), done.stdout
    words = [line for line in lines if "/" not in line]     # a path is a word that can't be broken
    assert max(map(len, words)) <= 60, done.stdout
    assert any(line.startswith(" " * 17) and "→" not in line for line in lines), done.stdout


def test_nothing_is_changed(check, token):
    """No mount, no file, no process is left."""
    def mounts():
        """Those in the test's own directory: other tests mount beside it."""
        lines = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if str(check.home.parent) in line]

    before = mounts()
    assert check(token["id"]).status == 0
    assert mounts() == before
    assert list(check.home.rglob("*")) == []


# --- Options

@pytest.mark.parametrize("words, said", [
    (["-o", "ttl=never"], ["ttl", "never"]), (["-o", "tttl=1"], ["tttl", "ttl"]), (["-x"], ["-x"]),
    (["one", "two"], ["one token id"]), (["not/an/id"], ["not/an/id"]), (["-o", "ca_bundle="], ["ca_bundle"]),
    (["-o", "on_change=/bin/true"], ["on_change", "watch="]), (["-o", "remount"], ["remount"]),
    (["-o", "max_tokens=1,token=at-a,token=at-b"], ["max_tokens", "too few"]), (["-o", "allow_root"], ["allow_root"])])
def test_options_are_refused(check, resolver, words, said):
    """What is wrong with the command line is the first step, for machines too; nothing else is tried."""
    outcome = check(*words)
    assert outcome.failed("options", *said) and outcome.names == ["options"]
    done = check.run(*words)
    assert done.returncode == 1 and done.stdout.startswith("✗ options ") and done.stderr == ""
    assert resolver.counters()["accepted"] == 0


def test_scopes_are_told(check, token):
    """The options' step says which tokens would exist."""
    check("-o", f"token={token['id']},ttl=5,stale=0").ok("options", "ttl 5 s", "stale 0 s", "scopes")


# --- FUSE

def namespace(script):
    """Runs what follows in a mount namespace of its own, after a script."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"set -e; {script}; exec \"$@\"", "sh"]


BARE_DEV = "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9"
OPEN_DEV = f"{BARE_DEV}; mknod -m 666 /dev/fuse c 10 229"


@pytest.fixture
def nobody(check, directory):
    """A Checker whose program another user can start."""
    check.binary = shutil.copy(BINARY, directory / "tokenfs")
    os.chmod(check.binary, 0o755)
    return check


@needs_root
def test_no_device(check):
    """No /dev/fuse: the module, or the container. All else is checked, and works."""
    outcome = check(prefix=namespace(BARE_DEV))
    assert "modprobe fuse" in outcome.failed("fuse", "/dev/fuse", "No such file")
    assert outcome.all_failed == ["fuse"]
    outcome.ok("listing")


@needs_root
def test_another_device(check):
    """Something else lies there."""
    outcome = check(prefix=namespace("mount --bind /dev/null /dev/fuse"))
    assert "10:229" in outcome.failed("fuse", "isn't the FUSE device")


@needs_root
def test_root_without_the_right_to_mount(check):
    """As in a container without CAP_SYS_ADMIN."""
    outcome = check(prefix=["setpriv", "--bounding-set=-sys_admin"])
    assert "--cap-add SYS_ADMIN" in outcome.failed("fuse", "CAP_SYS_ADMIN")


@needs_root
def test_mounting_directly(check):
    """Root needs no helper."""
    check().ok("fuse", "directly")
    check("-o", "auto_unmount").ok("fuse", "fusermount3")


@needs_root
def test_users_mount_through_the_helper(nobody):
    """Another user has fusermount3 do it."""
    outcome = nobody(prefix=namespace(OPEN_DEV) + NOBODY)
    outcome.ok("fuse", "/usr/bin/fusermount3")
    assert outcome.status == 0


@needs_root
def test_device_is_not_for_all(nobody):
    """Its mode leaves the user out."""
    outcome = nobody(prefix=namespace(f"{OPEN_DEV}; chmod 600 /dev/fuse") + NOBODY)
    assert "0666" in outcome.failed("fuse", "Permission denied")


@needs_root
def test_allow_other_is_for_root(nobody, directory):
    """Unless /etc/fuse.conf says user_allow_other; root may always."""
    nobody("-o", "allow_other").ok("fuse")
    conf = directory / "fuse.conf"
    bind = f"{OPEN_DEV}; mount --bind {conf} /etc/fuse.conf"
    conf.write_text("# user_allow_other\nmount_max = 7\n")
    outcome = nobody("-o", "allow_other", prefix=namespace(bind) + NOBODY)
    assert "user_allow_other" in outcome.failed("fuse", "allow_other", "/etc/fuse.conf")
    conf.write_text("mount_max = 7\n  user_allow_other # all of them\n")
    nobody("-o", "allow_other", prefix=namespace(bind) + NOBODY).ok("fuse")


@needs_root
def test_no_helper(nobody, directory):
    """fusermount3 isn't installed (here: nothing that can be started lies there)."""
    empty = directory / "empty"
    empty.write_text("")
    outcome = nobody(prefix=namespace(f"{OPEN_DEV}; mount --bind {empty} /usr/bin/fusermount3") + NOBODY)
    assert "apt install fuse3" in outcome.failed("fuse", "fusermount3", "isn't there")


@needs_root
def test_helper_without_rights(nobody, directory):
    """fusermount3 has lost its setuid bit."""
    copy = shutil.copy("/usr/bin/fusermount3", directory / "copy")
    os.chmod(copy, 0o755)
    outcome = nobody(prefix=namespace(f"{OPEN_DEV}; mount --bind {copy} /usr/bin/fusermount3") + NOBODY)
    assert "setuid" in outcome.failed("fuse", "/usr/bin/fusermount3")


@needs_root
def test_helper_that_gains_nothing(nobody):
    """no_new_privs, as containers and services set it."""
    outcome = nobody(prefix=namespace(OPEN_DEV) + [*NOBODY, "--no-new-privs"])
    assert "no_new_privs" in outcome.failed("fuse", "no_new_privs")


# --- The user

@needs_root
def test_user(check):
    """user=NAME is tried: what it can't read, the mount couldn't either."""
    outcome = check("-o", "user=nobody")
    outcome.ok("user", "nobody")
    assert outcome.status == 0
    keys = check.write("keys", "[default]\n" + KEYS)
    check(AWS_SHARED_CREDENTIALS_FILE=keys, **NO_KEYS).ok("credentials", "shared credentials file")
    outcome = check("-o", "user=nobody", AWS_SHARED_CREDENTIALS_FILE=keys, **NO_KEYS)
    outcome.failed("configuration", keys, "Permission denied")


@needs_root
def test_user_that_it_cannot_become(check):
    """Root whose right to change users was taken away; nothing is tried as another user than the one that is meant."""
    outcome = check("-o", "user=nobody", prefix=["setpriv", "--bounding-set=-setuid"])
    assert "root" in outcome.failed("user")
    outcome.skipped("configuration", "credentials", "endpoint", "lookup", "tls", "clock", "call", "listing")


# --- Configuration

def test_files_that_are_not_there(check):
    """Paths, and that nothing is there; which is no failure."""
    home = check.home
    check().ok("configuration", f"{home}/.aws/config (not there)", f"{home}/.aws/credentials (not there)",
               "profile default")


def test_files_that_are_there(check):
    """Paths and profile, with where the profile was named."""
    config = check.write("my config", "[profile web]\nregion = eu-west-1\n")
    check.write(".aws/credentials", "[default]\n")
    outcome = check(AWS_CONFIG_FILE=config, AWS_PROFILE="web")
    outcome.ok("configuration", f"{config}, ", f"{check.home}/.aws/credentials; profile web")
    assert "not there" not in outcome.steps["configuration"][1]


@needs_root
def test_files_that_may_not_be_read(nobody):
    """At the usual place they are passed over, and the report says what to do; one that was named is an error."""
    path = nobody.write(".aws/credentials", "[default]\n" + KEYS)
    prefix = namespace(OPEN_DEV) + NOBODY
    says = f"{path} may not be read by uid 65534, the user that serves: chown it"
    assert nobody(prefix=prefix).ok("configuration", f"{path} (may not be read)") == says
    outcome = nobody("-o", "profile=web", prefix=prefix)
    assert outcome.failed("configuration", "in neither") == outcome.failed("credentials", "web") == says
    outcome = nobody(prefix=prefix, AWS_SHARED_CREDENTIALS_FILE=path)
    assert outcome.failed("configuration", path, "Permission denied")
    outcome.skipped("credentials", "endpoint", "lookup", "call", "listing")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_missing_profile(check, how):
    """A profile that was named and isn't there."""
    check.write(".aws/config", "[profile other]\n")
    outcome = check(*(["-o", "profile=web"] if how == "option" else []),
                    AWS_PROFILE="web" if how == "environment" else None)
    assert "profile=" in outcome.failed("configuration", "profile web", "in neither")
    outcome.failed("credentials", "web")
    outcome.ok("clock")


def test_broken_file(check):
    """File and line are named, the line isn't quoted."""
    path = check.write(".aws/config", f"[default]\nregion = x\n[profile web\nsecret = {PLANTED}\n")
    outcome = check()
    assert outcome.failed("configuration", path, "3")
    outcome.skipped(*STEPS[3:], "listing")


# --- Credentials

def test_no_credentials(check, resolver, token):
    """Where they were looked for, and what to do; the way to the service is checked all the same."""
    outcome = check(token["id"], **NO_KEYS)
    assert "AWS_ACCESS_KEY_ID" in outcome.failed("credentials", ".aws/credentials", "default")
    outcome.ok("clock")
    outcome.skipped("call", f"token={token['id']}")
    assert outcome.all_failed == ["credentials"] and resolver.count("GetAccessToken") == 0


def test_half_of_the_keys(check):
    """A provider that is configured wrongly is named."""
    outcome = check(AWS_SECRET_ACCESS_KEY=None)
    assert outcome.failed("credentials", "environment", "AWS_SECRET_ACCESS_KEY") == "set both or neither"


def test_provider_and_profile_are_named(check):
    """A profile's keys; profile= outdoes the environment."""
    check.write(".aws/credentials", "[web]\n" + KEYS)
    outcome = check("-o", "profile=web", AWS_ACCESS_KEY_ID="AKIDANOTHER000000000", AWS_SECRET_ACCESS_KEY=PLANTED)
    outcome.ok("credentials", "AKID…IN01", "shared credentials file (profile web)", "until they are replaced")
    assert outcome.status == 0


@pytest.mark.core
@pytest.mark.parametrize("sandbox", ["off"] if SANITIZED else ["on", "off"])
def test_credential_process(check, sandbox):
    """It is run as the mount would run it: from within the sandbox, by the helper."""
    document = json.dumps({"Version": 1, "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY})
    program = check.write("program", f"#!/bin/sh\ncat <<END\n{document}\nEND\n", 0o700)
    check.write(".aws/config", f"[default]\ncredential_process = {program}\n")
    outcome = check("-o", f"sandbox={sandbox}", **NO_KEYS)
    outcome.ok("credentials", "credential_process")
    assert outcome.status == 0


@pytest.mark.parametrize("sandbox", ["off"] if SANITIZED else ["on", "off"])
def test_files_that_profiles_name(check, directory, sandbox):
    """The token file of a profile's source's source is read, within the sandbox as without."""
    token = directory / "far" / "token"
    token.parent.mkdir()
    token.write_text("subject")
    check.write(".aws/config", "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = a\n"
                "[profile a]\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = b\n"
                f"[profile b]\nrole_arn = arn:aws:iam::1:role/b\nweb_identity_token_file = {token}\n")
    with aws_fakes.Fakes() as fakes:
        fakes.identity_tokens["subject"] = "subject"
        outcome = check("-o", f"sandbox={sandbox}", AWS_ENDPOINT_URL_STS=fakes.url, **NO_KEYS)
    outcome.ok("credentials", "assume role")


def test_expired_before_use(check):
    """Their end is known here already."""
    outcome = check(AWS_CREDENTIAL_EXPIRATION="2020-01-01T00:00:00Z")
    assert "renew" in outcome.failed("credentials", "expired")
    outcome.skipped("call", "listing")


def test_end_is_told(check, resolver):
    """When they end, in both forms."""
    with aws_fakes.Fakes() as fakes:
        fakes.lifetime = 7200
        keys = aws_fakes.keys_for("container", "/keys")
        resolver.add_key(keys["id"], keys["secret"], session_token=keys["token"])
        outcome = check(AWS_CONTAINER_CREDENTIALS_FULL_URI=fakes.url + "/keys", **NO_KEYS)
    outcome.ok("credentials", "container", "Z (in ", f"{keys['id'][:4]}…{keys['id'][-4:]}")
    assert outcome.status == 0


def test_provider_that_fails_for_now(check):
    """It is asked again while there is time; then its trouble is told."""
    with aws_fakes.Fakes() as fakes:
        fakes.faults["container"] = [(500, "", "text/plain")] * 100
        outcome = check("-o", "timeout=5", AWS_CONTAINER_CREDENTIALS_FULL_URI=fakes.url + "/keys", **NO_KEYS)
        assert len(fakes.of("container")) >= 2
    outcome.failed("credentials", "container", "500")


def test_provider_that_hangs(check):
    """timeout= bounds it; the other steps don't wait for it."""
    with aws_fakes.Fakes() as fakes:
        fakes.delay["container"] = 5
        outcome = check("-o", "timeout=1", AWS_CONTAINER_CREDENTIALS_FULL_URI=fakes.url + "/keys", **NO_KEYS)
    assert outcome.failed("credentials")
    outcome.ok("clock")
    outcome.skipped("call", "listing")


def test_provider_refuses(check):
    """STS says no."""
    check.write(".aws/config", "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n")
    check.write(".aws/credentials", f"[base]\naws_access_key_id = AKIDX\naws_secret_access_key = {PLANTED}\n")
    with aws_fakes.Fakes() as fakes:
        outcome = check(AWS_ENDPOINT_URL_STS=fakes.url, **NO_KEYS)
    outcome.failed("credentials", "assume role", "InvalidClientTokenId")


@pytest.mark.parametrize("what, environ", [
    ("SignatureDoesNotMatch", {"AWS_SECRET_ACCESS_KEY": "another+secret/key+of/forty+characters+0"}),
    ("UnrecognizedClient", {"AWS_ACCESS_KEY_ID": "AKIDUNKNOWN000000001"})])
def test_rejected(check, token, what, environ):
    """The service doesn't accept them: the signed call fails, what follows from it is skipped."""
    outcome = check(token["id"], **environ)
    outcome.ok("credentials")
    assert "access key" in outcome.failed("call", what)
    outcome.skipped(f"token={token['id']}")


def test_expired_by_the_service(check, resolver):
    """A session that is over."""
    resolver.add_key("ASIAEXPIRED000000001", SECRET_KEY, session_token=PLANTED + "-session", expires_in=-10)
    outcome = check(AWS_ACCESS_KEY_ID="ASIAEXPIRED000000001", AWS_SESSION_TOKEN=PLANTED + "-session")
    assert "renewed" in outcome.failed("call", "ExpiredToken")
