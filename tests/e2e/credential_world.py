"""A world that botocore and we look at for credentials: a home directory, an environment, and fake services."""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import threading
import time

import pytest

import login_fake
import mounting
from aws_fakes import keys_for, stamp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import newest_botocore     # noqa: E402   pylint: disable=wrong-import-position

BUILD = os.environ.get("TOKENFS_BUILD") or str(pathlib.Path(mounting.BINARY).parent.parent)
DUMP = f"{BUILD}/tests/unit/credentials_dump"
HANG = 60
KEYS = "aws_access_key_id = AKIDFILE{0}\naws_secret_access_key = file-secret-{0}\n"
ROLE = "role_arn = arn:aws:iam::123456789012:role/{}\n"
SSO_ROLE = "sso_account_id = 000012345678\nsso_role_name = Reader+All\n"
LOGIN = "login_session = arn:me\nregion = eu-central-1\n"
SSO_LEGACY = SSO_ROLE + "sso_start_url = https://example.awsapps.com/start\nsso_region = eu-north-1\n"
SSO_SESSION = ("[sso-session corp]\nsso_start_url = https://example.awsapps.com/start\nsso_region = eu-north-1\n"
               "sso_registration_scopes = sso:account:access\n[default]\nsso_session = corp\n" + SSO_ROLE)
PRINTED = {"Version": 1, "AccessKeyId": "AKIDPROCESS", "SecretAccessKey": "process-secret"}


class World:
    """A home directory, an environment and the fakes: what both sides look at."""

    def __init__(self, home, fakes):
        self.home = home
        self.fakes = fakes
        fakes.known_keys.update({f"AKIDFILE{n}": (f"file-secret-{n}", None) for n in range(10)})
        fakes.known_keys["AKIDENV"] = ("env-secret", None)
        fakes.known_keys["AKIDPROCESS"] = ("process-secret", None)
        self.environ = {
            "HOME": str(home), "PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_STS": fakes.url, "AWS_ENDPOINT_URL_SSO": fakes.url,
            "AWS_ENDPOINT_URL_SSO_OIDC": fakes.url, "AWS_ENDPOINT_URL_SIGNIN": fakes.url, "AWS_EC2_METADATA_SERVICE_ENDPOINT": fakes.url,
            "AWS_MAX_ATTEMPTS": "1", "AWS_DEFAULT_REGION": "eu-west-1",
        }
        for name in ("ASAN", "UBSAN", "LSAN"):
            if options := os.environ.get(f"TOKENFS_{name}_OPTIONS"):
                self.environ[f"{name}_OPTIONS"] = options
        self.profile = None

    def write(self, path, text, mode=0o600):
        """A file in the home directory; renamed into place, with a time of its own."""
        path = self.home / path
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_text(text, encoding="utf-8")
        new.chmod(mode)
        new.rename(path)
        return str(path)

    def config(self, text):
        """~/.aws/config"""
        return self.write(".aws/config", text)

    def credentials(self, text):
        """~/.aws/credentials"""
        return self.write(".aws/credentials", text)

    def set(self, **environ):
        """Environment variables; None takes one away."""
        self.environ.update(environ)
        self.environ = {name: value for name, value in self.environ.items() if value is not None}

    def keys_in_environment(self, **more):
        """The three usual variables."""
        self.set(AWS_ACCESS_KEY_ID="AKIDENV", AWS_SECRET_ACCESS_KEY="env-secret", **more)

    def program(self, text):
        """A program for credential_process; gives its command line."""
        path = self.write("bin/credentials", f"#!{sys.executable}\n{text}\n", 0o700)
        return shlex.quote(path)

    def prints(self, **document):
        """A program that prints this JSON."""
        return self.program(f"print({json.dumps(json.dumps({**PRINTED, **document}))})")

    def sso_cache(self, name):
        """Where the sign-in of a session or start URL lies."""
        return self.home / ".aws/sso/cache" / (hashlib.sha1(name.encode()).hexdigest() + ".json")

    def sign_in(self, name, token="sso-access-1", seconds=7200, refresh=None, **more):
        """What `aws sso login` leaves, and knows at its other end."""
        document = {"startUrl": "https://example.awsapps.com/start", "region": "eu-north-1", "accessToken": token,
                    "expiresAt": stamp(time.time() + seconds)}
        if refresh:
            document.update({"clientId": "client-id", "clientSecret": "client-secret", "refreshToken": refresh,
                             "registrationExpiresAt": stamp(time.time() + 86400)})
        document.update(more)
        self.write(self.sso_cache(name).relative_to(self.home), json.dumps(document))
        if seconds > 0:
            self.fakes.sso_tokens.add(token)

    def login_cache(self, session="arn:me"):
        """Where the sign-in of `aws login` lies."""
        return self.home / ".aws/login/cache" / (hashlib.sha256(session.encode()).hexdigest() + ".json")

    def log_in(self, seconds=900, *, session="arn:me", form="pkcs8", curve="prime256v1", **more):
        """What `aws login` leaves, and knows at its other end; None in `more` takes a member away."""
        pem, point = login_fake.make_key(form, curve)
        self.fakes.logins["refresh-1"] = (point, "refresh-2")
        keys = keys_for("login", "refresh-1")
        self.fakes.known_keys[keys["id"]] = (keys["secret"], keys["token"])
        document = {
            "accessToken": {"accessKeyId": keys["id"], "secretAccessKey": keys["secret"], "sessionToken": keys["token"],
                            "accountId": "123456789012", "expiresAt": stamp(time.time() + seconds)},
            "tokenType": "aws_sigv4", "clientId": login_fake.CLIENT, "refreshToken": "refresh-1", "idToken": "id-token",
            "dpopKey": pem, **more,
        }
        document = {name: value for name, value in document.items() if value is not None}
        self.write(self.login_cache(session).relative_to(self.home), json.dumps(document))

    def dump(self, *, level="debug"):
        """Our program, to be spoken to."""
        return Dump(self, level)

    def ask_us(self):
        """One outcome of ours."""
        with self.dump() as dump:
            return dump.get()


