"""What the chain does over time, and where it goes further than botocore 1.29, or another way."""

import json
import os
import random
import shlex
import stat
import time

import pytest

from aws_fakes import keys_for
from credential_cases import role_from_profile
from credential_cases_services import web_identity_from_environment
from credential_world import KEYS, ROLE, SSO_SESSION, oracle

pytest_plugins = ["credential_fixture"]

ARN = "arn:aws:iam::123456789012:role/"


def found(outcome, provider, key_id=None):
    """It is from that provider, with that key."""
    assert outcome.get("provider", "").startswith(provider), outcome
    assert key_id in (None, outcome["access_key_id"])
    return outcome


def failed(outcome, error, *words):
    """It failed in that way, and the description says so."""
    assert outcome.get("error") == error, outcome
    assert all(word in outcome["detail"] for word in words), outcome
    return outcome


# --- Over time

def test_single_flight(world):
    """However many wait, one call goes out."""
    role_from_profile(world)
    world.fakes.delay["sts"] = 0.3
    with world.dump() as dump:
        found(dump.get(50), "assume role")
        assert dump.get(50)["access_key_id"] == keys_for(ARN + "r", "AKIDFILE1", "", "")["id"]
    assert len(world.fakes.of("sts")) == 1


def test_keys_rotate_in_the_file(world):
    """A changed file is reread without a restart; keys that went away don't live on."""
    world.credentials("[default]\n" + KEYS.format(1))
    with world.dump() as dump:
        found(dump.get(), "shared credentials file", "AKIDFILE1")
        world.credentials("[default]\n" + KEYS.format(2))
        dump.until(lambda outcome: outcome["access_key_id"] == "AKIDFILE2")
        world.credentials("")
        dump.until(lambda outcome: outcome.get("error") == "none")
        world.config("[default]\n" + KEYS.format(3))
        found(dump.until(lambda outcome: "error" not in outcome), "config file", "AKIDFILE3")


def test_file_broken_for_a_while(world):
    """While a file is broken, what was found last serves on; one line says so, one that it is over."""
    world.credentials("[default]\n" + KEYS.format(1))
    with world.dump(level="info") as dump:
        found(dump.get(), "shared credentials file", "AKIDFILE1")
        world.credentials("[default\n" + KEYS.format(2))
        for _ in range(14):
            found(dump.get(), "shared credentials file", "AKIDFILE1")
            dump.tell("turn 100")
        assert dump.ask("status")["error"] == "invalid"
        world.credentials("[default]\n" + KEYS.format(2))
        dump.until(lambda outcome: outcome["access_key_id"] == "AKIDFILE2")
    lines = dump.log.splitlines()
    assert len(lines) == 3 and "recovered" in lines[2], lines
    assert "serve on" in lines[1] and ".aws/credentials" in lines[1]


@pytest.mark.parametrize("what", ["its keys", "the profile"])
def test_profile_is_taken_away(world, what):
    """Keys that went away don't live on, whether they or their whole profile were deleted."""
    world.set(AWS_PROFILE="one")
    world.credentials("[one]\n" + KEYS.format(1))
    with world.dump() as dump:
        found(dump.get(), "shared credentials file", "AKIDFILE1")
        world.credentials("[one]\nregion = x\n" if what == "its keys" else "[two]\nregion = x\n")
        dump.until(lambda outcome: "error" in outcome)


def test_outage_of_the_service(world):
    """The last good credentials serve on while they are valid; then an error; then it recovers. One line for each."""
    world.fakes.lifetime = 12
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys")
    with world.dump(level="info") as dump:
        first = found(dump.get(), "container")
        world.fakes.faults["container"] = [(403, "", "text/plain")] * 1000
        while time.time() < first["expires"] - 1:
            assert dump.ask("get")["expires"] == first["expires"]
            dump.tell("turn 100")
        failed(dump.until(lambda outcome: "error" in outcome), "rejected", "container", "403")
        failed(dump.get(), "rejected", "container", "403")
        world.fakes.faults.clear()
        again = found(dump.until(lambda outcome: "error" not in outcome), "container")
        assert again["expires"] > first["expires"]
    said = [line for line in dump.log.splitlines() if "refreshed" not in line]
    assert len(said) == 4, said
    assert all(word in line for word, line in zip(["from container", "serve on", "status 403", "recovered"], said)), said


