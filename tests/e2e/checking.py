"""Runs --check, and reads what it says."""

import json
import os
import subprocess

from mounting import BINARY, HANG, SANITIZED
from resolver import ACCESS_KEY, SECRET_KEY

STEPS = ["options", "fuse", "configuration", "credentials", "endpoint", "lookup", "connection", "tls", "clock", "call"]
PLANTED = "PLANTEDSECRET"
NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
KEYS = f"aws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"


class Outcome:
    """What a check said: its steps by name, as (ok, detail, remedy)."""

    def __init__(self, done):
        self.status = done.returncode
        self.output = done.stdout
        self.log = done.stderr
        document = json.loads(done.stdout)
        self.steps = {step["name"]: (step["ok"], step["detail"], step["remedy"]) for step in document["steps"]}
        self.names = [step["name"] for step in document["steps"]]
        assert set(document) == {"ok", "steps"} and len(self.steps) == len(self.names)
        assert document["ok"] is (self.status == 0) is not any(ok is False for ok, *_ in self.steps.values())

    def ok(self, name, *words):
        """This step succeeded, and says so in these words; gives its remedy."""
        return self._is(True, name, words)

    def failed(self, name, *words):
        """This step failed, so does the whole; gives what is to be done, which there is."""
        assert self.status == 1 and self.steps[name][2]
        return self._is(False, name, words)

    def skipped(self, *names):
        """These steps were skipped, for a reason."""
        for name in names:
            self._is(None, name, ())
            assert self.steps[name][1]

    def _is(self, expected, name, words):
        ok, detail, remedy = self.steps[name]
        assert ok is expected, (name, self.output)
        for word in words:
            assert word in detail, (name, detail, word)
        return remedy

    @property
    def all_failed(self):
        """The names of the failed steps."""
        return [name for name in self.names if self.steps[name][0] is False]


class Checker:
    """Runs checks against a stand-in, with an environment and a home of their own."""

    def __init__(self, directory, resolver):
        self.resolver = resolver
        self.home = directory / "home"
        self.home.mkdir(mode=0o755)
        self.binary = BINARY
        self.environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.home), "LC_ALL": "C.UTF-8",
                        "AWS_EC2_METADATA_DISABLED": "true", **resolver.environ()}
        for name in ("ASAN", "UBSAN", "LSAN"):
            if options := os.environ.get(f"TOKENFS_{name}_OPTIONS"):
                self.environ[f"{name}_OPTIONS"] = options

    def run(self, *words, prefix=(), environ=None, **more):
        """Runs it; no secret is in what it says."""
        full = {**self.environ, **(environ or {})}
        full = {name: value for name, value in full.items() if value is not None}
        # The search for leaks traces the process, which the sandbox forbids.
        first = ["-o", "sandbox=off"] if SANITIZED else []
        done = subprocess.run([*prefix, self.binary, "--check", *first, *words], env=full, capture_output=True, text=True,
                              timeout=HANG, check=False, stdin=subprocess.DEVNULL, **more)
        said = done.stdout + done.stderr
        secrets = {PLANTED} | {key.secret for key in self.resolver.verifier.keys.values()}
        secrets |= {key.session_token for key in self.resolver.verifier.keys.values() if key.session_token}
        secrets |= {document["value"] for document in self.resolver.model.tokens.values()}
        assert not [secret for secret in secrets if secret in said], said
        assert "Sanitizer" not in said, said
        return done

    def __call__(self, *words, prefix=(), **environ):
        """A check for machines."""
        done = self.run("--json", *words, prefix=prefix, environ=environ)
        outcome = Outcome(done)
        assert done.stderr == "" or "log_level=debug" in " ".join(words), done.stderr
        return outcome

    def write(self, path, text, mode=0o600):
        """A file in the home directory."""
        path = self.home / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return str(path)
