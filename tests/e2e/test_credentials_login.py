"""`aws login`: the sign-in of a console user is renewed in place, with a proof that openssl verifies."""

import json
import stat
import time

import pytest

import aws_fakes
import credential_world
import login_fake
from credential_world import LOGIN
from test_credentials_life import failed, found
from test_tls_proxy import NO_KEYS, write_home

pytest_plugins = ["credential_fixture"]
PROFILE = "[profile me]\n" + LOGIN


@pytest.fixture
def me(world):
    """A world with the profile."""
    world.config(PROFILE)
    world.profile = "me"
    return world


def test_renewed_in_place(me):
    """All members stay that aren't renewed; owner, mode and the directory's content too. The next renewal goes on."""
    me.log_in(-10, unknown={"kept": [1, None, "ü"]})
    path = me.login_cache()
    path.chmod(0o640)
    before = json.loads(path.read_text(encoding="utf-8"))
    found(me.ask_us(), "login", aws_fakes.keys_for("login", "refresh-2")["id"])
    after = json.loads(path.read_text(encoding="utf-8"))
    renewed = aws_fakes.keys_for("login", "refresh-2")
    expires = after["accessToken"].pop("expiresAt")
    assert after["accessToken"] == {"accessKeyId": renewed["id"], "secretAccessKey": renewed["secret"],
                                    "sessionToken": renewed["token"], "accountId": "123456789012"}
    assert abs(time.mktime(time.strptime(expires, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - time.time() - 900) < 60
    assert after["refreshToken"] == "refresh-2"
    for document in (before, after):
        del document["accessToken"], document["refreshToken"]
    assert after == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [name.name for name in path.parent.iterdir()] == [path.name]
    found(me.ask_us(), "login")
    assert len(me.fakes.of("signin")) == 1
    request = me.fakes.of("signin")[0]
    assert json.loads(request.body) == {"clientId": login_fake.CLIENT, "refreshToken": "refresh-1",
                                        "grantType": "refresh_token"}
    assert request.headers["content-type"] == "application/json" and "authorization" not in request.headers


def test_each_attempt_has_a_proof_of_its_own(me):
    """A proof that was seen is refused."""
    me.log_in(-10)
    me.fakes.faults["signin"] = [(503, "", None), (429, "", None)]
    found(me.ask_us(), "login")
    proofs = [call.headers["dpop"] for call in me.fakes.of("signin")]
    assert len(set(proofs)) == 3


@pytest.mark.parametrize("skew", [-3600, 3600])
def test_a_clock_that_is_off(me, skew):
    """A proof's time is refused; the next one has the service's time. A sign-in that is over is asked for no third time."""
    me.log_in(-10)
    me.fakes.skew = skew
    found(me.ask_us(), "login")
    assert len(me.fakes.of("signin")) == 2
    me.fakes.forget()
    me.log_in(-10)
    me.fakes.logins.clear()
    failed(me.ask_us(), "expired", "aws login")
    assert len(me.fakes.of("signin")) == 2


@pytest.mark.parametrize("answer, error, words", [
    ((401, "TOKEN_EXPIRED"), "expired", ["has expired"]),
    ((403, "TOKEN_EXPIRED"), "expired", ["has expired"]),
    ((403, "USER_CREDENTIALS_CHANGED"), "expired", ["password"]),
    ((403, "INSUFFICIENT_PERMISSIONS"), "rejected", ["signin:CreateOAuth2Token"]),
    ((400, "INVALID_REQUEST"), "rejected", ["status 400"]),
])
def test_refusals(me, answer, error, words):
    """Each says what happened, and what to run."""
    me.log_in(-10)
    me.fakes.faults["signin"] = [me.fakes.signin_error(*answer)]
    outcome = me.ask_us()
    remedy = [] if error == "rejected" and "signin:CreateOAuth2Token" in words else ["aws login --profile me"]
    failed(outcome, error, *words, *remedy)


@pytest.mark.parametrize("answer", [
    "", "[]", "{}", '{"accessToken": {}, "expiresIn": 900, "refreshToken": "r"}',
    '{"accessToken": {"accessKeyId": "A", "secretAccessKey": "", "sessionToken": "T"}, "expiresIn": 900, '
    '"refreshToken": "r"}',
    '{"accessToken": {"accessKeyId": "A", "secretAccessKey": "S", "sessionToken": "T"}, "expiresIn": 0, '
    '"refreshToken": "r"}',
    '{"accessToken": {"accessKeyId": "A", "secretAccessKey": "S", "sessionToken": "T"}, "expiresIn": 900, '
    '"refreshToken": ""}',
])
def test_odd_answers(me, answer):
    """None is taken, and none overwrites the user's file."""
    me.log_in(-10)
    before = me.login_cache().read_bytes()
    me.fakes.faults["signin"] = [(200, answer, None)]
    failed(me.ask_us(), "invalid", "isn't what the sign-in service sends")
    assert me.login_cache().read_bytes() == before


@pytest.mark.parametrize("member", ["accessToken", "refreshToken", "clientId", "dpopKey"])
def test_incomplete_files(me, member):
    """An empty member is none; the error names it, the file, and what to run."""
    for value in (None, ""):
        me.log_in(**{member: value})
        failed(me.ask_us(), "invalid", member, str(me.login_cache()), "aws login --profile me")
    assert not me.fakes.calls


def test_a_key_of_another_curve(me):
    """It is refused before anything is sent."""
    me.log_in(-10, curve="secp384r1")
    failed(me.ask_us(), "invalid", "dpopKey", "aws login")
    assert not me.fakes.calls


def test_no_region(me):
    """Nothing tells where to renew it: the error says what to add. The file's own region comes first."""
    me.config("[profile me]\nlogin_session = arn:me\n")
    me.set(AWS_DEFAULT_REGION=None)
    me.log_in(-10)
    failed(me.ask_us(), "invalid", "region")
    me.log_in(-10, signInRegion="eu-west-3")
    found(me.ask_us(), "login")


def test_another_tool_is_quicker(me):
    """The refresh token was used meanwhile: the file is read once more, and has the renewed sign-in."""
    me.log_in(-10)
    me.fakes.delay["signin"] = 1
    me.fakes.faults["signin"] = [me.fakes.signin_error(401, "TOKEN_EXPIRED")]
    with me.dump() as dump:
        assert dump.ask("now") == {"pending": True}
        while not me.fakes.of("signin"):
            dump.tell("turn 20")
            time.sleep(0.02)
        me.log_in(900, refreshToken="refresh-of-another")
        found(dump.get(), "login")


def test_signing_in_while_it_runs(me):
    """`aws login` helps at once, without a restart; so does the renewal by another tool."""
    with me.dump() as dump:
        failed(dump.get(), "invalid", "nobody has signed in yet", "aws login --profile me")
        me.log_in(-10)
        me.fakes.logins.clear()
        failed(dump.until(lambda outcome: outcome.get("error") == "expired"), "expired", "aws login --profile me")
        me.log_in(900)
        found(dump.until(lambda outcome: "error" not in outcome), "login")


def test_an_outage_while_it_is_valid(me):
    """In the last five minutes the keys serve on while the service is out of order."""
    me.log_in(200)
    me.fakes.faults["signin"] = [(503, "", None)] * 3
    found(me.ask_us(), "login", aws_fakes.keys_for("login", "refresh-1")["id"])


@pytest.mark.parametrize("answers", [
    [(200, '{"accessToken": {"secretAccessKey": "planted-1"}}', None)],
    [(400, '{"error": "planted-2", "message": "planted-3"}', None)],
    [(401, "planted-4", "text/plain")],
    [],
])
def test_no_secret_is_told(me, answers):
    """At log level debug no secret of the file, and no text of the service, is in the log, an error or the status."""
    me.log_in(-10, refreshToken="planted-5", idToken="planted-6")
    me.fakes.faults["signin"] = answers
    document = json.loads(me.login_cache().read_text(encoding="utf-8"))
    secrets = ["planted", document["accessToken"]["secretAccessKey"], *document["dpopKey"].splitlines()[1:-1]]
    with me.dump(level="debug") as dump:
        assert "error" in dump.get()
        dump.ask("status")
    said = dump.log + "".join(dump.said)
    assert dump.log and not [secret for secret in secrets if secret in said]


def test_a_file_that_cannot_be_written(me):
    """The renewed sign-in is kept in memory, until someone signs in again."""
    me.log_in(-10)
    path = me.login_cache()
    path.rename(me.home / "elsewhere")
    path.symlink_to(me.home / "elsewhere")
    with me.dump() as dump:
        found(dump.get(), "login")
        dump.tell("free")
        found(dump.get(), "login")
        assert len(me.fakes.of("signin")) == 1
        path.unlink()
        dump.tell("free")
        failed(dump.get(), "invalid", "aws login")
    assert "can't be written" in dump.log


@pytest.mark.parametrize("service", ["signin", "oidc"])
def test_signing_out_during_the_renewal(me, service):
    """The file doesn't come back, nothing is kept, and the log says so."""
    if service == "signin":
        me.log_in(-10)
        path = me.login_cache()
    else:
        me.config(credential_world.SSO_SESSION)
        me.profile = "default"
        me.sign_in("corp", seconds=-10, refresh="refresh-1")
        me.fakes.refresh_tokens["refresh-1"] = ("sso-access-2", "refresh-2")
        path = me.sso_cache("corp")
    me.fakes.delay[service] = 1
    with me.dump() as dump:
        assert dump.ask("now") == {"pending": True}
        while not me.fakes.of(service):
            dump.tell("turn 20")
            time.sleep(0.02)
        path.unlink()
        found(dump.get(), "login" if service == "signin" else "IAM Identity Center")
        dump.tell("free")
        failed(dump.get(), "invalid", "nobody has signed in")
    assert not list(path.parent.iterdir())
    assert "signed out" in dump.log and "kept in memory" not in dump.log, dump.log


def test_a_sign_in_file_of_identity_center_that_is_empty(world):
    """An empty accessToken is no sign-in, in the file and in an answer: it never overwrites the user's file."""
    world.config(credential_world.SSO_SESSION)
    world.sign_in("corp", token="")
    failed(world.ask_us(), "invalid", "aws sso login")
    world.sign_in("corp", seconds=-10, refresh="refresh-1")
    before = world.sso_cache("corp").read_bytes()
    world.fakes.refresh_tokens["refresh-1"] = ("", "refresh-2")
    failed(world.ask_us(), "expired", "aws sso login")
    assert world.sso_cache("corp").read_bytes() == before


def test_of_a_mount(mount, resolver, token, directory):
    """In the sandbox too: the sign-in is renewed and written back there, and nowhere else."""
    with aws_fakes.Fakes() as fakes:
        world = credential_world.World(directory / "world", fakes)
        world.log_in(-10)
        keys = aws_fakes.keys_for("login", "refresh-2")
        resolver.add_key(keys["id"], keys["secret"], session_token=keys["token"])
        fs = mount(environ={**NO_KEYS, "AWS_ENDPOINT_URL_SIGNIN": fakes.url}, start=False)
        write_home(fs, ".aws/config", PROFILE)
        path = write_home(fs, str(world.login_cache().relative_to(world.home)),
                          world.login_cache().read_text(encoding="utf-8"))
        fs.start({"profile": "me", "ttl": 0})
        assert fs.text(token["id"], "value") == token["value"], fs.log()
        with open(path, encoding="utf-8") as file:
            assert json.load(file)["refreshToken"] == "refresh-2", fs.log()
        assert fs.status()["credentials"]["provider"] == "login (profile me)"
        assert "landlock" in fs.status()["worker"]["sandbox"]
        assert keys["secret"] not in fs.log() and "PRIVATE KEY" not in fs.log()