def test_refresh_in_the_background(world):
    """Before the end, who asks is answered at once with what is there, and the next ones are there in time."""
    world.fakes.lifetime = 8
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys")
    with world.dump() as dump:
        first = found(dump.get(), "container")
        assert dump.ask("now")["expires"] == first["expires"]
        assert len(world.fakes.of("container")) == 1
        end = time.monotonic() + 60
        while len(world.fakes.of("container")) == 1:
            assert "pending" not in dump.ask("now") and time.monotonic() < end
            dump.tell("turn 50")
        assert time.time() < first["expires"]
        found(dump.until(lambda outcome: outcome["expires"] > first["expires"]), "container")


def test_rejected_by_the_service(world):
    """Credentials that were refused are asked for anew, but not more than once in five seconds."""
    role_from_profile(world)
    with world.dump() as dump:
        found(dump.get(), "assume role")
        for _ in range(5):
            dump.tell("reject")
            found(dump.get(), "assume role")
        assert len(world.fakes.of("sts")) == 2
        dump.tell("free")
        found(dump.get(), "assume role")
        assert len(world.fakes.of("sts")) == 3


def test_forgotten_in_flight(world):
    """Who waits when everything is forgotten gets what is read then."""
    role_from_profile(world)
    with world.dump() as dump:
        world.fakes.delay["sts"] = 1
        assert dump.ask("now") == {"pending": True}
        dump.tell("free")
        world.credentials("[base]\n" + KEYS.format(2))
        dump.tell("free")
        found(dump.get(), "assume role", keys_for(ARN + "r", "AKIDFILE2", "", "")["id"])
        assert dump.ask("now")["provider"].startswith("assume role")
        dump.tell("free")
        assert dump.ask("now") == {"pending": True}
        dump.tell("free")


def test_token_file_is_read_each_time(world):
    """Kubernetes renews it."""
    web_identity_from_environment(world)
    with world.dump() as dump:
        found(dump.get(), "web identity")
        world.fakes.identity_tokens = {"next-token": "subject"}
        world.write("token", "next-token\n")
        dump.tell("free")
        found(dump.get(), "web identity")
    assert [call.form["RoleSessionName"] for call in world.fakes.of("sts")] == ["pod-7", "pod-7"]


# --- STS

def test_region_and_session(world):
    """The scope of the signature, and the name of the session, where none are given."""
    def scope():
        authorization = world.fakes.of("sts")[-1].headers["authorization"]
        return authorization.split("Credential=")[1].split(",")[0].split("/")[2]

    role_from_profile(world)
    found(world.ask_us(), "assume role")
    assert scope() == "eu-west-1"
    world.set(AWS_REGION="ap-south-1")
    found(world.ask_us(), "assume role")
    assert scope() == "ap-south-1"
    world.set(AWS_REGION=None, AWS_DEFAULT_REGION=None)
    found(world.ask_us(), "assume role")
    assert scope() == "us-east-2"
    world.config("[profile target]\nregion = sa-east-1\n" + ROLE.format("r") + "source_profile = base\n")
    found(world.ask_us(), "assume role")
    assert scope() == "sa-east-1"
    assert world.fakes.of("sts")[-1].form["RoleSessionName"].startswith("tokenfs-")


def test_clock_is_off(world):
    """The signature is made anew with the service's time, and the end is told in ours."""
    role_from_profile(world)
    world.fakes.skew = -7200
    outcome = found(world.ask_us(), "assume role")
    assert abs(outcome["expires"] - time.time() - 3600) < 60
    assert len(world.fakes.of("sts")) == 2


def test_short_trouble_of_sts(world):
    """A 500 or a throttled call is repeated."""
    role_from_profile(world)
    world.fakes.faults["sts"] = [(500, "", "text/xml"), (429, "", "text/xml")]
    found(world.ask_us(), "assume role")
    assert len(world.fakes.of("sts")) == 3


@pytest.mark.parametrize("answer", [
    "", "<", "<AssumeRoleResponse/>", "no xml", "<!DOCTYPE x [<!ENTITY a 'b'>]><AssumeRoleResponse/>", "x" * 70000,
    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId></Credentials></AssumeRoleResult>"
    "</AssumeRoleResponse>", b"\xff\xfe", "\0",
])
def test_odd_answers_of_sts(world, answer):
    """None is taken."""
    role_from_profile(world)
    world.fakes.faults["sts"] = [(200, answer, "text/xml")] * 3
    outcome = world.ask_us()
    assert outcome["error"] in ("invalid", "failed"), outcome


