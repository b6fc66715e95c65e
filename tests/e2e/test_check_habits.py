"""What people with habits of the AWS tools write: it is told apart, and what to write instead."""
# pylint: disable=redefined-outer-name

import os
import subprocess

import pytest
from mounting import BINARY, HANG, until

import aws_fakes
from checking import KEYS, NO_KEYS, Checker
from test_tls_proxy import lines_with, needs_root, write_home

STRANGER = 65533


@pytest.fixture
def check(resolver, directory):
    """Runs checks."""
    return Checker(directory, resolver)


@pytest.mark.parametrize("switch, words", [
    ("--profile", "use -o profile="),
    ("--profile=web", "use -o profile="),
    ("--endpoint-url", "use -o endpoint_url="),
    ("--ca-bundle", "use -o ca_bundle="),
    ("--region", "use -o region="),
    ("--no-such-thing", "tokenfs -h"),
])
def test_switches(switch, words):
    """Where the AWS tools have a switch, a mount has an option."""
    done = subprocess.run([BINARY, switch, "web", "/nowhere"], capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode != 0 and words in done.stderr, done.stderr


def test_sections_of_the_other_file(check):
    """[office] in the config file, [profile office] in the credentials file."""
    for path, section, right in ((".aws/config", "office", "[profile office]"),
                                 (".aws/credentials", "profile office", "[office]")):
        file = check.write(path, f"[{section}]\n{KEYS}")
        outcome = check("-o", "profile=office", **NO_KEYS)
        remedy = outcome.failed("configuration", "office")
        assert f"[{section}]" in remedy and right in remedy and file in remedy, remedy
        os.unlink(file)


@pytest.mark.parametrize("environ, words", [
    ({"AWS_ACCESS_KEY_ID": " "}, ["access key id", "is blank"]),
    ({"AWS_SECRET_ACCESS_KEY": " \t"}, ["secret access key", "is blank"]),
    ({"AWS_SESSION_TOKEN": " "}, ["session token", "is blank"]),
])
def test_blank_keys(check, environ, words):
    """One blank is no key."""
    check().ok("credentials")
    check(**environ).failed("credentials", *words)


def test_comments_behind_values(check):
    """The AWS tools take them as part of the value."""
    for key in ("aws_access_key_id", "aws_secret_access_key"):
        lines = [line + " # of mine" if line.startswith(key) else line for line in KEYS.splitlines()]
        check.write(".aws/credentials", "\n".join(["[default]", *lines, ""]))
        check(**NO_KEYS).failed("credentials", "comment", "line of its own")
    check.write(".aws/config", "[default]\nuse_fips_endpoint = false # no\n")
    check().failed("endpoint", "use_fips_endpoint")
    assert "comment" in check("-o", "region=us-east-2 # here").output


def test_wrong_region(check, resolver, token):
    """The service refuses the signature's region: the option is named."""
    resolver.regions = {"us-east-2"}
    outcome = check("-o", "region=eu-west-1", token["id"])
    assert "region=" in outcome.failed("call")


def test_profile_without_a_known_source(check):
    """It exists, but ends in the machine's role: another identity signs, which is told with the keys that aren't known."""
    with aws_fakes.Fakes() as fakes:
        check.write(".aws/config", "[profile web]\nregion = eu-west-1\ncli_pager =\nsource_of_2031 = x\nother_key = y\n")
        instance = {**NO_KEYS, "AWS_EC2_METADATA_DISABLED": None, "AWS_EC2_METADATA_SERVICE_ENDPOINT": fakes.url}
        remedy = check("-o", "profile=web", **instance).ok("credentials", "instance metadata")
        assert '"web"' in remedy and "other_key, source_of_2031" in remedy and "region" not in remedy, remedy
        assert not check(**instance).ok("credentials", "instance metadata")
    outcome = check("-o", "profile=web", **NO_KEYS)
    outcome.failed("credentials", "none found", "source_of_2031")


def test_profile_without_a_known_source_of_a_mount(mount, resolver, token):
    """One warning in the log, and it stands in the status."""
    with aws_fakes.Fakes() as fakes:
        keys = aws_fakes.keys_for("imds", "machine")
        resolver.add_key(keys["id"], keys["secret"], session_token=keys["token"])
        fs = mount(environ={**NO_KEYS, "AWS_EC2_METADATA_DISABLED": None,
                            "AWS_EC2_METADATA_SERVICE_ENDPOINT": fakes.url}, start=False)
        write_home(fs, ".aws/config", "[profile web]\nsource_of_2031 = x\n")
        fs.start({"profile": "web", "ttl": 0})
        assert fs.text(token["id"], "value") == token["value"]
        assert len(lines_with(fs, "warning: credentials:", '"web"', "source_of_2031")) == 1, fs.log()
        assert "source_of_2031" in fs.status()["credentials"]["warning"]
        assert fs.status()["credentials"]["state"] == "ok"


def test_watched_names(check, resolver):
    """A name with a typing error would be watched for ever."""
    token = resolver.add_token(name="office")
    outcome = check("-o", "watch=office,watch=officee")
    outcome.ok("watch=office", token["id"])
    assert "spelling" in outcome.failed("watch=officee", "no token has the name")
    resolver.deny(operation="ListGlobalResolvers")
    check("-o", "watch=office").failed("watch=office", "access_denied")


# --- Files that others may write

@needs_root
@pytest.mark.parametrize("name", ["config", "credentials"])
@pytest.mark.parametrize("change, words", [
    (lambda path: (os.chown(path, STRANGER, 0), os.chmod(path, 0o644)), ["another user", str(STRANGER)]),
    (lambda path: os.chown(path, STRANGER, 0), ["may not be read", "chown it"]),
    (lambda path: os.chmod(path, 0o646), ["every user", "chmod go-w"]),
    (lambda path: (os.chown(path, 0, STRANGER), os.chmod(path, 0o660)), ["another group"]),
    (lambda path: os.chmod(path, 0o644), None),
    (lambda path: os.chmod(path, 0o660), None),
])
def test_files_that_others_may_write(check, name, change, words):
    """They choose the credentials: a warning, with the file's name."""
    path = check.write(f".aws/{name}", "[default]\n" + KEYS)
    change(path)
    remedy = check(**NO_KEYS).ok("configuration")
    assert all(word in remedy for word in [path, *words]) if words else not remedy, remedy


@needs_root
def test_a_program_of_others(check):
    """credential_process runs as root, and another user wrote the line."""
    path = check.write(".aws/config", "[default]\ncredential_process = /bin/true\n")
    os.chown(path, STRANGER, STRANGER)
    os.chmod(path, 0o644)
    assert "credential_process runs as root" in check().ok("configuration")


@needs_root
def test_files_that_others_may_write_of_a_mount(mount, token):
    """One warning in the log; the mount works."""
    fs = mount(environ=NO_KEYS, start=False)
    path = write_home(fs, ".aws/credentials", "[default]\n" + KEYS)
    os.chmod(path, 0o606)
    fs.start({"ttl": 0})
    assert fs.text(token["id"], "value") == token["value"]
    os.utime(path)
    until(lambda: fs.text(token["id"], "value") == token["value"], "a read after the change")
    assert len(lines_with(fs, "warning: credentials:", path, "every user")) == 1, fs.log()
