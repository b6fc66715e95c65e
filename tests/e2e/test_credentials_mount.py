"""The credentials of a whole mount: that come later, change, become unreadable, are revoked, refused or renewed."""

import json
import os
import pathlib
import shutil
import signal
import time

import pytest
from mounting import MountFailed, until
from resolver import ACCESS_KEY, SECRET_KEY

import aws_fakes
from netns import Network
from test_tls_proxy import NO_KEYS, keys_text, lines_with, needs_root, read_anew, write_home


def test_keys_are_changed_in_the_file(mount, resolver, token):
    """A changed credentials file is used without restart or signal; the old key may be gone by then."""
    fs = mount(environ=NO_KEYS, ttl=0, start=False)
    write_home(fs, ".aws/credentials", keys_text())
    fs.start({"ttl": 0, "negative_ttl": 0})
    assert fs.text(token["id"], "value") == token["value"]
    resolver.add_key("AKIDROTATED000000001", "rotated+secret")
    write_home(fs, ".aws/credentials", keys_text("AKIDROTATED000000001", "rotated+secret"))
    resolver.remove_key(ACCESS_KEY)
    assert read_anew(fs, token["id"]) == token["value"]
    assert resolver.calls("GetAccessToken")[-1].key == "AKIDROTATED000000001"
    assert "rotated+secret" not in fs.log()


def test_keys_are_revoked_then_replaced(mount, resolver, token):
    """EKEYREJECTED while the file has a key that is gone; new keys in it end that, without a signal."""
    fs = mount(environ=NO_KEYS, start=False)
    write_home(fs, ".aws/credentials", keys_text())
    fs.start({"ttl": 0, "negative_ttl": 0, "timeout": 3})
    assert fs.text(token["id"], "value") == token["value"]
    resolver.remove_key(ACCESS_KEY)
    until(lambda: fs.read_error(token["id"], "value") == "EKEYREJECTED", "the rejection")
    resolver.add_key("AKIDROTATED000000001", "rotated+secret")
    write_home(fs, ".aws/credentials", keys_text("AKIDROTATED000000001", "rotated+secret"))
    until(lambda: fs.read_error(token["id"], "value") == "OK", "the new keys")


def test_keys_come_later(mount, resolver, token):
    """ENOKEY until the file is there, in a directory that was; then it works."""
    fs = mount(environ=NO_KEYS, start=False)
    os.mkdir(f"{fs.home}/.aws")
    fs.start({"negative_ttl": 0, "timeout": 3})
    assert fs.read_error(token["id"], "value") == "ENOKEY"
    assert fs.read_error(token["id"], "value") == "ENOKEY"
    assert len(lines_with(fs, "error: credentials: none found", "AWS_ACCESS_KEY_ID")) == 1, fs.log()
    write_home(fs, ".aws/credentials", keys_text())
    until(lambda: fs.read_error(token["id"], "value") == "OK", "the keys")
    assert len(lines_with(fs, "credentials: ", "shared credentials file")) == 1, fs.log()


def test_keys_come_later_in_a_new_directory(mount, token):
    """The sandbox doesn't reach a directory that was made after it; a new worker does."""
    fs = mount(environ=NO_KEYS, negative_ttl=0, timeout=3)
    assert fs.read_error(token["id"], "value") == "ENOKEY"
    write_home(fs, ".aws/credentials", keys_text())
    fs.signal(signal.SIGUSR2)
    until(lambda: "took over the mount" in fs.log(), "the new worker")
    until(lambda: fs.read_error(token["id"], "value") == "OK", "the keys")


def test_profile_becomes_unreadable(mount, resolver, token):
    """profile= serves; its file's mode goes wrong for a moment: never are the environment's keys signed with."""
    resolver.add_key("AKIDOTHERACCOUNT0001", "other-secret")
    fs = mount(start=False, environ={"AWS_ACCESS_KEY_ID": "AKIDOTHERACCOUNT0001", "AWS_SECRET_ACCESS_KEY": "other-secret"})
    path = pathlib.Path(write_home(fs, "keys", keys_text(profile="one")))
    fs.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(path)
    fs.start({"ttl": 0, "profile": "one"})
    assert fs.text(token["id"], "value") == token["value"]
    path.chmod(0)
    until(lambda: fs.read_error(token["id"], "value") and lines_with(fs, str(path), "can't be read"), "the refresh")
    read_anew(fs, token["id"])
    assert {call.key for call in resolver.calls("GetAccessToken")} == {ACCESS_KEY}, fs.log()