def test_role_from_sso_session_of_another_profile(world):
    """The session is the source profile's own; botocore 1.29 looked at the wrong one."""
    world.sign_in("corp")
    world.config(SSO_SESSION + "[profile target]\n" + ROLE.format("r") + "source_profile = default\n")
    world.profile = "target"
    source = keys_for("sso", "000012345678", "Reader+All")
    found(world.ask_us(), "assume role", keys_for(ARN + "r", source["id"], "", "")["id"])


def test_mfa_is_refused(world):
    """Nobody can type a code."""
    world.config("[default]\n" + ROLE.format("r") + "source_profile = base\nmfa_serial = arn:aws:iam::1:mfa/me\n"
                 "[profile base]\n" + KEYS.format(1))
    failed(world.ask_us(), "invalid", "mfa_serial", '"default"', "assume role")
    assert not world.fakes.calls


# --- Identity Center

def test_sign_in_is_refreshed(world):
    """With the refresh token; what the AWS CLI needs is written back, for the owner's eyes only."""
    world.sign_in("corp", seconds=-60, refresh="refresh-1")
    world.config(SSO_SESSION)
    world.fakes.refresh_tokens["refresh-1"] = ("sso-access-2", "refresh-2")
    found(world.ask_us(), "IAM Identity Center")
    path = world.sso_cache("corp")
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["accessToken"] == "sso-access-2" and written["refreshToken"] == "refresh-2"
    assert written["clientId"] == "client-id" and written["clientSecret"] == "client-secret"
    assert written["startUrl"] == "https://example.awsapps.com/start" and written["region"] == "eu-north-1"
    assert abs(time.mktime(time.strptime(written["expiresAt"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
               - time.time() - 28800) < 60
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [name.name for name in path.parent.iterdir()] == [path.name]
    found(world.ask_us(), "IAM Identity Center")
    assert oracle().ask(world)["provider"] == "IAM Identity Center"
    assert len(world.fakes.of("oidc")) == 1


def test_sign_in_that_ends_soon_is_refreshed(world):
    """In its last quarter of an hour; without a new refresh token the old one stays."""
    world.sign_in("corp", seconds=600, refresh="refresh-1")
    world.config(SSO_SESSION)
    world.fakes.refresh_tokens["refresh-1"] = ("sso-access-2", None)
    found(world.ask_us(), "IAM Identity Center")
    assert world.fakes.of("sso")[-1].headers["x-amz-sso_bearer_token"] == "sso-access-2"
    assert json.loads(world.sso_cache("corp").read_text(encoding="utf-8"))["refreshToken"] == "refresh-1"


def test_sign_in_that_cannot_be_written(world):
    """It is kept in memory: a refresh token is good for one use."""
    world.sign_in("corp", seconds=-60, refresh="refresh-1")
    path = world.sso_cache("corp")
    path.rename(world.home / "elsewhere")
    path.symlink_to(world.home / "elsewhere")
    world.config(SSO_SESSION)
    world.fakes.refresh_tokens["refresh-1"] = ("sso-access-2", "refresh-2")
    with world.dump() as dump:
        found(dump.get(), "IAM Identity Center")
        dump.tell("free")
        found(dump.get(), "IAM Identity Center")
        # Who signs out is signed out.
        path.unlink()
        dump.tell("free")
        failed(dump.get(), "invalid", "aws sso login")
        world.sign_in("corp", token="sso-access-3", seconds=1800)
        dump.tell("free")
        found(dump.get(), "IAM Identity Center")
    assert len(world.fakes.of("oidc")) == 1 and "can't be written" in dump.log
    assert [call.headers["x-amz-sso_bearer_token"] for call in world.fakes.of("sso")] == [
        "sso-access-2", "sso-access-2", "sso-access-3"]


def test_signing_in_while_it_runs(world):
    """`aws sso login` helps at once, without a restart."""
    world.sign_in("corp", seconds=-60)
    world.config(SSO_SESSION)
    world.profile = "default"
    with world.dump() as dump:
        failed(dump.get(), "expired", "aws sso login --profile default")
        world.sign_in("corp", token="sso-access-9")
        found(dump.until(lambda outcome: "error" not in outcome), "IAM Identity Center")


@pytest.mark.parametrize("status, error", [(401, "rejected"), (403, "rejected"), (404, "invalid"), (500, "failed")])
def test_identity_center_refuses(world, status, error):
    """The kinds of failure."""
    world.sign_in("corp")
    world.config(SSO_SESSION)
    world.fakes.faults["sso"] = [(status, "{}", None)] * 3
    failed(world.ask_us(), error, "IAM Identity Center")


# --- Containers and instances

def test_container_token_file(world):
    """It comes before the variable, and is read each time."""
    world.fakes.container_token = "token-of-file"
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys", AWS_CONTAINER_AUTHORIZATION_TOKEN="other",
              AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=world.write("token", "token-of-file"))
    with world.dump() as dump:
        found(dump.get(), "container")
        world.fakes.container_token = "next-token"
        world.write("token", "next-token")
        dump.tell("free")
        found(dump.get(), "container")


@pytest.mark.parametrize("token", ["a\nX-Injected: b", "a\n", "a\r", "a\x01"])
def test_container_token_with_line_break(world, token):
    """No header can be smuggled in."""
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + "/keys", AWS_CONTAINER_AUTHORIZATION_TOKEN=token)
    failed(world.ask_us(), "invalid", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "line break")
    assert not world.fakes.calls


def test_instance_without_v2(world):
    """Version 1 only for those who said so."""
    world.set(AWS_EC2_METADATA_DISABLED=None)
    world.fakes.imds_has_v2 = world.fakes.imds_needs_v2 = False
    failed(world.ask_us(), "none", "instance metadata", "404")
    assert [call.kind for call in world.fakes.calls] == ["imds_token"]
    world.set(AWS_EC2_METADATA_V1_DISABLED="true")
    failed(world.ask_us(), "none")
    world.set(AWS_EC2_METADATA_V1_DISABLED="false")
    found(world.ask_us(), "instance metadata", keys_for("imds", "machine")["id"])
    world.set(AWS_EC2_METADATA_V1_DISABLED=None)
    world.config("[default]\nec2_metadata_v1_disabled = false\n")
    found(world.ask_us(), "instance metadata")


def test_instance_that_hangs(world):
    """A second, and then it is taken for none; the hop limit is named."""
    world.set(AWS_EC2_METADATA_DISABLED=None)
    world.fakes.delay["imds_token"] = 3
    failed(world.ask_us(), "none", "hop limit")


@pytest.mark.parametrize("name, value", [
    ("AWS_METADATA_SERVICE_TIMEOUT", "soon"), ("AWS_METADATA_SERVICE_TIMEOUT", "0"),
    ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "-1"),
])
def test_instance_settings(world, name, value):
    """What isn't a number is refused by name."""
    world.set(AWS_EC2_METADATA_DISABLED=None, **{name: value})
    failed(world.ask_us(), "invalid", name)