class Dump:
    """credentials_dump, running."""

    def __init__(self, world, level):
        words = [DUMP, "-l", level] + (["-p", world.profile] if world.profile else [])
        self.process = subprocess.Popen(words, env=world.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, cwd="/", close_fds=True)
        self.said = []
        self.log = ""
        self._guard = threading.Timer(HANG * 2, self.process.kill)

    def __enter__(self):
        self._guard.start()
        return self

    def __exit__(self, error, *_):
        try:
            self.process.stdin.close()
            status = self.process.wait(HANG)
            self.log = self.process.stderr.read()
        finally:
            self._guard.cancel()
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process.stderr.close()
        if error is None:
            assert status == 0, self.log

    def tell(self, line):
        """A command without an answer."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line):
        """A command with one."""
        self.tell(line)
        answer = self.process.stdout.readline()
        assert answer, "it died: " + self.process.stderr.read()
        self.said.append(answer)
        return json.loads(answer)

    def get(self, count=1):
        """The outcome of so many at once."""
        outcome = self.ask(f"get {count}")
        assert outcome["count"] == count
        return outcome

    def until(self, wanted):
        """Asks until the outcome is as wanted."""
        end = time.monotonic() + HANG
        while not wanted(outcome := self.get()):
            assert time.monotonic() < end, outcome
            self.tell("turn 100")
        return outcome


class Oracle:
    """The newest botocore on this machine, to be asked; started once a test process."""

    def __init__(self):
        python, _ = newest_botocore.find()
        if python is None:
            pytest.skip("NO botocore HERE: nothing was compared with it")
        self.process = subprocess.Popen([python, str(pathlib.Path(__file__).with_name("botocore_oracle.py"))],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = self._line()
        self.release, self.has_login = hello["release"], hello["has_login"]

    def _line(self):
        line = self.process.stdout.readline()
        assert line, "the oracle died"
        return json.loads(line)

    def ask(self, world):
        """Its outcome, in the same form as ours, less the words."""
        question = {"environ": world.environ, "profile": world.profile, "home": str(world.home), "url": world.fakes.url}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self._line()
        return {**answer, "keys": tuple(answer["keys"])} if "keys" in answer else answer

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        self.process.wait(HANG)
        self.process.stdout.close()


def ask_new_oracle(world):
    """The outcome of one that runs where this thread runs: in another network."""
    with contextlib.closing(Oracle()) as one:
        return one.ask(world)


@functools.cache
def oracle():
    """The one of this process; it ends with it, as its input does."""
    return Oracle()


def essence(outcome):
    """What is compared."""
    if "error" in outcome:
        return "none" if outcome["error"] == "none" else "error"
    keys = outcome.get("keys") or (outcome["access_key_id"], outcome["secret_access_key"], outcome.get("session_token"))
    return outcome["provider"].split(" (")[0], keys