@pytest.mark.parametrize("name", ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"])
def test_path_with_a_variable(mount, token, name):
    """A path that begins with a variable isn't taken for a relative one."""
    fs = mount(start=False, environ={**NO_KEYS, name: "$HOME/else/keys"})
    write_home(fs, "else/keys", keys_text())
    command = fs.command
    fs.command = lambda *words: ["env", "-C", fs.home, *command(*words)]
    fs.start({"timeout": 3})
    assert fs.text(token["id"], "value") == token["value"]


@needs_root
def test_keys_in_the_root_directory(mount, resolver, token):
    """A file that lies there (containers do that), and one that a link from there points to, elsewhere."""
    fs = mount(environ=NO_KEYS, start=False)
    path = f"/e2e-keys-{os.getpid()}"
    try:
        shutil.copy(write_home(fs, "keys", keys_text()), path)
        fs.environ["AWS_SHARED_CREDENTIALS_FILE"] = path
        fs.start({})
        assert fs.text(token["id"], "value") == token["value"]
        os.unlink(path)
        os.symlink(f"{fs.home}/keys", path)
        other = mount(environ={**NO_KEYS, "AWS_SHARED_CREDENTIALS_FILE": path})
        assert other.text(token["id"], "value") == token["value"]
    finally:
        os.unlink(path)


def test_wrong_configuration_of_a_provider(mount, token):
    """ENOKEY for a profile that isn't there, and for half of the keys; the log says which."""
    fs = mount(environ={"AWS_PROFILE": "missing"}, timeout=3)
    assert fs.read_error(token["id"], "value") == "ENOKEY"
    assert lines_with(fs, "missing"), fs.log()
    fs = mount(environ={"AWS_SECRET_ACCESS_KEY": None}, timeout=3)
    assert fs.read_error(token["id"], "value") == "ENOKEY"
    assert lines_with(fs, "AWS_SECRET_ACCESS_KEY"), fs.log()


def test_broken_configuration_file(mount):
    """It is refused before the mount, with file and line."""
    fs = mount(start=False)
    path = write_home(fs, ".aws/config", "[default]\nregion = x\n[profile web\n")
    with pytest.raises(MountFailed) as failure:
        fs.start({})
    assert path in failure.value.text and "3" in failure.value.text


def test_keys_that_are_known_to_be_over(mount, resolver, token):
    """EKEYEXPIRED from their own end, without a call."""
    fs = mount(environ={"AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z"}, timeout=3)
    assert fs.read_error(token["id"], "value") == "EKEYEXPIRED"
    assert resolver.counters()["calls"] == 0


def test_role_that_is_refused(mount, token):
    """EKEYREJECTED: STS says no."""
    with aws_fakes.Fakes() as fakes:
        fs = mount(environ={**NO_KEYS, "AWS_ENDPOINT_URL_STS": fakes.url}, start=False)
        write_home(fs, ".aws/config", "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n")
        write_home(fs, ".aws/credentials", keys_text("AKIDBASE00000000001", "base-secret", "base"))
        fs.start({"timeout": 3})
        assert fs.read_error(token["id"], "value") == "EKEYREJECTED"
        assert lines_with(fs, "assume role", "InvalidClientTokenId") and "base-secret" not in fs.log()


def test_role_that_is_renewed(mount, resolver, token):
    """Keys that live for seconds are replaced before their end, under readers that see none of it."""
    with aws_fakes.Fakes() as fakes:
        fakes.lifetime = 3
        fakes.known_keys["AKIDBASE00000000001"] = ("base-secret", None)
        keys = aws_fakes.keys_for("arn:aws:iam::1:role/r", "AKIDBASE00000000001", "", "")
        resolver.add_key(keys["id"], keys["secret"], session_token=keys["token"])
        fs = mount(environ={**NO_KEYS, "AWS_ENDPOINT_URL_STS": fakes.url}, start=False)
        write_home(fs, ".aws/config", "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n")
        write_home(fs, ".aws/credentials", keys_text("AKIDBASE00000000001", "base-secret", "base"))
        fs.start({"ttl": 0})
        end = time.monotonic() + 8
        while time.monotonic() < end:
            assert fs.text(token["id"], "value") == token["value"]
            time.sleep(0.05)
        assert len(fakes.of("sts")) >= 3
        status = fs.status()["credentials"]
        assert status["provider"].startswith("assume role") and status["expiresAt"]


@needs_root
@pytest.mark.parametrize("environ, options, host", [
    ({}, {}, "sts.eu-west-1.amazonaws.com"), ({"AWS_REGION": "aws-global"}, {}, "sts.amazonaws.com"),
    ({"AWS_USE_FIPS_ENDPOINT": "true"}, {}, "sts-fips.eu-west-1.amazonaws.com"),
    ({}, {"use_fips": True}, "sts-fips.eu-west-1.amazonaws.com")])
def test_endpoint_of_sts(mount, token, environ, options, host):
    """Which name is looked up for a role; here nobody knows it. What is said of FIPS is said of STS, too."""
    fs = mount(environ={**NO_KEYS, "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": None, "AWS_REGION": "eu-west-1", **environ},
               start=False)
    write_home(fs, ".aws/config", "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n")
    write_home(fs, ".aws/credentials", keys_text("AKIDBASE00000000001", "base-secret", "base"))
    command = fs.command
    with Network() as network:
        fs.command = lambda *words: [*network.prefix, *command(*words)]
        fs.start({"timeout": 2, **options})
        assert fs.read_error(token["id"], "value") != "OK"
        until(lambda: lines_with(fs, f" {host} can't be found"), "the look-up")


def test_a_program_that_fails(mount, token):
    """ENOKEY, not "No route to host": nothing is wrong with the endpoint, and the status says so. It may work later."""
    fs = mount(environ=NO_KEYS, start=False)
    program = write_home(fs, "bin/credentials", "#!/bin/sh\nexit 3\n")
    os.chmod(program, 0o755)
    write_home(fs, ".aws/config", f"[default]\ncredential_process = {program}\n")
    fs.start({"negative_ttl": 0, "timeout": 3})
    assert fs.read_error(token["id"], "value") == "ENOKEY"
    status = fs.status()
    assert status["endpoint"]["state"] == "ok" and "exited with status 3" in status["credentials"]["error"], status
    write_home(fs, "bin/new", '#!/bin/sh\necho \'{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "%s"}\'\n'
               % (ACCESS_KEY, SECRET_KEY))
    os.chmod(f"{fs.home}/bin/new", 0o755)
    os.rename(f"{fs.home}/bin/new", program)
    until(lambda: fs.read_error(token["id"], "value") == "OK", "the program works again")


def test_credentials_expire_while_a_copy_is_held(mount, resolver, token):
    """The copy is served for stale= seconds more, then EKEYEXPIRED; the status says so from the first failure on."""
    fs = mount(environ=NO_KEYS, start=False)
    document = {"Version": 1, "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY,
                "Expiration": aws_fakes.stamp(time.time() + 10)}
    answer = write_home(fs, "answer", json.dumps(document))
    write_home(fs, ".aws/config", f"[default]\ncredential_process = cat {answer}\n")
    fs.start({"ttl": 0.2, "negative_ttl": 0, "stale": 4, "timeout": 3})
    assert fs.text(token["id"], "value") == token["value"]
    assert fs.status()["credentials"]["state"] == "ok"
    os.unlink(answer)           # no renewal comes
    until(lambda: (fs.read_error(token["id"], "value"), fs.status()["credentials"]["state"])[1] == "failing",
          "the renewal that fails")
    until(lambda: (fs.read_error(token["id"], "value"), fs.status()["credentials"]["state"])[1] == "invalid", "the end")
    assert time.time() >= time.mktime(time.strptime(document["Expiration"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert fs.text(token["id"], "value") == token["value"], "the copy is served on"
    assert fs.status()["tokens"][0]["state"] == "stale" and fs.status()["credentials"]["error"]
    until(lambda: fs.read_error(token["id"], "value") == "ENOKEY", "the end of stale=")
    document["Expiration"] = aws_fakes.stamp(time.time() - 1)
    write_home(fs, "answer", json.dumps(document))
    until(lambda: fs.read_error(token["id"], "value") == "EKEYEXPIRED", "keys that have expired")
    assert fs.status()["credentials"]["state"] == "expired"
    document["Expiration"] = aws_fakes.stamp(time.time() + 3600)
    write_home(fs, "answer", json.dumps(document))
    until(lambda: fs.read_error(token["id"], "value") == "OK", "new keys")
    assert fs.status()["credentials"]["state"] == "ok"