# --- Programs

def test_command_lines(world):
    """Split as shlex does."""
    chosen = random.Random(5)
    lines = ["".join(chosen.choice("ab \t'\"\\$#;") for _ in range(chosen.randrange(1, 14))) for _ in range(3000)]
    with world.dump() as dump:
        for line in lines:
            try:
                theirs = shlex.split(line) or None
            except ValueError:
                theirs = None
            assert dump.ask("split " + line) == theirs, line


def test_what_a_program_inherits(world):
    """No descriptors, no blocked or ignored signals, a process group of its own, nothing to read."""
    report = world.home / "report"
    command = world.program(
        "import json, os, signal\n"
        "fds = sorted(int(n) for n in os.listdir('/proc/self/fd'))\n"
        "state = dict(line.split(':\\t') for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)\n"
        f"json.dump({{'fds': fds, 'in': os.readlink('/proc/self/fd/0'), 'err': os.readlink('/proc/self/fd/2'),\n"
        "           'blocked': int(state['SigBlk'], 16), 'ignored': int(state['SigIgn'], 16), 'pid': os.getpid(),\n"
        f"           'group': os.getpgid(0), 'home': os.environ['HOME']}}, open({str(report)!r}, 'w'))\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': 'A', 'SecretAccessKey': 'S'}))")
    # Python itself ignores SIGPIPE and SIGXFSZ, the C library its own two.
    world.config(f"[default]\ncredential_process = {command}\n")
    found(world.ask_us(), "credential_process")
    seen = json.loads(report.read_text(encoding="utf-8"))
    assert seen["fds"] == [0, 1, 2, 3]      # the last is the listing's own
    assert seen["in"] == seen["err"] == "/dev/null" and seen["home"] == str(world.home)
    assert seen["blocked"] == 0 and seen["ignored"] & ~(1 << 12 | 1 << 24 | 3 << 31) == 0
    assert seen["group"] == seen["pid"]


def test_a_program_that_prints_too_much(world):
    """Its output is limited."""
    world.config("[default]\ncredential_process = yes\n")
    failed(world.ask_us(), "invalid", "64 KiB")


def test_a_program_that_leaves_a_child(world):
    """A child that holds the pipe doesn't hold us up."""
    pid_file = world.home / "pid"
    command = world.program(
        "import json, os, time\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': 'A', 'SecretAccessKey': 'S'}), flush=True)\n"
        f"if os.fork() == 0:\n    open({str(pid_file)!r}, 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
        f"while not os.path.exists({str(pid_file)!r}) or not open({str(pid_file)!r}).read():\n    time.sleep(0.01)\n"
        "os._exit(0)")
    world.config(f"[default]\ncredential_process = {command}\n")
    try:
        found(world.ask_us(), "credential_process")
    finally:
        os.kill(int(pid_file.read_text()), 9)


def is_alive(pid):
    """It runs, and isn't a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_program_that_hangs(world):
    """The loop goes on; when the chain goes, the program and its children go."""
    pid_file = world.home / "pids"
    command = world.program(
        "import os, time\nchild = os.fork()\nif child:\n"
        f"    open({str(pid_file)!r}, 'w').write(f'{{os.getpid()}} {{child}}')\n"
        "time.sleep(600)")
    world.config(f"[default]\ncredential_process = {command}\n")
    with world.dump() as dump:
        assert dump.ask("now") == {"pending": True}
        end = time.monotonic() + 60
        while not pid_file.exists() or not pid_file.read_text():
            assert dump.ask("now") == {"pending": True} and time.monotonic() < end
            dump.tell("turn 50")
        pids = pid_file.read_text().split()
        assert len(pids) == 2 and all(map(is_alive, pids))
        dump.tell("free")
        dump.ask("status")
        while any(map(is_alive, pids)):
            assert time.monotonic() < end
            time.sleep(0.02)


# --- Secrets

PLANTED = "PLANTEDSECRET"


def plant_process(world):
    """A program that prints its secrets everywhere, and fails."""
    command = world.program(f"import sys\nprint('{PLANTED}1')\nsys.stderr.write('{PLANTED}2')\nsys.exit(1)")
    world.config(f"[default]\ncredential_process = {command} --password {PLANTED}3\n")


def plant_process_json(world):
    """One whose document lacks something."""
    world.config(f"[default]\ncredential_process = {world.prints(AccessKeyId=None, SessionToken=PLANTED)}\n")


def plant_process_missing(world):
    """One that isn't there."""
    world.config(f"[default]\ncredential_process = /no/such/program {PLANTED}\n")


def plant_process_quotes(world):
    """A command line with an open quote."""
    world.config(f"[default]\ncredential_process = program '{PLANTED}\n")


def plant_half_keys(world):
    """A secret without its key id, and the other way around."""
    world.set(AWS_SESSION_TOKEN=PLANTED + "1", AWS_ACCESS_KEY_ID=PLANTED + "2")


def plant_bad_token(world):
    """A session token that no header takes."""
    world.set(AWS_SESSION_TOKEN=PLANTED + "\n1", AWS_ACCESS_KEY_ID="AKIDENV", AWS_SECRET_ACCESS_KEY=PLANTED + "2")


def plant_bad_key_id(world):
    """The secret where the id should be."""
    world.credentials(f"[default]\naws_access_key_id = {PLANTED} {PLANTED}\naws_secret_access_key = {PLANTED}\n")


def plant_broken_file(world):
    """A broken file with secrets on the line before, on it and behind it."""
    world.credentials(f"[default]\naws_secret_access_key = {PLANTED}1\n{PLANTED}2\naws_session_token {PLANTED}3\n")


def plant_role(world):
    """STS refuses, and says what it was sent."""
    role_from_profile(world)
    world.credentials(f"[base]\naws_access_key_id = AKIDX\naws_secret_access_key = {PLANTED}1\n"
                      f"aws_session_token = {PLANTED}2\n")
    echo = f"<ErrorResponse><Error><Code>{PLANTED}3</Code><Message>{PLANTED}2</Message></Error></ErrorResponse>"
    world.fakes.faults["sts"] = [(403, echo.replace(PLANTED + "3", "AccessDenied"), "text/xml")] * 4


def plant_role_nonsense(world):
    """STS answers with keys that are cut off."""
    plant_role(world)
    world.fakes.faults["sts"] = [(200, f"<AssumeRoleResponse>{PLANTED}3", "text/xml")] * 4


def plant_web_identity(world):
    """The token is refused, and echoed."""
    world.set(AWS_WEB_IDENTITY_TOKEN_FILE=world.write("token", PLANTED), AWS_ROLE_ARN=ARN + "w")
    echo = f"<Error><Code>InvalidIdentityToken</Code><Message>{PLANTED}</Message></Error>"
    world.fakes.faults["sts"] = [(400, f"<ErrorResponse>{echo}</ErrorResponse>", "text/xml")] * 4


def plant_sso(world):
    """The sign-in is refused, and echoed."""
    world.sign_in("corp", token=PLANTED)
    world.config(SSO_SESSION)
    world.fakes.faults["sso"] = [(401, json.dumps({"message": PLANTED}), None)] * 4


def plant_sso_refresh(world):
    """Its refresh is refused, and echoed."""
    world.sign_in("corp", token=PLANTED + "1", seconds=-60, refresh=PLANTED + "2", clientSecret=PLANTED + "3")
    world.config(SSO_SESSION)
    world.fakes.faults["oidc"] = [(400, json.dumps({"error": PLANTED + "2"}), None)] * 4


def plant_sso_malformed(world):
    """Its file is malformed."""
    world.sign_in("corp", token=PLANTED, expiresAt=PLANTED)
    world.config(SSO_SESSION)


def plant_container(world):
    """The host refuses, and echoes the authorization; the address has a secret in its query."""
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url + f"/{PLANTED}1?key={PLANTED}2",
              AWS_CONTAINER_AUTHORIZATION_TOKEN=PLANTED + "3")
    world.fakes.faults["container"] = [(403, PLANTED + "3", "text/plain")] * 9


def plant_container_token(world):
    """The authorization has a line break."""
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=world.fakes.url,
              AWS_CONTAINER_AUTHORIZATION_TOKEN=PLANTED + "\n" + PLANTED)


def plant_container_address(world):
    """The address is refused."""
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://{PLANTED}:{PLANTED}@example.invalid/{PLANTED}")


def plant_container_down(world):
    """Nobody is there."""
    world.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://127.0.0.1:1/{PLANTED}?{PLANTED}",
              AWS_CONTAINER_AUTHORIZATION_TOKEN=PLANTED)


def plant_instance(world):
    """The instance's keys lack their end."""
    world.set(AWS_EC2_METADATA_DISABLED=None)
    world.fakes.faults["imds_token"] = [(200, PLANTED + "1", "text/plain")] * 4
    world.fakes.imds_needs_v2 = False
    document = {"Code": "Success", "AccessKeyId": PLANTED + "2", "SecretAccessKey": PLANTED + "3",
                "Token": PLANTED + "4"}
    world.fakes.faults["imds_role"] = [(200, "machine", "text/plain")] * 4
    world.fakes.faults["imds_keys"] = [(200, json.dumps(document), "text/plain")] * 4


@pytest.mark.parametrize("plant", [value for name, value in list(globals().items()) if name.startswith("plant_")])
def test_no_secret_is_told(world, plant):
    """Whatever fails, at log level debug, no secret is in the log, in the error or in the status."""
    plant(world)
    with world.dump(level="debug") as dump:
        assert "error" in dump.get()
        dump.tell("free")
        assert "error" in dump.get()
        dump.ask("status")
    assert dump.log and PLANTED not in dump.log, dump.log
    assert PLANTED not in "".join(dump.said)
